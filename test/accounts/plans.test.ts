/** Credits that plans include: each period once, never lost and never doubled, whatever is assigned when. */
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { changeAccount, createAccount } from '../../src/accounts/accounts.ts';
import { advanceDue, beginIncluded } from '../../src/accounts/plans.ts';
import { putEntry } from '../../src/catalog/store.ts';
import { readBalance } from '../../src/ledger/read.ts';
import { stateCreditScale } from '../../src/ledger/wallets.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { mintId } from '../../src/lib/ids.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const SEED = Number(process.env.PLANS_SEED ?? Date.now() % 1_000_000_000);
const CREDIT = 1_000_000_000n;
const DAY_MS = 86_400_000;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await stateCreditScale(database.pool, 1000n);
});
afterAll(() => database.drop());

const monthly = (credits: number, rollover = 'none') => ({
  models: [],
  features: [],
  included_credits: { credits: String(credits), every: 'month', rollover },
});
const put = (name: string, body: object): Promise<number> => putEntry(database.pool, 'plan', name, body, 'test');

interface Period {
  plan: string;
  starts_at: Date;
  ends_at: Date | null;
  n: number;
  credits: bigint;
}

/** An account whose time is the test's: what happens to it is told when it happens. */
class Account {
  readonly id = mintId(systemClock);

  async open(at: Date): Promise<this> {
    await database.pool.query("INSERT INTO accounts (account_id, name) VALUES ($1, 'Test')", [this.id]);
    await database.pool.query('INSERT INTO wallets (account_id) VALUES ($1)', [this.id]);
    await database.pool.query('SELECT plan_advance($1, $2, true)', [this.id, at]);
    return this;
  }

  async assign(plan: string | null, at: Date): Promise<void> {
    await this.advance(at);
    await database.pool.query('UPDATE accounts SET plan = $2 WHERE account_id = $1', [this.id, plan]);
    await database.pool.query("SELECT entitlement_put($1, $2, 'plan', 'plan', '', $3, NULL, NULL, NULL, 'test', $4)", [
      this.id,
      mintId(systemClock),
      plan === null ? null : JSON.stringify(plan),
      at,
    ]);
  }

  async advance(at: Date): Promise<void> {
    await database.pool.query('SELECT policy_advance($1, $2)', [this.id, at]);
  }

  async periods(): Promise<Period[]> {
    const { rows } = await database.pool.query<Period>(
      `SELECT plan, starts_at, nullif(ends_at, 'infinity') AS ends_at, n, credits FROM plan_periods
         WHERE account_id = $1 ORDER BY starts_at`,
      [this.id],
    );
    return rows;
  }

  /** As plan, first and last day, credits. */
  async told(): Promise<string[]> {
    const day = (at: Date | null): string => at?.toISOString().slice(0, 10) ?? 'never';
    return (await this.periods()).map(
      ({ plan, starts_at, ends_at, credits }) => `${plan} ${day(starts_at)} ${day(ends_at)} ${credits / CREDIT}`,
    );
  }

  async lots(): Promise<{ granted: bigint; expires_at: Date | null }[]> {
    const { rows } = await database.pool.query(
      "SELECT granted, nullif(expires_at, 'infinity') AS expires_at FROM lots WHERE account_id = $1 ORDER BY created_at",
      [this.id],
    );
    return rows;
  }
}

const on = (day: string): Date => new Date(`${day}T00:00:00Z`);

describe('periods', () => {
  beforeEach(async () => {
    await put('none', { default: true, models: [], features: [] });
    await put('small', monthly(1000));
    await put('large', monthly(10_000));
  });

  it('come every month by the calendar of the clock, a 31st on the last day of a shorter one', async () => {
    const account = await new Account().open(on('2031-01-31'));
    await account.assign('small', on('2031-01-31'));
    for (const day of ['2031-02-27', '2031-02-28', '2031-03-30', '2031-03-31', '2031-04-30'])
      await account.advance(on(day));
    expect(await account.told()).toEqual([
      'small 2031-01-31 2031-02-28 1000',
      'small 2031-02-28 2031-03-31 1000',
      'small 2031-03-31 2031-04-30 1000',
      'small 2031-04-30 2031-05-31 1000',
    ]);
    expect((await account.lots()).map(({ expires_at }) => expires_at)).toEqual(
      (await account.periods()).map(({ ends_at }) => ends_at),
    );
  });

  it('an upgrade adds the difference to the end of the period, a downgrade takes nothing away and counts from the next one', async () => {
    const account = await new Account().open(on('2031-01-01'));
    await account.assign('small', on('2031-01-01'));
    await account.assign('large', on('2031-01-10'));
    await account.assign('small', on('2031-01-20'));
    await account.assign('large', on('2031-01-21'));
    await account.assign('small', on('2031-01-22'));
    await account.advance(on('2031-02-01'));
    expect(await account.told()).toEqual([
      'small 2031-01-01 2031-02-01 1000',
      'large 2031-01-10 2031-02-01 9000',
      'small 2031-02-01 2031-03-01 1000',
    ]);
  });

  it('a plan left and assigned again within its period grants nothing; after it, a new clock begins', async () => {
    const account = await new Account().open(on('2031-01-01'));
    await account.assign('small', on('2031-01-01'));
    await account.assign(null, on('2031-01-05'));
    await account.assign('small', on('2031-01-06'));
    await account.assign(null, on('2031-01-07'));
    await account.advance(on('2031-02-01'));
    await account.assign('small', on('2031-02-10'));
    expect(await account.told()).toEqual(['small 2031-01-01 2031-02-01 1000', 'small 2031-02-10 2031-03-10 1000']);
  });

  it('periods that nobody noticed are gone where nothing rolls over, and all there where it does', async () => {
    await put('rolling', monthly(10, 'all'));
    const [gone, kept] = [await new Account().open(on('2031-01-01')), await new Account().open(on('2031-01-01'))];
    await gone.assign('small', on('2031-01-01'));
    await kept.assign('rolling', on('2031-01-01'));
    for (const account of [gone, kept]) await account.advance(on('2031-04-15'));
    expect(await gone.told()).toEqual(['small 2031-01-01 2031-02-01 1000', 'small 2031-04-01 2031-05-01 1000']);
    expect(await kept.told()).toHaveLength(4);
    expect((await kept.lots()).map(({ expires_at }) => expires_at)).toEqual([null, null, null, null]);
  });

  it('a plan that comes to include more within a period grants it from the next one', async () => {
    const account = await new Account().open(on('2031-01-01'));
    await account.assign('small', on('2031-01-01'));
    await put('small', monthly(2000));
    await database.pool.query('UPDATE wallets SET policy_changes_at = $2 WHERE account_id = $1', [
      account.id,
      on('2031-01-09'),
    ]);
    for (const day of ['2031-01-09', '2031-02-01']) await account.advance(on(day));
    expect(await account.told()).toEqual(['small 2031-01-01 2031-02-01 1000', 'small 2031-02-01 2031-03-01 2000']);
  });

  it('two rises at one instant, as after a clock was set back, each grant their difference', async () => {
    const account = await new Account().open(on('2031-01-01'));
    await account.assign('small', on('2031-01-01'));
    for (const credits of [2000, 3500]) {
      await put('small', monthly(credits));
      await database.pool.query('SELECT plan_advance($1, $2, true)', [account.id, on('2031-01-09')]);
    }
    expect((await account.periods()).map(({ credits }) => credits / CREDIT)).toEqual([1000n, 1000n, 1500n]);
  });

  it('credits that come once come once to an account, also when the plan is left and assigned again', async () => {
    await put('welcome', { models: [], features: [], included_credits: { credits: '5', every: 'once' } });
    const account = await new Account().open(on('2031-01-01'));
    for (const day of ['2031-01-01', '2031-03-01']) {
      await account.assign('welcome', on(day));
      await account.assign('small', on(day));
    }
    expect((await account.told()).filter((told) => told.startsWith('welcome'))).toEqual(['welcome 2031-01-01 never 5']);
  });

  it('a plan with Stripe prices grants nothing here: invoices do', async () => {
    await put('paid', { ...monthly(50), stripe_prices: ['price_1'] });
    const account = await new Account().open(on('2031-01-01'));
    await account.assign('paid', on('2031-01-01'));
    await account.advance(on('2031-03-01'));
    expect(await account.told()).toEqual([]);
  });
});

it('a new account has what the default plan includes, and an assigned plan grants in the same transaction; more seats add the difference', async () => {
  await put('none', { default: true, ...monthly(3) });
  const { pool } = database;
  const terms = {
    name: 'A',
    externalId: null,
    email: null,
    overdraft: 0n,
    budget: null,
    metadata: {},
    stripeCustomerId: null,
    planQuantity: 1,
  };
  const { account } = await createAccount(pool, systemClock, { ...terms, plan: null }, 'test');
  const available = async (): Promise<bigint> => (await readBalance(pool, account.id))!.available / CREDIT;
  expect(await available()).toBe(3n);
  await changeAccount(pool, systemClock, account.id, { plan: 'large' }, 'test');
  expect(await available()).toBe(10_000n);
  await changeAccount(pool, systemClock, account.id, { planQuantity: 3 }, 'test');
  expect(await available()).toBe(30_000n);
  await changeAccount(pool, systemClock, account.id, { planQuantity: 1 }, 'test');
  expect(await available()).toBe(30_000n);
});

it('a plan that comes to include credits grants them to the accounts that are on it, once, also to those nobody uses', async () => {
  await put('none', { default: true, models: [], features: [] });
  const { pool } = database;
  const account = await new Account().open(new Date());
  const seen = await beginIncluded(pool, null);
  expect(await account.told()).toEqual([]);
  await put('none', { default: true, ...monthly(4) });
  expect(await beginIncluded(pool, seen)).toBeGreaterThan(seen);
  await beginIncluded(pool, null);
  expect((await account.periods()).map(({ credits }) => credits)).toEqual([4n * CREDIT]);
  await pool.query("UPDATE wallets SET policy_changes_at = '2020-01-01' WHERE account_id = $1", [account.id]);
  expect(await advanceDue(pool)).toBeGreaterThan(0);
  expect(await account.periods()).toHaveLength(1);
});

it('two that look after one account at the same time grant once', async () => {
  await put('none', { default: true, ...monthly(4) });
  const account = await new Account().open(on('2031-01-01'));
  await Promise.all(Array.from({ length: 8 }, () => account.advance(on('2031-02-01'))));
  expect(await account.periods()).toHaveLength(2);
});

it(`at any time the periods that run were granted what the largest of their plans includes: never less, never more (seed ${SEED})`, async () => {
  const included: Record<string, number> = { p0: 0, p1: 100, p2: 250, p3: 1000 };
  for (const [name, credits] of Object.entries(included)) {
    await put(name, credits === 0 ? { models: [], features: [] } : monthly(credits));
  }
  const step = fc.record({
    days: fc.integer({ min: 0, max: 45 }),
    plan: fc.constantFrom(null, ...Object.keys(included)),
  });
  await put('none', { default: true, models: [], features: [] });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => {
      let at = on('2032-01-30');
      let plan = 'p0';
      const account = await new Account().open(at);
      for (const { days, plan: next } of steps) {
        at = new Date(at.getTime() + days * DAY_MS);
        if (next === null) await account.advance(at);
        else await account.assign(next, at);
        plan = next ?? plan;
        const periods = await account.periods();
        const running = periods.filter(({ starts_at, ends_at }) => starts_at <= at && at < ends_at!);
        const granted = Number(running.reduce((sum, { credits }) => sum + credits, 0n) / CREDIT);
        const largest = Math.max(0, ...running.map((one) => included[one.plan]!));
        expect(granted).toBe(largest);
        expect(granted).toBeGreaterThanOrEqual(included[plan]!);
        expect(new Set(running.map(({ ends_at }) => ends_at!.getTime())).size).toBeLessThanOrEqual(1);
      }
      expect((await account.lots()).length).toBe((await account.periods()).length);
    }),
    { numRuns: 60, seed: SEED },
  );
});
