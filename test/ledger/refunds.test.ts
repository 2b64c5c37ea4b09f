/** What a recovered charge took too much goes back: to debt first, then to the lots that paid, as much as each had paid. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Uuid } from '../../src/lib/ids.ts';
import { grant, hold, type LedgerRig, newId, openLedger, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

/** A request that was charged `amount` because its gateway died. */
async function recovered(account: bigint, amount: bigint, at = 0): Promise<Uuid> {
  const id = newId();
  await ledger.one(hold(account, id, amount, { floor: amount }), at);
  await ledger.recover(account, id, at);
  return id;
}

async function spend(account: bigint, amount: bigint, at = 0): Promise<void> {
  const id = newId();
  await ledger.one(hold(account, id, 0n), at);
  await ledger.one(settle(account, id, amount), at);
}

async function twoLots(): Promise<bigint> {
  const account = await ledger.newAccount();
  await ledger.apply([
    grant(account, 10n, { reference: 'a', priority: 1 }),
    grant(account, 10n, { reference: 'b', priority: 2 }),
  ]);
  return account;
}

it('a whole refund restores what every lot had', async () => {
  const account = await twoLots();
  const id = await recovered(account, 15n);
  expect(await ledger.lots(account)).toEqual({ a: 0n, b: 5n });
  expect(await ledger.one(settle(account, id, 0n))).toMatchObject({ outcome: 'late', amount: 0n, available: 20n });
  expect(await ledger.lots(account)).toEqual({ a: 10n, b: 10n });
  expect((await ledger.entries(account)).at(-1)).toEqual(['late', 15n, 20n, { a: 10n, b: 5n }]);
});

it('part of it unwinds the burn order: the lot that paid last gets its share first', async () => {
  const account = await twoLots();
  const id = await recovered(account, 15n);
  await ledger.one(settle(account, id, 7n));
  expect(await ledger.lots(account)).toEqual({ a: 3n, b: 10n });
});

it('a lot never gets more than it paid, though others burnt it too', async () => {
  const account = await twoLots();
  const id = await recovered(account, 13n);
  await spend(account, 7n);
  expect(await ledger.lots(account)).toEqual({ a: 0n, b: 0n });
  await ledger.one(settle(account, id, 5n));
  expect(await ledger.lots(account)).toEqual({ a: 5n, b: 3n });
});

it('debt that arose since is repaid first', async () => {
  const account = await twoLots();
  const id = await recovered(account, 15n);
  await spend(account, 9n);
  expect(await ledger.wallet(account)).toMatchObject({ posted: -4n, debt: 4n });
  await ledger.one(settle(account, id, 1n));
  expect(await ledger.wallet(account)).toMatchObject({ posted: 10n, debt: 0n });
  expect(await ledger.lots(account)).toEqual({ a: 5n, b: 5n });
  expect((await ledger.entries(account)).at(-1)).toEqual(['late', 14n, 10n, { a: 5n, b: 5n }]);
});

it('what was debt, and a later grant repaid, goes to that grant', async () => {
  const account = await ledger.newAccount(10n);
  const id = await recovered(account, 10n);
  await ledger.one(grant(account, 25n, { reference: 'a' }));
  expect(await ledger.lots(account)).toEqual({ a: 15n });
  await ledger.one(settle(account, id, 2n));
  expect(await ledger.lots(account)).toEqual({ a: 23n });
  expect((await ledger.entries(account)).at(-1)).toEqual(['late', 8n, 23n, {}]);
});

it('the share of a lot that has expired since is booked expired, as if it had never been burnt', async () => {
  const account = await ledger.newAccount();
  await ledger.apply([
    grant(account, 10n, { reference: 'a', expiresAt: second(10) }),
    grant(account, 10n, { reference: 'b' }),
  ]);
  const id = await recovered(account, 12n, 5);
  expect(await ledger.one(settle(account, id, 5n), 20)).toMatchObject({ outcome: 'late', available: 10n });
  expect((await ledger.entries(account)).slice(-2)).toEqual([
    ['late', 7n, 15n, { a: 5n, b: 2n }],
    ['expire', -5n, 10n, { a: 5n }],
  ]);
});

it('a refund after everything else moved is still booked whole', async () => {
  const account = await twoLots();
  const first = await recovered(account, 8n);
  const second = await recovered(account, 9n);
  await spend(account, 20n);
  await ledger.one(grant(account, 30n, { reference: 'c', priority: 3 }));
  expect(await ledger.wallet(account)).toMatchObject({ posted: 13n, debt: 0n });
  await ledger.one(settle(account, second, 0n));
  await ledger.one(settle(account, first, 0n));
  expect(await ledger.wallet(account)).toMatchObject({ posted: 30n, debt: 0n });
  expect(await ledger.lots(account)).toEqual({ a: 10n, b: 7n, c: 13n });
});

it('a late charge above the recovered one burns what is there now, and the rest is debt', async () => {
  const account = await twoLots();
  const id = await recovered(account, 12n);
  await spend(account, 5n);
  expect(await ledger.one(settle(account, id, 30n))).toMatchObject({ outcome: 'late', available: -15n });
  expect((await ledger.entries(account)).at(-1)).toEqual(['late', -18n, -15n, { b: 3n }]);
});
