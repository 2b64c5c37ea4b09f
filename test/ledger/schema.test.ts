/** What the tables promise before any operation: one account is one shard, money is exact, months are partitions. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ENTRY_KINDS, LOT_KINDS } from '../../src/ledger/outcomes.ts';
import { type LedgerRig, openLedger } from './rig.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(() => ledger.close());

/** Tables of one row for a process or for all; everything else of the ledger belongs to an account. */
const NOT_BY_ACCOUNT = ['owners', 'credit_scale'];
/** No key, and no request reads it: it tells a job which accounts of its shard time has changed. */
const OF_A_JOB = ['wallets_due', 'wallets_policy_due'];

async function tables(): Promise<string[]> {
  const { rows } = await ledger.client.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'tollgate'::regnamespace
       AND (relname IN ('wallets', 'spenders', 'lots', 'holds', 'allocations', 'adjustments', 'named_operations', 'owners', 'credit_scale')
         OR relname LIKE 'entries%') ORDER BY 1`,
  );
  return rows.map((row) => row.name);
}

it('every key and index of a ledger table begins with account_id', async () => {
  const { rows } = await ledger.client.query<{ table: string; index: string; first: string }>(
    `SELECT i.indrelid::regclass::text AS table, i.indexrelid::regclass::text AS index, a.attname AS first
       FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      WHERE i.indrelid::regclass::text = ANY ($1)`,
    [(await tables()).filter((table) => !NOT_BY_ACCOUNT.includes(table))],
  );
  expect(rows.length).toBeGreaterThan(10);
  expect(rows.filter((row) => row.first !== 'account_id' && !OF_A_JOB.includes(row.index))).toEqual([]);
});

it('every ledger table has a primary key', async () => {
  const { rows } = await ledger.client.query<{ name: string }>(
    'SELECT DISTINCT indrelid::regclass::text AS name FROM pg_index WHERE indisprimary',
  );
  const keyed = new Set(rows.map((row) => row.name));
  expect((await tables()).filter((table) => !keyed.has(table))).toEqual([]);
});

it('no column of a ledger table is a float or a numeric', async () => {
  const { rows } = await ledger.client.query(
    `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'tollgate'
       AND table_name = ANY ($1) AND data_type IN ('real', 'double precision', 'numeric', 'money')`,
    [await tables()],
  );
  expect(rows).toEqual([]);
});

it('what every request writes is in no index but its key: the others are for what is rare', async () => {
  const { rows } = await ledger.client.query<{ name: string; indexes: string[] }>(
    `SELECT indrelid::regclass::text AS name, array_agg(indexrelid::regclass::text ORDER BY indexrelid::regclass::text) AS indexes FROM pg_index
      WHERE indrelid IN ('wallets'::regclass, 'holds'::regclass, 'entries'::regclass) GROUP BY 1 ORDER BY 1`,
  );
  expect(rows).toEqual([
    { name: 'entries', indexes: ['entries_apart', 'entries_pkey'] },
    { name: 'holds', indexes: ['holds_expiring', 'holds_pkey'] },
    { name: 'wallets', indexes: ['wallets_due', 'wallets_pkey', 'wallets_policy_due'] },
  ]);
});

it('charges and releases are not in the index of entries that lie apart; every other kind is', async () => {
  const { rows } = await ledger.client.query<{ rule: string }>(
    "SELECT pg_get_expr(indpred, indrelid) AS rule FROM pg_index WHERE indexrelid = 'entries_apart'::regclass",
  );
  const { rows: kinds } = await ledger.client.query<{ kind: number }>(
    `SELECT kind FROM generate_series(1, 9) kind WHERE ${rows[0]!.rule}`,
  );
  expect(kinds.map(({ kind }) => ENTRY_KINDS[kind - 1])).toEqual(
    ENTRY_KINDS.filter((kind) => kind !== 'charge' && kind !== 'release'),
  );
});

it('an update of the hot row stays in its page, also of a wallet that waits for an expiry', async () => {
  const inPage = async (): Promise<bigint> => {
    const { rows } = await ledger.client.query<{ hot: bigint }>(
      "SELECT pg_stat_get_xact_tuples_hot_updated('wallets'::regclass) AS hot",
    );
    return rows[0]!.hot;
  };
  for (const next of ['infinity', '2099-01-01']) {
    await ledger.client.query('BEGIN');
    await ledger.client.query('INSERT INTO wallets (account_id, next_change_at) VALUES (77, $1)', [next]);
    const before = await inPage();
    for (let i = 0; i < 20; i++) {
      await ledger.client.query('UPDATE wallets SET posted = posted + 1 WHERE account_id = 77');
    }
    expect((await inPage()) - before).toBe(20n);
    await ledger.client.query('ROLLBACK');
  }
});

it('entries have a partition for last month, this one and three more, and one for all that falls outside', async () => {
  const { rows } = await ledger.client.query<{ place: string }>(
    `INSERT INTO entries (account_id, seq, amount, balance_after, at, id, kind, debit, credit)
     SELECT 1, n, -1, 0, now(), uuid_at(now() + make_interval(months => n)), 2, 1, 2 FROM generate_series(-2, 4) n
     RETURNING replace(tableoid::regclass::text, 'tollgate.', '') AS place`,
  );
  const { rows: months } = await ledger.client.query<{ name: string }>(
    `SELECT 'entries_' || to_char((now() + make_interval(months => n)) AT TIME ZONE 'UTC', 'YYYY_MM') AS name
       FROM generate_series(-1, 3) n`,
  );
  expect(rows.map((row) => row.place)).toEqual(['entries_default', ...months.map((m) => m.name), 'entries_default']);
});

it('partitions are made once, however many processes make them, whatever their time zone', async () => {
  const made = await Promise.all(
    ['UTC', 'Asia/Tokyo', 'America/Los_Angeles'].map(async (zone) => {
      const client = await ledger.pool.connect();
      try {
        await client.query(`SET timezone = '${zone}'`);
        const { rows } = await client.query<{ made: number }>('SELECT make_partitions(3) AS made');
        return rows[0]!.made;
      } finally {
        client.release(true);
      }
    }),
  );
  expect(made).toEqual([0, 0, 0]);
});

it('the numbers of kinds are those the code names', async () => {
  expect(ENTRY_KINDS.map((kind, i) => `${i + 1} ${kind}`)).toEqual([
    '1 grant',
    '2 charge',
    '3 release',
    '4 recovered',
    '5 late',
    '6 expire',
    '7 adjust',
    '8 reverse',
    '9 lapse',
  ]);
  expect(LOT_KINDS).toEqual({ topup: 10, subscription: 11, bonus: 12, promo: 13, adjustment: 14 });
});
