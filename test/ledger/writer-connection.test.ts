/** What becomes of the writer's connection, by what the server says: one that cannot write is left for another. */
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { DedicatedConnection, isPoison } from '../../src/ledger/connection.ts';
import type { LedgerWriter } from '../../src/ledger/writer.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { silentLogger } from '../../src/observe/log.ts';
import type { WireProxy } from '../support/wire-proxy.ts';
import { type LedgerRig, type NotedConnection, openLedger, openWriter, settle, until, type WriterRig } from './rig.ts';

let ledger: LedgerRig;
let rig: WriterRig;
let wire: WireProxy;
let connection: NotedConnection;
let writer: LedgerWriter;
let account: bigint;
/** A hold of 10 that is open. */
let open: Uuid;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});
beforeEach(async () => {
  rig = await openWriter(ledger);
  ({ account, connection, open, wire, writer } = rig);
});
afterEach(() => rig.close());

const sessions = async (): Promise<number[]> => {
  const { rows } = await ledger.pool.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tollgate-writer'`,
  );
  return rows.map(({ pid }) => pid);
};

/** Runs `work` while something about the database is wrong, which only its superuser can make so. */
async function whileWrong(wrong: string, right: string, work: () => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: ledger.database.url, options: '-c search_path=tollgate' });
  await client.connect();
  await client.query(wrong);
  try {
    await work();
  } finally {
    await client.query(right);
    await client.end();
  }
}

it('a server that has become read-only is left for the next connection, which may lead to another', async () => {
  const before = await sessions();
  // Of the session that is open: its server is a standby now.
  await connection.run((client) => client.query('SET default_transaction_read_only = on'));
  expect((await writer.settle(settle(account, open, 7n))).outcome).toBe('done');
  expect(await sessions()).not.toEqual(before);
});

it('a deadlock, a lock that takes too long or a refused operation keeps its connection', async () => {
  const before = await sessions();
  const poison = settle(account, open, 2_000_000_000_000_000_000n);
  await expect(writer.settle(poison)).rejects.toMatchObject({ code: 'internal_error' });
  const stuck = `DO $$ BEGIN RAISE EXCEPTION USING errcode = '55P03'; END $$`;
  await expect(connection.run((client) => client.query(stuck))).rejects.toThrow();
  expect(await sessions()).toEqual(before);
  await writer.settle(settle(account, open, 7n));
});

it('a function that is missing says nothing of the operation: it is tried until it is there', async () => {
  const [there, away] = ['ledger_apply', 'ledger_gone'];
  const rename = (from: string, to: string): string =>
    `DO $$ DECLARE f regprocedure := (SELECT oid FROM pg_proc WHERE proname = '${from}' AND pronamespace = 'tollgate'::regnamespace);
     BEGIN EXECUTE format('ALTER FUNCTION %s RENAME TO ${to}', f); END $$`;
  let settled: Promise<unknown> = Promise.resolve();
  await whileWrong(rename(there, away), rename(away, there), async () => {
    const calls = connection.calls.length;
    settled = writer.settle(settle(account, open, 7n));
    await until('it was tried', () => connection.calls.length > calls + 2);
  });
  expect(await settled).toMatchObject({ outcome: 'done', amount: 7n });
});

it.each([
  ['22003', true],
  ['23514', true],
  ['P0001', true],
  ['42883', false],
  ['42501', false],
  ['25006', false],
  ['57P01', false],
  ['40P01', false],
  [undefined, false],
])('SQLSTATE %s refuses the operation: %s', (code, poison) => {
  expect(isPoison({ code })).toBe(poison);
});

it('a connection ends in time although its server answers nothing, and is not opened again', async () => {
  const mine = new DedicatedConnection(wire.url, 'tollgate-test', silentLogger);
  await mine.run((client) => client.query('SELECT 1'));
  wire.passes = 'nothing';
  const asked = mine.run((client) => client.query('SELECT 1'));
  asked.catch(() => {});
  await mine.close();
  await expect(asked).rejects.toThrow();
  await expect(mine.run((client) => client.query('SELECT 1'))).rejects.toThrow('closed');
});
