/** What the ledger shows of an account: its balance, its lots, its entries, and what it kept of a request. */
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
}

const LOT_COLUMNS = `l.lot_id, l.kind, l.granted, l.priority, l.starts_at, l.reference,
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
  };
}

/** The balance now, by the database's clock: lots that expired or started since the last operation are counted so. */
export async function readBalance(pool: Pool, account: bigint): Promise<Balance | null> {
  const { rows } = await pool.query<{
    posted: bigint;
    held: bigint;
    debt: bigint;
    overdraft: bigint;
    lots: bigint;
  }>(
    `WITH now AS MATERIALIZED (SELECT clock_timestamp() AS t), w AS (SELECT * FROM wallets WHERE account_id = $1)
     SELECT w.held, w.overdraft,
       greatest(0, w.debt - due.starting) AS debt,
       w.posted + due.starting - due.ending AS posted
     FROM w, LATERAL (
       SELECT coalesce(sum(l.remaining) FILTER (WHERE l.state = 0 AND l.starts_at <= now.t AND l.expires_at > now.t), 0)::bigint
           AS starting,
         coalesce(sum(CASE WHEN l.lot_id = w.head_lot THEN w.head_left ELSE l.remaining END)
           FILTER (WHERE l.state = 1 AND l.expires_at <= now.t), 0)::bigint AS ending
       FROM lots l, now WHERE l.account_id = $1 AND l.state < 3) due`,
    [account],
  );
  const wallet = rows[0];
  if (wallet === undefined) return null;
  const lots = await pool.query<LotRow>(
    `SELECT ${LOT_COLUMNS} FROM lots l JOIN wallets w USING (account_id)
      WHERE l.account_id = $1 AND l.state < 2 AND l.expires_at > clock_timestamp()
      ORDER BY l.priority, l.expires_at, l.created_at, l.lot_id`,
    [account],
  );
  const open = lots.rows.map(toLot).filter((lot) => lot.remaining > 0n);
  const expiring = open.filter((lot) => lot.expiresAt !== null);
  const first = expiring.reduce<Lot | null>((a, b) => (a === null || b.expiresAt! < a.expiresAt! ? b : a), null);
  return {
    posted: wallet.posted,
    held: wallet.held,
    available: wallet.posted - wallet.held,
    debt: wallet.debt,
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
  /** Signed, as the wallet sees it. */
  amount: bigint;
  balanceAfter: bigint;
  debit: string;
  credit: string;
  /** Of a grant: what made it happen once. */
  reference: string | null;
  lots: Share[];
  at: Date;
  receipt: Buffer | null;
}

/** What one lot gave or got. */
export interface Share {
  lot: Uuid;
  amount: bigint;
}

interface EntryRow {
  id: Uuid;
  seq: bigint;
  kind: number;
  amount: bigint;
  balance_after: bigint;
  debit: number;
  credit: number;
  reference: string | null;
  lot_id: Uuid | null;
  shared_lots: Uuid[];
  shares: bigint[];
  at: Date;
  receipt: Buffer | null;
}

const ENTRIES = `SELECT e.id, e.seq, e.kind, e.amount, e.balance_after, e.debit, e.credit, e.lot_id, e.at, e.receipt,
    CASE WHEN e.kind = 1 THEN l.reference END AS reference, a.lots AS shared_lots, a.amounts AS shares
  FROM entries e
  LEFT JOIN lots l ON e.kind = 1 AND l.account_id = e.account_id AND l.lot_id = e.lot_id
  LEFT JOIN LATERAL (
    SELECT coalesce(array_agg(t.lot_id), '{}') AS lots, coalesce(array_agg(t.amount), '{}') AS amounts
      FROM allocations t WHERE t.account_id = e.account_id AND t.id = e.id AND t.kind = e.kind) a ON true`;

function toEntry(row: EntryRow): Entry {
  const magnitude = row.amount < 0n ? -row.amount : row.amount;
  const alone = row.lot_id === null ? [] : [{ lot: row.lot_id, amount: magnitude }];
  return {
    id: row.id,
    seq: row.seq,
    kind: ENTRY_KINDS[row.kind - 1]!,
    amount: row.amount,
    balanceAfter: row.balance_after,
    debit: BOOKS[row.debit]!,
    credit: BOOKS[row.credit]!,
    reference: row.reference,
    lots: row.shares.length === 0 ? alone : row.shares.map((amount, i) => ({ lot: row.shared_lots[i]!, amount })),
    at: row.at,
    receipt: row.receipt,
  };
}

/** Where a page of entries ended: the next begins below it. */
export interface EntryCursor {
  id: Uuid;
  kind: EntryKind;
}

/**
 * A page of entries, newest id first: ids are ordered by time and indexed, `seq` is the order of effect and is not.
 * `requestsOnly` lists one entry a request.
 */
export async function listEntries(
  pool: Pool,
  account: bigint,
  page: { limit: number; after: EntryCursor | null; requestsOnly?: boolean },
): Promise<Entry[]> {
  const { rows } = await pool.query<EntryRow>(
    `${ENTRIES} WHERE e.account_id = $1 AND ($2::uuid IS NULL OR (e.id, e.kind) < ($2, $3::smallint))
       AND (NOT $5 OR e.kind IN (2, 3, 4)) ORDER BY e.id DESC, e.kind DESC LIMIT $4`,
    [
      account,
      page.after?.id ?? null,
      page.after === null ? null : ENTRY_KINDS.indexOf(page.after.kind) + 1,
      page.limit,
      page.requestsOnly ?? false,
    ],
  );
  return rows.map(toEntry);
}

/** A request that runs: what was frozen with its hold. */
export interface OpenHold {
  amount: bigint;
  key: bigint;
  openedAt: Date;
  frozen: Buffer;
}

/** What the ledger knows of one request: its open hold, or the entries that ended it. Both empty: unknown. */
export async function readRequest(
  pool: Pool,
  account: bigint,
  id: Uuid,
): Promise<{ hold: OpenHold | null; entries: Entry[]; key: bigint | null }> {
  const holds = await pool.query<{ amount: bigint; key_id: bigint; opened_at: Date; frozen: Buffer }>(
    'SELECT amount, key_id, opened_at, frozen FROM holds WHERE account_id = $1 AND id = $2',
    [account, id],
  );
  const hold = holds.rows[0];
  const entries = await pool.query<EntryRow & { key_id: bigint | null }>(
    `SELECT t.*, (SELECT key_id FROM entries k WHERE k.account_id = $1 AND k.id = $2 LIMIT 1) AS key_id
       FROM (${ENTRIES} WHERE e.account_id = $1 AND e.id = $2 AND e.kind IN (2, 3, 4, 5)) t ORDER BY t.seq`,
    [account, id],
  );
  return {
    hold:
      hold === undefined
        ? null
        : { amount: hold.amount, key: hold.key_id, openedAt: hold.opened_at, frozen: hold.frozen },
    entries: entries.rows.map(toEntry),
    key: hold?.key_id ?? entries.rows[0]?.key_id ?? null,
  };
}
