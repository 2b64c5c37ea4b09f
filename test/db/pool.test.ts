import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { assertServer, transaction } from '../../src/db/pool.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { ask } from './rig.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.pool.query('CREATE TABLE notes (id int PRIMARY KEY)');
});
afterAll(() => database.drop());

const count = async (): Promise<unknown> =>
  (await database.pool.query('SELECT count(*)::int AS n FROM notes')).rows[0].n;

test('no money passes through a float: bigint is bigint, numeric is text, times are dates', async () => {
  const { rows } = await database.pool.query(`SELECT 9007199254740993::bigint AS big, 0.1::numeric AS exact,
    '{9007199254740993,-1}'::bigint[] AS bigs, '{}'::bigint[] AS none, '2026-01-02T03:04:05Z'::timestamptz AS at`);
  expect(rows[0]).toEqual({
    big: 9007199254740993n,
    exact: '0.1',
    bigs: [9007199254740993n, -1n],
    none: [],
    at: new Date('2026-01-02T03:04:05Z'),
  });
});

test('connections see the schema tollgate, with a bound on every statement', async () => {
  const { rows } = await database.pool.query('SELECT current_schema() AS schema');
  expect(rows[0].schema).toBe('tollgate');
  expect((await database.pool.query('SHOW statement_timeout')).rows[0].statement_timeout).toBe('10s');
});

test('a transaction is kept when its work returns, and undone when it throws', async () => {
  await transaction(database.pool, (client) => client.query('INSERT INTO notes VALUES (1)'));
  const failed = transaction(database.pool, async (client) => {
    await client.query('INSERT INTO notes VALUES (2)');
    throw new Error('no');
  });
  await expect(failed).rejects.toThrow('no');
  expect(await count()).toBe(1);
});

test('a connection that dies, idle or inside a transaction, is replaced and ends nothing else', async () => {
  const others = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tollgate-test' AND datname = current_database()`;
  await ask(database.url, others);
  const failed = transaction(database.pool, async (client) => {
    await client.query('INSERT INTO notes VALUES (3)');
    await ask(database.url, others);
    await sleep(100); // the loss arrives between two queries
    await client.query('INSERT INTO notes VALUES (4)');
  });
  await expect(failed).rejects.toThrow();
  expect(await count()).toBe(1);
});

test('a Postgres of a supported release is accepted', () => assertServer(database.pool));
