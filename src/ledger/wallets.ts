/**
 * Wallets and spenders: what the ledger must know of accounts and keys to judge a hold. Every function here takes the
 * transaction of its caller, so that an account or a key and its place in the ledger appear and change together.
 * A change of status, key, budget or entitlements raises the wallet's policy version: gateways that cached the old one are
 * told `stale_policy` by their next hold.
 */
import type { ClientBase } from 'pg';

const PERIODS = { day: 1, month: 2, total: 3 } as const;
export type Period = keyof typeof PERIODS;
const PERIOD_NAMES = new Map<number, Period>(Object.entries(PERIODS).map(([name, number]) => [number, name as Period]));

/** The account as a spender, beside its keys. */
const ACCOUNT_ITSELF = 0n;

/** The most that a key, or an account over all its keys, may spend in each day or month (UTC), or ever. */
export interface BudgetTerms {
  /** Nano-credits. */
  credits: bigint;
  period: Period;
}

/** A budget and how it stands, in nano-credits. Holds count in the period they were opened in. */
export interface Budget {
  /** `null`: the account's own. */
  key: bigint | null;
  limit: bigint;
  period: Period;
  /** `null`: the beginning. */
  periodStart: Date | null;
  held: bigint;
  /** May exceed the limit: what was served is charged, whatever was held for it. */
  spent: bigint;
  /** `null`: never. */
  resetsAt: Date | null;
}

/** Opens an empty wallet for a new account. `overdraft` in nano-credits. */
export async function openWallet(db: ClientBase, account: bigint, overdraft: bigint): Promise<void> {
  await db.query('INSERT INTO wallets (account_id, overdraft) VALUES ($1, $2)', [account, overdraft]);
}

/** Lets a key spend from its account's wallet until `expiresAt`. */
export async function addSpender(db: ClientBase, account: bigint, key: bigint, expiresAt: Date | null): Promise<void> {
  await db.query(
    "INSERT INTO spenders (account_id, key_id, expires_at) VALUES ($1, $2, coalesce($3::timestamptz, 'infinity'))",
    [account, key, expiresAt],
  );
}

/** Stops a key from spending; effective at the next hold on every gateway. Returns whether the key was active. */
export async function revokeSpender(db: ClientBase, account: bigint, key: bigint): Promise<boolean> {
  await raisePolicyVersion(db, account);
  const { rowCount } = await db.query(
    'UPDATE spenders SET state = 1 WHERE account_id = $1 AND key_id = $2 AND state = 0',
    [account, key],
  );
  return rowCount === 1;
}

/** Suspends or reactivates an account. */
export async function setWalletStatus(db: ClientBase, account: bigint, status: 'active' | 'suspended'): Promise<void> {
  await raisePolicyVersion(db, account);
  await db.query('UPDATE wallets SET status = $2 WHERE account_id = $1', [account, status === 'active' ? 0 : 1]);
}

/** Sets how far holds may exceed what is available, in nano-credits. */
export async function setOverdraft(db: ClientBase, account: bigint, overdraft: bigint): Promise<void> {
  await db.query('UPDATE wallets SET overdraft = $2 WHERE account_id = $1', [account, overdraft]);
}

/**
 * Gives a key a budget, or the account (key `null`) one over all its keys; a budget of `null` takes it away. What was held
 * and spent since the period began counts already. Effective at the next hold on every gateway.
 */
export async function setBudget(
  db: ClientBase,
  account: bigint,
  key: bigint | null,
  budget: BudgetTerms | null,
): Promise<void> {
  await db.query('SELECT ledger_set_budget($1, $2, $3, $4::smallint)', [
    account,
    key ?? ACCOUNT_ITSELF,
    budget?.credits ?? null,
    PERIODS[budget?.period ?? 'total'],
  ]);
}

/** The budgets of an account now, its own first, then those of its keys; with `key`: of its keys only that one's. */
export async function readBudgets(
  db: Pick<ClientBase, 'query'>,
  account: bigint,
  key: bigint | null = null,
): Promise<Budget[]> {
  const { rows } = await db.query<BudgetRow>(
    `SELECT ${BUDGET_COLUMNS} FROM spenders s
      WHERE s.account_id = $1 AND s.budget IS NOT NULL AND ($2::bigint IS NULL OR s.key_id IN (0, $2)) ORDER BY s.key_id`,
    [account, key],
  );
  return rows.map((row) => toBudget(row)!);
}

/** The columns of a `BudgetRow`, where any is null of one without a budget. */
export interface BudgetRow {
  budget_key: bigint | null;
  budget: bigint | null;
  period: number | null;
  period_start: Date | null;
  budget_held: bigint | null;
  budget_spent: bigint | null;
}

/**
 * Reads the columns of a `BudgetRow` from `spenders s` as the next operation will find them: a period that is over counts
 * nothing any more, nor does a hold that ended by itself.
 */
export const BUDGET_COLUMNS = `s.key_id AS budget_key, s.budget, s.period,
  nullif(period_floor(s.period, statement_timestamp()), '-infinity') AS period_start,
  CASE WHEN s.period_start < period_floor(s.period, statement_timestamp()) THEN 0 ELSE s.spent END AS budget_spent,
  CASE WHEN s.period_start < period_floor(s.period, statement_timestamp()) THEN 0 ELSE s.held -
    (SELECT total(h.amount) FROM holds h WHERE h.account_id = s.account_id AND s.key_id IN (0, h.key_id)
      AND h.expires_at <= statement_timestamp() AND h.opened_at >= s.period_start) END AS budget_held`;

/** The budget in a row; `null`: there is none. */
export function toBudget(row: BudgetRow): Budget | null {
  if (row.budget === null) return null;
  const period = PERIOD_NAMES.get(row.period!)!;
  return {
    key: row.budget_key === ACCOUNT_ITSELF ? null : row.budget_key,
    limit: row.budget,
    period,
    periodStart: row.period_start,
    held: row.budget_held!,
    spent: row.budget_spent!,
    resetsAt: row.period_start === null ? null : nextPeriod(period, row.period_start),
  };
}

/** When the period after the one that began at `start` begins. */
function nextPeriod(period: Period, start: Date): Date {
  const [year, month] = [start.getUTCFullYear(), start.getUTCMonth()];
  return new Date(period === 'day' ? Date.UTC(year, month, start.getUTCDate() + 1) : Date.UTC(year, month + 1, 1));
}

/** Says that what an account may do has changed: cached principals of it are stale from now on. */
export async function raisePolicyVersion(db: ClientBase, account: bigint): Promise<void> {
  await db.query('UPDATE wallets SET policy_version = policy_version + 1 WHERE account_id = $1', [account]);
}

/**
 * Says what a credit is worth, which the first grant fixes. Refuses to run with another value than that: every balance would
 * change its worth. Throws with what to do.
 */
export async function stateCreditScale(db: Pick<ClientBase, 'query'>, creditsPerUsd: bigint): Promise<void> {
  await db.query(
    `INSERT INTO credit_scale AS s (credits_per_usd, fixed) VALUES ($1, false)
       ON CONFLICT (only_row) DO UPDATE SET credits_per_usd = $1 WHERE NOT s.fixed`,
    [creditsPerUsd],
  );
  const { rows } = await db.query<{ credits_per_usd: bigint }>('SELECT credits_per_usd FROM credit_scale');
  const fixed = rows[0]!.credits_per_usd;
  if (fixed !== creditsPerUsd) {
    throw new Error(
      `credits.per_usd is ${creditsPerUsd}, but credits were granted at ${fixed}, which cannot change: ` +
        `set credits.per_usd to ${fixed}, or start with an empty database.`,
    );
  }
}
