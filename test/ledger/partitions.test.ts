/** Months of entries are made ahead; one that has rows in the default partition already is left there, and said so. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { keepPartitions, makePartitions } from '../../src/ledger/partitions.ts';
import { rebuildLedger } from '../../src/ledger/rebuild.ts';
import { verifyLedger } from '../../src/ledger/verify.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { grant, hold, type LedgerRig, newId, openLedger, settle, until } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(() => ledger.close());

async function partitions(): Promise<string[]> {
  const { rows } = await ledger.client.query<{ name: string }>(
    "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'entries'::regclass ORDER BY 1",
  );
  return rows.map(({ name }) => name);
}

it('a month whose rows lie in the default partition stays there; the others are made', async () => {
  const before = await partitions();
  const { rows: months } = await ledger.client.query<{ name: string; month: string }>(
    `SELECT to_char(m, '"entries_"YYYY_MM') AS name, to_char(m, 'YYYY-MM') AS month
       FROM generate_series(2, 3) n, LATERAL (SELECT (now() + make_interval(months => n)) AT TIME ZONE 'UTC' AS m) t`,
  );
  const [made, left] = months as [{ name: string; month: string }, { name: string; month: string }];
  for (const { name } of months) await ledger.client.query(`DROP TABLE ${name}`);
  await ledger.client.query(
    `INSERT INTO entries (account_id, seq, amount, balance_after, at, id, kind, debit, credit)
     VALUES (1, 1, -1, -1, now(), uuid_at(now() + interval '3 months'), 2, 1, 2)`,
  );
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line).msg) });
  expect(await makePartitions(ledger.pool, log)).toBe(1);
  expect(await partitions()).toEqual(before.filter((name) => name !== left.name));
  expect(await partitions()).toContain(made.name);
  expect(lines).toEqual([
    `entries of ${left.month} stay in entries_default, where some of them are already; see docs/ledger-archive.md`,
  ]);
});

it('somebody who reads for long keeps a month from being made, and nobody from booking: the making gives up', async () => {
  const rig = await openLedger();
  const account = await rig.newAccount();
  const id = newId();
  await rig.apply([grant(account, 10n), hold(account, id, 4n)]);
  const { rows } = await rig.client.query<{ name: string }>(
    `SELECT to_char((now() + interval '3 months') AT TIME ZONE 'UTC', '"entries_"YYYY_MM') AS name`,
  );
  await rig.client.query(`DROP TABLE ${rows[0]!.name}`);
  const reader = await rig.pool.connect();
  await reader.query('BEGIN');
  await reader.query('SELECT FROM entries');

  const lines: unknown[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const end = keepPartitions(rig.pool, log);
  await until('it waits for the reader', async () => {
    const { rowCount } = await rig.pool.query(
      "SELECT FROM pg_locks WHERE relation = 'entries_default'::regclass AND NOT granted",
    );
    return rowCount! > 0 || lines.length > 0;
  });
  // Behind what waits for the reader; the reader stays.
  expect(await rig.one(settle(account, id, 4n))).toMatchObject({ outcome: 'done' });
  await until('it gave up', () => lines.length > 0);
  expect(lines).toEqual([
    expect.objectContaining({
      err: expect.objectContaining({ code: '55P03' }),
      msg: 'months of entries could not be made ahead; run tollgate migrate',
    }),
  ]);
  end();
  await reader.query('ROLLBACK');
  reader.release();
  expect(await makePartitions(rig.pool, silentLogger)).toBe(1);
  await rig.expectClean();
  await rig.close();
});

const DOCUMENT = readFileSync(join(import.meta.dirname, '../../docs/ledger-archive.md'), 'utf8');

it('the documented way moves a month out of the default partition', async () => {
  await ledger.client.query(
    `INSERT INTO entries (account_id, seq, amount, balance_after, at, id, kind, debit, credit)
     SELECT 1, 1 + n, -1, -2, now(), uuid_at('2030-01-15Z'), 2, 1, 2 FROM generate_series(1, 3) n`,
  );
  const sql = /```sql\n(BEGIN;\n[^`]*entries_2030_01[^`]*)```/.exec(DOCUMENT)![1]!;
  await ledger.client.query(sql);
  expect(await partitions()).toContain('entries_2030_01');
  const { rows } = await ledger.client.query(
    `SELECT tableoid::regclass::text AS place, count(*) FROM entries
       WHERE id >= uuid_floor('2030-01-01Z') AND id < uuid_floor('2030-02-01Z') GROUP BY 1`,
  );
  expect(rows).toEqual([{ place: 'entries_2030_01', count: 3n }]);
  await expect(ledger.client.query('TRUNCATE entries_2030_01')).rejects.toThrow('append-only');
  await expect(ledger.client.query('DELETE FROM entries_2030_01')).rejects.toThrow('append-only');
});

it('of a detached month verify names what is missing, and rebuild leaves the account alone; attached again all is well', async () => {
  const rig = await openLedger();
  const account = await rig.newAccount();
  const other = await rig.newAccount();
  const { rows } = await rig.client.query<{ id: string; name: string; from: string; to: string }>(
    `SELECT uuid_at(m + interval '10 days') AS id, to_char(m AT TIME ZONE 'UTC', '"entries_"YYYY_MM') AS name,
       uuid_floor(m) AS from, uuid_floor(m + interval '1 month') AS to
       FROM (SELECT date_trunc('month', now(), 'UTC') - interval '1 month' AS m) t`,
  );
  const { id, name, from, to } = rows[0]!;
  await rig.apply([grant(account, 10n), grant(other, 10n)]);
  await rig.one(hold(account, id, 4n));
  await rig.one(settle(account, id, 4n));
  await rig.one(grant(account, 1n));

  await expect(rig.client.query(`ALTER TABLE entries DETACH PARTITION ${name} CONCURRENTLY`)).rejects.toThrow(
    'default',
  );
  await rig.client.query(`ALTER TABLE entries DETACH PARTITION ${name}`);
  const { differences } = await verifyLedger(rig.pool);
  expect(new Set(differences.map((difference) => difference.account))).toEqual(new Set([account]));
  expect(differences[0]).toMatchObject({ subject: 'entry of seq 2', expected: 'to be there, moving -4' });
  expect((await rebuildLedger(rig.pool, { trustAmounts: true })).changed).toEqual([]);

  await rig.client.query(`ALTER TABLE entries ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`);
  await rig.expectClean();
  await rig.close();
});
