/** A clawback happens once, and never takes more of a payment than it granted, nor gives back more than was taken. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyOperations } from '../../src/ledger/operations.ts';
import { type Clawback, claw, clawAll, clawback, paidAccount } from './clawback-rig.ts';
import { adjust, hold, type LedgerRig, newId, OWNER, openLedger, second } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

describe('again by the same reference', () => {
  it.each<[string, bigint, Partial<Clawback>, string]>([
    ['the same', -5n, {}, 'repeated'],
    ['another id', -5n, { id: newId() }, 'repeated'],
    ['another amount', -6n, {}, 'exists_with_different_amount'],
    ['the other sign', 5n, {}, 'exists_with_different_amount'],
    ['another payment', -5n, { payment: 'pi_2' }, 'exists_with_different_book'],
    ['another amount and payment', 5n, { payment: 'pi_2' }, 'exists_with_different_amount'],
  ])('%s: nothing moves', async (_, amount, more, outcome) => {
    const { account, lots } = await paidAccount(ledger);
    await claw(ledger.client, clawback(account, -5n, lots, { reference: 'r' }));
    const before = await ledger.wallet(account);
    expect(await claw(ledger.client, clawback(account, amount, lots, { reference: 'r', ...more }))).toBe(outcome);
    expect(await ledger.wallet(account)).toEqual(before);
  });

  it('of an adjustment is told from it', async () => {
    const { account, lots } = await paidAccount(ledger);
    await ledger.one(adjust(account, -5n, { reference: 'r', book: 'clawback' }));
    expect(await claw(ledger.client, clawback(account, -5n, lots, { reference: 'r' }))).toBe(
      'exists_with_different_book',
    );
  });
});

describe('is refused by name, and nothing moves', () => {
  it.each<[string, bigint[], bigint, string]>([
    ['where nothing was taken', [], 1n, 'clawback_returns_what_was_taken'],
    ['where more would come back than was taken', [-5n, 3n], 3n, 'clawback_returns_what_was_taken'],
    ['where more would be taken than was granted', [-9n, 2n], -9n, 'clawback_is_within_the_grant'],
    ['of nothing', [-5n], 0n, 'entry_sign_follows_the_kind'],
  ])('%s', async (_, before, amount, constraint) => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, before);
    const wallet = await ledger.wallet(account);
    await expect(claw(ledger.client, clawback(account, amount, lots))).rejects.toMatchObject({
      code: '23514',
      constraint,
    });
    expect(await ledger.wallet(account)).toEqual(wallet);
  });

  it('where another payment took it', async () => {
    const { account, lots } = await paidAccount(ledger);
    await clawAll(ledger, account, lots, [-5n]);
    const asked = clawback(account, 5n, lots, { payment: 'pi_2' });
    await expect(claw(ledger.client, asked)).rejects.toMatchObject({ constraint: 'clawback_returns_what_was_taken' });
  });

  it('where there is no account', async () => {
    expect(await claw(ledger.client, clawback(4_711n, -1n, []))).toBe('account_not_found');
  });
});

it('of many at once for one payment, beside its requests, no more are done than it granted', async () => {
  const { account, lots } = await paidAccount(ledger);
  const asks = Array.from({ length: 6 }, async () => {
    const client = await ledger.pool.connect();
    try {
      await applyOperations(client, [hold(account, newId(), 1n)], OWNER, second(0));
      return await claw(client, clawback(account, -7n, lots)).catch(
        ({ constraint }: { constraint: string }) => constraint,
      );
    } finally {
      client.release();
    }
  });
  const answers = await Promise.all(asks);
  expect(answers.sort()).toEqual([...Array(4).fill('clawback_is_within_the_grant'), 'done', 'done']);
  expect(await ledger.wallet(account)).toMatchObject({ posted: 21n, dormant: 0n, held: 6n, seq: 5n });
});
