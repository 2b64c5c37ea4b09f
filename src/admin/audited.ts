/** Changes through the admin API, each with its row in the audit log. */
import { isDeepStrictEqual } from 'node:util';
import type { Pool, PoolClient } from 'pg';
import { accountIsErased, findAccount } from '../accounts/accounts.ts';
import { type Told, tellChange } from '../accounts/audit.ts';
import type { EntryKind } from '../catalog/file.ts';
import { entryVersions, type KeptVersion } from '../catalog/store.ts';
import { type Db, transaction } from '../db/pool.ts';
import { publicId } from '../lib/ids.ts';
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
 * found. Throws `not_found` without the account, `conflict` on one that was erased, and what `change` throws.
 */
export async function audited<T>(
  pool: Pool,
  request: { admin: string },
  action: string,
  of: bigint | string | null,
  change: (db: PoolClient) => Promise<Change<T>>,
): Promise<T> {
  return transaction(pool, async (db) => {
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
    return answer;
  });
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
