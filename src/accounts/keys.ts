/** API keys: minted, shown once, revoked. Their place in the ledger (may it spend, how much?) changes in the same transaction. */
import type { ClientBase, Pool } from 'pg';
import { transaction } from '../db/pool.ts';
import {
  addSpender,
  BUDGET_COLUMNS,
  type Budget,
  type BudgetRow,
  type BudgetTerms,
  revokeSpender,
  setBudget,
  toBudget,
} from '../ledger/wallets.ts';
import type { Clock } from '../lib/clock.ts';
import { mintId } from '../lib/ids.ts';
import { mintKey } from './key-format.ts';
import type { Scope } from './principals.ts';

export interface NewKey {
  name: string | null;
  scopes: readonly Scope[];
  expiresAt: Date | null;
  /** The most it may spend; `null`: whatever its account has. */
  budget: BudgetTerms | null;
}

/** What can be changed of a key. */
export type KeyChange = Partial<Pick<NewKey, 'budget'>>;

export interface ApiKey extends Omit<NewKey, 'budget'> {
  id: bigint;
  budget: Budget | null;
  createdAt: Date;
  revokedAt: Date | null;
}

export const DEFAULT_SCOPES: readonly Scope[] = ['inference', 'read'];

/** Creates a key of an account. `text` is the key itself: it is not kept, so this is the only time it can be shown. */
export async function createKey(
  pool: Pool,
  clock: Clock,
  account: bigint,
  key: NewKey,
): Promise<ApiKey & { text: string }> {
  const id = mintId(clock);
  const { text, secretHash } = mintKey(id);
  return transaction(pool, async (db) => {
    await db.query(
      'INSERT INTO api_keys (key_id, account_id, name, scopes, secret_hash, expires_at) VALUES ($1, $2, $3, $4, $5, $6)',
      [id, account, key.name, key.scopes, secretHash, key.expiresAt],
    );
    await addSpender(db, account, id, key.expiresAt);
    if (key.budget !== null) await setBudget(db, account, id, key.budget);
    return { ...(await findKey(db, account, id))!, text };
  });
}

interface Row extends BudgetRow {
  key_id: bigint;
  name: string | null;
  scopes: Scope[];
  created_at: Date;
  expires_at: Date | null;
  revoked_at: Date | null;
}

const SELECT = `SELECT k.key_id, k.name, k.scopes, k.created_at, k.expires_at, k.revoked_at, ${BUDGET_COLUMNS}
  FROM api_keys k JOIN spenders s USING (account_id, key_id)`;

function toKey(row: Row): ApiKey {
  return {
    id: row.key_id,
    name: row.name,
    scopes: row.scopes,
    budget: toBudget(row),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  };
}

/** A key of an account, never its secret; `null`: the account has none with this id. */
export async function findKey(db: Pick<ClientBase, 'query'>, account: bigint, key: bigint): Promise<ApiKey | null> {
  const { rows } = await db.query<Row>(`${SELECT} WHERE k.account_id = $1 AND k.key_id = $2`, [account, key]);
  return rows[0] === undefined ? null : toKey(rows[0]);
}

/** The keys of an account, newest first; never their secrets. `after` is the last id of the page before. */
export async function listKeys(
  pool: Pool,
  account: bigint,
  page: { limit: number; after: bigint | null },
): Promise<ApiKey[]> {
  const { rows } = await pool.query<Row>(
    `${SELECT} WHERE k.account_id = $1 AND ($2::bigint IS NULL OR k.key_id < $2) ORDER BY k.key_id DESC LIMIT $3`,
    [account, page.after, page.limit],
  );
  return rows.map(toKey);
}

/** Changes the fields given; effective at the next request on every gateway. `null`: the account has no such key. */
export async function changeKey(pool: Pool, account: bigint, key: bigint, change: KeyChange): Promise<ApiKey | null> {
  return transaction(pool, async (db) => {
    const found = await findKey(db, account, key);
    if (found === null || change.budget === undefined) return found;
    await setBudget(db, account, key, change.budget);
    return findKey(db, account, key);
  });
}

/** Revokes a key: the next request with it is refused on every gateway. Returns whether there is such a key. */
export async function revokeKey(pool: Pool, account: bigint, key: bigint): Promise<boolean> {
  return transaction(pool, async (db) => {
    const { rowCount } = await db.query(
      'UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE account_id = $1 AND key_id = $2',
      [account, key],
    );
    if (rowCount === 1) await revokeSpender(db, account, key);
    return rowCount === 1;
  });
}
