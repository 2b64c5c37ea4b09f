/**
 * What a host application names is done once: the same again answers as it did, with other fields it is refused by name, and what
 * was refused leaves the name free. Consumption and holds by name are judged as any hold is.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WriterConnection } from '../../src/ledger/connection.ts';
import { type Consume, MOST_RESERVED } from '../../src/ledger/named-operations.ts';
import type { Operation } from '../../src/ledger/operations.ts';
import type { Outcome } from '../../src/ledger/outcomes.ts';
import { setWalletStatus } from '../../src/ledger/wallets.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { rowsOf } from './model-compare.ts';
import { consume, enlarge, reserve } from './named.ts';
import {
  grant,
  hold,
  KEY,
  type LedgerRig,
  lockWallet,
  newId,
  OTHER_KEY,
  OWNER,
  openLedger,
  release,
  settle,
  until,
} from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

async function accountOf(credits: bigint, overdraft = 0n): Promise<bigint> {
  const account = await ledger.newAccount(overdraft);
  if (credits > 0n) await ledger.one(grant(account, credits));
  return account;
}

async function expectNothingMoved(account: bigint, operation: Operation, answer: object, at = 0): Promise<void> {
  const before = await rowsOf(ledger, account);
  expect(await ledger.one(operation, at)).toMatchObject(answer);
  expect(await rowsOf(ledger, account)).toEqual(before);
}

describe('consume', () => {
  it('charges at once, and holds nothing', async () => {
    const account = await accountOf(100n);
    expect(await ledger.one(consume(account, 30n))).toEqual({ outcome: 'done', amount: 30n, available: 70n, held: 0n });
    expect((await ledger.entries(account)).at(-1)).toEqual(['charge', -30n, 70n, expect.anything()]);
  });

  it('of the same again answers as it did, whatever has become of the account', async () => {
    const account = await accountOf(100n);
    const asked = consume(account, 30n, { name: 'job 1' });
    await ledger.one(asked);
    await setWalletStatus(ledger.client, account, 'suspended');
    for (const again of [asked, { ...asked, id: newId() }, { ...asked, id: newId(), key: OTHER_KEY, amount: 99n }]) {
      await expectNothingMoved(account, again, { outcome: 'repeated', amount: 30n, available: 70n });
    }
  });

  it('of other fields under its name is refused', async () => {
    const account = await accountOf(100n);
    await ledger.one(consume(account, 30n, { name: 'job 1' }));
    const other = consume(account, 30n, { name: 'job 1', fields: { credits: '30', quantity: 1 } });
    await expectNothingMoved(account, other, { outcome: 'exists_with_different_fields', amount: 30n });
  });

  it('is of one account: another one may use the same name', async () => {
    for (const account of [await accountOf(100n), await accountOf(100n)]) {
      expect((await ledger.one(consume(account, 30n, { name: 'job 1' }))).outcome).toBe('done');
    }
  });

  it.each<[string, Partial<Consume>, Outcome]>([
    ['more than there is', { amount: 101n }, 'insufficient_credits'],
    ['what running holds have', { amount: 91n }, 'credits_held'],
    ['more than its key may spend', { amount: 51n }, 'key_budget_exceeded'],
    ['by a key that is not there', { key: 99n }, 'key_inactive'],
    ['by an old policy', { policyVersion: 1n }, 'stale_policy'],
    ['by an old catalog', { catalogVersion: 0n }, 'stale_policy'],
  ])('of %s is refused, charges nothing and leaves its name free', async (_, more, outcome) => {
    const account = await accountOf(100n);
    await ledger.one(hold(account, newId(), 10n, { key: OTHER_KEY }));
    const budget = outcome === 'key_budget_exceeded' ? 50n : 1_000n;
    await ledger.setBudget(account, KEY, budget, 'day');
    const asked = consume(account, 1n, { name: 'job 1', policyVersion: 2n, ...more });
    await expectNothingMoved(account, asked, { outcome, amount: 0n });
    const next = consume(account, 5n, { name: 'job 1', policyVersion: 2n });
    expect((await ledger.one(next)).outcome).toBe('done');
  });

  it('counts in the budgets of the key and the account', async () => {
    const account = await accountOf(100n);
    await ledger.setBudget(account, 0n, 50n, 'month');
    const more = { policyVersion: 2n };
    expect((await ledger.one(consume(account, 30n, { ...more, key: KEY }))).outcome).toBe('done');
    expect((await ledger.one(consume(account, 21n, { ...more, key: OTHER_KEY }))).outcome).toBe(
      'account_budget_exceeded',
    );
    expect((await ledger.one(consume(account, 20n, { ...more, key: OTHER_KEY }))).outcome).toBe('done');
  });

  it('of what is used already becomes debt, beyond every budget, but not against policy', async () => {
    const account = await accountOf(20n);
    await ledger.setBudget(account, KEY, 10n, 'day');
    const asked = consume(account, 50n, { mayOwe: true, policyVersion: 2n });
    await expectNothingMoved(account, { ...asked, policyVersion: 1n }, { outcome: 'stale_policy' });
    expect(await ledger.one(asked)).toMatchObject({ outcome: 'done', amount: 50n, available: -30n });
    expect(await ledger.wallet(account)).toMatchObject({ debt: 30n });
    const { rows } = await ledger.client.query(
      'SELECT spent, held FROM spenders WHERE account_id = $1 AND key_id = $2',
      [account, KEY],
    );
    expect(rows).toEqual([{ spent: 50n, held: 0n }]);
  });

  it('of the last credit by two at once is done once', async () => {
    const account = await accountOf(1n);
    const results = await ledger.apply([consume(account, 1n), consume(account, 1n)]);
    expect(results.map(({ outcome }) => outcome)).toEqual(['done', 'insufficient_credits']);
  });

  it('under one name by fifty at once is charged once', async () => {
    const account = await accountOf(100n);
    const asked = consume(account, 2n, { name: 'job 1' });
    const results = await ledger.apply(Array.from({ length: 50 }, () => ({ ...asked, id: newId() })));
    expect(results.map(({ outcome }) => outcome).sort()).toEqual(['done', ...Array(49).fill('repeated')]);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 98n, seq: 2n });
  });
});

describe('reserve', () => {
  it('holds until it is settled like any hold', async () => {
    const account = await accountOf(100n);
    const asked = reserve(account, 40n);
    expect(await ledger.one(asked)).toEqual({ outcome: 'done', amount: 40n, available: 60n, held: 40n });
    await expectNothingMoved(account, asked, { outcome: 'repeated', amount: 40n });
    expect(await ledger.one(settle(account, asked.id, 25n))).toMatchObject({ outcome: 'done', available: 75n });
    await expectNothingMoved(account, { ...asked, id: newId() }, { outcome: 'repeated', amount: 40n });
    const other = { ...asked, id: newId(), fields: { credits: '41' } };
    await expectNothingMoved(account, other, { outcome: 'exists_with_different_fields' });
  });

  it('ends by itself, released, at its time', async () => {
    const account = await accountOf(100n);
    const asked = reserve(account, 40n, { ttlSeconds: 10 });
    await ledger.one(asked);
    expect(await ledger.one(release(account, newId()), 9)).toMatchObject({ held: 40n });
    expect(await ledger.one(release(account, newId()), 10)).toMatchObject({ held: 0n, available: 100n });
    expect(await ledger.one(settle(account, asked.id, 40n), 11)).toMatchObject({ outcome: 'late', available: 60n });
  });

  it('of all that is available or nothing', async () => {
    const account = await accountOf(100n);
    const asked = Array.from({ length: 5 }, () => reserve(account, 30n));
    const results = await ledger.apply(asked);
    expect(results.map(({ outcome }) => outcome)).toEqual([...Array(3).fill('done'), ...Array(2).fill('credits_held')]);
    await ledger.one(settle(account, asked[0]!.id, 0n));
    expect((await ledger.one(asked[3]!)).outcome).toBe('done');
  });

  it('is refused when as many are open as may be, and not when one of them has ended', async () => {
    const account = await accountOf(5_000n);
    const open = Array.from({ length: MOST_RESERVED }, () => reserve(account, 1n));
    expect(new Set((await ledger.apply(open)).map(({ outcome }) => outcome))).toEqual(new Set(['done']));
    const next = reserve(account, 1n);
    await expectNothingMoved(account, next, { outcome: 'too_many_holds', amount: 0n });
    expect((await ledger.one(hold(account, newId(), 1n))).outcome).toBe('done');
    await ledger.one(release(account, open[0]!.id));
    expect((await ledger.one(next)).outcome).toBe('done');
  });
});

describe('enlarge', () => {
  it('adds to a hold once by its name, and its expiry stays', async () => {
    const account = await accountOf(100n);
    const opened = reserve(account, 40n, { ttlSeconds: 10 });
    await ledger.one(opened);
    const more = enlarge(account, opened.id, 20n, 'more 1');
    expect(await ledger.one(more)).toEqual({ outcome: 'done', amount: 20n, available: 40n, held: 60n });
    await expectNothingMoved(account, more, { outcome: 'repeated', amount: 20n });
    const other = { ...more, fields: { credits: '21' } };
    await expectNothingMoved(account, other, { outcome: 'exists_with_different_fields' });
    expect(await ledger.one(enlarge(account, opened.id, 20n, 'more 2'))).toMatchObject({ outcome: 'done', held: 80n });
    expect(await ledger.one(release(account, newId()), 10)).toMatchObject({ held: 0n });
  });

  it.each<[string, bigint, Outcome]>([
    ['more than there is', 61n, 'insufficient_credits'],
    ['what other holds have', 51n, 'credits_held'],
  ])('by %s is refused, and the hold is as it was', async (_, amount, outcome) => {
    const account = await accountOf(100n);
    const opened = reserve(account, 40n);
    await ledger.apply([opened, hold(account, newId(), 10n)]);
    await expectNothingMoved(account, enlarge(account, opened.id, amount), { outcome, amount: 0n });
  });

  it('of a hold that has ended, or never was, adds nothing', async () => {
    const account = await accountOf(100n);
    const opened = reserve(account, 40n);
    await ledger.one(opened);
    await ledger.one(release(account, opened.id));
    await expectNothingMoved(account, enlarge(account, opened.id, 1n), { outcome: 'already_ended' });
    await expectNothingMoved(account, enlarge(account, newId(), 1n), { outcome: 'hold_not_found' });
  });
});

it('what was asked for in vain is not done later, when nobody waits for it', async () => {
  const account = await accountOf(100n);
  const connection = new WriterConnection(ledger.database.url, OWNER, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger, holdTimeoutMs: 300 });
  const locked = await lockWallet(ledger.database.url, account);
  for (const asked of [consume(account, 1n), reserve(account, 1n)]) {
    await expect(writer.apply(asked)).rejects.toMatchObject({ code: 'ledger_unavailable' });
    // The writer is idle again, and remembers that the account was locked.
    await until('nothing is in flight', () => writer.depth === 0);
    await sleep(100);
  }
  await locked.unlock();
  await writer.apply(grant(account, 1n));
  await writer.close();
  await connection.close();
  expect(await ledger.wallet(account)).toMatchObject({ posted: 101n, held: 0n });
});

it('what a name was used for cannot be changed', async () => {
  const account = await accountOf(10n);
  await ledger.one(consume(account, 1n));
  for (const change of [
    'UPDATE named_operations SET amount = 0',
    'DELETE FROM named_operations',
    'TRUNCATE named_operations',
  ]) {
    await expect(ledger.client.query(change), change).rejects.toThrow('append-only');
  }
});

it('every verb on an account that does not exist answers account_not_found', async () => {
  for (const operation of [consume(999n, 1n), reserve(999n, 1n), enlarge(999n, newId(), 1n)]) {
    expect(await ledger.one(operation)).toEqual({ outcome: 'account_not_found', amount: 0n, available: 0n, held: 0n });
  }
});
