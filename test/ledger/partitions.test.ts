/** Months of entries are made ahead; a month that is in use in the default partition already is left there, and said so. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type LedgerRig, openLedger } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(() => ledger.close());

it('a month whose rows lie in the default partition stays there; the others are made', async () => {
  const { rows: months } = await ledger.client.query<{ name: string; month: string }>(
    `SELECT to_char((now() + make_interval(months => n)) AT TIME ZONE 'UTC', '"entries_"YYYY_MM') AS name,
       to_char((now() + make_interval(months => n)) AT TIME ZONE 'UTC', 'YYYY-MM') AS month FROM generate_series(4, 6) n`,
  );
  await ledger.client.query(
    `INSERT INTO entries (account_id, seq, amount, balance_after, at, id, kind, debit, credit)
     VALUES (1, 1, -1, -1, now(), uuid_at(now() + interval '5 months'), 2, 1, 2)`,
  );
  const warnings: string[] = [];
  ledger.client.on('notice', ({ message }) => warnings.push(String(message)));
  const { rows } = await ledger.client.query<{ made: number }>('SELECT make_partitions(6) AS made');
  expect(rows[0]!.made).toBe(2);
  expect(warnings).toEqual([`entries of ${months[1]!.month} stay in entries_default, where some of them are already`]);
  const { rows: partitions } = await ledger.client.query<{ name: string }>(
    `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'entries'::regclass`,
  );
  const made = partitions.map(({ name }) => name);
  expect(made).toEqual(expect.arrayContaining([months[0]!.name, months[2]!.name]));
  expect(made).not.toContain(months[1]!.name);
});
