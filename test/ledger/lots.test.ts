/**
 * Lots: which pays first, when each begins and ceases to count, and where a refund goes. Nothing here runs a job: time
 * passes by the instant of the next operation.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Grant } from '../../src/ledger/operations.ts';
import { readLot } from '../../src/ledger/read.ts';
import { grant, hold, type LedgerRig, newId, openLedger, release, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

const lot = (account: bigint, reference: string, amount: bigint, more: Partial<Grant> = {}): Grant =>
  grant(account, amount, { reference, ...more });

/** Holds and settles `amount` at once. */
async function spend(account: bigint, amount: bigint, at = 0): Promise<void> {
  const id = newId();
  await ledger.one(hold(account, id, 0n), at);
  await ledger.one(settle(account, id, amount), at);
}

async function available(account: bigint, at: number): Promise<bigint> {
  return (await ledger.one(hold(account, newId(), 0n), at)).available;
}

describe('lots burn', () => {
  it('by priority, then by the earliest expiry, then the oldest, then by id', async () => {
    const account = await ledger.newAccount();
    const [low, high] = [newId(), newId()].sort() as [string, string];
    await ledger.one(lot(account, 'last by priority', 1n, { priority: 9, expiresAt: second(10) }));
    await ledger.one(lot(account, 'oldest that never expires', 1n), 1);
    await ledger.apply([lot(account, 'higher id', 1n, { id: high }), lot(account, 'lower id', 1n, { id: low })], 2);
    await ledger.one(lot(account, 'expires later', 1n, { expiresAt: second(30) }), 3);
    await ledger.one(lot(account, 'expires first', 1n, { expiresAt: second(20) }), 4);
    await ledger.one(lot(account, 'first by priority', 1n, { priority: -1 }), 5);
    const order: string[] = [];
    for (let i = 0; i < 7; i++) {
      await spend(account, 1n, 6);
      order.push(Object.keys((await ledger.entries(account)).at(-1)![3]).join());
    }
    expect(order).toEqual([
      'first by priority',
      'expires first',
      'expires later',
      'oldest that never expires',
      'lower id',
      'higher id',
      'last by priority',
    ]);
  });

  it('across their borders, and say what each gave', async () => {
    const account = await ledger.newAccount();
    for (const [i, name] of ['a', 'b', 'c'].entries()) await ledger.one(lot(account, name, 10n, { priority: i }));
    await spend(account, 25n);
    await spend(account, 8n);
    expect((await ledger.entries(account)).slice(3)).toEqual([
      ['charge', -25n, 5n, { a: 10n, b: 10n, c: 5n }],
      ['charge', -8n, -3n, { c: 5n }],
    ]);
    expect(await ledger.wallet(account)).toMatchObject({ posted: -3n, debt: 3n });
  });

  it('to the last nano-credit and not beyond, when a charge is exactly what a lot has left', async () => {
    const account = await ledger.newAccount();
    await ledger.apply([lot(account, 'a', 10n), lot(account, 'b', 10n, { priority: 1 })]);
    for (let i = 0; i < 4; i++) await spend(account, 5n);
    expect((await ledger.entries(account)).slice(2).map((line) => line[3])).toEqual([
      { a: 5n },
      { a: 5n },
      { b: 5n },
      { b: 5n },
    ]);
    expect(await available(account, 0)).toBe(0n);
  });

  it('the new one first, where it stands before the lot that is being burnt', async () => {
    const account = await ledger.newAccount();
    await ledger.one(lot(account, 'forever', 10n));
    await spend(account, 4n);
    await ledger.one(lot(account, 'urgent', 10n, { expiresAt: second(50) }));
    await spend(account, 10n);
    await spend(account, 1n);
    expect(await ledger.lots(account)).toEqual({ forever: 5n, urgent: 0n });
  });
});

describe('a lot is live from its start to its expiry, the start included and the expiry not', () => {
  it.each([
    [9.999, 0n],
    [10, 5n],
    [19.999, 5n],
    [20, 0n],
  ])('at second %d: %d', async (at, expected) => {
    const account = await ledger.newAccount();
    await ledger.one(lot(account, 'a', 5n, { startsAt: second(10), expiresAt: second(20) }));
    expect(await available(account, at)).toBe(expected);
  });

  it('two lots that meet at an instant never count twice', async () => {
    const account = await ledger.newAccount();
    await ledger.one(lot(account, 'may', 5n, { startsAt: second(0), expiresAt: second(10) }));
    await ledger.one(lot(account, 'june', 7n, { startsAt: second(10), expiresAt: second(20) }));
    expect([await available(account, 9.999), await available(account, 10), await available(account, 20)]).toEqual([
      5n,
      7n,
      0n,
    ]);
  });
});

describe('expiry', () => {
  it('needs no job: whatever is asked first finds the credits gone, and books them once', async () => {
    const account = await ledger.newAccount();
    await ledger.apply([lot(account, 'a', 10n, { expiresAt: second(10) }), lot(account, 'b', 3n)]);
    await spend(account, 4n, 9);
    expect((await ledger.one(hold(account, newId(), 4n), 10)).outcome).toBe('insufficient_credits');
    expect(await available(account, 11)).toBe(3n);
    expect((await ledger.entries(account)).slice(2)).toEqual([
      ['charge', -4n, 9n, { a: 4n }],
      ['expire', -6n, 3n, { a: 6n }],
    ]);
  });

  it('waits for holds that were opened before it: they are still paid by the lot, others never', async () => {
    const account = await ledger.newAccount();
    const [older, newer] = [newId(), newId()];
    await ledger.apply([lot(account, 'a', 10n, { expiresAt: second(10) }), lot(account, 'b', 10n)]);
    await ledger.one(hold(account, older, 6n), 9.999);
    expect(await ledger.one(hold(account, newer, 5n), 10)).toMatchObject({ outcome: 'credits_held', available: 4n });
    expect(await ledger.one(hold(account, newer, 4n), 10)).toMatchObject({ outcome: 'done', available: 0n });
    await ledger.one(settle(account, newer, 4n), 11);
    expect(await ledger.lots(account)).toEqual({ a: 10n, b: 6n });
    await ledger.one(settle(account, older, 6n), 12);
    expect((await ledger.entries(account)).slice(2)).toEqual([
      ['charge', -4n, 16n, { b: 4n }],
      ['charge', -6n, 10n, { a: 6n }],
      ['expire', -4n, 6n, { a: 4n }],
    ]);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 6n, held: 0n, dormant: 0n });
  });

  it('a charge above what the expired lot has is paid by live lots for the rest', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    await ledger.apply([lot(account, 'a', 10n, { expiresAt: second(10), priority: 5 }), lot(account, 'b', 10n)]);
    await ledger.one(hold(account, id, 12n), 5);
    await ledger.one(settle(account, id, 12n), 20);
    expect((await ledger.entries(account)).slice(2)).toEqual([['charge', -12n, 8n, { a: 10n, b: 2n }]]);
  });

  it('is booked by the release of the last older hold as well', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    await ledger.one(lot(account, 'a', 10n, { expiresAt: second(10) }));
    await ledger.one(hold(account, id, 10n), 5);
    expect(await available(account, 15)).toBe(-10n);
    expect(await ledger.one(release(account, id), 20)).toMatchObject({ available: 0n, held: 0n });
    expect((await ledger.entries(account)).slice(1)).toEqual([
      ['release', 0n, 10n, {}],
      ['expire', -10n, 0n, { a: 10n }],
    ]);
  });

  it('a hold opened at the very instant of the expiry cannot claim the lot', async () => {
    const account = await ledger.newAccount(10n);
    const id = newId();
    await ledger.one(lot(account, 'a', 10n, { expiresAt: second(10) }));
    await ledger.one(hold(account, id, 5n), 10);
    await ledger.one(settle(account, id, 5n), 11);
    expect(await ledger.wallet(account)).toMatchObject({ posted: -5n, debt: 5n, dormant: 0n });
  });

  it('nor does such a hold keep it from being booked, once the older ones have ended', async () => {
    const account = await ledger.newAccount(10n);
    const older = newId();
    await ledger.one(lot(account, 'a', 10n, { expiresAt: second(10) }));
    await ledger.one(hold(account, older, 5n), 9);
    await ledger.one(hold(account, newId(), 0n), 10);
    await ledger.one(settle(account, older, 5n), 11);
    expect((await ledger.entries(account)).slice(1)).toEqual([
      ['charge', -5n, 5n, { a: 5n }],
      ['expire', -5n, 0n, { a: 5n }],
    ]);
  });
});

describe('a lot that starts', () => {
  it('repays debt before anything can be spent of it', async () => {
    const account = await ledger.newAccount();
    await ledger.one(lot(account, 'later', 10n, { startsAt: second(10) }));
    await spend(account, 4n, 5);
    expect(await ledger.wallet(account)).toMatchObject({ posted: -4n, debt: 4n, dormant: 10n });
    expect(await available(account, 10)).toBe(6n);
    expect(await ledger.lots(account)).toEqual({ later: 6n });
  });

  it('and ended while nobody looked has repaid debt in between, and only the rest is booked expired', async () => {
    const account = await ledger.newAccount();
    await ledger.one(lot(account, 'short', 10n, { startsAt: second(10), expiresAt: second(20) }));
    await spend(account, 4n, 5);
    expect(await available(account, 30)).toBe(0n);
    expect((await ledger.entries(account)).slice(1)).toEqual([
      ['charge', -4n, 6n, {}],
      ['expire', -6n, 0n, { short: 6n }],
    ]);
  });

  it('may stand before the one being burnt', async () => {
    const account = await ledger.newAccount();
    await ledger.apply([lot(account, 'now', 10n), lot(account, 'first', 10n, { startsAt: second(10), priority: -1 })]);
    await spend(account, 3n, 9);
    await spend(account, 3n, 10);
    expect(await ledger.lots(account)).toEqual({ now: 7n, first: 7n });
  });
});

describe('what was paid for a lot', () => {
  it('is kept with it, and shown', async () => {
    const account = await ledger.newAccount();
    await ledger.one(lot(account, 'bought', 10n, { paid: { minor: 1_999n, currency: 'eur' } }));
    await ledger.one(lot(account, 'given', 10n));
    expect((await readLot(ledger.pool, account, 'bought'))!.paid).toEqual({ minor: 1_999n, currency: 'eur' });
    expect((await readLot(ledger.pool, account, 'given'))!.paid).toBeNull();
  });

  it('cannot be less than nothing: refused by name, and nothing moves', async () => {
    const account = await ledger.newAccount();
    const owed = lot(account, 'a', 10n, { paid: { minor: -1n, currency: 'eur' } });
    await expect(ledger.one(owed)).rejects.toThrow('lot_payment_is_whole');
    expect(await ledger.wallet(account)).toMatchObject({ posted: 0n, seq: 0n });
  });
});
