/** API keys: minted, shown once, revoked. Their place in the ledger (may it spend?) changes in the same transaction. */
import type { Pool } from 'pg';
import { transaction } from '../db/pool.ts';
import { addSpender, revokeSpender } from '../ledger/wallets.ts';
import type { Clock } from '../lib/clock.ts';
import { mintId } from '../lib/ids.ts';
import { mintKey } from './key-format.ts';
import type { Scope } from './principals.ts';

export interface NewKey {
  name: string | null;
  scopes: readonly Scope[];
  expiresAt: Date | null;
}

export interface ApiKey extends NewKey {
  id: bigint;
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
): Promise<{ id: bigint; text: string }> {
  const id = mintId(clock);
  const { text, secretHash } = mintKey(id);
  await transaction(pool, async (db) => {
    await db.query(
      'INSERT INTO api_keys (key_id, account_id, name, scopes, secret_hash, expires_at) VALUES ($1, $2, $3, $4, $5, $6)',
      [id, account, key.name, key.scopes, secretHash, key.expiresAt],
    );
    await addSpender(db, account, id, key.expiresAt);
  });
  return { id, text };
}

/** The keys of an account, newest first; never their secrets. `after` is the last id of the page before. */
export async function listKeys(
  pool: Pool,
  account: bigint,
  page: { limit: number; after: bigint | null },
): Promise<ApiKey[]> {
  const { rows } = await pool.query<{
    key_id: bigint;
    name: string | null;
    scopes: Scope[];
    created_at: Date;
    expires_at: Date | null;
    revoked_at: Date | null;
  }>(
    `SELECT key_id, name, scopes, created_at, expires_at, revoked_at FROM api_keys
      WHERE account_id = $1 AND ($2::bigint IS NULL OR key_id < $2) ORDER BY key_id DESC LIMIT $3`,
    [account, page.after, page.limit],
  );
  return rows.map((row) => ({
    id: row.key_id,
    name: row.name,
    scopes: row.scopes,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  }));
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
