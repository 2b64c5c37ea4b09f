/** How much a hold gets, and what happens where a charge exceeds it or the balance. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Grant } from '../../src/ledger/operations.ts';
import type { Outcome } from '../../src/ledger/outcomes.ts';
import { setOverdraft } from '../../src/ledger/wallets.ts';
import { grant, hold, type LedgerRig, newId, openLedger, release, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

async function accountWith(credits: bigint, overdraft = 0n): Promise<bigint> {
  const account = await ledger.newAccount(overdraft);
  if (credits > 0n) await ledger.one(grant(account, credits));
  return account;
}

describe('of available 100 and overdraft 20, a hold', () => {
  it.each<[least: bigint, want: bigint, Outcome, granted: bigint]>([
    [1n, 100n, 'done', 100n],
    [120n, 120n, 'done', 120n], // to the last nano-credit
    [50n, 200n, 'done', 120n], // all that fits
    [120n, 200n, 'done', 120n],
    [121n, 200n, 'insufficient_credits', 0n],
    [0n, 0n, 'done', 0n],
  ])('of at least %d and at most %d answers %s, %d', async (least, want, outcome, amount) => {
    const account = await accountWith(100n, 20n);
    const held = outcome === 'done' ? amount : 0n;
    expect(await ledger.one(hold(account, newId(), want, { least }))).toEqual({
      outcome,
      amount,
      held,
      available: 100n - held,
    });
  });
});

it('says credits_held while other holds are why it does not fit, insufficient_credits when it never would', async () => {
  const account = await accountWith(100n);
  const first = newId();
  await ledger.one(hold(account, first, 70n));
  expect((await ledger.one(hold(account, newId(), 31n))).outcome).toBe('credits_held');
  expect((await ledger.one(hold(account, newId(), 100n))).outcome).toBe('credits_held');
  expect((await ledger.one(hold(account, newId(), 101n))).outcome).toBe('insufficient_credits');
  await ledger.one(release(account, first));
  expect((await ledger.one(hold(account, newId(), 100n))).outcome).toBe('done');
});

it('a hold of nothing is granted to an empty wallet, to one in debt and to one whose credits are all held', async () => {
  const empty = await accountWith(0n);
  expect(await ledger.one(hold(empty, newId(), 0n))).toMatchObject({ outcome: 'done', amount: 0n });
  const account = await accountWith(10n);
  const id = newId();
  await ledger.one(hold(account, id, 10n));
  expect(await ledger.one(hold(account, newId(), 0n))).toMatchObject({ outcome: 'done', amount: 0n });
  await ledger.one(settle(account, id, 25n));
  expect(await ledger.one(hold(account, newId(), 0n))).toMatchObject({ outcome: 'done', available: -15n });
  expect((await ledger.one(hold(account, newId(), 1n, { least: 0n }))).outcome).toBe('insufficient_credits');
  const beside = await ledger.apply([hold(account, newId(), 1n), hold(account, newId(), 0n)]);
  expect(beside.map((result) => result.outcome)).toEqual(['insufficient_credits', 'done']);
});

it('holds that fit as a set are all taken; where they do not, they are decided in the order of arrival', async () => {
  const account = await accountWith(100n);
  const wants = [60n, 50n, 30n, 10n, 1n];
  const results = await ledger.apply(wants.map((want) => hold(account, newId(), want)));
  expect(results.map((result) => result.outcome)).toEqual(['done', 'credits_held', 'done', 'done', 'credits_held']);
  expect((await ledger.wallet(account)).held).toBe(100n);
});

it('what a batch settles and releases is free for the holds of the same batch, whatever their order in it', async () => {
  const account = await accountWith(100n);
  const [a, b] = [newId(), newId()];
  await ledger.apply([hold(account, a, 60n), hold(account, b, 40n)]);
  const results = await ledger.apply([hold(account, newId(), 70n), settle(account, a, 30n), release(account, b)]);
  expect(results.map((result) => result.outcome)).toEqual(['done', 'done', 'done']);
  expect(results.map((result) => result.available)).toEqual([0n, 30n, 70n]);
});

it('what a batch charges is not free for the holds of the same batch', async () => {
  const account = await accountWith(100n);
  const id = newId();
  await ledger.one(hold(account, id, 40n));
  const [settled, held] = await ledger.apply([settle(account, id, 30n), hold(account, newId(), 71n)]);
  expect([settled!.outcome, held!.outcome]).toEqual(['done', 'insufficient_credits']);
});

it('the same operation twice in a batch is done once', async () => {
  const account = await accountWith(100n);
  const id = newId();
  const outcomes = async (...batch: Parameters<LedgerRig['apply']>[0]) =>
    (await ledger.apply(batch)).map((result) => result.outcome);
  expect(await outcomes(hold(account, id, 40n), hold(account, id, 40n))).toEqual(['done', 'repeated']);
  expect(await outcomes(settle(account, id, 30n), settle(account, id, 30n))).toEqual(['done', 'repeated']);
  expect(await ledger.wallet(account)).toMatchObject({ posted: 70n, held: 0n });
});

it('a lower overdraft refuses new holds and leaves what is owed as it is', async () => {
  const account = await accountWith(0n, 50n);
  const id = newId();
  await ledger.one(hold(account, id, 50n));
  await ledger.one(settle(account, id, 50n));
  await setOverdraft(ledger.client, account, 10n);
  expect(await ledger.one(hold(account, newId(), 1n))).toMatchObject({
    outcome: 'insufficient_credits',
    available: -50n,
  });
});

describe('what exceeds the balance', () => {
  it('becomes debt, which the next grants repay before anything can be spent', async () => {
    const account = await accountWith(10n);
    const id = newId();
    await ledger.one(hold(account, id, 10n));
    await ledger.one(settle(account, id, 40n));
    expect(await ledger.wallet(account)).toMatchObject({ posted: -30n, debt: 30n });
    await ledger.one(grant(account, 20n, { reference: 'first' }));
    expect(await ledger.wallet(account)).toMatchObject({ posted: -10n, debt: 10n });
    await ledger.one(grant(account, 25n, { reference: 'second' }));
    expect(await ledger.wallet(account)).toMatchObject({ posted: 15n, debt: 0n });
    expect(await ledger.lots(account)).toMatchObject({ first: 0n, second: 15n });
  });

  it('may be several charges, each booked whole', async () => {
    const account = await accountWith(10n);
    const ids = [newId(), newId(), newId()];
    await ledger.apply(ids.map((id) => hold(account, id, 3n)));
    await ledger.apply(ids.map((id) => settle(account, id, 20n)));
    expect(await ledger.wallet(account)).toMatchObject({ posted: -50n, debt: 50n, held: 0n });
  });

  it('beyond 10⁹ credits is refused by name, and nothing moves', async () => {
    const account = await accountWith(10n);
    const id = newId();
    await ledger.one(hold(account, id, 10n));
    await expect(ledger.one(settle(account, id, 2_000_000_000_000_000_000n))).rejects.toThrow('wallet_amounts_fit');
    await expect(ledger.one(settle(account, id, 9_223_372_036_854_775_807n))).rejects.toThrow(
      /wallet_amounts_fit|out of range/,
    );
    expect(await ledger.wallet(account)).toMatchObject({ posted: 10n, held: 10n });
  });

  it('cannot be below nothing: a negative charge is refused by name, alone and among others', async () => {
    const account = await accountWith(10n);
    const [a, b] = [newId(), newId()];
    await ledger.apply([hold(account, a, 5n), hold(account, b, 5n)]);
    await expect(ledger.one(settle(account, a, -1n))).rejects.toThrow('entry_sign_follows_the');
    await ledger.one(settle(account, b, 5n));
    await expect(ledger.apply([settle(account, a, -1n), grant(account, 1n)])).rejects.toThrow('entry_sign_follows_the');
  });
});

describe('grant', () => {
  const terms: Partial<Grant> = { reference: 'r', startsAt: second(5), expiresAt: second(50) };

  it('beyond 10⁹ credits together with what waits to start is refused by name: its start could not be refused', async () => {
    const account = await accountWith(600_000_000_000_000_000n);
    const later = { startsAt: second(5) };
    await expect(ledger.one(grant(account, 500_000_000_000_000_000n, later))).rejects.toThrow('wallet_amounts_fit');
    await ledger.one(grant(account, 400_000_000_000_000_000n, later));
    await ledger.one(hold(account, newId(), 1n), 5);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 1_000_000_000_000_000_000n, dormant: 0n });
  });

  it.each<[string, bigint, Partial<Grant>, Outcome]>([
    ['the same', 100n, {}, 'repeated'],
    ['another id and reason', 100n, { id: newId(), reason: 'again' }, 'repeated'],
    ['another amount', 101n, {}, 'exists_with_different_amount'],
    ['another kind', 100n, { kind: 'promo' }, 'exists_with_different_kind'],
    ['another expiry', 100n, { expiresAt: second(51) }, 'exists_with_different_expires_at'],
    ['no expiry', 100n, { expiresAt: null }, 'exists_with_different_expires_at'],
    ['another start', 100n, { startsAt: second(6) }, 'exists_with_different_starts_at'],
    ['no start, which says nothing of it', 100n, { startsAt: null }, 'repeated'],
    ['another priority', 100n, { priority: 1 }, 'exists_with_different_priority'],
    [
      'all of them other',
      1n,
      { kind: 'promo', expiresAt: null, startsAt: second(6), priority: 1 },
      'exists_with_different_amount',
    ],
    [
      'all but the amount',
      100n,
      { kind: 'promo', expiresAt: null, startsAt: second(6), priority: 1 },
      'exists_with_different_kind',
    ],
    [
      'expiry, start, priority',
      100n,
      { expiresAt: null, startsAt: second(6), priority: 1 },
      'exists_with_different_expires_at',
    ],
    ['start and priority', 100n, { startsAt: second(6), priority: 1 }, 'exists_with_different_starts_at'],
    ['a scale that differs, which a repeat does not look at', 100n, { creditsPerUsd: 7n }, 'repeated'],
  ])('again by the same reference, %s: %s', async (_, amount, more, outcome) => {
    const account = await ledger.newAccount();
    expect(await ledger.one(grant(account, 100n, terms))).toMatchObject({ outcome: 'done', amount: 100n });
    const before = await ledger.wallet(account);
    expect(await ledger.one(grant(account, amount, { ...terms, ...more }))).toMatchObject({ outcome, amount: 100n });
    expect(await ledger.wallet(account)).toEqual(before);
  });

  it.each<[string, Partial<Grant>, Outcome]>([
    ['that ends before it starts', { startsAt: second(6), expiresAt: second(5) }, 'interval_empty'],
    ['that ends as it starts', { startsAt: second(5), expiresAt: second(5) }, 'interval_empty'],
    ['that has ended', { startsAt: second(-9), expiresAt: second(-1) }, 'interval_empty'],
    ['that ends now', { expiresAt: second(0) }, 'interval_empty'],
    ['that has ended, at another scale', { expiresAt: second(0), creditsPerUsd: 7n }, 'interval_empty'],
    ['at another scale of credits', { creditsPerUsd: 7n }, 'credit_scale_differs'],
  ])('%s is refused and leaves no row', async (_, more, outcome) => {
    const account = await accountWith(1n);
    expect(await ledger.one(grant(account, 100n, { reference: 'r', ...more }))).toMatchObject({ outcome, amount: 0n });
    expect(await ledger.wallet(account)).toMatchObject({ posted: 1n, dormant: 0n, seq: 1n });
    expect((await ledger.one(grant(account, 100n, { reference: 'r' }))).outcome).toBe('done');
  });
});

it('a key that the account does not have holds nothing, alone or in a batch with what is plain', async () => {
  const account = await ledger.newAccount();
  const [open, alone, together] = [newId(), newId(), newId()];
  await ledger.apply([grant(account, 100n), hold(account, open, 10n)]);
  expect((await ledger.one(hold(account, alone, 1n, { key: 99n }))).outcome).toBe('key_inactive');
  const results = await ledger.apply([settle(account, open, 3n), hold(account, together, 1n, { key: 99n })]);
  expect(results.map((result) => result.outcome)).toEqual(['done', 'key_inactive']);
});
