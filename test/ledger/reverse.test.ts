/** A reverse gives back what a request was charged, once: to debt first, then to the lots that paid, the last one first. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Uuid } from '../../src/lib/ids.ts';
import { adjust, grant, hold, type LedgerRig, newId, openLedger, release, reverse, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

/** A request that was charged `amount`. */
async function charged(account: bigint, amount: bigint, at = 0): Promise<Uuid> {
  const id = newId();
  await ledger.one(hold(account, id, 0n), at);
  await ledger.one(settle(account, id, amount), at);
  return id;
}

async function twoLots(): Promise<bigint> {
  const account = await ledger.newAccount();
  await ledger.apply([
    grant(account, 10n, { reference: 'a', priority: 1 }),
    grant(account, 10n, { reference: 'b', priority: 2 }),
  ]);
  return account;
}

it('of all restores exactly what every lot had', async () => {
  const account = await twoLots();
  await charged(account, 3n);
  const before = await ledger.lots(account);
  const id = await charged(account, 15n);
  expect(await ledger.one(reverse(account, id))).toMatchObject({ outcome: 'done', amount: 15n, available: 17n });
  expect(await ledger.lots(account)).toEqual(before);
  expect((await ledger.entries(account)).at(-1)).toEqual(['reverse', 15n, 17n, { a: 7n, b: 8n }]);
});

it('of a part unwinds the burn order: the lot that paid last gets its share first', async () => {
  const account = await twoLots();
  const id = await charged(account, 15n);
  await ledger.one(reverse(account, id, 7n));
  expect(await ledger.lots(account)).toEqual({ a: 2n, b: 10n });
});

it('is a transfer from revenue to the wallet, which keeps why', async () => {
  const account = await twoLots();
  const id = await charged(account, 5n);
  await ledger.one(reverse(account, id));
  const { rows } = await ledger.client.query(
    `SELECT id, debit, credit, key_id, convert_from(receipt, 'UTF8') AS receipt FROM entries
      WHERE account_id = $1 AND kind = 8`,
    [account],
  );
  expect(rows).toEqual([{ id, debit: 2, credit: 1, key_id: 1n, receipt: '{"reason":"because"}' }]);
});

it('repays debt that arose since, before any lot', async () => {
  const account = await twoLots();
  const id = await charged(account, 15n);
  await charged(account, 9n);
  expect(await ledger.wallet(account)).toMatchObject({ posted: -4n, debt: 4n });
  await ledger.one(reverse(account, id));
  expect(await ledger.wallet(account)).toMatchObject({ posted: 11n, debt: 0n });
  expect(await ledger.lots(account)).toEqual({ a: 6n, b: 5n });
});

it('of what was debt, and a later lot repaid, goes to that lot', async () => {
  const account = await ledger.newAccount();
  const id = await charged(account, 10n);
  await ledger.one(grant(account, 25n, { reference: 'a' }));
  await ledger.one(reverse(account, id, 8n));
  expect(await ledger.lots(account)).toEqual({ a: 23n });
  const { rows } = await ledger.client.query(
    'SELECT kind, amount FROM allocations WHERE account_id = $1 AND kind > 100 ORDER BY kind',
    [account],
  );
  expect(rows).toEqual([
    { kind: 101, amount: 10n },
    { kind: 108, amount: 8n },
  ]);
});

it('of a lot that has expired since is booked expired, as if it had never been burnt', async () => {
  const account = await ledger.newAccount();
  await ledger.apply([
    grant(account, 10n, { reference: 'a', expiresAt: second(10) }),
    grant(account, 10n, { reference: 'b' }),
  ]);
  const id = await charged(account, 12n, 5);
  expect(await ledger.one(reverse(account, id), 20)).toMatchObject({ outcome: 'done', available: 10n });
  expect((await ledger.entries(account)).slice(-2)).toEqual([
    ['reverse', 12n, 20n, { a: 10n, b: 2n }],
    ['expire', -10n, 10n, { a: 10n }],
  ]);
});

it('takes all that a late charge added, and what it gave back is not given again', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 100n));
  const [more, less] = [newId(), newId()];
  for (const id of [more, less]) {
    await ledger.one(hold(account, id, 10n, { floor: 10n }));
    await ledger.recover(account, id);
  }
  await ledger.one(settle(account, more, 30n));
  await ledger.one(settle(account, less, 4n));
  expect(await ledger.one(reverse(account, more))).toMatchObject({ outcome: 'done', amount: 30n });
  expect(await ledger.one(reverse(account, less, 5n))).toMatchObject({ outcome: 'exceeds_charge', amount: 4n });
  expect(await ledger.one(reverse(account, less))).toMatchObject({ outcome: 'done', amount: 4n });
  expect(await ledger.wallet(account)).toMatchObject({ posted: 100n });
});

it('before the exact cost is known: a late settle gives back no more than was left of the charge', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 100n, { reference: 'a' }));
  const id = newId();
  await ledger.one(hold(account, id, 10n, { floor: 10n }));
  await ledger.recover(account, id);
  await ledger.one(reverse(account, id, 7n));
  expect(await ledger.one(settle(account, id, 2n))).toMatchObject({ outcome: 'late', amount: 7n, available: 100n });
  expect((await ledger.entries(account)).at(-1)).toEqual(['late', 3n, 100n, { a: 3n }]);
});

it('of all answers the same again, though a late charge came after it', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 100n));
  const id = newId();
  await ledger.one(hold(account, id, 10n, { floor: 10n }));
  await ledger.recover(account, id);
  await ledger.one(reverse(account, id));
  expect((await ledger.one(settle(account, id, 25n))).outcome).toBe('late');
  expect(await ledger.one(reverse(account, id))).toMatchObject({ outcome: 'repeated', amount: 10n });
  expect(await ledger.one(reverse(account, id, 25n))).toMatchObject({ outcome: 'exists_with_different_amount' });
  expect(await ledger.wallet(account)).toMatchObject({ posted: 85n });
});

it('frees credits for the holds of its batch', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 10n));
  const id = await charged(account, 10n);
  const answers = await ledger.apply([hold(account, newId(), 10n), reverse(account, id)]);
  expect(answers.map((answer) => answer.outcome)).toEqual(['done', 'done']);
});

it('after everything else moved is still booked whole', async () => {
  const account = await twoLots();
  const first = await charged(account, 8n);
  await ledger.one(adjust(account, -7n));
  const second = await charged(account, 9n);
  await ledger.one(grant(account, 30n, { reference: 'c', priority: 3 }));
  expect(await ledger.wallet(account)).toMatchObject({ posted: 26n, debt: 0n });
  for (const id of [first, second]) expect((await ledger.one(reverse(account, id))).outcome).toBe('done');
  expect(await ledger.wallet(account)).toMatchObject({ posted: 43n, debt: 0n });
});

it('of one request leaves another with the same id in another account alone', async () => {
  const [a, b] = [await twoLots(), await twoLots()];
  const id = await charged(a, 5n);
  await ledger.one(hold(b, id, 5n));
  expect((await ledger.one(reverse(b, id))).outcome).toBe('still_open');
  await ledger.one(release(b, id));
  expect(await ledger.one(reverse(b, id))).toMatchObject({ outcome: 'exceeds_charge', amount: 0n });
  expect((await ledger.one(reverse(a, id))).outcome).toBe('done');
});
