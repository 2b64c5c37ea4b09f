/** Changes through the admin API, each with its row in the audit log. */
import { isDeepStrictEqual } from 'node:util';
import type { Pool, PoolClient } from 'pg';
import { accountIsErased, findAccount } from '../accounts/accounts.ts';
import { type Told, tellChange } from '../accounts/audit.ts';
import type { EntryKind } from '../catalog/file.ts';
import { entryVersions, type KeptVersion } from '../catalog/store.ts';
import { type Db, transaction } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { publicId } from '../lib/ids.ts';
import { Turns } from '../lib/turns.ts';
import { actorOf, noSuch } from './shared.ts';

/** What a change did, and what it answers. */
export interface Change<T> extends Pick<Told, 'target' | 'before' | 'after'> {
  answer: T;
  /** Of something new, the account that it is or belongs to. */
  account?: bigint;
  reason?: string | null;
}

/**
 * Makes a change and tells of it, in one transaction; nothing is told where nothing differs. `of`: the account that is changed, or
 * the name of what else is; what is new has none. Changes of the same one come after one another, so that each tells what it
 * found. Throws `not_found` without the account, `conflict` on one that was erased, `overloaded` where it would have to wait too long,
 * and what `change` throws.
 */
export async function audited<T>(
  pool: Pool,
  request: { admin: string },
  action: string,
  of: bigint | string | null,
  change: (db: PoolClient) => Promise<Change<T>>,
): Promise<T> {
  const made = await turnsOf(pool)
    .run(() =>
      transaction(pool, async (db) => {
        await db.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
        const name = typeof of === 'bigint' ? publicId('acct', of) : of;
        if (name !== null) await db.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`audit ${name}`]);
        if (typeof of === 'bigint') {
          const account = await findAccount(db, of);
          if (account === null) throw noSuch('account', publicId('acct', of));
          if (account.erasedAt !== null) throw accountIsErased();
        }
        const { answer, account = typeof of === 'bigint' ? of : null, reason = null, ...rest } = await change(db);
        if (!isDeepStrictEqual(rest.before, rest.after)) {
          await tellChange(db, { author: actorOf(request), action, account, reason, ...rest });
        }
        return { answer };
      }),
    )
    .catch((error: unknown) => {
      if (!TRY_AGAIN.has(String((error as { code?: unknown }).code))) throw error;
      throw new TollgateError('overloaded', { cause: error });
    });
  if (made === null) throw new TollgateError('overloaded', { cause: 'too many changes wait' });
  return made.answer;
}

/** Half of the smallest pool that is usual: changes that wait for one another must not take it from those who read. */
const MOST_AT_ONCE = 4;
const MOST_WAITING = 200;
const LOCK_TIMEOUT = '2s';
/** Lock and statement timeouts, deadlocks, serialization: nothing was changed, and the same may do the next time. */
const TRY_AGAIN: ReadonlySet<string> = new Set(['55P03', '57014', '40P01', '40001']);
const TURNS = new WeakMap<Pool, Turns>();

function turnsOf(pool: Pool): Turns {
  let turns = TURNS.get(pool);
  if (turns === undefined) {
    turns = new Turns(MOST_AT_ONCE, MOST_WAITING);
    TURNS.set(pool, turns);
  }
  return turns;
}

/**
 * Tells of what the ledger makes once per reference, right after it was made. Where that failed, the same request again tells it.
 */
export async function toldOnce(
  pool: Pool,
  request: { admin: string },
  action: string,
  reference: string,
  made: Pick<Told, 'target' | 'reason'> & { account: bigint; after: object },
): Promise<void> {
  await tellChange(pool, { author: actorOf(request), action, before: null, ...made }, reference);
}

/** The version of an entry that is in force; `null`: there is none. */
export async function inForce(db: Db, kind: EntryKind, name: string): Promise<KeptVersion | null> {
  const current = (await entryVersions(db, kind, name)).find(({ waits }) => !waits);
  return current === undefined || current.deleted ? null : current;
}
