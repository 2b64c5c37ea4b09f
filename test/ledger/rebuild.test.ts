/** `ledger rebuild` recreates every projection from the facts, beside running gateways, and touches nothing else. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WriterConnection } from '../../src/ledger/connection.ts';
import { rebuildLedger } from '../../src/ledger/rebuild.ts';
import { verifyLedger } from '../../src/ledger/verify.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { corrupt, liveBusily } from './busy.ts';
import { grant, hold, KEY, type LedgerRig, newId, OWNER, openLedger, second, settle } from './rig.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);

let ledger: LedgerRig;
beforeAll(async () => {
  console.log(`rebuild: LEDGER_SEED=${SEED}`);
  ledger = await openLedger();
});
afterAll(() => ledger.close());

/** Every row of an account, its projections brought to the instant `at`. */
async function rowsAt(account: bigint, at: number): Promise<unknown> {
  await ledger.client.query('SELECT ledger_store(ledger_refresh(w, $2)) FROM wallets w WHERE account_id = $1', [
    account,
    second(at),
  ]);
  const rows = (table: string, order: string): string =>
    `(SELECT jsonb_agg(to_jsonb(t) ORDER BY ${order}) FROM ${table} t WHERE t.account_id = w.account_id) AS ${table}`;
  const result = await ledger.client.query(
    `SELECT to_jsonb(w) AS wallet, ${rows('lots', 'lot_id')}, ${rows('spenders', 'key_id')}, ${rows('holds', 'id')},
       ${rows('entries', 'seq')} FROM wallets w WHERE account_id = $1`,
    [account],
  );
  return result.rows[0];
}

/** Forgets all that follows from the facts. */
async function dropProjections(account: bigint): Promise<void> {
  await corrupt(
    ledger,
    `UPDATE wallets SET posted = 0, held = 0, debt = 0, dormant = 0, seq = 0, head_lot = NULL, head_left = 0,
       next_change_at = 'infinity' WHERE account_id = $1`,
    [account],
  );
  await corrupt(ledger, 'UPDATE lots SET state = 0, remaining = 0, repaid = 0, expired = 0 WHERE account_id = $1', [
    account,
  ]);
  await corrupt(ledger, 'UPDATE spenders SET held = 0 WHERE account_id = $1', [account]);
}

it('recreates all projections, row for row, after they were dropped', async () => {
  for (let i = 0; i < 12; i++) {
    const account = await ledger.newAccount(BigInt(i % 2) * 15n);
    await liveBusily(ledger, account, SEED + i, 30 + i);
    const before = await rowsAt(account, 30 + i);
    await dropProjections(account);
    const done = await rebuildLedger(ledger.pool, { account, page: 1 + (i % 3) * 40, at: second(30 + i) });
    expect({ seed: SEED + i, broken: done.broken }).toEqual({ seed: SEED + i, broken: [] });
    expect((await verifyLedger(ledger.pool, { account })).differences).toEqual([]);
    expect({ seed: SEED + i, rows: await rowsAt(account, 30 + i) }).toEqual({ seed: SEED + i, rows: before });
  }
});

it('writes nothing where nothing differs', async () => {
  const account = await ledger.newAccount();
  await liveBusily(ledger, account, SEED + 99);
  const versions = async () =>
    (await ledger.client.query('SELECT xmin, ctid FROM wallets UNION ALL SELECT xmin, ctid FROM lots')).rows;
  const before = await versions();
  expect(await rebuildLedger(ledger.pool)).toMatchObject({ changed: [], broken: [] });
  expect(await versions()).toEqual(before);
});

it('says what it would change, and changes nothing, with dryRun', async () => {
  const account = await ledger.newAccount();
  await ledger.apply([grant(account, 10n)]);
  await corrupt(ledger, 'UPDATE wallets SET posted = 9 WHERE account_id = $1', [account]);
  const change = { account, subject: 'wallet posted', expected: '10', found: '9' };
  expect(await rebuildLedger(ledger.pool, { dryRun: true })).toMatchObject({ changed: [change], broken: [] });
  expect((await ledger.wallet(account)).posted).toBe(9n);
  expect(await rebuildLedger(ledger.pool)).toMatchObject({ changed: [change], broken: [] });
  expect((await ledger.wallet(account)).posted).toBe(10n);
});

it('leaves an account alone whose running balance has a break, unless told to trust the amounts', async () => {
  const account = await ledger.newAccount();
  await ledger.apply([grant(account, 10n), grant(account, 20n)]);
  // What a wrong balance leaves behind where operations went on: entries that follow from it.
  await corrupt(ledger, 'UPDATE wallets SET posted = posted + 5 WHERE account_id = $1', [account]);
  await ledger.one(grant(account, 1n));
  const done = await rebuildLedger(ledger.pool, { account });
  expect(done).toMatchObject({
    changed: [],
    broken: [{ subject: expect.stringMatching(/^entry .*\/1 balance_after$/) }],
  });
  expect((await ledger.wallet(account)).posted).toBe(36n);

  const trusted = await rebuildLedger(ledger.pool, { account, trustAmounts: true });
  expect(trusted.changed).toEqual([{ account, subject: 'wallet posted', expected: '31', found: '36' }]);
  expect((await ledger.wallet(account)).posted).toBe(31n);
});

it('leaves an account alone that lacks entries, whatever it is told', async () => {
  const account = await ledger.newAccount();
  await ledger.apply([grant(account, 10n), grant(account, 20n), grant(account, 30n)]);
  await corrupt(ledger, 'DELETE FROM entries WHERE account_id = $1 AND seq = 2', [account]);
  await corrupt(ledger, 'UPDATE wallets SET held = 1 WHERE account_id = $1', [account]);
  const done = await rebuildLedger(ledger.pool, { account, trustAmounts: true });
  expect(done.changed).toEqual([]);
  expect(done.broken[0]).toMatchObject({ subject: 'entry of seq 2', expected: 'to be there, moving 20' });
  expect(await ledger.wallet(account)).toMatchObject({ held: 1n, posted: 60n });
});

it('says which account it cannot rebuild, and goes on with the others', async () => {
  const [lost, torn, fine] = [await ledger.newAccount(), await ledger.newAccount(), await ledger.newAccount()];
  for (const account of [lost, torn, fine]) await ledger.apply([grant(account, 10n)]);
  await corrupt(ledger, 'DELETE FROM wallets WHERE account_id = $1', [lost]);
  // More was taken from the lot than it had.
  const spent = newId();
  await ledger.apply([hold(torn, spent, 10n)]);
  await ledger.one(settle(torn, spent, 10n));
  await corrupt(ledger, 'UPDATE wallets SET posted = 5, head_left = 5 WHERE account_id = $1', [torn]);
  const again = newId();
  await ledger.one(hold(torn, again, 5n));
  await ledger.one(settle(torn, again, 5n));
  await corrupt(ledger, 'UPDATE wallets SET held = 3 WHERE account_id = $1', [fine]);

  const { changed, broken } = await rebuildLedger(ledger.pool, { trustAmounts: true });
  expect(changed).toContainEqual({ account: fine, subject: 'wallet held', expected: '0', found: '3' });
  expect(broken).toContainEqual({ account: lost, subject: 'wallet', expected: 'a row', found: 'none' });
  expect(broken).toContainEqual({
    account: torn,
    subject: 'wallet',
    expected: 'what can be stored',
    found: expect.stringContaining('lot_remainder_is_within_grant'),
  });
  expect((await ledger.wallet(fine)).held).toBe(0n);
});

it('rebuilds beside gateways that write as fast as they can', async () => {
  const busy = await openLedger();
  const connection = new WriterConnection(busy.database.url, OWNER, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  const account = await busy.newAccount();
  await busy.apply([grant(account, 1_000_000n)]);
  const lots = Array.from({ length: 8 }, () => grant(account, 100n, { priority: 9 }));
  await busy.apply(lots);
  await busy.client.query('SELECT ledger_set_budget($1, $2, 1000000, 1::smallint)', [account, KEY]);
  let over = false;
  const work = Array.from({ length: 16 }, async (_, i) => {
    while (!over) {
      const id = newId();
      const { outcome } = await writer.hold(hold(account, id, 9n, { policyVersion: 2n }));
      if (outcome === 'done') await writer.settle(settle(account, id, BigInt(i % 9)));
    }
  });
  try {
    for (let round = 0; round < 10; round++) {
      await corrupt(busy, 'UPDATE wallets SET held = held + 77 WHERE account_id = $1', [account]);
      await corrupt(busy, 'UPDATE spenders SET held = held + 5 WHERE account_id = $1 AND key_id = $2', [account, KEY]);
      await corrupt(busy, 'UPDATE lots SET remaining = remaining - 50, repaid = 9, expired = 3 WHERE lot_id = $1', [
        lots[round % 8]!.id,
      ]);
      const { changed, broken } = await rebuildLedger(busy.pool, { page: 50 });
      expect(broken).toEqual([]);
      expect(changed.map(({ subject }) => subject.replace(/ [0-9a-f-]{36}/, ''))).toEqual([
        'lot remaining',
        'lot repaid',
        'lot expired',
        'wallet held',
        `spender ${KEY} held`,
      ]);
      await busy.expectClean();
    }
  } finally {
    over = true;
    await Promise.all(work);
    await writer.close();
    await connection.close();
  }
  await busy.expectClean();
  await busy.close();
});
