/**
 * Keys of the admin API: the owner's, which is in the settings and in no database, and named ones beside it. Whoever has one may do
 * all, and what it changes bears its name.
 *
 *   good ──revoke──▶ ended
 *
 * Named ones are read at each call, so that one which has ended is refused at the next, by every gateway.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import type { Pool } from 'pg';
import { type Db, promptly } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { mintId } from '../lib/ids.ts';
import { keyIdOf, mintKey, parseKey } from './key-format.ts';

/** What the owner's key and Tollgate itself sign with: no named key may. */
const OWNER = 'owner';
export const RESERVED_NAMES: readonly string[] = [OWNER, 'bootstrap', 'cli', 'file'];

const PREFIX = 'tg-admin-';

export interface AdminKey {
  id: bigint;
  name: string;
  createdAt: Date;
  revokedAt: Date | null;
}

interface Row {
  key_id: bigint;
  name: string;
  created_at: Date;
  revoked_at: Date | null;
}

const COLUMNS = 'key_id, name, created_at, revoked_at';

function toAdminKey(row: Row): AdminKey {
  return { id: row.key_id, name: row.name, createdAt: row.created_at, revokedAt: row.revoked_at };
}

/**
 * A check of an `Authorization` header, which resolves with the name of its key. `ownersKey` null: the admin API is off, for
 * named keys too. Throws `admin_disabled`, `invalid_admin_key`, or `ledger_unavailable` where a named one cannot be looked up.
 */
export function adminCheck(
  pool: Pool,
  ownersKey: string | null,
): (authorization: string | undefined) => Promise<string> {
  const expected = ownersKey === null ? null : hash('sha256', ownersKey, 'buffer');
  return async (authorization) => {
    if (expected === null) throw new TollgateError('admin_disabled');
    const presented = (/^bearer (.+)$/i.exec(authorization ?? '')?.[1] ?? '').trim();
    const isOwners = timingSafeEqual(hash('sha256', presented, 'buffer'), expected) && presented !== '';
    const name = isOwners ? OWNER : await nameOf(pool, presented);
    if (name === null) throw new TollgateError('invalid_admin_key');
    return name;
  };
}

/** Whose a named key is; `null`: nobody's, or it has ended. */
async function nameOf(pool: Pool, text: string): Promise<string | null> {
  const presented = parseKey(text, PREFIX);
  const id = presented === null ? null : keyIdOf(presented.name);
  if (presented === null || id === null) return null;
  const reading = pool.query<{ name: string; secret_hash: Buffer }>(
    'SELECT name, secret_hash FROM admin_keys WHERE key_id = $1 AND revoked_at IS NULL',
    [id],
  );
  const row = (await promptly(reading)).rows[0];
  return row !== undefined && timingSafeEqual(row.secret_hash, presented.secretHash) ? row.name : null;
}

/**
 * Creates a named key. `text` is the key itself: it is not kept, so this is the only time it can be shown. Throws `conflict` on a
 * name that one has or had.
 */
export async function createAdminKey(db: Db, clock: Clock, name: string): Promise<AdminKey & { text: string }> {
  const id = mintId(clock);
  const { text, secretHash } = mintKey(id, PREFIX);
  const { rows } = await db.query<Row>(
    `INSERT INTO admin_keys (key_id, name, secret_hash) VALUES ($1, $2, $3)
      ON CONFLICT ON CONSTRAINT admin_key_name_is_unique DO NOTHING RETURNING ${COLUMNS}`,
    [id, name, secretHash],
  );
  if (rows[0] !== undefined) return { ...toAdminKey(rows[0]), text };
  throw new TollgateError('conflict', {
    param: 'name',
    message: 'An admin key has this name, or had it. The audit log knows keys by their names: use another one.',
  });
}

/** A page of named keys, newest first; never their secrets. `after` is the last id of the page before. */
export async function listAdminKeys(db: Db, page: { limit: number; after: bigint | null }): Promise<AdminKey[]> {
  const { rows } = await db.query<Row>(
    `SELECT ${COLUMNS} FROM admin_keys WHERE $1::bigint IS NULL OR key_id < $1 ORDER BY key_id DESC LIMIT $2`,
    [page.after, page.limit],
  );
  return rows.map(toAdminKey);
}

/** A named key by its id; `null`: there is none. */
export async function findAdminKey(db: Db, id: bigint): Promise<AdminKey | null> {
  const { rows } = await db.query<Row>(`SELECT ${COLUMNS} FROM admin_keys WHERE key_id = $1`, [id]);
  return rows[0] === undefined ? null : toAdminKey(rows[0]);
}

/** Ends a named key: the next call with it is refused by every gateway. */
export async function revokeAdminKey(db: Db, id: bigint): Promise<void> {
  await db.query('UPDATE admin_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE key_id = $1', [id]);
}
