/** What the ledger shows of an account: its balance, its lots, its entries. */
import type { Pool } from 'pg';
import type { Uuid } from '../lib/ids.ts';
import { BOOKS, ENTRY_KINDS, type EntryKind, LOT_KINDS, type LotKind } from './outcomes.ts';

const LOT_KIND_NAMES = new Map<number, LotKind>(
  Object.entries(LOT_KINDS).map(([name, number]) => [number, name as LotKind]),
);

export interface Lot {
  id: Uuid;
  kind: LotKind;
  granted: bigint;
  remaining: bigint;
  priority: number;
  startsAt: Date;
  /** `null`: never. */
  expiresAt: Date | null;
  reference: string;
  reason: string | null;
  /** What was paid for it, in the currency's minor unit; `null`: nothing, or it is not known here. */
  paid: { minor: bigint; currency: string } | null;
}

export interface Balance {
  posted: bigint;
  held: bigint;
  available: bigint;
  debt: bigint;
  overdraft: bigint;
  /** Lots that are live or will start, in burn order. */
  lots: Lot[];
  nextExpiry: { at: Date; amount: bigint } | null;
}

interface LotRow {
  lot_id: Uuid;
  kind: number;
  granted: bigint;
  remaining: bigint;
  priority: number;
  starts_at: Date;
  expires_at: Date | null;
  reference: string;
  reason: string | null;
  paid_minor: bigint | null;
  currency: string | null;
}

const LOT_COLUMNS = `l.lot_id, l.kind, l.granted, l.priority, l.starts_at, l.reference, l.reason, l.paid_minor, l.currency,
  CASE WHEN l.lot_id = w.head_lot THEN w.head_left ELSE l.remaining END AS remaining,
  nullif(l.expires_at, 'infinity') AS expires_at`;

function toLot(row: LotRow): Lot {
  return {
    id: row.lot_id,
    kind: LOT_KIND_NAMES.get(row.kind)!,
    granted: row.granted,
    remaining: row.remaining,
    priority: row.priority,
    startsAt: row.starts_at,
    expiresAt: row.expires_at,
    reference: row.reference,
    reason: row.reason,
    paid: row.paid_minor === null ? null : { minor: row.paid_minor, currency: row.currency! },
  };
}

interface BalanceRow extends LotRow {
  posted: bigint;
  held: bigint;
  /** Of what is held, in holds that ended by themselves since the last operation looked. */
  lapsed: bigint;
  debt: bigint;
  overdraft: bigint;
  /** Due to start, and ended, since the last operation looked. */
  starting: boolean;
  ended: boolean;
  start_order: bigint;
}

/**
 * The balance now, by the database's clock. Lots that started or expired and holds that ended by themselves since the last
 * operation are counted as the next one will count them: lots that start repay debt, in the order they started.
 */
export async function readBalance(pool: Pool, account: bigint): Promise<Balance | null> {
  const { rows } = await pool.query<BalanceRow>(
    `WITH now AS MATERIALIZED (SELECT clock_timestamp() AS t)
     SELECT w.posted, w.held, h.lapsed, w.debt, w.overdraft, ${LOT_COLUMNS},
       l.state = 0 AND l.starts_at <= now.t AS starting, l.expires_at <= now.t AS ended,
       row_number() OVER (ORDER BY l.starts_at, l.created_at, l.lot_id) AS start_order
     FROM wallets w CROSS JOIN now CROSS JOIN LATERAL (
       SELECT total(amount) AS lapsed FROM holds WHERE account_id = w.account_id AND expires_at <= now.t) h
     LEFT JOIN lots l ON l.account_id = w.account_id AND l.state < 2
     WHERE w.account_id = $1
     ORDER BY l.priority, l.expires_at, l.created_at, l.lot_id`,
    [account],
  );
  const wallet = rows[0];
  if (wallet === undefined) return null;
  const held = wallet.held - wallet.lapsed;
  let { posted, debt } = wallet;
  const starting = rows.filter((row) => row.starting).sort((a, b) => Number(a.start_order - b.start_order));
  for (const row of starting) {
    const repaid = row.remaining < debt ? row.remaining : debt;
    debt -= repaid;
    posted += row.remaining;
    row.remaining -= repaid;
  }
  for (const row of rows) if (row.ended) posted -= row.remaining;
  const open = rows.filter((row) => row.remaining > 0n && !row.ended).map(toLot);
  const expiring = open.filter((lot) => lot.expiresAt !== null);
  const first = expiring.reduce<Lot | null>((a, b) => (a === null || b.expiresAt! < a.expiresAt! ? b : a), null);
  return {
    posted,
    held,
    available: posted - held,
    debt,
    overdraft: wallet.overdraft,
    lots: open,
    nextExpiry: first === null ? null : { at: first.expiresAt!, amount: first.remaining },
  };
}

/** The lot that a grant's reference made; `null` when there is none. */
export async function readLot(pool: Pool, account: bigint, reference: string): Promise<Lot | null> {
  const { rows } = await pool.query<LotRow>(
    `SELECT ${LOT_COLUMNS} FROM lots l JOIN wallets w USING (account_id) WHERE l.account_id = $1 AND l.reference = $2`,
    [account, reference],
  );
  return rows[0] === undefined ? null : toLot(rows[0]);
}

export interface Entry {
  id: Uuid;
  seq: bigint;
  kind: EntryKind;
  /** Whose request it was; `null` where it was none. */
  key: bigint | null;
  /** Signed, as the wallet sees it. */
  amount: bigint;
  balanceAfter: bigint;
  debit: string;
  credit: string;
  /** Of a grant or an adjustment: what made it happen once. */
  reference: string | null;
  /** Of a grant, an adjustment or a reverse: why. */
  reason: string | null;
  lots: Share[];
  /** Of what was given back: what went to lots that had repaid debt. */
  returned: Share[];
  at: Date;
  receipt: Buffer | null;
}

/** What one lot gave or got. */
export interface Share {
  lot: Uuid;
  amount: bigint;
}

export interface EntryRow {
  id: Uuid;
  seq: bigint;
  kind: number;
  key_id: bigint | null;
  amount: bigint;
  balance_after: bigint;
  debit: number;
  credit: number;
  reference: string | null;
  reason: string | null;
  lot_id: Uuid | null;
  shared_lots: Uuid[];
  shares: bigint[];
  returned_lots: Uuid[];
  returned: bigint[];
  at: Date;
  receipt: Buffer | null;
}

/** Reads `EntryRow`s of the table `entries e`; a WHERE clause follows. */
export const ENTRIES = `SELECT e.id, e.seq, e.kind, e.key_id, e.amount, e.balance_after, e.debit, e.credit, e.lot_id, e.at, e.receipt,
    coalesce(l.reference, d.reference) AS reference, coalesce(l.reason, d.reason) AS reason,
    a.lots AS shared_lots, a.amounts AS shares, a.returned_lots, a.returned
  FROM entries e
  LEFT JOIN lots l ON e.kind = 1 AND l.account_id = e.account_id AND l.lot_id = e.lot_id
  LEFT JOIN adjustments d ON e.kind = 7 AND d.account_id = e.account_id AND d.id = e.id
  LEFT JOIN LATERAL (
    SELECT coalesce(array_agg(t.lot_id) FILTER (WHERE t.kind = e.kind), '{}') AS lots,
        coalesce(array_agg(t.amount) FILTER (WHERE t.kind = e.kind), '{}') AS amounts,
        coalesce(array_agg(t.lot_id) FILTER (WHERE t.kind > e.kind), '{}') AS returned_lots,
        coalesce(array_agg(t.amount) FILTER (WHERE t.kind > e.kind), '{}') AS returned
      FROM allocations t WHERE t.account_id = e.account_id AND t.id = e.id
        AND (t.kind = e.kind OR e.kind IN (5, 7, 8) AND t.kind = e.kind + 100)) a ON true`;

export function toEntry(row: EntryRow): Entry {
  const magnitude = row.amount < 0n ? -row.amount : row.amount;
  const alone = row.lot_id === null ? [] : [{ lot: row.lot_id, amount: magnitude }];
  return {
    id: row.id,
    seq: row.seq,
    kind: ENTRY_KINDS[row.kind - 1]!,
    key: row.key_id,
    amount: row.amount,
    balanceAfter: row.balance_after,
    debit: BOOKS[row.debit]!,
    credit: BOOKS[row.credit]!,
    reference: row.reference,
    reason: row.kind === numberOf('reverse') ? reasonOfReverse(row.receipt!) : row.reason,
    lots: row.shares.length === 0 ? alone : row.shares.map((amount, i) => ({ lot: row.shared_lots[i]!, amount })),
    returned: row.returned.map((amount, i) => ({ lot: row.returned_lots[i]!, amount })),
    at: row.at,
    receipt: row.receipt,
  };
}

/** A reverse keeps its reason where others keep their receipt. */
function reasonOfReverse(receipt: Buffer): string {
  return (JSON.parse(receipt.toString()) as { reason: string }).reason;
}

/** One entry; `null`: there is none. */
export async function readEntry(pool: Pool, account: bigint, { id, kind }: EntryCursor): Promise<Entry | null> {
  const { rows } = await pool.query<EntryRow>(`${ENTRIES} WHERE e.account_id = $1 AND e.id = $2 AND e.kind = $3`, [
    account,
    id,
    numberOf(kind),
  ]);
  return rows[0] === undefined ? null : toEntry(rows[0]);
}

/** The entry of the adjustment that a reference made; `null`: there is none. */
export async function readAdjustment(pool: Pool, account: bigint, reference: string): Promise<Entry | null> {
  const { rows } = await pool.query<{ id: Uuid }>(
    'SELECT id FROM adjustments WHERE account_id = $1 AND reference = $2',
    [account, reference],
  );
  return rows[0] === undefined ? null : readEntry(pool, account, { id: rows[0].id, kind: 'adjust' });
}

function numberOf(kind: EntryKind): number {
  return ENTRY_KINDS.indexOf(kind) + 1;
}

/** Where a page of entries ended: the next begins below it. */
export interface EntryCursor {
  id: Uuid;
  kind: EntryKind;
}

/** A page of entries, newest id first: ids are ordered by time and indexed, `seq` is the order of effect and is not. */
export async function listEntries(
  pool: Pool,
  account: bigint,
  page: { limit: number; after: EntryCursor | null },
): Promise<Entry[]> {
  const { rows } = await pool.query<EntryRow>(
    `${ENTRIES} WHERE e.account_id = $1 AND ($2::uuid IS NULL OR (e.id, e.kind) < ($2, $3::smallint))
       ORDER BY e.id DESC, e.kind DESC LIMIT $4`,
    [account, page.after?.id ?? null, page.after === null ? null : numberOf(page.after.kind), page.limit],
  );
  return rows.map(toEntry);
}
