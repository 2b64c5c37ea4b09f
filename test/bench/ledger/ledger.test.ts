/** The ledgers of the benchmark are whole, past and all, and their gates fail when they should: one that cannot proves nothing. */
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { connect, Ledger } from './ledger.ts';
import { accountIds, bookPast, openAccounts } from './preload.ts';
import { Textbook } from './textbook.ts';
import { REQUESTS } from './workload.ts';

const ACCOUNTS = accountIds(3);
const MANY = ACCOUNTS.slice(0, 2);
const HOT = ACCOUNTS[2]!;
let databases: TestDatabase[];
let client: pg.Client;
let ledger: Ledger;

beforeAll(async () => {
  databases = [await createTestDatabase(), await createTestDatabase()];
  const { url } = databases[0]!;
  client = await connect(url);
  await openAccounts(client, ACCOUNTS);
  ledger = await Ledger.open(url, await bookPast(client, MANY, 10));
});

afterAll(async () => {
  await ledger.close();
  await client.end();
  for (const database of databases) await database.drop();
});

test('the past lies in several months, as many charges in each', async () => {
  const { rows } = await client.query<{ tables: string; least: string; most: string }>(
    `SELECT count(*) AS tables, min(n) AS least, max(n) AS most FROM
       (SELECT count(*) AS n FROM entries WHERE kind = 2 GROUP BY tableoid HAVING tableoid <> 'entries_default'::regclass) t`,
  );
  expect(rows).toEqual([{ tables: '5', least: '4', most: '4' }]);
});

test('nothing is at fault after pairs on all accounts, old and new', async () => {
  await Promise.all(REQUESTS.flatMap(() => ACCOUNTS).map((account) => ledger.pair(account)));
  await ledger.vacuum();
  expect(await ledger.faults()).toEqual([]);
});

test('a charge that no client was answered, a hold that is left and a wrong balance are named', async () => {
  const other = await Ledger.open(databases[0]!.url, { charges: 0, charged: 0n });
  await other.pair(HOT).finally(() => other.close());
  await client.query('UPDATE wallets SET held = held + 7 WHERE account_id = $1', [HOT]);
  const faults = await ledger.faults();
  expect(faults.map((fault) => fault.split(':')[0])).toEqual([
    'charges',
    'credits charged',
    'credits held',
    `account ${HOT}, wallet held`,
  ]);
});

test('the gate of the textbook passes, and fails', async () => {
  const { url, pool } = databases[1]!;
  const textbook = await Textbook.open(url);
  await textbook.use(4);
  await Promise.all(REQUESTS.map(() => textbook.pair()));
  expect(await textbook.faults()).toEqual([]);
  await pool.query('UPDATE textbook.wallets SET balance = balance + 1');
  expect(await textbook.faults()).toHaveLength(1);
  await textbook.close();
});
