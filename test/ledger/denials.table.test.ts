/** A new hold that breaks several rules is refused by the first of them, for every set of rules; and leaves no row. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setWalletStatus } from '../../src/ledger/wallets.ts';
import { rowsOf } from './model-compare.ts';
import { grant, hold, KEY, type LedgerRig, newId, OTHER_KEY, openLedger, second } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

describe('a new hold is refused by the first rule it breaks:', () => {
  const rules = [
    'stale_policy',
    'account_suspended',
    'key_inactive',
    'key_budget_exceeded',
    'account_budget_exceeded',
    'credits',
  ] as const;
  const subsets = Array.from({ length: 64 }, (_, bits) => rules.filter((_, i) => (bits >> i) & 1));

  it.each(subsets.map((broken) => [broken.join(' + ') || 'none', broken] as const))('%s', async (_, broken) => {
    const has = (rule: (typeof rules)[number]): boolean => (broken as readonly string[]).includes(rule);
    const id = newId();
    // An expired key, a revoked key and a key that never was are all the same to a hold.
    for (const inactive of has('key_inactive') ? [11n, 12n, 13n] : [KEY]) {
      for (const busy of [0n, 60n]) {
        const account = await ledger.newAccount();
        await ledger.one(grant(account, 100n));
        await ledger.one(hold(account, newId(), busy, { key: OTHER_KEY }));
        await ledger.client.query(
          `INSERT INTO spenders (account_id, key_id, state, expires_at) VALUES ($1, 11, 1, 'infinity'), ($1, 12, 0, $2)`,
          [account, second(0)],
        );
        if (has('key_budget_exceeded')) await ledger.setBudget(account, KEY, 39n, 'day');
        if (has('account_budget_exceeded')) {
          await ledger.setBudget(account, 0n, 39n + busy, 'month');
        }
        if (has('account_suspended')) await setWalletStatus(ledger.client, account, 'suspended');
        const { rows } = await ledger.client.query<{ policy_version: bigint }>(
          'SELECT policy_version FROM wallets WHERE account_id = $1',
          [account],
        );
        const now = rows[0]!.policy_version;
        const asked = hold(account, id, has('credits') ? 101n - busy : 40n, {
          key: inactive,
          policyVersion: has('stale_policy') ? now - 1n : now,
        });
        const short = busy > 0n ? 'credits_held' : 'insufficient_credits';
        const first = broken[0] === 'credits' ? short : (broken[0] ?? 'done');
        const before = await rowsOf(ledger, account);
        const result = await ledger.one(asked);
        expect(result).toMatchObject({ outcome: first, amount: first === 'done' ? 40n : 0n });
        if (first !== 'done') expect(await rowsOf(ledger, account)).toEqual(before);
      }
    }
  });

  it('an old catalog is as stale as an old policy; a newer one than the database has is not', async () => {
    const account = await ledger.newAccount();
    await ledger.one(grant(account, 100n));
    expect((await ledger.one(hold(account, newId(), 1n, { catalogVersion: 0n }))).outcome).toBe('stale_policy');
    expect((await ledger.one(hold(account, newId(), 1n, { catalogVersion: 9n, policyVersion: 9n }))).outcome).toBe(
      'done',
    );
  });

  it('an id that was refused may be used again', async () => {
    const account = await ledger.newAccount();
    const id = newId();
    expect((await ledger.one(hold(account, id, 40n))).outcome).toBe('insufficient_credits');
    await ledger.one(grant(account, 100n));
    expect((await ledger.one(hold(account, id, 40n))).outcome).toBe('done');
  });

  it('a key spends until the instant it expires', async () => {
    const account = await ledger.newAccount();
    await ledger.one(grant(account, 100n));
    await ledger.client.query('INSERT INTO spenders (account_id, key_id, expires_at) VALUES ($1, 11, $2)', [
      account,
      second(10),
    ]);
    expect((await ledger.one(hold(account, newId(), 1n, { key: 11n }), 9.999)).outcome).toBe('done');
    expect((await ledger.one(hold(account, newId(), 1n, { key: 11n }), 10)).outcome).toBe('key_inactive');
  });
});
