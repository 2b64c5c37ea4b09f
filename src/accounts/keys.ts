/**
 * API keys: minted, shown once, narrowed, replaced, revoked. Their place in the ledger (may it spend, how much?) changes in the same
 * transaction.
 *
 *   good ──rotate──▶ replaced, good until its overlap is over ──▶ ended ◀──revoke, or its time is over── any
 */
import type { ClientBase, Pool } from 'pg';
import { type Db, transaction } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import {
  addSpender,
  BUDGET_COLUMNS,
  type Budget,
  type BudgetRow,
  type BudgetTerms,
  raisePolicyVersion,
  revokeSpender,
  setBudget,
  toBudget,
} from '../ledger/wallets.ts';
import type { Clock } from '../lib/clock.ts';
import { mintId, publicId } from '../lib/ids.ts';
import { mintKey } from './key-format.ts';
import type { Scope } from './principal.ts';

/** Limits that a key may have of its own, beside those of its account. */
export const KEY_LIMITS = ['rpm', 'tpm', 'concurrency', 'max_output_tokens'] as const;
export type KeyLimits = Partial<Record<(typeof KEY_LIMITS)[number], number>>;

export interface NewKey {
  name: string | null;
  scopes: readonly Scope[];
  expiresAt: Date | null;
  /** Globs of the models it may use, of those its account may; `null`: all of them. */
  models: readonly string[] | null;
  /** Addresses and CIDRs it may be used from; `null`: any. */
  ipRanges: readonly string[] | null;
  limits: KeyLimits | null;
  /** The most it may spend; `null`: whatever its account has. */
  budget: BudgetTerms | null;
}

/** What can be changed of a key. */
export type KeyChange = Partial<Pick<NewKey, 'models' | 'ipRanges' | 'limits' | 'budget'>>;

export interface ApiKey extends Omit<NewKey, 'budget'> {
  id: bigint;
  budget: Budget | null;
  createdAt: Date;
  revokedAt: Date | null;
  /** The key that it presents until it ends. */
  replacedBy: bigint | null;
}

export const DEFAULT_SCOPES: readonly Scope[] = ['inference', 'read'];

/** A key that may do whatever its account may, within the default scopes. */
export const PLAIN_KEY: NewKey = {
  name: null,
  scopes: DEFAULT_SCOPES,
  expiresAt: null,
  models: null,
  ipRanges: null,
  limits: null,
  budget: null,
};

/** Creates a key of an account. `text` is the key itself: it is not kept, so this is the only time it can be shown. */
export async function createKey(
  database: Db,
  clock: Clock,
  account: bigint,
  key: NewKey,
): Promise<ApiKey & { text: string }> {
  const id = mintId(clock);
  const { text, secretHash } = mintKey(id);
  return transaction(database, async (db) => {
    await db.query(
      `INSERT INTO api_keys (key_id, account_id, name, scopes, secret_hash, expires_at, models, ip_ranges, limits)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [id, account, key.name, key.scopes, secretHash, key.expiresAt, key.models, key.ipRanges, key.limits],
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
  models: string[] | null;
  ip_ranges: string[] | null;
  limits: KeyLimits | null;
  created_at: Date;
  expires_at: Date | null;
  revoked_at: Date | null;
  replaced_by: bigint | null;
}

const SELECT = `SELECT k.key_id, k.name, k.scopes, k.models, k.ip_ranges, k.limits, k.created_at, k.expires_at,
    k.revoked_at, k.replaced_by, ${BUDGET_COLUMNS}
  FROM api_keys k JOIN spenders s USING (account_id, key_id)`;

function toKey(row: Row): ApiKey {
  return {
    id: row.key_id,
    name: row.name,
    scopes: row.scopes,
    models: row.models,
    ipRanges: row.ip_ranges,
    limits: row.limits,
    budget: toBudget(row),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    replacedBy: row.replaced_by,
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

/**
 * Changes the fields given; effective at the next request on every gateway. `null`: the account has no such key. Throws
 * `conflict` for one that was replaced.
 */
export async function changeKey(database: Db, account: bigint, key: bigint, change: KeyChange): Promise<ApiKey | null> {
  return transaction(database, async (db) => {
    const found = await findKey(db, account, key);
    if (found === null) return null;
    if (found.replacedBy !== null) {
      const next = publicId('key', found.replacedBy);
      throw new TollgateError('conflict', {
        message: `This key was replaced by "${next}", whose terms hold for both.`,
      });
    }
    const { models, ipRanges, limits } = { ...found, ...change };
    await raisePolicyVersion(db, account);
    await db.query('UPDATE api_keys SET models = $2, ip_ranges = $3, limits = $4 WHERE key_id = $1', [
      key,
      models,
      ipRanges,
      limits,
    ]);
    if (change.budget !== undefined) await setBudget(db, account, key, change.budget);
    return findKey(db, account, key);
  });
}

/**
 * Replaces a key by one with the same terms, on which its budget goes on. The old one is good for `overlapSeconds` more, and stands
 * for the new one meanwhile: what is spent with either is spent by that. `null`: the account has no such key. Throws `conflict`
 * for one that has ended or was replaced.
 */
export async function rotateKey(
  db: Db,
  clock: Clock,
  account: bigint,
  key: bigint,
  overlapSeconds: number,
): Promise<(ApiKey & { text: string }) | null> {
  const made = await mintReplacement(clock, (id, secretHash) =>
    db.query<Replaced>('SELECT key_rotate($1, $2, $3, $4, $5) AS done', [account, key, id, secretHash, overlapSeconds]),
  );
  return made === null ? null : { ...(await findKey(db, account, made.id))!, text: made.text };
}

/** Whether a key was replaced; `null`: there is no such key. */
export interface Replaced {
  done: boolean | null;
}

/** Mints the key that `replace` puts in the place of another. `null`: there is no such other. Throws `conflict` for one that has ended. */
export async function mintReplacement(
  clock: Clock,
  replace: (id: bigint, secretHash: Buffer) => Promise<{ rows: Replaced[] }>,
): Promise<{ id: bigint; text: string } | null> {
  const id = mintId(clock);
  const { text, secretHash } = mintKey(id);
  const { done } = (await replace(id, secretHash)).rows[0]!;
  if (done === false) throw keyHasEnded();
  return done === null ? null : { id, text };
}

/** The error for a key that cannot be replaced. */
function keyHasEnded(): TollgateError {
  return new TollgateError('conflict', {
    message: 'This key was revoked, has expired or was replaced already. Create a new one instead.',
  });
}

/** Revokes a key: the next request with it is refused on every gateway. Returns whether there is such a key. */
export async function revokeKey(database: Db, account: bigint, key: bigint): Promise<boolean> {
  return transaction(database, async (db) => {
    const { rowCount } = await db.query(
      'UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE account_id = $1 AND key_id = $2',
      [account, key],
    );
    if (rowCount === 1) await revokeSpender(db, account, key);
    return rowCount === 1;
  });
}
