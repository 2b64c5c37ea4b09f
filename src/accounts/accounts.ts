/** Accounts: created once per external id, suspended, listed. Their wallet is opened in the same transaction. */
import { isDeepStrictEqual } from 'node:util';
import type { ClientBase, Pool } from 'pg';
import { entryVersions } from '../catalog/store.ts';
import { type Db, transaction } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import {
  BUDGET_COLUMNS,
  type Budget,
  type BudgetRow,
  type BudgetTerms,
  openWallet,
  raisePolicyVersion,
  setBudget,
  setOverdraft,
  setWalletStatus,
  toBudget,
} from '../ledger/wallets.ts';
import type { Clock } from '../lib/clock.ts';
import { mintId } from '../lib/ids.ts';
import { putStatement } from './entitlements.ts';
import { advancePolicy, grantIncluded } from './plans.ts';

export type AccountStatus = 'active' | 'suspended';

export interface NewAccount {
  name: string;
  externalId: string | null;
  email: string | null;
  plan: string | null;
  /** How many times its plan's credits it gets: seats, for one. */
  planQuantity: number;
  /** Nano-credits. */
  overdraft: bigint;
  /** `null`: none. */
  budget: BudgetTerms | null;
  /** Whom Stripe knows it as; `null`: nobody yet. */
  stripeCustomerId: string | null;
  metadata: Record<string, string>;
}

export interface Account extends Omit<NewAccount, 'budget'> {
  id: bigint;
  budget: Budget | null;
  status: AccountStatus;
  createdAt: Date;
  /** When it became nobody's, for ever; `null`: it is somebody's. */
  erasedAt: Date | null;
}

interface Row extends BudgetRow {
  account_id: bigint;
  external_id: string | null;
  name: string;
  email: string | null;
  plan: string | null;
  plan_quantity: number;
  metadata: Record<string, string>;
  stripe_customer_id: string | null;
  created_at: Date;
  erased_at: Date | null;
  overdraft: bigint;
  status: number;
}

const SELECT = `SELECT a.account_id, a.external_id, a.name, a.email, a.plan, a.plan_quantity, a.metadata, a.created_at,
    a.stripe_customer_id, a.erased_at, w.overdraft, w.status, ${BUDGET_COLUMNS}
  FROM accounts a JOIN wallets w USING (account_id) LEFT JOIN spenders s ON s.account_id = a.account_id AND s.key_id = 0`;

function toAccount(row: Row): Account {
  return {
    id: row.account_id,
    externalId: row.external_id,
    name: row.name,
    email: row.email,
    plan: row.plan,
    planQuantity: row.plan_quantity,
    metadata: row.metadata,
    stripeCustomerId: row.stripe_customer_id,
    createdAt: row.created_at,
    erasedAt: row.erased_at,
    overdraft: row.overdraft,
    budget: toBudget(row),
    status: row.status === 0 ? 'active' : 'suspended',
  };
}

/**
 * Creates an account with an empty wallet. With an external id that exists it answers that account, `created: false`,
 * if the fields are the same, else throws `reference_reused` naming the first that differs.
 */
export async function createAccount(
  database: Db,
  clock: Clock,
  account: NewAccount,
  author: string,
): Promise<{ account: Account; created: boolean }> {
  const id = mintId(clock);
  const created = await transaction(database, async (db) => {
    const { rowCount } = await db.query(
      `INSERT INTO accounts (account_id, external_id, name, email, plan, metadata, plan_quantity, stripe_customer_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT ON CONSTRAINT account_external_id_is_unique DO NOTHING`,
      [
        id,
        account.externalId,
        account.name,
        account.email,
        account.plan,
        JSON.stringify(account.metadata),
        account.planQuantity,
        account.stripeCustomerId,
      ],
    );
    if (rowCount === 0) return false;
    await openWallet(db, id, account.overdraft);
    if (account.budget !== null) await setBudget(db, id, null, account.budget);
    if (account.plan !== null) await assignPlan(db, clock, id, account.plan, author);
    else await grantIncluded(db, id);
    return true;
  }).catch(refuseByConstraint);
  if (created) return { account: (await findAccount(database, id))!, created: true };
  const existing = (await findAccountByExternalId(database, account.externalId!))!;
  const { budget } = existing;
  const terms = { ...existing, budget: budget === null ? null : { credits: budget.limit, period: budget.period } };
  const differs = (
    ['name', 'email', 'plan', 'planQuantity', 'overdraft', 'budget', 'metadata', 'stripeCustomerId'] as const
  ).find((field) => !isDeepStrictEqual(terms[field], account[field]));
  if (differs !== undefined) {
    throw new TollgateError('reference_reused', {
      param: differs,
      message: `An account with this external_id exists with another ${differs}. Use PATCH to change it.`,
    });
  }
  return { account: existing, created: false };
}

/** An account by its id; `null`: there is none. */
export async function findAccount(db: Db, id: bigint): Promise<Account | null> {
  const { rows } = await db.query<Row>(`${SELECT} WHERE a.account_id = $1`, [id]);
  return rows[0] === undefined ? null : toAccount(rows[0]);
}

/** The account that has this id in the owner's own system; `null`: there is none. */
export async function findAccountByExternalId(db: Db, externalId: string): Promise<Account | null> {
  const { rows } = await db.query<Row>(`${SELECT} WHERE a.external_id = $1`, [externalId]);
  return rows[0] === undefined ? null : toAccount(rows[0]);
}

/** Which accounts are looked for: those that have all that is given. */
export interface AccountFilter {
  externalId?: string | undefined;
  plan?: string | undefined;
  status?: AccountStatus | undefined;
}

/** A page of accounts, newest first; `after` is the last id of the page before. */
export async function listAccounts(
  pool: Pool,
  { externalId, plan, status }: AccountFilter,
  page: { limit: number; after: bigint | null },
): Promise<Account[]> {
  const { rows } = await pool.query<Row>(
    `${SELECT} WHERE ($1::bigint IS NULL OR a.account_id < $1) AND ($3::text IS NULL OR a.external_id = $3)
         AND ($4::text IS NULL OR a.plan = $4) AND ($5::text IS NULL OR (w.status = 0) = ($5 = 'active'))
       ORDER BY a.account_id DESC LIMIT $2`,
    [page.after, page.limit, externalId, plan, status],
  );
  return rows.map(toAccount);
}

export type AccountChange = Partial<NewAccount & Pick<Account, 'status'>>;

/** Changes the fields given; effective at the next request on every gateway. `null` when there is no such account. */
export async function changeAccount(
  database: Db,
  clock: Clock,
  id: bigint,
  change: AccountChange,
  author: string,
): Promise<Account | null> {
  await transaction(database, async (db) => {
    // Whoever has the wallet may yet write a row that refers to the account, so that one is locked no more than it has to be.
    const { rows } = await db.query<Row>(`${SELECT} WHERE a.account_id = $1 FOR NO KEY UPDATE OF a FOR UPDATE OF w`, [
      id,
    ]);
    if (rows[0] === undefined) return;
    if (rows[0].erased_at !== null) throw accountIsErased();
    const next = { ...toAccount(rows[0]), ...change };
    // A period that has ended is granted by what it was.
    await advancePolicy(db, id);
    await db.query(
      `UPDATE accounts SET name = $2, email = $3, plan = $4, metadata = $5, external_id = $6, plan_quantity = $7,
           stripe_customer_id = $8 WHERE account_id = $1`,
      [
        id,
        next.name,
        next.email,
        next.plan,
        JSON.stringify(next.metadata),
        next.externalId,
        next.planQuantity,
        next.stripeCustomerId,
      ],
    );
    if (change.overdraft !== undefined) await setOverdraft(db, id, change.overdraft);
    if (change.budget !== undefined) await setBudget(db, id, null, change.budget);
    if (change.status !== undefined) await setWalletStatus(db, id, change.status);
    // Service keys name the account by it.
    if (change.externalId !== undefined) await raisePolicyVersion(db, id);
    if (change.plan !== undefined && change.plan !== rows[0].plan) {
      await assignPlan(db, clock, id, change.plan, author);
    } else if (next.planQuantity > rows[0].plan_quantity) await grantIncluded(db, id);
  }).catch(refuseByConstraint);
  return findAccount(database, id);
}

/** What `refuseByConstraint` names by the constraint that refused it. */
const UNIQUE: Readonly<Record<string, string>> = {
  account_external_id_is_unique: 'external_id',
  account_stripe_customer_is_unique: 'stripe_customer_id',
};

function refuseByConstraint(error: unknown): never {
  const { constraint = '' } = error as { constraint?: string };
  if (constraint === 'included_credits_fit_a_wallet') {
    throw new TollgateError('invalid_request', {
      param: 'plan_quantity',
      message: "Invalid value for 'plan_quantity': times the plan's included credits it is more than 10⁹.",
    });
  }
  const param = UNIQUE[constraint];
  if (param === undefined) throw error;
  throw new TollgateError('conflict', { param, message: `Another account has this ${param}.` });
}

/** The error for a change of an account that was erased. */
export function accountIsErased(): TollgateError {
  return new TollgateError('conflict', {
    message: 'This account was erased, which is for ever. Create a new one instead.',
  });
}

/**
 * Makes an account nobody's, for ever: its keys end, it may neither spend nor be changed, and what is told of a person is gone, from
 * the audit log too. What was booked stays. Once: again it answers the same. `null`: there is no such account.
 */
export async function eraseAccount(db: Db, id: bigint): Promise<{ erasedAt: Date; revokedKeys: number } | null> {
  const { rows } = await db.query<{ at: Date | null }>('SELECT account_erase($1) AS at', [id]);
  const { at } = rows[0]!;
  if (at === null) return null;
  const keys = await db.query<{ revoked: number }>(
    'SELECT count(*)::integer AS revoked FROM api_keys WHERE account_id = $1',
    [id],
  );
  return { erasedAt: at, revokedKeys: keys.rows[0]!.revoked };
}

/** Says which plan holds from now on; `null`: the catalog's default. `accounts.plan` tells the last one, for lists. */
async function assignPlan(
  db: ClientBase,
  clock: Clock,
  account: bigint,
  plan: string | null,
  author: string,
): Promise<void> {
  const statement = { source: 'plan' as const, key: 'plan', reference: '', value: plan, from: null, until: null };
  await putStatement(db, account, mintId(clock), { ...statement, reason: null, author });
}

/** Throws `invalid_request` unless the catalog has the plan: an account on one that is not there may use nothing. */
export async function requirePlan(db: Db, plan: string, param = 'plan'): Promise<void> {
  const [latest] = await entryVersions(db, 'plan', plan);
  if (latest === undefined || latest.deleted) {
    throw new TollgateError('invalid_request', {
      param,
      message: `Invalid value for '${param}': the catalog has no such plan.`,
    });
  }
}
