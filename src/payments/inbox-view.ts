/** The inbox as operators see it; and replay, which makes an event wait again. */
import type { Pool } from 'pg';
import Stripe from 'stripe';
import type { Db } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import type { PaymentDeps } from './deps.ts';
import { readEvent } from './events.ts';
import { stripeFault } from './faults.ts';
import { type EventSource, type EventState, storeEvents } from './inbox-rows.ts';

/** A row, but for what was sent: that is nobody's to read. */
export interface InboxEvent {
  id: string;
  type: string;
  objectKind: string;
  objectId: string | null;
  state: EventState;
  attempts: number;
  error: string | null;
  source: EventSource;
  apiVersion: string | null;
  /** By Stripe. */
  createdAt: Date;
  receivedAt: Date;
  /** When it is tried next; null: it came to its end. */
  dueAt: Date | null;
  endedAt: Date | null;
  /** Of this row in a list. */
  position: string;
}

const COLUMNS = `event_id AS id, type, object_kind AS "objectKind", object_id AS "objectId", state, attempts, error, source,
  api_version AS "apiVersion", created_at AS "createdAt", received_at AS "receivedAt",
  CASE WHEN state = 'waiting' THEN due_at END AS "dueAt", ended_at AS "endedAt",
  (extract(epoch FROM received_at) * 1000000)::bigint::text || ' ' || event_id AS position`;

const POSITION = /^(\d{1,18}) (\S{1,255})$/;

/** The place in the list that a cursor stands for; null: it stands for none. */
export function inboxPosition(text: string): { us: string; id: string } | null {
  const read = POSITION.exec(text);
  return read === null || text.includes('\0') ? null : { us: read[1]!, id: read[2]! };
}

/** A page of the inbox, newest first. */
export async function listInbox(
  pool: Pool,
  state: EventState | null,
  { limit, after }: { limit: number; after: { us: string; id: string } | null },
): Promise<InboxEvent[]> {
  const { rows } = await pool.query<InboxEvent>(
    `SELECT ${COLUMNS} FROM stripe_events
      WHERE ($1::text IS NULL OR state = $1)
        AND ($2::bigint IS NULL OR (received_at, event_id) < (timestamptz 'epoch' + $2::bigint * interval '1 microsecond', $3))
      ORDER BY received_at DESC, event_id DESC LIMIT $4`,
    [state, after?.us ?? null, after?.id ?? null, limit],
  );
  return rows;
}

/** Null: the inbox does not have it. */
export async function findInInbox(db: Db, id: string): Promise<InboxEvent | null> {
  const { rows } = await db.query<InboxEvent>(`SELECT ${COLUMNS} FROM stripe_events WHERE event_id = $1`, [id]);
  return rows[0] ?? null;
}

/** Makes an event wait, whatever its state, as one that just came; null: the inbox does not have it. */
export async function replayEvent(db: Db, id: string): Promise<InboxEvent | null> {
  const { rows } = await db.query<InboxEvent>(
    `UPDATE stripe_events SET state = 'waiting', attempts = 0, due_at = clock_timestamp(), ended_at = NULL, error = NULL
      WHERE event_id = $1 RETURNING ${COLUMNS}`,
    [id],
  );
  return rows[0] ?? null;
}

const EVENT_ID = /^evt_\w{1,250}$/;

/**
 * Asks Stripe for an event that the inbox does not have, and stores it; returns whether there is one. Throws `stripe_unavailable` when
 * Stripe does not answer, and `stripe_refused` when it is of the other mode.
 */
export async function fetchIntoInbox({ pool, stripe, log }: PaymentDeps, id: string): Promise<boolean> {
  if (!EVENT_ID.test(id)) return false;
  let fetched: unknown;
  try {
    fetched = await stripe.client.events.retrieve(id);
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError && error.statusCode === 404) return false;
    throw stripeFault(error, log);
  }
  const event = readEvent(fetched);
  if (event === null || event.livemode !== stripe.livemode) {
    throw new TollgateError('stripe_refused', { message: 'Stripe gave an event that is not of this mode.' });
  }
  await storeEvents(pool, [{ event, body: null }], 'poll');
  return true;
}
