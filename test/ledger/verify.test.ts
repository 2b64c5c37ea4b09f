/** `ledger verify` finds whatever was changed behind the ledger's back, and names it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyLedger } from '../../src/ledger/verify.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { grant, hold, type LedgerRig, newId, openLedger, release, second, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(() => ledger.close());

interface History {
  account: bigint;
  /** A charge of 15 that lot `a` paid 10 of and lot `b` 5. */
  crossing: Uuid;
  /** A charge of 2 that lot `b` paid. */
  plain: Uuid;
  lots: { a: Uuid; b: Uuid };
}

/** An account with something of everything: charges, a release, an expiry, a recovered charge refunded, an open hold. */
async function history(): Promise<History> {
  const account = await ledger.newAccount();
  const [crossing, plain, released, died, open, a, b] = Array.from({ length: 7 }, newId) as [
    Uuid,
    Uuid,
    Uuid,
    Uuid,
    Uuid,
    Uuid,
    Uuid,
  ];
  await ledger.apply([
    grant(account, 10n, { id: a, reference: 'a', priority: 1 }),
    grant(account, 50n, { id: b, reference: 'b', priority: 2 }),
    grant(account, 5n, { expiresAt: second(5), priority: 3 }),
  ]);
  await ledger.apply([hold(account, crossing, 15n), hold(account, plain, 2n), hold(account, released, 1n)]);
  await ledger.apply([settle(account, crossing, 15n), settle(account, plain, 2n), release(account, released)]);
  await ledger.one(hold(account, died, 9n, { floor: 9n }), 10);
  await ledger.recover(account, died, 11);
  await ledger.one(settle(account, died, 4n), 12);
  await ledger.one(hold(account, open, 3n), 13);
  return { account, crossing, plain, lots: { a, b } };
}

/** Changes something with the triggers off, as only a superuser can; answers what is found wrong with the account. */
async function subjectsAfter(account: bigint, sql: string, values: unknown[]): Promise<string[]> {
  await ledger.client.query('BEGIN');
  await ledger.client.query('SET LOCAL session_replication_role = replica');
  const { rowCount } = await ledger.client.query(sql, values);
  await ledger.client.query('COMMIT');
  expect(rowCount).toBeGreaterThan(0);
  const { differences } = await verifyLedger(ledger.pool);
  return differences.filter((difference) => difference.account === account).map((difference) => difference.subject);
}

describe('names', () => {
  it('nothing where nothing is wrong', async () => {
    const { account } = await history();
    expect(await subjectsAfter(account, 'UPDATE wallets SET held = held WHERE account_id = $1', [account])).toEqual([]);
  });

  it.each<[string, (h: History) => [sql: string, ...values: unknown[]], (h: History) => string[]]>([
    [
      'a changed amount',
      (h) => ['UPDATE entries SET amount = amount - 1 WHERE id = $1', h.plain],
      (h) => [`entry ${h.plain}/2 balance_after`, 'wallet posted + dormant', `lot ${h.lots.b} remaining`],
    ],
    [
      'a missing entry',
      (h) => ['DELETE FROM entries WHERE id = $1', h.plain],
      () => ['wallet seq', 'wallet posted + dormant'],
    ],
    [
      'a doubled entry',
      (h) => [
        `INSERT INTO entries SELECT account_id, seq, amount, balance_after, key_id, at, gen_random_uuid(), lot_id, kind,
           debit, credit, receipt FROM entries WHERE id = $1`,
        h.plain,
      ],
      (h) => ['wallet seq', 'wallet posted + dormant', `lot ${h.lots.b} remaining`],
    ],
    [
      'an entry out of order',
      (h) => ['UPDATE entries SET seq = seq + 100 WHERE id = $1', h.plain],
      (h) => [`entry ${h.plain}/2 seq`],
    ],
    [
      'a wrong balance after an entry',
      (h) => ['UPDATE entries SET balance_after = 7 WHERE id = $1', h.plain],
      (h) => [`entry ${h.plain}/2 balance_after`],
    ],
    [
      'a wrong balance',
      (h) => ['UPDATE wallets SET posted = posted + 1 WHERE account_id = $1', h.account],
      () => ['wallet posted', 'wallet posted + dormant'],
    ],
    [
      'a debt that vanished',
      (h) => ['UPDATE wallets SET debt = 1, head_left = 0 WHERE account_id = $1', h.account],
      () => ['wallet posted'],
    ],
    ['a wrong held', (h) => ['UPDATE wallets SET held = 0 WHERE account_id = $1', h.account], () => ['wallet held']],
    ['a hold that vanished', (h) => ['DELETE FROM holds WHERE account_id = $1', h.account], () => ['wallet held']],
    [
      'a hold whose gateway nobody knows',
      (h) => ['UPDATE holds SET owner = 4711 WHERE account_id = $1', h.account],
      () => ['owner'],
    ],
    [
      'a lot with too much left',
      (h) => ['UPDATE wallets SET head_left = head_left + 1 WHERE account_id = $1', h.account],
      (h) => [`lot ${h.lots.b} remaining`, 'wallet posted'],
    ],
    [
      'a closed lot that came back',
      (h) => ['UPDATE lots SET remaining = 1, granted = granted + 1 WHERE lot_id = $1', h.lots.a],
      (h) => [`lot ${h.lots.a} granted`, `lot ${h.lots.a} remaining`],
    ],
    [
      'an expiry that vanished',
      (h) => ['UPDATE lots SET expired = 0 WHERE account_id = $1 AND expired > 0', h.account],
      () => ['expired'],
    ],
    [
      'an allocation that vanished',
      (h) => ['DELETE FROM allocations WHERE id = $1 AND lot_id = $2', h.crossing, h.lots.a],
      (h) => [`lot ${h.lots.a} remaining`],
    ],
    [
      'an allocation moved to another lot',
      (h) => ['UPDATE allocations SET amount = amount + 1 WHERE id = $1 AND lot_id = $2', h.crossing, h.lots.b],
      (h) => [`lot ${h.lots.b} remaining`],
    ],
  ])('%s', async (_, corrupt, named) => {
    const made = await history();
    const [sql, ...values] = corrupt(made);
    const found = await subjectsAfter(made.account, sql, values);
    for (const subject of named(made)) expect(found).toContainEqual(expect.stringContaining(subject));
  });
});

it('looks at every account, a slice at a time, and counts what it saw', async () => {
  const before = await verifyLedger(ledger.pool);
  for (let i = 0; i < 120; i++) await ledger.newAccount();
  const seen: number[] = [];
  const after = await verifyLedger(ledger.pool, (accounts) => seen.push(accounts));
  expect(after.accounts).toBe(before.accounts + 120);
  expect(after.entries).toBe(before.entries);
  expect(seen).toEqual(seen.map((_, i) => (i + 1) * 50));
  expect(seen.length).toBe(Math.floor(after.accounts / 50));
});
