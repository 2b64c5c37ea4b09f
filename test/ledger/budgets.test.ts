/** Budgets of keys and accounts: no hold exceeds them, in the period it was opened in, by the database's clock in UTC. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Budget, readBudgets } from '../../src/ledger/wallets.ts';
import {
  extend,
  grant,
  hold,
  KEY,
  type LedgerRig,
  newId,
  OTHER_KEY,
  openLedger,
  release,
  reverse,
  second,
  settle,
} from './rig.ts';
import { type StoppedClock, stopClock } from './stopped-clock.ts';

/** The account as one of its keys. */
const ALL_KEYS = 0n;
/** The UTC midnight that also begins a month, in the tests' seconds. */
const TURN = (Date.UTC(second(0).getUTCFullYear(), second(0).getUTCMonth() + 1, 1) - second(0).getTime()) / 1000;
const DAY = 86_400;

let ledger: LedgerRig;
let clock: StoppedClock;
beforeAll(async () => {
  ledger = await openLedger();
  clock = await stopClock(ledger.database);
});
afterAll(async () => {
  await ledger.expectClean();
  await clock.close();
  await ledger.close();
});

async function with1000(): Promise<bigint> {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n));
  return account;
}

/** Asks for a hold; answers its outcome. Budgets are set after the first policy was read, so it asks with a later one. */
async function ask(account: bigint, amount: bigint, at: number, more: Parameters<typeof hold>[3] = {}) {
  return (await ledger.one(hold(account, newId(), amount, { policyVersion: 99n, ...more }), at)).outcome;
}

async function opened(account: bigint, amount: bigint, at: number, key = KEY) {
  const id = newId();
  expect((await ledger.one(hold(account, id, amount, { policyVersion: 99n, key }), at)).outcome).toBe('done');
  return id;
}

async function budgets(account: bigint, at: number): Promise<Budget[]> {
  await clock.set(at);
  return readBudgets(clock.pool, account);
}

describe('within a budget of 100, of which 60 are held or spent', () => {
  it.each<[what: string, key: bigint, period: 'day' | 'month' | 'total', denial: string]>([
    ['of the key, a day', KEY, 'day', 'key_budget_exceeded'],
    ['of the account, a month', ALL_KEYS, 'month', 'account_budget_exceeded'],
    ['of the account, in all', ALL_KEYS, 'total', 'account_budget_exceeded'],
  ])('%s: 40 fit, 41 do not, all that fits is granted', async (_, key, period, denial) => {
    const account = await with1000();
    await ledger.setBudget(account, key, 100n, period);
    const id = await opened(account, 40n, 0);
    await ledger.one(settle(account, id, 20n));
    await opened(account, 40n, 0);
    expect(await ask(account, 41n, 0)).toBe(denial);
    expect(await ledger.one(hold(account, newId(), 500n, { least: 40n, policyVersion: 99n }))).toMatchObject({
      outcome: 'done',
      amount: 40n,
    });
    expect(await ask(account, 1n, 0)).toBe(denial);
    expect(await ask(account, 0n, 0)).toBe('done');
    expect(await budgets(account, 0)).toMatchObject([{ limit: 100n, held: 80n, spent: 20n }]);
  });
});

it("a key's budget binds that key alone, the account's all of them; both at once, the tighter", async () => {
  const account = await with1000();
  await ledger.setBudget(account, KEY, 50n, 'total');
  await ledger.setBudget(account, ALL_KEYS, 80n, 'total');
  await opened(account, 50n, 0);
  expect(await ask(account, 1n, 0)).toBe('key_budget_exceeded');
  expect(await ask(account, 31n, 0, { key: OTHER_KEY })).toBe('account_budget_exceeded');
  expect(await ask(account, 30n, 0, { key: OTHER_KEY })).toBe('done');
});

it('200 at once in batches of any size get exactly what fits', async () => {
  const account = await with1000();
  await ledger.setBudget(account, KEY, 10n, 'total');
  const asks = Array.from({ length: 200 }, () => hold(account, newId(), 1n, { policyVersion: 99n }));
  const answers = [...(await ledger.apply(asks.slice(0, 7))), ...(await ledger.apply(asks.slice(7)))];
  expect(answers.filter((answer) => answer.outcome === 'done')).toHaveLength(10);
  expect(answers.filter((answer) => answer.outcome === 'key_budget_exceeded')).toHaveLength(190);
});

it('a budget of nothing lets only holds of nothing pass', async () => {
  const account = await with1000();
  await ledger.setBudget(account, KEY, 0n, 'day');
  expect([await ask(account, 1n, 0), await ask(account, 0n, 0)]).toEqual(['key_budget_exceeded', 'done']);
});

it('what ends makes room: a release all, a settle what it did not cost', async () => {
  const account = await with1000();
  await ledger.setBudget(account, KEY, 100n, 'total');
  const [a, b] = [await opened(account, 50n, 0), await opened(account, 50n, 0)];
  await ledger.one(release(account, a));
  await ledger.one(settle(account, b, 20n));
  expect(await ask(account, 81n, 0)).toBe('key_budget_exceeded');
  expect(await ask(account, 80n, 0)).toBe('done');
});

it('a charge above the hold may exceed it; then nothing more passes, and nothing is lost', async () => {
  const account = await with1000();
  await ledger.setBudget(account, KEY, 100n, 'total');
  await ledger.one(settle(account, await opened(account, 90n, 0), 150n));
  expect(await budgets(account, 0)).toMatchObject([{ held: 0n, spent: 150n }]);
  expect(await ask(account, 1n, 0, { least: 0n })).toBe('key_budget_exceeded');
});

describe('a period', () => {
  it.each(['day', 'month'] as const)('turns exactly at midnight UTC: %s', async (period) => {
    const account = await with1000();
    await ledger.setBudget(account, KEY, 100n, period, TURN - 60);
    await ledger.one(settle(account, await opened(account, 100n, TURN - 60), 100n), TURN - 30);
    expect(await ask(account, 1n, TURN - 0.001)).toBe('key_budget_exceeded');
    expect(await budgets(account, TURN - 0.001)).toMatchObject([{ spent: 100n, resetsAt: second(TURN) }]);
    expect(await budgets(account, TURN)).toMatchObject([{ spent: 0n, periodStart: second(TURN) }]);
    expect(await ask(account, 100n, TURN)).toBe('done');
    expect(await ask(account, 1n, TURN + DAY)).toBe(period === 'day' ? 'done' : 'key_budget_exceeded');
  });

  it('that is all of time never turns', async () => {
    const account = await with1000();
    await ledger.setBudget(account, KEY, 100n, 'total');
    await ledger.one(settle(account, await opened(account, 100n, 0), 100n));
    expect(await ask(account, 1n, TURN + 400 * DAY)).toBe('key_budget_exceeded');
    expect(await budgets(account, TURN + 400 * DAY)).toMatchObject([{ periodStart: null, resetsAt: null }]);
  });

  it('counts a hold that was opened in it, also where it ends and is charged in the next', async () => {
    const account = await with1000();
    await ledger.setBudget(account, KEY, 100n, 'day', TURN - 60);
    const id = await opened(account, 100n, TURN - 60);
    await opened(account, 70n, TURN);
    await ledger.one(settle(account, id, 90n), TURN + 1);
    expect(await budgets(account, TURN + 1)).toMatchObject([{ held: 70n, spent: 0n }]);
    expect(await ask(account, 30n, TURN + 1)).toBe('done');
  });

  it('is no matter to an extension of a hold from the one before, which leaves no trace in it', async () => {
    const account = await with1000();
    await ledger.setBudget(account, KEY, 100n, 'day', TURN - 60);
    const id = await opened(account, 100n, TURN - 60);
    expect((await ledger.one(extend(account, id, 101n), TURN - 1)).outcome).toBe('key_budget_exceeded');
    expect((await ledger.one(extend(account, id, 300n), TURN)).outcome).toBe('done');
    await ledger.one(settle(account, id, 250n), TURN + 1);
    expect(await budgets(account, TURN + 1)).toMatchObject([{ held: 0n, spent: 0n }]);
  });

  it('counts a late charge where the request ended, though nothing else happened since midnight', async () => {
    const account = await with1000();
    await ledger.setBudget(account, KEY, 100n, 'day', TURN - 60);
    const id = await opened(account, 50n, TURN - 60);
    await ledger.one(release(account, id), TURN + 1);
    await ledger.one(settle(account, id, 30n), TURN + 2);
    expect(await budgets(account, TURN + 3)).toMatchObject([{ spent: 30n }]);
    expect(await ask(account, 71n, TURN + 3)).toBe('key_budget_exceeded');
  });
});

it('an extension counts like the hold itself, and both budgets stop it', async () => {
  const account = await with1000();
  await ledger.setBudget(account, KEY, 100n, 'day');
  await ledger.setBudget(account, ALL_KEYS, 120n, 'day');
  const id = await opened(account, 40n, 0);
  expect(await ledger.one(extend(account, id, 101n))).toMatchObject({ outcome: 'key_budget_exceeded', held: 40n });
  expect(await ledger.one(extend(account, id, 900n, 60n))).toMatchObject({ outcome: 'done', amount: 100n });
  await ledger.setBudget(account, KEY, 200n, 'day');
  expect((await ledger.one(extend(account, id, 121n))).outcome).toBe('account_budget_exceeded');
  await ledger.one(release(account, id));
  expect(await budgets(account, 0)).toMatchObject([{ held: 0n }, { held: 0n }]);
});

it('what comes back makes room in a budget in total, and in no day or month: it may have been of another', async () => {
  const account = await with1000();
  await ledger.setBudget(account, ALL_KEYS, 200n, 'total', TURN - 60);
  await ledger.setBudget(account, KEY, 100n, 'day', TURN - 60);
  const [before, during] = [await opened(account, 50n, TURN - 60), await opened(account, 50n, TURN)];
  await ledger.one(settle(account, before, 50n), TURN + 1);
  await ledger.one(settle(account, during, 50n), TURN + 1);
  for (const id of [before, during]) expect((await ledger.one(reverse(account, id), TURN + 2)).outcome).toBe('done');
  expect(await budgets(account, TURN + 2)).toMatchObject([
    { key: null, spent: 0n },
    { key: KEY, spent: 50n },
  ]);
  expect(await ask(account, 51n, TURN + 2)).toBe('key_budget_exceeded');
});

it('a hold that ended by itself counts no more, before anything has looked', async () => {
  const account = await with1000();
  await ledger.setBudget(account, KEY, 100n, 'total');
  await ledger.one(hold(account, newId(), 100n, { ttlSeconds: 10, policyVersion: 99n }));
  expect(await budgets(account, 9)).toMatchObject([{ held: 100n }]);
  expect(await budgets(account, 10)).toMatchObject([{ held: 0n }]);
  expect(await ask(account, 100n, 10)).toBe('done');
});

it('a dead gateway moves its hold from held to spent, as much as it is charged', async () => {
  const account = await with1000();
  await ledger.setBudget(account, KEY, 100n, 'total');
  const id = newId();
  await ledger.one(hold(account, id, 60n, { floor: 10n, policyVersion: 99n }));
  await ledger.recover(account, id);
  expect(await budgets(account, 0)).toMatchObject([{ held: 0n, spent: 10n }]);
});

describe('a new budget', () => {
  it('counts what its period has seen: open holds and charges, less what was given back', async () => {
    const account = await with1000();
    const [given, id] = [await opened(account, 20n, 0), await opened(account, 20n, 0)];
    await ledger.one(settle(account, given, 15n));
    await ledger.one(reverse(account, given, 5n));
    await ledger.one(settle(account, id, 12n));
    await opened(account, 30n, 0);
    await opened(account, 7n, 0, OTHER_KEY);
    await ledger.setBudget(account, KEY, 100n, 'total');
    await ledger.setBudget(account, ALL_KEYS, 500n, 'month');
    expect(await budgets(account, 0)).toMatchObject([
      { key: null, limit: 500n, held: 37n, spent: 22n },
      { key: KEY, limit: 100n, held: 30n, spent: 22n },
    ]);
    expect(await ask(account, 49n, 0)).toBe('key_budget_exceeded');
  });

  it('frees nothing twice: holds from before it count until they end', async () => {
    const account = await with1000();
    const id = await opened(account, 60n, 0);
    await ledger.setBudget(account, KEY, 100n, 'total');
    await ledger.setBudget(account, KEY, 80n, 'day');
    expect(await ask(account, 21n, 0)).toBe('key_budget_exceeded');
    await ledger.one(release(account, id));
    expect(await budgets(account, 0)).toMatchObject([{ limit: 80n, held: 0n, spent: 0n }]);
  });

  it('makes gateways read the policy again; taken away, it binds nobody', async () => {
    const account = await with1000();
    await ledger.setBudget(account, KEY, 10n, 'day');
    expect(await ask(account, 1n, 0, { policyVersion: 1n })).toBe('stale_policy');
    await opened(account, 10n, 0);
    await ledger.setBudget(account, KEY, null, 'day');
    expect(await ask(account, 1n, 0, { policyVersion: 2n })).toBe('stale_policy');
    expect(await ask(account, 500n, 0)).toBe('done');
    expect(await budgets(account, 0)).toEqual([]);
  });
});
