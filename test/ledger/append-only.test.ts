/** The database itself refuses to change what the ledger says happened, to a superuser as well. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { grant, hold, KEY, type LedgerRig, newId, openLedger, settle } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
  // A charge across two lots has allocations.
  const account = await ledger.newAccount();
  const id = newId();
  await ledger.apply([grant(account, 10n), grant(account, 10n), hold(account, id, 15n)]);
  await ledger.one(settle(account, id, 15n));
  // An entry in every partition there is.
  await ledger.client.query(
    `INSERT INTO entries (account_id, seq, amount, balance_after, key_id, at, id, kind, debit, credit)
     SELECT $1, 100 + n, -1, 0, $2, now(), uuid_at(now() + make_interval(months => n)), 2, 1, 2 FROM generate_series(-2, 5) n`,
    [account, KEY],
  );
});
afterAll(() => ledger.close());

async function partitions(): Promise<string[]> {
  const { rows } = await ledger.client.query<{ name: string }>(
    `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'entries'::regclass ORDER BY 1`,
  );
  return rows.map((row) => row.name);
}

async function expectRefused(table: string): Promise<void> {
  const count = async (): Promise<unknown> => (await ledger.client.query(`SELECT count(*) FROM ${table}`)).rows;
  const before = await count();
  expect(before, `${table} has rows`).not.toEqual([{ count: 0n }]);
  const changes = [
    `UPDATE ${table} SET amount = amount + 1`,
    `UPDATE ${table} SET id = id`,
    `DELETE FROM ${table}`,
    `TRUNCATE ${table}`,
    `INSERT INTO ${table} SELECT * FROM ${table} LIMIT 1 ON CONFLICT ON CONSTRAINT ${table}_pkey DO UPDATE SET amount = 7`,
    `MERGE INTO ${table} t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE`,
  ];
  for (const change of changes) await expect(ledger.client.query(change), change).rejects.toThrow('append-only');
  expect(await count()).toEqual(before);
}

describe('UPDATE, DELETE and TRUNCATE are refused', () => {
  it('of entries', () => expectRefused('entries'));
  it('of allocations', () => expectRefused('allocations'));

  it('of each partition of entries, addressed directly', async () => {
    const names = await partitions();
    expect(names.length).toBeGreaterThanOrEqual(6);
    for (const name of names) await expectRefused(name);
  });

  it('of a partition that is made later', async () => {
    const before = new Set(await partitions());
    await ledger.client.query('BEGIN');
    // The months that lie in the default partition now make way for their own.
    await ledger.client.query('SET LOCAL session_replication_role = replica');
    await ledger.client.query('DELETE FROM entries_default');
    await ledger.client.query('COMMIT');
    await ledger.client.query('SELECT make_partitions(4)');
    const made = (await partitions()).filter((name) => !before.has(name));
    expect(made).toHaveLength(1);
    await ledger.client.query(
      `INSERT INTO entries (account_id, seq, amount, balance_after, at, id, kind, debit, credit)
       VALUES (1, 999, -1, 0, now(), uuid_at(now() + interval '4 months'), 2, 1, 2)`,
    );
    await expectRefused(made[0]!);
  });
});

it('what a transfer may be is checked by the database: books, sign and kind', async () => {
  const insert = (amount: bigint, kind: number, debit: number, credit: number): Promise<unknown> =>
    ledger.client.query(
      `INSERT INTO entries (account_id, seq, amount, balance_after, at, id, kind, debit, credit)
       VALUES (1, 1, $1, 0, now(), gen_random_uuid(), $2, $3, $4)`,
      [amount, kind, debit, credit],
    );
  await expect(insert(5n, 2, 1, 2)).rejects.toThrow('entry_sign_follows_the_books');
  await expect(insert(-5n, 1, 10, 1)).rejects.toThrow('entry_sign_follows_the_books');
  await expect(insert(5n, 2, 2, 1)).rejects.toThrow('entry_sign_follows_the_kind');
  await expect(insert(-5n, 3, 1, 2)).rejects.toThrow('entry_sign_follows_the_kind');
  await expect(insert(5n, 1, 10, 2)).rejects.toThrow('entry_moves_between_wallet_and_another_book');
  await expect(insert(0n, 1, 1, 1)).rejects.toThrow('entry_moves_between_wallet_and_another_book');
  await expect(insert(-5n, 10, 1, 2)).rejects.toThrow('entry_kind_is_known');
});
