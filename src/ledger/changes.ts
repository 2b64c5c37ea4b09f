/**
 * An account's entries by their number, for projections that follow the ledger. Entries are indexed by id, not by `seq`: the
 * index would be one more row that each request writes. Numbers have no gap, though, so it is known how many to look for. Those
 * of requests that just ended are found among the newest ids, and all others, which may carry an old id, by `entries_apart`.
 */
import type { Pool } from 'pg';
import type { Uuid } from '../lib/ids.ts';
import { ENTRY_KINDS, type EntryKind } from './outcomes.ts';

/** Rows that one statement reads: some milliseconds of it, and of this process, which also has streams to relay. */
const PAGE = 500;
/** Beside what is looked for lie entries that are folded already, of requests that began later and ended earlier. */
const SPARE = 20n;
const NEWEST: Uuid = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** An entry as a projection needs it. */
export interface Change {
  seq: bigint;
  kind: EntryKind;
  key: bigint | null;
  /** Nano-credits, signed, as the wallet sees it. */
  amount: bigint;
  balanceAfter: bigint;
  at: Date;
  receipt: Buffer | null;
  /** Of a late transfer and a reverse: the entry that ended the hold; `null` where it is in a month that is detached. */
  ended: { kind: EntryKind; receipt: Buffer } | null;
}

interface Row {
  id: Uuid;
  seq: bigint;
  kind: number;
  key_id: bigint | null;
  amount: bigint;
  balance_after: bigint;
  at: Date;
  receipt: Buffer | null;
  ended_kind: number | null;
  ended_receipt: Buffer | null;
}

/**
 * The entries with `after` < seq ≤ `through`, in pages and in no order, each once. `through` must have been read from the
 * wallet before: then all of them are committed. Fewer come where entries are detached. Throws what the driver throws.
 */
export async function* readChanges(
  pool: Pool,
  account: bigint,
  after: bigint,
  through: bigint,
  page = PAGE,
): AsyncGenerator<Change[]> {
  let missing = through - after;
  for (let from = after; missing > 0n; ) {
    const { rows } = await pool.query<Row>(APART, [account, from, through, page]);
    missing -= BigInt(rows.length);
    yield rows.map(toChange);
    if (rows.length < page) break;
    from = rows.at(-1)!.seq;
  }
  for (let below = NEWEST; missing > 0n; ) {
    const most = missing + SPARE < page ? missing + SPARE : page;
    const { rows } = await pool.query<Row>(OF_REQUESTS, [account, below, most, after, through]);
    const found = rows.filter(({ seq }) => seq > after && seq <= through);
    missing -= BigInt(found.length);
    yield found.map(toChange);
    if (rows.length < most) return;
    below = rows.at(-1)!.id;
  }
}

const APART = `
  SELECT e.id, e.seq, e.kind, e.key_id, e.amount, e.balance_after, e.at, e.receipt, o.kind AS ended_kind, o.receipt AS ended_receipt
    FROM entries e LEFT JOIN entries o ON e.kind IN (5, 8) AND o.account_id = e.account_id AND o.id = e.id AND o.kind IN (2, 3, 4, 9)
   WHERE e.account_id = $1 AND e.seq > $2 AND e.seq <= $3 AND e.kind NOT IN (2, 3) ORDER BY e.seq LIMIT $4`;

/** Receipts only of what is looked for: the others are passed over. */
const OF_REQUESTS = `
  SELECT id, seq, kind, key_id, amount, balance_after, at, CASE WHEN seq > $4 AND seq <= $5 THEN receipt END AS receipt,
      NULL::smallint AS ended_kind, NULL::bytea AS ended_receipt
    FROM entries WHERE account_id = $1 AND id < $2 AND kind IN (2, 3) ORDER BY id DESC LIMIT $3`;

const kindOf = (number: number): EntryKind => ENTRY_KINDS[number - 1]!;

function toChange(row: Row): Change {
  return {
    seq: row.seq,
    kind: kindOf(row.kind),
    key: row.key_id,
    amount: row.amount,
    balanceAfter: row.balance_after,
    at: row.at,
    receipt: row.receipt,
    ended: row.ended_kind === null ? null : { kind: kindOf(row.ended_kind), receipt: row.ended_receipt! },
  };
}
