/**
 * A balance that is read says what the next operation will find, though lots have started and expired since the last
 * one; pages of entries show each once. LEDGER_SEED=… replays a run.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { applyOperations } from '../../src/ledger/operations.ts';
import { type EntryCursor, listEntries, readBalance, readLot } from '../../src/ledger/read.ts';
import { readBudgets, setBudget } from '../../src/ledger/wallets.ts';
import { grant, hold, KEY, type LedgerRig, newId, OWNER, openLedger, second, settle } from './rig.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);

let ledger: LedgerRig;
beforeAll(async () => {
  console.log(`read: LEDGER_SEED=${SEED}`);
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

const lotOf = fc.record({
  amount: fc.bigInt({ min: 1n, max: 50n }),
  /** Minutes before and after the reading, never the very instant of it. */
  startsAt: fc.integer({ min: -9, max: 3 }),
  minutes: fc.option(fc.integer({ min: 1, max: 9 })),
});

it('a balance counts what started and expired since, whatever lots there are and whatever was charged', async () => {
  const property = fc.asyncProperty(
    fc.array(lotOf, { maxLength: 5 }),
    fc.bigInt({ min: 0n, max: 60n }),
    async (lots, charge) => {
      const account = await ledger.newAccount();
      const reading = Date.now() + 30_000;
      const minute = (minutes: number): Date => new Date(reading + minutes * 60_000);
      const grants = lots.map(({ amount, startsAt, minutes }) =>
        grant(account, amount, {
          startsAt: minute(startsAt),
          expiresAt: minutes === null ? null : minute(startsAt + minutes),
        }),
      );
      const id = newId();
      await applyOperations(ledger.client, [...grants, hold(account, id, 0n)], OWNER, minute(-10));
      await applyOperations(ledger.client, [settle(account, id, charge)], OWNER, minute(-9));

      const read = await readBalance(ledger.pool, account);
      await applyOperations(ledger.client, [hold(account, newId(), 0n)], OWNER);
      const wallet = await ledger.wallet(account);
      expect(read).toMatchObject({ posted: wallet.posted, held: wallet.held, debt: wallet.debt });
      const after = await readBalance(ledger.pool, account);
      expect(read).toEqual(after);
    },
  );
  await fc.assert(property, { seed: SEED, numRuns: 150 });
});

it('a balance leaves out a hold that ended by itself since the last operation', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 100n));
  const now = Math.floor(Date.now() / 1000);
  const opened = new Date((now - 60) * 1000);
  const lapsing = hold(account, newId(), 30n, { ttlSeconds: 10 });
  const lasting = hold(account, newId(), 20n, { ttlSeconds: 3_600 });
  await applyOperations(ledger.client, [lapsing, lasting], OWNER, opened);
  expect((await ledger.wallet(account)).held).toBe(50n);
  expect(await readBalance(ledger.pool, account)).toMatchObject({ posted: 100n, held: 20n, available: 80n });
  await ledger.pool.query('SELECT ledger_expire_due(10)');
  expect((await ledger.wallet(account)).held).toBe(20n);
  expect(await readBalance(ledger.pool, account)).toMatchObject({ posted: 100n, held: 20n, available: 80n });
  const [lapse] = await listEntries(ledger.pool, account, { limit: 2, after: null });
  expect(lapse).toMatchObject({ id: lapsing.id, kind: 'lapse', amount: 0n, lots: [] });
});

it('a budget that is read leaves out such a hold too, and all of a period that is over', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 100n));
  await setBudget(ledger.client, account, KEY, { credits: 50n, period: 'day' });
  await setBudget(ledger.client, account, null, { credits: 90n, period: 'total' });
  const budgets = () => readBudgets(ledger.pool, account, KEY);
  const held = hold(account, newId(), 20n, { policyVersion: 9n });
  const lapsing = hold(account, newId(), 30n, { policyVersion: 9n, ttlSeconds: 1 });
  const at = Math.floor(Date.now() / 1000) - 2;
  await applyOperations(ledger.client, [held, lapsing], OWNER, new Date(at * 1000));
  const shown = { held: 20n, spent: 0n };
  expect(await budgets()).toMatchObject([
    { key: null, limit: 90n, period: 'total', periodStart: null, resetsAt: null, ...shown },
    { key: KEY, limit: 50n, period: 'day', ...shown },
  ]);
  await ledger.one(settle(account, held.id, 15n));
  expect(await budgets()).toMatchObject([
    { held: 0n, spent: 15n },
    { held: 0n, spent: 15n },
  ]);
  await ledger.pool.query("UPDATE spenders SET period_start = period_start - interval '1 day' WHERE key_id = $1", [
    KEY,
  ]);
  const [, ofKey] = await budgets();
  expect(ofKey).toMatchObject({ held: 0n, spent: 0n });
  expect(ofKey!.resetsAt!.getTime() - ofKey!.periodStart!.getTime()).toBe(86_400_000);
});

it('pages of entries show each entry once, newest first, also where two share the id of their request', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 100n, { reference: 'paid' }));
  for (let i = 0; i < 3; i++) {
    const id = newId();
    await ledger.one(hold(account, id, 10n, { floor: 10n }));
    await ledger.recover(account, id);
    await ledger.one(settle(account, id, 4n));
  }
  const seen: string[] = [];
  let after: EntryCursor | null = null;
  for (;;) {
    const page = await listEntries(ledger.pool, account, { limit: 2, after });
    seen.push(...page.map((entry) => `${entry.kind} ${entry.amount} ${entry.debit} → ${entry.credit}`));
    if (page.length < 2) break;
    after = page.at(-1)!;
  }
  const request = ['late 6 revenue → wallet', 'recovered -10 wallet → revenue'];
  expect(seen).toEqual([...request, ...request, ...request, 'grant 100 source:topup → wallet']);
});

it('a lot is found by the reference that made it', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 100n, { reference: 'paid', expiresAt: second(9), reason: 'thanks' }));
  const lot = await readLot(ledger.pool, account, 'paid');
  expect(lot).toMatchObject({ granted: 100n, remaining: 100n, expiresAt: second(9), reason: 'thanks', kind: 'topup' });
  expect(await readLot(ledger.pool, account, 'unpaid')).toBeNull();
});
