/**
 * What the host application should hear of (0021-outbox.sql, 0026-outbox-triggers.sql): each row was written in the transaction that
 * caused it. It is read from a place on, oldest first, as often as one likes, for `KEPT_DAYS`.
 */
import type { Pool } from 'pg';
import type { Job } from '../lib/job.ts';

export const OUTBOX_TYPES = [
  'balance.low',
  'balance.exhausted',
  'credits.granted',
  'credits.expiring',
  'payment.failed',
  'recharge.stopped',
  'subscription.changed',
  'budget.reached',
] as const;
export type OutboxType = (typeof OUTBOX_TYPES)[number];

export interface OutboxEvent extends Place {
  account: bigint;
  type: OutboxType;
  data: Record<string, unknown>;
  at: Date;
}

/** Where a reader is: by the transaction that wrote the row, then by its number. */
export interface Place {
  xid: bigint;
  event: bigint;
}

export const BEGINNING: Place = { xid: 0n, event: 0n };

/**
 * What was written after a place, oldest first, at most `limit`. A row is shown once all transactions before its own have ended, so
 * that none appears behind a place that was read already.
 */
export async function readOutbox(pool: Pool, after: Place, limit: number): Promise<OutboxEvent[]> {
  const { rows } = await pool.query<{ xid: string; event_id: bigint; account_id: bigint } & OutboxEvent>(
    `SELECT xid, event_id, account_id, type, data, at FROM outbox
     WHERE (xid, event_id) > ($1::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
     ORDER BY xid, event_id LIMIT $3`,
    [after.xid.toString(), after.event, limit],
  );
  return rows.map(({ xid, event_id, account_id, type, data, at }) => ({
    xid: BigInt(xid),
    event: event_id,
    account: account_id,
    type,
    data,
    at,
  }));
}

/** Credits that expire within a week are told of, once for each lot. */
const EXPIRING_WITHIN = '7 days';
const EXPIRING_AT_ONCE = 500;
const KEPT_DAYS = 90;
const PRUNED_AT_ONCE = 5_000;
const HOUR_MS = 3_600_000;

/** Tells of credits that expire soon, and keeps the outbox short. Each process does both: what another has done is nothing to do. */
export function outboxJobs(pool: Pool): Job[] {
  return [
    { name: 'outbox-expiring', everyMs: HOUR_MS, run: () => tellExpiring(pool) },
    { name: 'outbox-prune', everyMs: 24 * HOUR_MS, run: () => pruneOutbox(pool) },
  ];
}

/** Tells of credits that will expire soon; whether there may be more of them. */
export async function tellExpiring(pool: Pool): Promise<boolean> {
  const { rows } = await pool.query<{ told: number }>('SELECT tell_expiring($1, $2) AS told', [
    EXPIRING_WITHIN,
    EXPIRING_AT_ONCE,
  ]);
  return rows[0]!.told === EXPIRING_AT_ONCE;
}

/** Deletes what is older than anyone should be behind; whether there may be more of it. */
export async function pruneOutbox(pool: Pool): Promise<boolean> {
  const { rowCount } = await pool.query(
    `DELETE FROM outbox WHERE event_id IN (SELECT event_id FROM outbox
       WHERE at < clock_timestamp() - make_interval(days => $1) ORDER BY xid, event_id LIMIT $2)`,
    [KEPT_DAYS, PRUNED_AT_ONCE],
  );
  return rowCount === PRUNED_AT_ONCE;
}
