/** `ledger verify` finds whatever was changed behind the ledger's back, and names it; and nothing else. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WriterConnection } from '../../src/ledger/connection.ts';
import { verifyLedger } from '../../src/ledger/verify.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { corrupt, liveBusily } from './busy.ts';
import { CORRUPTIONS, history } from './corruptions.ts';
import { grant, hold, KEY, type LedgerRig, newId, OWNER, openLedger, settle } from './rig.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);

let ledger: LedgerRig;
beforeAll(async () => {
  console.log(`verify: LEDGER_SEED=${SEED}`);
  ledger = await openLedger();
});
afterAll(() => ledger.close());

async function subjects(...accounts: bigint[]): Promise<string[]> {
  const { differences } = await verifyLedger(ledger.pool);
  return differences
    .filter(({ account }) => accounts.includes(account))
    .map(({ subject, expected, found }) => `${subject}: ${expected} / ${found}`);
}

describe('names', () => {
  it('nothing where nothing is wrong', async () => {
    const { account, other, refunded } = await history(ledger);
    expect(await subjects(account, other, refunded)).toEqual([]);
  });

  it.each(CORRUPTIONS)('%s', async (_, corruption, named) => {
    const made = await history(ledger);
    const [sql, ...values] = corruption(made);
    await corrupt(ledger, sql, values);
    const found = await subjects(made.account, made.other, made.refunded);
    for (const subject of named(made)) expect(found).toContainEqual(expect.stringContaining(subject));
  });

  it('only what was changed', async () => {
    const { account, plain } = await history(ledger);
    await corrupt(ledger, 'UPDATE wallets SET held = 0 WHERE account_id = $1', [account]);
    expect(await subjects(account)).toEqual(['wallet held: 3 / 0']);
    await corrupt(ledger, 'UPDATE wallets SET held = 3 WHERE account_id = $1', [account]);
    await corrupt(ledger, 'UPDATE entries SET balance_after = balance_after + 1 WHERE id = $1', [plain]);
    // The entry itself, and the next one, which no longer follows from it.
    expect(await subjects(account)).toHaveLength(2);
  });
});

it('finds nothing after busy lives, whatever fits in a page and whatever may wait', async () => {
  const accounts: bigint[] = [];
  for (let i = 0; i < 6; i++) {
    accounts.push(await ledger.newAccount(BigInt(i % 2) * 10n));
    await liveBusily(ledger, accounts[i]!, SEED + i);
  }
  for (const account of accounts) {
    for (const sizes of [{}, { page: 1 }, { page: 7 }, { page: 3, mostEarly: 1 }, { mostEarly: 2 }]) {
      const { differences, entries } = await verifyLedger(ledger.pool, { account, ...sizes });
      expect({ differences, sizes }).toEqual({ differences: [], sizes });
      expect(entries).toBe(Number((await ledger.wallet(account)).seq));
    }
  }
});

it('finds the same in many small pages as in one', async () => {
  const whole = await verifyLedger(ledger.pool);
  expect(whole.differences.length).toBeGreaterThan(40);
  for (const sizes of [{ page: 2 }, { page: 11 }, { page: 5, mostEarly: 3 }]) {
    const sliced = await verifyLedger(ledger.pool, sizes);
    expect(new Set(sliced.differences)).toEqual(new Set(whole.differences));
    expect(sliced.differences).toHaveLength(whole.differences.length);
    expect(sliced).toMatchObject({ accounts: whole.accounts, entries: whole.entries });
  }
});

it('looks at every account, and says how far it is', async () => {
  const before = await verifyLedger(ledger.pool);
  for (let i = 0; i < 520; i++) await ledger.newAccount();
  const seen: number[] = [];
  const after = await verifyLedger(ledger.pool, { progress: ({ accounts }) => seen.push(accounts) });
  expect(after.accounts).toBe(before.accounts + 520);
  expect(after.entries).toBe(before.entries);
  expect(seen.at(-1)).toBe(after.accounts);
  expect(new Set(seen).size).toBeGreaterThan(1);
});

it('finds nothing wrong while gateways write as fast as they can', async () => {
  const busy = await openLedger();
  const writers = [1, 2].map(() => {
    const connection = new WriterConnection(busy.database.url, OWNER, silentLogger);
    return { connection, writer: new LedgerWriter({ connection, clock: systemClock, log: silentLogger }) };
  });
  const accounts = await Promise.all([busy.newAccount(), busy.newAccount()]);
  for (const account of accounts) {
    await busy.client.query('SELECT ledger_set_budget($1, $2, 1000000, 1::smallint)', [account, KEY]);
  }
  let over = false;
  const work = writers.flatMap(({ writer }) =>
    Array.from({ length: 24 }, async (_, i) => {
      while (!over) {
        const account = accounts[i % 2]!;
        const id = newId();
        if (i % 8 === 0) await writer.apply(grant(account, 500n, { priority: i }));
        const { outcome } = await writer.hold(hold(account, id, 9n, { least: 1n, policyVersion: 2n }));
        if (outcome === 'done') await writer.settle(settle(account, id, BigInt(i % 12)));
      }
    }),
  );
  try {
    let entries = 0;
    for (let pass = 0; pass < 12 || entries < 2_000; pass++) {
      const found = await verifyLedger(busy.pool, { page: pass % 2 === 0 ? 200 : 2_000, mostEarly: 50 });
      expect(found.differences).toEqual([]);
      expect(found.entries).toBeGreaterThanOrEqual(entries);
      entries = found.entries;
    }
  } finally {
    over = true;
    await Promise.all(work);
    for (const { writer, connection } of writers) {
      await writer.close();
      await connection.close();
    }
  }
  await busy.expectClean();
  await busy.close();
});
