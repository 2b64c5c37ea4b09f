/**
 * How an object of Stripe is brought in line: read it, then post what differs, in one transaction with the mark of the event that
 * hinted at it. Whoever comes second finds nothing left to post.
 *
 *   note the version ──read from Stripe──▶ begin ──version as noted──▶ post · event processed · version + 1 ──▶ commit
 *         ▲                                  │
 *         └──somebody posted meanwhile───────┘   (what was read may be older than what stands here)
 */
import type { PoolClient } from 'pg';
import { type Db, transaction } from '../../db/pool.ts';
import type { PaymentDeps } from '../deps.ts';

/** Somebody posted between reading and posting, time and again: the object is in motion, its event is tried later. */
export class InMotion extends Error {}

/** Undoes what was posted: it was only to be seen. */
class Rehearsed extends Error {
  readonly result: Synced;

  constructor(result: Synced) {
    super('this was a rehearsal');
    this.result = result;
  }
}

const TRIES = 8;
/** How long what is posted waits for an account that somebody else changes. */
const LOCK_TIMEOUT = '4s';

/** What a sync did: `changed` is false when all was in line, `ours` when nothing of it concerns an account. */
export interface Synced {
  changed: boolean;
  ours?: boolean;
}

/**
 * Brings the object `id` in line. `read` fetches it with all that it needs; `post` writes what differs, in the transaction it is
 * given, and says whether anything did. `event`: what hinted at it, marked processed (ignored, when `post` says that it is not ours) in
 * the same transaction; `null`: nobody did.
 * Throws `InMotion`, and what `read` and `post` throw: then nothing was posted, and the event still waits.
 */
export async function converge<T, R extends Synced>(
  deps: Pick<PaymentDeps, 'pool' | 'witness'>,
  id: string,
  event: string | null,
  read: () => Promise<T>,
  post: (db: PoolClient, fetched: T) => Promise<R>,
): Promise<R> {
  for (let tries = 0; tries < TRIES; tries++) {
    const version = await noteVersion(deps, id);
    const fetched = await read();
    const posted = await transaction(deps.pool, async (db) => {
      await db.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
      if (!(await claimVersion(db, id, version))) return null;
      await deps.witness?.before(db, id);
      const result = await post(db, fetched);
      if (event !== null) await endEvent(db, event, result.ours === false ? 'ignored' : 'processed');
      if (deps.witness === undefined) return { result };
      await deps.witness.after(db, id);
      throw new Rehearsed(result);
    }).catch((error: unknown) => {
      if (error instanceof Rehearsed) return { result: error.result as R };
      throw error;
    });
    if (posted !== null) return posted.result;
  }
  throw new InMotion(`${id} changed each of ${TRIES} times that it was read`);
}

async function noteVersion({ pool }: Pick<PaymentDeps, 'pool'>, id: string): Promise<bigint> {
  const { rows } = await pool.query<{ version: bigint }>('SELECT version FROM stripe_syncs WHERE object_id = $1', [id]);
  return rows[0]?.version ?? 0n;
}

/** Whether nobody has posted since; then nobody else does until this transaction ends. */
async function claimVersion(db: PoolClient, id: string, noted: bigint): Promise<boolean> {
  const { rowCount } = await db.query(
    `INSERT INTO stripe_syncs AS s (object_id, version) VALUES ($1, $2::bigint + 1)
     ON CONFLICT (object_id) DO UPDATE SET version = s.version + 1, synced_at = clock_timestamp() WHERE s.version = $2`,
    [id, noted],
  );
  return rowCount === 1;
}

/** An event that ended before, or is not in the inbox, is left as it is. */
export async function endEvent(db: Db, event: string, state: 'processed' | 'ignored'): Promise<void> {
  await db.query(
    `UPDATE stripe_events SET state = $2, ended_at = clock_timestamp(), error = NULL
     WHERE event_id = $1 AND state IN ('waiting', 'dead')`,
    [event, state],
  );
}
