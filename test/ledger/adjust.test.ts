/** Adjustments: credits given or taken by hand, once for each reference, as entries of their own. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Adjust } from '../../src/ledger/operations.ts';
import type { Outcome } from '../../src/ledger/outcomes.ts';
import { adjust, grant, hold, type LedgerRig, newId, openLedger, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

async function owing(debt: bigint): Promise<bigint> {
  const account = await ledger.newAccount();
  const id = newId();
  await ledger.one(hold(account, id, 0n));
  await ledger.one(settle(account, id, debt));
  return account;
}

/** The books of the last entry: where from, where to. */
async function books(account: bigint): Promise<unknown> {
  const { rows } = await ledger.client.query(
    'SELECT debit, credit FROM entries WHERE account_id = $1 ORDER BY seq DESC LIMIT 1',
    [account],
  );
  return rows[0];
}

describe('credits given', () => {
  it('are a lot of kind adjustment that starts at once and never expires', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    expect(await ledger.one(adjust(account, 5n, { id }))).toMatchObject({ outcome: 'done', amount: 5n, available: 5n });
    const { rows } = await ledger.client.query(
      `SELECT lot_id, kind, priority, granted, starts_at, expires_at = 'infinity' AS forever FROM lots WHERE account_id = $1`,
      [account],
    );
    expect(rows).toEqual([{ lot_id: id, kind: 14, priority: 0, granted: 5n, starts_at: second(0), forever: true }]);
    expect((await ledger.entries(account)).at(-1)).toEqual(['adjust', 5n, 5n, { [`adjustment ${id}`]: 5n }]);
  });

  it('repay debt first', async () => {
    const account = await owing(8n);
    await ledger.one(adjust(account, 5n));
    expect(await ledger.wallet(account)).toMatchObject({ posted: -3n, debt: 3n });
    await ledger.one(adjust(account, 5n));
    expect(await ledger.wallet(account)).toMatchObject({ posted: 2n, debt: 0n });
  });

  it('come from the book that is named', async () => {
    const account = await ledger.newAccount();
    await ledger.one(adjust(account, 5n));
    expect(await books(account)).toEqual({ debit: 14, credit: 1 });
    await ledger.one(adjust(account, 5n, { book: 'clawback' }));
    expect(await books(account)).toEqual({ debit: 4, credit: 1 });
  });

  it('at another scale of credits are refused, and leave no row: the reference may be used again', async () => {
    const account = await ledger.newAccount();
    await ledger.one(grant(account, 1n));
    const more = { reference: 'r', creditsPerUsd: 7n };
    expect(await ledger.one(adjust(account, 5n, more))).toMatchObject({ outcome: 'credit_scale_differs', amount: 0n });
    expect(await ledger.wallet(account)).toMatchObject({ posted: 1n, seq: 1n });
    expect((await ledger.one(adjust(account, -5n, more))).outcome).toBe('done'); // what is taken has no worth to fix
  });
});

describe('credits taken', () => {
  it('leave the lots in burn order, and say what each gave', async () => {
    const account = await ledger.newAccount();
    await ledger.apply([
      grant(account, 10n, { reference: 'a', priority: 1 }),
      grant(account, 10n, { reference: 'b', priority: 2 }),
    ]);
    expect(await ledger.one(adjust(account, -4n))).toMatchObject({ outcome: 'done', amount: -4n, available: 16n });
    await ledger.one(adjust(account, -8n));
    expect((await ledger.entries(account)).slice(2)).toEqual([
      ['adjust', -4n, 16n, { a: 4n }],
      ['adjust', -8n, 8n, { a: 6n, b: 2n }],
    ]);
    expect(await books(account)).toEqual({ debit: 1, credit: 14 });
  });

  it('are debt where there are none: nothing is clamped', async () => {
    const account = await ledger.newAccount();
    await ledger.one(grant(account, 3n, { reference: 'a' }));
    await ledger.one(adjust(account, -10n, { book: 'clawback' }));
    expect(await ledger.wallet(account)).toMatchObject({ posted: -7n, debt: 7n });
    expect((await ledger.entries(account)).at(-1)).toEqual(['adjust', -10n, -7n, { a: 3n }]);
    expect(await books(account)).toEqual({ debit: 1, credit: 4 });
  });

  it('may be more than what is not held: running requests keep their holds, new ones find nothing', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    await ledger.one(grant(account, 10n));
    await ledger.one(hold(account, id, 10n));
    expect(await ledger.one(adjust(account, -4n))).toMatchObject({ outcome: 'done', available: -4n, held: 10n });
    expect((await ledger.one(hold(account, newId(), 1n))).outcome).toBe('credits_held');
    expect((await ledger.one(settle(account, id, 10n))).outcome).toBe('done');
    expect(await ledger.wallet(account)).toMatchObject({ posted: -4n, debt: 4n });
  });

  it('never come from a lot that has expired, though an older hold may still burn it', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    await ledger.apply([grant(account, 10n, { reference: 'a', expiresAt: second(10) }), hold(account, id, 5n)]);
    await ledger.one(adjust(account, -3n), 10);
    expect(await ledger.wallet(account)).toMatchObject({ debt: 3n, dormant: 10n });
    await ledger.one(settle(account, id, 5n), 11);
    expect((await ledger.entries(account)).slice(-2)).toEqual([
      ['charge', -5n, 2n, { a: 5n }],
      ['expire', -5n, -3n, { a: 5n }],
    ]);
  });
});

describe('again by the same reference', () => {
  it.each<[string, bigint, Partial<Adjust>, Outcome]>([
    ['the same', -5n, {}, 'repeated'],
    ['another id, reason and scale', -5n, { id: newId(), reason: 'again', creditsPerUsd: 7n }, 'repeated'],
    ['another amount', -6n, {}, 'exists_with_different_amount'],
    ['the other sign', 5n, {}, 'exists_with_different_amount'],
    ['another book', -5n, { book: 'clawback' }, 'exists_with_different_book'],
    ['both', 5n, { book: 'clawback' }, 'exists_with_different_amount'],
  ])('%s: nothing moves', async (_, amount, more, outcome) => {
    const account = await ledger.newAccount();
    await ledger.apply([grant(account, 9n), adjust(account, -5n, { reference: 'r' })]);
    const before = await ledger.wallet(account);
    expect(await ledger.one(adjust(account, amount, { reference: 'r', ...more }))).toMatchObject({
      outcome,
      amount: -5n,
    });
    expect(await ledger.wallet(account)).toEqual(before);
  });
});

it('a reference of an adjustment is none of a grant', async () => {
  const account = await ledger.newAccount();
  const answers = await ledger.apply([grant(account, 9n, { reference: 'r' }), adjust(account, 5n, { reference: 'r' })]);
  expect(answers.map((answer) => answer.outcome)).toEqual(['done', 'done']);
});

it('of nothing is refused by name, and nothing moves', async () => {
  const account = await ledger.newAccount();
  await expect(ledger.one(adjust(account, 0n))).rejects.toThrow('entry_sign_follows_the_kind');
  expect(await ledger.wallet(account)).toMatchObject({ posted: 0n, seq: 0n });
});
