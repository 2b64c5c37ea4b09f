/** A month that begins by itself never fails, and never stands in the way of another account or of who changes its own. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { changeAccount, createAccount } from '../../src/accounts/accounts.ts';
import { advanceDue } from '../../src/accounts/plans.ts';
import { putEntry } from '../../src/catalog/store.ts';
import { readBalance } from '../../src/ledger/read.ts';
import { stateCreditScale } from '../../src/ledger/wallets.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const CREDIT = 1_000_000_000n;
/** What a wallet holds. */
const MOST = 1_000_000_000n * CREDIT;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await stateCreditScale(database.pool, 1000n);
});
afterAll(() => database.drop());

async function put(name: string, credits: number, rollover?: 'all'): Promise<void> {
  const included = { credits: String(credits), every: 'month', ...(rollover && { rollover }) };
  await putEntry(database.pool, 'plan', name, { models: [], features: [], included_credits: included }, 'test');
}

async function open(plan: string, planQuantity = 1): Promise<bigint> {
  const none = { externalId: null, email: null, overdraft: 0n, budget: null, metadata: {}, stripeCustomerId: null };
  const { account } = await createAccount(
    database.pool,
    systemClock,
    { name: 'A', ...none, plan, planQuantity },
    'test',
  );
  return account.id;
}

/** Credits of each grant of an account, in order. */
async function granted(account: bigint): Promise<bigint[]> {
  const { rows } = await database.pool.query<{ credits: bigint }>(
    'SELECT credits FROM plan_periods WHERE account_id = $1 ORDER BY starts_at',
    [account],
  );
  return rows.map(({ credits }) => credits / CREDIT);
}

const pass = (account: bigint, days: number) =>
  database.pool.query('SELECT policy_advance($1, clock_timestamp() + make_interval(days => $2))', [account, days]);

it('a month of a full wallet grants what there is room for, and the next one begins all the same', async () => {
  await put('rolling', 400, 'all');
  const account = await open('rolling');
  await database.pool.query(
    `SELECT ledger_store(g.w) FROM wallets w,
        ledger_grant(w, gen_random_uuid(), $2, convert_to($3, 'UTF8'), clock_timestamp()) g WHERE w.account_id = $1`,
    [account, MOST - 1000n * CREDIT, JSON.stringify({ kind: 10, reference: 'fill', priority: 9, per_usd: 1000 })],
  );
  for (const days of [32, 63, 94]) await pass(account, days);
  expect(await granted(account)).toEqual([400n, 400n, 200n, 0n]);
  expect(await readBalance(database.pool, account)).toMatchObject({ available: MOST });
});

it('what a month left makes room for the next one', async () => {
  await put('whole', 1_000_000_000);
  const account = await open('whole');
  await pass(account, 32);
  expect(await granted(account)).toEqual([1_000_000_000n, 1_000_000_000n]);
});

it('what is left of a month expires as the next one begins, where a plan says nothing of it', async () => {
  await put('small', 1000);
  const account = await open('small');
  await pass(account, 100);
  expect(await granted(account)).toEqual([1000n, 1000n]);
  const { rows } = await database.pool.query(
    'SELECT FROM lots JOIN plan_periods USING (account_id, lot_id) WHERE account_id = $1 AND expires_at = ends_at',
    [account],
  );
  expect(rows).toHaveLength(2);
});

it('a plan that came to include more than a wallet holds grants that much; who asks for more is refused', async () => {
  await put('seats', 10_000);
  const account = await open('seats', 90_000);
  await put('seats', 20_000);
  await pass(account, 32);
  expect(await granted(account)).toEqual([900_000_000n, 1_000_000_000n]);
  const refused = { code: 'invalid_request', param: 'plan_quantity' };
  await expect(open('seats', 90_000)).rejects.toMatchObject(refused);
  const more = changeAccount(database.pool, systemClock, account, { planQuantity: 95_000 }, 'test');
  await expect(more).rejects.toMatchObject(refused);
  const fewer = await changeAccount(database.pool, systemClock, account, { planQuantity: 1 }, 'test');
  expect(fewer).toMatchObject({ planQuantity: 1 });
});

it('an account whose month cannot begin holds up no other', async () => {
  const { pool } = database;
  const [first, second] = [await open('small'), await open('small')];
  await pool.query(
    "UPDATE wallets SET policy_changes_at = now() - interval '1 s' * (1 + (account_id = $1)::int) WHERE account_id IN ($1, $2)",
    [first, second],
  );
  await pool.query(`ALTER TABLE wallets ADD CONSTRAINT fails
    CHECK (account_id <> ${first} OR policy_changes_at < '2100-01-01' AND policy_version = 0) NOT VALID`);
  const due = () => pool.query('SELECT account_id FROM wallets WHERE policy_changes_at <= now()');
  expect((await due()).rows).toHaveLength(2);
  await expect(advanceDue(pool)).rejects.toThrow('fails');
  await pool.query('ALTER TABLE wallets DROP CONSTRAINT fails');
  expect((await due()).rows).toEqual([{ account_id: first }]);
});

it('an account is changed while its month begins, and neither waits for the other in vain', async () => {
  const account = await open('small');
  const turn = await database.pool.connect();
  await turn.query('BEGIN');
  await turn.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [account]);
  const changed = changeAccount(database.pool, systemClock, account, { name: 'B' }, 'test');
  const waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
  while ((await database.pool.query(waiting)).rowCount === 0);
  await turn.query("SELECT policy_advance($1, clock_timestamp() + interval '32 days')", [account]);
  await turn.query('COMMIT');
  turn.release();
  expect(await changed).toMatchObject({ name: 'B' });
  expect(await granted(account)).toEqual([1000n, 1000n]);
});
