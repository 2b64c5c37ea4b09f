/**
 * Reads what an audit needs, in slices. A few accounts' wallets, lots and holds are read at one instant; their entries and
 * allocations, which never change, afterwards in pages, each a short statement of its own. So no snapshot is held for long,
 * however large an account is.
 */
import type { ClientBase, Pool } from 'pg';
import type { Difference } from './account.ts';
import type { Adjustment, Allocation, Entry, Head, LotRow } from './facts.ts';

/** Accounts read at one instant, at most. */
const MOST_ACCOUNTS = 500;
export const EVERYBODY: Range = { after: -(1n << 63n), through: (1n << 63n) - 1n };
/** Greater than any key of an account. */
const LAST_UUID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
const LAST_KIND = 32_767;

/** Accounts `after` < id ≤ `through`. */
export interface Range {
  after: bigint;
  through: bigint;
}

export type Of<Row> = Row & { account: bigint };

/** What can change, of the accounts of a range, as it was at one instant. */
export interface Slice {
  range: Range;
  heads: Head[];
  lots: Map<bigint, LotRow[]>;
  /** Accounts without a wallet that have something else. */
  lost: bigint[];
  /** Holds without an owner or a key, and spenders whose held is not that of their holds. */
  holds: Difference[];
  spenders: Difference[];
}

/**
 * Reads accounts from `after` on: as many as have about `size` entries and lots together, at least one. `null`: there are no
 * more.
 */
export function readSlice(pool: Pool, range: Range, size: number): Promise<Slice | null> {
  return reading(pool, async (client) => {
    const slice = await sliceOf(client, range, size);
    return slice === null ? null : readRange(client, slice);
  });
}

/**
 * Every statement here reads along the primary keys. A planner whose statistics are old would now and then rather sort all
 * entries for one page of them.
 */
const ALONG_THE_KEYS = ['sort', 'seqscan', 'bitmapscan', 'hashjoin', 'mergejoin'].map(
  (way) => `SET LOCAL enable_${way} = off`,
);
const BEGIN = ['BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', ...ALONG_THE_KEYS].join('; ');

/** Runs `work` on one snapshot, with one way to read. */
async function reading<T>(pool: Pool, work: (client: ClientBase) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let failed = true;
  try {
    await client.query(BEGIN);
    const result = await work(client);
    await client.query('COMMIT');
    failed = false;
    return result;
  } finally {
    client.release(failed);
  }
}

async function sliceOf(client: ClientBase, { after, through }: Range, size: number): Promise<Range | null> {
  if (after >= through) return null;
  const { rows } = await client.query<{ account_id: bigint; size: bigint }>(
    `SELECT account_id, seq + (SELECT count(*) FROM lots l WHERE l.account_id = w.account_id) AS size
       FROM wallets w WHERE account_id > $1 AND account_id <= $2 ORDER BY account_id LIMIT $3`,
    [after, through, MOST_ACCOUNTS],
  );
  let total = 0n;
  for (const [i, row] of rows.entries()) {
    total += row.size;
    if (total > size && i > 0) return { after, through: rows[i - 1]!.account_id };
  }
  return { after, through: rows.length < MOST_ACCOUNTS ? through : rows.at(-1)!.account_id };
}

const HEADS = `
  SELECT w.account_id AS account, w.seq::float8, w.posted, w.held, w.debt, w.dormant, w.head_lot AS "headLot",
    w.head_left AS "headLeft", w.next_change_at::text AS "nextChangeAt",
    (SELECT l.lot_id FROM lots l WHERE l.account_id = w.account_id AND l.state = 1
       ORDER BY l.priority, l.expires_at, l.created_at, l.lot_id LIMIT 1) AS "firstLive",
    (SELECT coalesce(sum(h.amount), 0) FROM holds h WHERE h.account_id = w.account_id)::bigint AS holds,
    CASE WHEN w.next_change_at > c.due THEN c.due::text
      WHEN w.next_change_at = 'infinity' AND c.waits THEN 'due: an expired lot is not booked' END AS "changesBefore"
  FROM wallets w, LATERAL (
    SELECT least(min(CASE l.state WHEN 0 THEN l.starts_at WHEN 1 THEN l.expires_at END),
        (SELECT min(h.expires_at) FROM holds h WHERE h.account_id = w.account_id)) AS due,
      coalesce(bool_or(l.state = 2), false) AS waits
    FROM lots l WHERE l.account_id = w.account_id AND l.state < 3
  ) c
  WHERE w.account_id > $1 AND w.account_id <= $2 ORDER BY w.account_id`;

const LOTS = `
  SELECT l.account_id AS account, l.lot_id AS lot, l.kind, l.state, l.granted, l.repaid, l.expired,
    CASE WHEN l.lot_id = w.head_lot THEN w.head_left ELSE l.remaining END AS remaining,
    coalesce(a.amount, 0) AS gave
  FROM lots l JOIN wallets w ON w.account_id = l.account_id
    LEFT JOIN allocations a ON a.account_id = l.account_id AND a.id = l.lot_id AND a.kind = 101 AND a.lot_id = l.lot_id
  WHERE l.account_id > $1 AND l.account_id <= $2`;

const LOST = `
  SELECT t.account_id AS account FROM (
    SELECT account_id FROM lots WHERE account_id > $1 AND account_id <= $2
    UNION SELECT account_id FROM holds WHERE account_id > $1 AND account_id <= $2
    UNION SELECT account_id FROM spenders WHERE account_id > $1 AND account_id <= $2
  ) t WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.account_id = t.account_id)`;

const HOLDS = `
  SELECT h.account_id AS account, c.subject, c.expected, c.found FROM holds h, LATERAL (VALUES
      (format('hold %s owner', h.id), CASE h.owner WHEN 0 THEN 'an expiry' ELSE 'a gateway with a lease' END, h.owner::text,
        CASE h.owner WHEN 0 THEN h.expires_at < 'infinity' ELSE EXISTS (SELECT FROM owners o WHERE o.owner = h.owner) END),
      (format('hold %s key_id', h.id), 'a key of the account', h.key_id::text,
        EXISTS (SELECT FROM spenders s WHERE s.account_id = h.account_id AND s.key_id = h.key_id))
    ) AS c (subject, expected, found, holds)
  WHERE h.account_id > $1 AND h.account_id <= $2 AND NOT c.holds`;

const SPENDERS = `
  SELECT s.account_id AS account, format('spender %s held', s.key_id) AS subject, t.held::text AS expected, s.held::text AS found
  FROM spenders s, LATERAL (
    SELECT coalesce(sum(h.amount), 0) AS held FROM holds h
      WHERE h.account_id = s.account_id AND s.key_id IN (0, h.key_id) AND h.budgeted AND h.opened_at >= s.period_start
        AND s.budget IS NOT NULL
  ) t
  WHERE s.account_id > $1 AND s.account_id <= $2 AND (s.budget IS NOT NULL OR s.held <> 0) AND s.held <> t.held`;

async function readRange(client: ClientBase, range: Range): Promise<Slice> {
  const all = async <Row extends object>(text: string): Promise<Row[]> =>
    (await client.query<Row>(text, [range.after, range.through])).rows;
  const heads = await all<Head>(HEADS);
  const lots = new Map<bigint, LotRow[]>(heads.map(({ account }) => [account, []]));
  for (const lot of await all<Of<LotRow>>(LOTS)) lots.get(lot.account)!.push(lot);
  const lost = await all<{ account: bigint }>(LOST);
  return {
    range,
    heads,
    lots,
    lost: lost.map(({ account }) => account),
    holds: await all<Difference>(HOLDS),
    spenders: await all<Difference>(SPENDERS),
  };
}

/** The entries of a range in pages, by account and id. */
export function readEntries(pool: Pool, range: Range, size: number): AsyncGenerator<Of<Entry>[]> {
  return pages<Of<Entry>>(
    pool,
    `SELECT account_id AS account, id, kind, seq::float8, amount, balance_after AS "balanceAfter", lot_id AS lot, debit, credit
       FROM entries WHERE (account_id, id, kind) > ($1, $2::uuid, $3) AND account_id <= $4
       ORDER BY account_id, id, kind LIMIT $5`,
    [range.after, LAST_UUID, LAST_KIND],
    range.through,
    size,
    ({ account, id, kind }) => [account, id, kind],
  );
}

/** The allocations of a range in pages, each with what is there of its entry and its lot. */
export function readAllocations(pool: Pool, range: Range, size: number): AsyncGenerator<Of<Allocation>[]> {
  return pages<Of<Allocation>>(
    pool,
    `SELECT a.account_id AS account, a.id, a.kind, a.lot_id AS lot, a.amount, e.seq::float8 AS "entrySeq",
         e.amount AS "entryAmount", EXISTS (SELECT FROM lots l WHERE l.account_id = a.account_id AND l.lot_id = a.lot_id) AS "hasLot"
       FROM (SELECT * FROM allocations WHERE (account_id, id, kind, lot_id) > ($1, $2::uuid, $3, $4::uuid) AND account_id <= $5
         ORDER BY account_id, id, kind, lot_id LIMIT $6) a
       LEFT JOIN entries e ON e.account_id = a.account_id AND e.id = a.id AND e.kind = a.kind % 100
       ORDER BY a.account_id, a.id, a.kind, a.lot_id`,
    [range.after, LAST_UUID, LAST_KIND, LAST_UUID],
    range.through,
    size,
    ({ account, id, kind, lot }) => [account, id, kind, lot],
  );
}

/** The adjustments of a range in pages, each with what is there of its entry. */
export function readAdjustments(pool: Pool, range: Range, size: number): AsyncGenerator<Of<Adjustment>[]> {
  return pages<Of<Adjustment>>(
    pool,
    `SELECT a.account_id AS account, a.reference, a.amount, a.book, a.payment, e.seq::float8 AS "entrySeq", e.amount AS "entryAmount",
         CASE WHEN e.amount > 0 THEN e.debit ELSE e.credit END AS "entryBook"
       FROM (SELECT * FROM adjustments WHERE (account_id, reference) > ($1, $2) AND account_id <= $3
         ORDER BY account_id, reference LIMIT $4) a
       LEFT JOIN entries e ON e.account_id = a.account_id AND e.id = a.id AND e.kind = 7
       ORDER BY a.account_id, a.reference`,
    [range.after + 1n, ''],
    range.through,
    size,
    ({ account, reference }) => [account, reference],
  );
}

/** Reads rows in the order of a key, `size` at a time: `text` takes the key to go on behind, then `through` and `size`. */
async function* pages<Row extends object>(
  pool: Pool,
  text: string,
  before: unknown[],
  through: bigint,
  size: number,
  keyOf: (row: Row) => unknown[],
): AsyncGenerator<Row[]> {
  for (let key = before; ; ) {
    const { rows } = await reading(pool, (client) => client.query<Row>(text, [...key, through, size]));
    if (rows.length > 0) yield rows;
    if (rows.length < size) return;
    key = keyOf(rows.at(-1)!);
  }
}

/** Wallets' numbers of their last entries as they are now; accounts without a wallet are left out. */
export async function readSeqs(pool: Pool, accounts: readonly bigint[]): Promise<Map<bigint, number>> {
  if (accounts.length === 0) return new Map();
  const { rows } = await pool.query<{ account_id: bigint; seq: number }>(
    'SELECT account_id, seq::float8 FROM wallets WHERE account_id = ANY ($1::bigint[])',
    [accounts],
  );
  return new Map(rows.map((row) => [row.account_id, row.seq]));
}
