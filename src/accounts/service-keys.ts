/**
 * Service keys: for the host application, which acts with them for whichever of its accounts a request names. Minted, shown once,
 * replaced, revoked. One spends as a spender of its own from each account it acts for, made at its first request there.
 *
 *   good ──rotate──▶ replaced, good until its overlap is over ──▶ ended ◀──revoke── any
 */
import type { Pool } from 'pg';
import { type Db, promptly } from '../db/pool.ts';
import type { Clock } from '../lib/clock.ts';
import { mintId } from '../lib/ids.ts';
import type { AccountRef } from './account-ref.ts';
import { mintKey } from './key-format.ts';
import { mintReplacement, type Replaced } from './keys.ts';
import type { Scope } from './principal.ts';

export interface NewServiceKey {
  name: string;
  scopes: readonly Scope[];
  /** Whether an external id that nobody has becomes an account at its first request. */
  createAccounts: boolean;
}

export interface ServiceKey extends NewServiceKey {
  id: bigint;
  createdAt: Date;
  /** When one that was replaced ends. */
  expiresAt: Date | null;
  revokedAt: Date | null;
  replacedBy: bigint | null;
}

interface Row {
  key_id: bigint;
  name: string;
  scopes: Scope[];
  create_accounts: boolean;
  created_at: Date;
  expires_at: Date | null;
  revoked_at: Date | null;
  replaced_by: bigint | null;
}

const COLUMNS = 'key_id, name, scopes, create_accounts, created_at, expires_at, revoked_at, replaced_by';

function toServiceKey(row: Row): ServiceKey {
  return {
    id: row.key_id,
    name: row.name,
    scopes: row.scopes,
    createAccounts: row.create_accounts,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    replacedBy: row.replaced_by,
  };
}

/** Creates a service key. `text` is the key itself: it is not kept, so this is the only time it can be shown. */
export async function createServiceKey(
  db: Db,
  clock: Clock,
  key: NewServiceKey,
): Promise<ServiceKey & { text: string }> {
  const id = mintId(clock);
  const { text, secretHash } = mintKey(id);
  const { rows } = await db.query<Row>(
    `INSERT INTO service_keys (key_id, name, scopes, create_accounts, secret_hash) VALUES ($1, $2, $3, $4, $5)
      RETURNING ${COLUMNS}`,
    [id, key.name, key.scopes, key.createAccounts, secretHash],
  );
  return { ...toServiceKey(rows[0]!), text };
}

/** A page of service keys, newest first; never their secrets. `after` is the last id of the page before. */
export async function listServiceKeys(
  pool: Pool,
  page: { limit: number; after: bigint | null },
): Promise<ServiceKey[]> {
  const { rows } = await pool.query<Row>(
    `SELECT ${COLUMNS} FROM service_keys WHERE $1::bigint IS NULL OR key_id < $1 ORDER BY key_id DESC LIMIT $2`,
    [page.after, page.limit],
  );
  return rows.map(toServiceKey);
}

/**
 * Replaces a service key by one with the same terms; the old one is good for `overlapSeconds` more. `null`: there is no such
 * key. Throws `conflict` for one that has ended or was replaced.
 */
export async function rotateServiceKey(
  db: Db,
  clock: Clock,
  key: bigint,
  overlapSeconds: number,
): Promise<(ServiceKey & { text: string }) | null> {
  const made = await mintReplacement(clock, (id, secretHash) =>
    db.query<Replaced>('SELECT service_key_rotate($1, $2, $3, $4) AS done', [key, id, secretHash, overlapSeconds]),
  );
  return made === null ? null : { ...(await findServiceKey(db, made.id))!, text: made.text };
}

/** A service key, never its secret; `null`: there is none with this id. */
export async function findServiceKey(db: Db, key: bigint): Promise<ServiceKey | null> {
  const { rows } = await db.query<Row>(`SELECT ${COLUMNS} FROM service_keys WHERE key_id = $1`, [key]);
  return rows[0] === undefined ? null : toServiceKey(rows[0]);
}

/** Revokes a service key: the next request with it is refused on every gateway. Returns whether there is such a key. */
export async function revokeServiceKey(db: Db, key: bigint): Promise<boolean> {
  const { rows } = await db.query<{ done: boolean }>('SELECT service_key_revoke($1) AS done', [key]);
  return rows[0]!.done;
}

/** What a service key is known by, and whether it has ended; `null`: there is none with this id. */
export async function findServiceSecret(
  pool: Pool,
  key: bigint,
): Promise<{ secretHash: Buffer; ended: boolean } | null> {
  const reading = pool.query<{ secret_hash: Buffer; ended: boolean }>(
    `SELECT secret_hash, revoked_at IS NOT NULL OR coalesce(expires_at <= clock_timestamp(), false) AS ended
      FROM service_keys WHERE key_id = $1`,
    [key],
  );
  const row = (await promptly(reading)).rows[0];
  return row === undefined ? null : { secretHash: row.secret_hash, ended: row.ended };
}

/**
 * Lets a service key act for an account, and makes that one where its external id is nobody's and the key may create accounts;
 * once, however many ask at a time. False: there is no such account.
 */
export async function openServiceAccount(pool: Pool, clock: Clock, key: bigint, ref: AccountRef): Promise<boolean> {
  const opening = pool.query<{ account: bigint | null }>('SELECT service_account($1, $2, $3, $4) AS account', [
    key,
    ref.id,
    ref.externalId,
    mintId(clock),
  ]);
  return (await promptly(opening)).rows[0]!.account !== null;
}
