/**
 * What an account pays for a model instead of the price of its plan or of the model. Versions, as in the catalog: a change is a
 * new row, and may wait for its instant; what waits for a later one stays. Written under the catalog's lock, so that one row
 * says what is in force, of prices of all kinds.
 */
import type { ClientBase, Pool } from 'pg';
import type { WrittenOverride } from '../catalog/override.ts';
import { lockCatalog, refuseInstant } from '../catalog/store.ts';
import { type Db, transaction } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { raisePolicyVersion } from '../ledger/wallets.ts';

/** A version of an account's price for a model that was, is or will be in force. */
export interface AccountPrice {
  version: number;
  /** `null`: from then on it has none. */
  price: WrittenOverride | null;
  reason: string | null;
  author: string;
  effectiveAt: Date;
  /** Its instant has not come. */
  waits: boolean;
}

export interface NewAccountPrice {
  price: WrittenOverride | null;
  reason: string | null;
  author: string;
  /** `null`: now. */
  at: Date | null;
}

/** Models of one account: all of them ride with its principal. */
const MOST_MODELS = 200;

/**
 * Gives an account a price for a model, or takes it away (`price` null: then also what waits). Effective at its instant, or at the
 * next request, on every gateway. Throws `not_found` without the account, `invalid_request` on an instant that has passed,
 * `conflict` when it has prices for too many models, or too many wait.
 */
export async function setAccountPrice(
  database: Db,
  account: bigint,
  model: string,
  given: NewAccountPrice,
): Promise<AccountPrice> {
  return transaction(database, async (db) => {
    const now = await lockCatalog(db);
    const kept = await versionsOf(db, account, model);
    if (given.at !== null) refuseInstant(given.at, now, kept);
    const { rows } = await db.query<{ known: boolean; models: number; version: number }>(
      `SELECT EXISTS (SELECT FROM accounts WHERE account_id = $1) AS known, count(DISTINCT model)::integer AS models,
         coalesce(max(version) FILTER (WHERE model = $2), 0) + 1 AS version FROM price_overrides WHERE account_id = $1`,
      [account, model],
    );
    const { known, models, version } = rows[0]!;
    if (!known) throw new TollgateError('not_found', { message: 'There is no such account.' });
    if (version === 1 && models >= MOST_MODELS) {
      const message = `An account can have prices of its own for ${MOST_MODELS} models. Give it a plan with prices instead.`;
      throw new TollgateError('conflict', { message });
    }
    const { at, price, reason, author } = given;
    await insert(db, account, model, { version, price, reason, author, effectiveAt: at ?? now });
    // What waits for a later instant is made anew, so that it still is the newest then.
    const later =
      price === null ? [] : kept.filter(({ waits, effectiveAt }) => waits && (at === null || effectiveAt > at));
    for (const [i, waiting] of later.reverse().entries()) {
      await insert(db, account, model, { ...waiting, version: version + 1 + i });
    }
    await raisePolicyVersion(db, account);
    await db.query('SELECT catalog_awaits($1)', [now]);
    return (await versionsOf(db, account, model)).find((one) => one.version === version)!;
  });
}

/** The versions of an account's price for a model, newest first: those that wait, the one in force, those that were. */
export async function accountPrices(db: Db, account: bigint, model: string): Promise<AccountPrice[]> {
  await db.query('SELECT catalog_advance()');
  return versionsOf(db, account, model);
}

/** Left out are those that another took the place of before they were due. */
async function versionsOf(db: Pool | ClientBase, account: bigint, model: string): Promise<AccountPrice[]> {
  const { rows } = await db.query<Omit<AccountPrice, 'effectiveAt'> & { effective_at: Date }>(
    `SELECT version, price, reason, author, effective_at, effective_at >= next_change_at AS waits FROM (
         SELECT o.*, s.next_change_at,
           min(effective_at) OVER (ORDER BY o.version DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS replaced_at
           FROM price_overrides o CROSS JOIN catalog_state s WHERE account_id = $1 AND model = $2) t
       WHERE replaced_at IS NULL OR effective_at < replaced_at ORDER BY version DESC`,
    [account, model],
  );
  return rows.map(({ effective_at, ...row }) => ({ ...row, effectiveAt: effective_at }));
}

type NewVersion = Omit<AccountPrice, 'effectiveAt' | 'waits'> & { effectiveAt: Date | string };

async function insert(db: ClientBase, account: bigint, model: string, made: NewVersion): Promise<void> {
  const { version, price, reason, author, effectiveAt } = made;
  await db.query(
    `INSERT INTO price_overrides (account_id, model, version, price, reason, author, effective_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7)`,
    [account, model, version, price === null ? null : JSON.stringify(price), reason, author, effectiveAt],
  );
}
