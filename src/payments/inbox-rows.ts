/** The rows of the inbox: every statement on `stripe_events` but the one that a sync ends its event with (0022-payments.sql has the states). */
import type { Pool } from 'pg';
import type { Db } from '../db/pool.ts';
import { isOfInterest, type StripeEvent } from './events.ts';

/** A claim lasts so long: of a process that died, its events are due again then. */
export const LEASE_MS = 60_000;
/** So many failures make an event dead. */
export const MOST_ATTEMPTS = 15;
/** Bodies are dropped so long after they were received. */
const BODY_DAYS = 90;
/**
 * Rows of events that came to their end are deleted after so long. An event that Stripe sent again later than that would be synced
 * again, and change nothing; and it sends none that are older than 30 days.
 */
const ROW_DAYS = 400;

export type EventState = 'waiting' | 'processed' | 'ignored' | 'dead';
export type EventSource = 'webhook' | 'poll';

/**
 * Stores events, each once, those of no interest as ignored. Returns the ids of those that are new. `body`: as it was sent; null: it
 * was not, but asked for.
 */
export async function storeEvents(
  db: Db,
  events: readonly { event: StripeEvent; body: Buffer | null }[],
  source: EventSource,
): Promise<string[]> {
  const column = <T>(of: (event: StripeEvent) => T): T[] => events.map(({ event }) => of(event));
  const { rows } = await db.query<{ event_id: string }>(
    `INSERT INTO stripe_events (event_id, type, object_kind, object_id, api_version, livemode, created_at, body, source, state, ended_at)
     SELECT t.event_id, t.type, t.object_kind, t.object_id, t.api_version, t.livemode, t.created_at, t.body, $9, s.state, CASE WHEN s.state <> 'waiting' THEN clock_timestamp() END
       FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::timestamptz[], $8::bytea[])
           WITH ORDINALITY AS t (event_id, type, object_kind, object_id, api_version, livemode, created_at, body, nth),
         LATERAL (SELECT CASE WHEN ($10::boolean[])[t.nth] THEN 'waiting' ELSE 'ignored' END AS state) s
     ON CONFLICT (event_id) DO NOTHING RETURNING event_id`,
    [
      column(({ id }) => id),
      column(({ type }) => type),
      column(({ objectKind }) => objectKind),
      column(({ objectId }) => objectId),
      column(({ apiVersion }) => apiVersion),
      column(({ livemode }) => livemode),
      column(({ createdAt }) => createdAt),
      events.map(({ body }) => body),
      source,
      column(isOfInterest),
    ],
  );
  return rows.map(({ event_id }) => event_id);
}

/** Events of one object that were taken up together. */
export interface Claim {
  kind: string;
  /** Null: the object has no id. */
  id: string | null;
  events: { id: string; type: string }[];
  /** How often the first was taken up, this time included. */
  attempts: number;
  /** By the database's clock. What the object is read as from now on has all that was told of it until then. */
  at: Date;
}

interface ClaimedRow {
  event_id: string;
  type: string;
  object_kind: string;
  object_id: string | null;
  attempts: number;
  state: EventState;
  at: Date;
}

const CLAIM = `
  WITH due AS (
    SELECT event_id FROM stripe_events
     WHERE state = 'waiting' AND due_at <= statement_timestamp() AND NOT (object_kind || ' ' || coalesce(object_id, '')) = ANY ($2)
     ORDER BY due_at, event_id LIMIT $1 FOR UPDATE SKIP LOCKED
  )
  UPDATE stripe_events e SET attempts = least(e.attempts + 1, $4), due_at = clock_timestamp() + $3 * interval '1 ms',
      state = CASE WHEN e.attempts >= $4 THEN 'dead' ELSE 'waiting' END,
      ended_at = CASE WHEN e.attempts >= $4 THEN clock_timestamp() END,
      error = CASE WHEN e.attempts >= $4 THEN coalesce(e.error, 'every process that took it up died') ELSE e.error END
    FROM due WHERE e.event_id = due.event_id
  RETURNING e.event_id, e.type, e.object_kind, e.object_id, e.attempts, e.state, clock_timestamp() AS at`;

/**
 * Takes up to `most` events that are due, oldest first, by their objects; none of an object in `busy` (`kind id`). An event whose
 * takers all died is dead, and given in `dead`: one of them may have died of it.
 */
export async function claimDue(
  pool: Pool,
  most: number,
  busy: readonly string[],
): Promise<{ claims: Claim[]; dead: string[]; taken: number }> {
  const { rows } = await pool.query<ClaimedRow>(CLAIM, [most, busy, LEASE_MS, MOST_ATTEMPTS]);
  const alive = rows.filter(({ state }) => state === 'waiting');
  const byObject = Map.groupBy(alive, (row) => objectKey(row.object_kind, row.object_id));
  return {
    claims: [...byObject.values()].map(toClaim),
    dead: rows.filter(({ state }) => state === 'dead').map(({ event_id }) => event_id),
    taken: rows.length,
  };
}

/** Takes one event, due or not; null: it waits no more, or there is none. */
export async function claimOne(pool: Pool, id: string): Promise<Claim | null> {
  const { rows } = await pool.query<ClaimedRow>(
    `UPDATE stripe_events SET attempts = attempts + 1, due_at = clock_timestamp() + $2 * interval '1 ms'
     WHERE event_id = $1 AND state = 'waiting'
     RETURNING event_id, type, object_kind, object_id, attempts, state, clock_timestamp() AS at`,
    [id, LEASE_MS],
  );
  return rows.length === 0 ? null : toClaim(rows);
}

function toClaim(rows: ClaimedRow[]): Claim {
  const { object_kind, object_id, attempts, at } = rows[0]!;
  const events = rows.map(({ event_id, type }) => ({ id: event_id, type }));
  return { kind: object_kind, id: object_id, events, attempts, at };
}

/** An object as `busy` names it. */
export function objectKey(kind: string, id: string | null): string {
  return `${kind} ${id ?? ''}`;
}

/**
 * Ends the events of a claim, and all that was received of the same object before it was read: dead ones too, since what they hinted
 * at was read now.
 */
export async function endClaim(pool: Pool, claim: Claim, state: 'processed' | 'ignored'): Promise<void> {
  await pool.query(
    `UPDATE stripe_events SET state = $1, ended_at = clock_timestamp(), error = NULL
     WHERE state IN ('waiting', 'dead') AND (event_id = ANY ($2) OR (object_kind = $3 AND object_id = $4 AND received_at <= $5))`,
    [state, claim.events.map(({ id }) => id), claim.kind, claim.id, claim.at],
  );
}

/** Puts the events of a claim off; those that failed too often are dead, and returned. `counts` is false where it was no fault of theirs. */
export async function putOff(
  pool: Pool,
  claim: Claim,
  { error, afterMs, counts }: { error: string; afterMs: number; counts: boolean },
): Promise<string[]> {
  const { rows } = await pool.query<{ event_id: string; state: EventState }>(
    `UPDATE stripe_events SET error = $2, due_at = clock_timestamp() + $3 * interval '1 ms',
        attempts = CASE WHEN $4 THEN attempts ELSE greatest(attempts - 1, 0) END,
        state = CASE WHEN $4 AND attempts >= $5 THEN 'dead' ELSE 'waiting' END,
        ended_at = CASE WHEN $4 AND attempts >= $5 THEN clock_timestamp() END
     WHERE event_id = ANY ($1) AND state = 'waiting' RETURNING event_id, state`,
    [claim.events.map(({ id }) => id), error, afterMs, counts, MOST_ATTEMPTS],
  );
  return rows.filter(({ state }) => state === 'dead').map(({ event_id }) => event_id);
}

/** Gives claims back that nobody works on any more: the next process takes them up at once. */
export async function giveBack(pool: Pool, events: readonly string[]): Promise<void> {
  await pool.query(
    `UPDATE stripe_events SET due_at = clock_timestamp(), attempts = greatest(attempts - 1, 0)
     WHERE event_id = ANY ($1) AND state = 'waiting'`,
    [events],
  );
}

/** Drops bodies and rows whose time is over, a thousand at a time; returns whether there may be more. */
export async function prune(pool: Pool): Promise<boolean> {
  const bodies = await pool.query(
    `UPDATE stripe_events SET body = NULL WHERE event_id IN (SELECT event_id FROM stripe_events
       WHERE body IS NOT NULL AND received_at < statement_timestamp() - $1 * interval '1 day' LIMIT $2)`,
    [BODY_DAYS, PRUNED_AT_A_TIME],
  );
  const rows = await pool.query(
    `DELETE FROM stripe_events WHERE event_id IN (SELECT event_id FROM stripe_events
       WHERE received_at < statement_timestamp() - $1 * interval '1 day' AND state IN ('processed', 'ignored') LIMIT $2)`,
    [ROW_DAYS, PRUNED_AT_A_TIME],
  );
  return bodies.rowCount === PRUNED_AT_A_TIME || rows.rowCount === PRUNED_AT_A_TIME;
}

const PRUNED_AT_A_TIME = 1_000;
