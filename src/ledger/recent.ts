/**
 * The newest charges of all accounts, for a look at recent traffic. Every key of the ledger begins with the account, so no index
 * leads to them; but entries are only ever appended, so the newest lie at the end of the newest months, and are read from there,
 * backwards. Bounded in blocks and in time.
 */
import type { Pool } from 'pg';
import type { Uuid } from '../lib/ids.ts';

export interface Charge {
  id: Uuid;
  account: bigint;
  /** Nano-credits, as settled: not what was booked late or given back. */
  amount: bigint;
  at: Date;
  receipt: Buffer;
}

/** Charges that lie together, newest first, with what was looked at to find them. */
export interface Slice {
  looked: number;
  /** Of what was looked at; `null`: no charge at all. */
  oldest: Date | null;
  found: Charge[];
  /** Whether nothing older is left. */
  isLast: boolean;
}

/** 1.6 MB: some thousand entries, read in milliseconds. */
const SLICE_BLOCKS = 200;
/** 32 MB, about 100,000 entries. */
const MOST_SLICES = 20;

/** Charges whose receipt has `needle` among its first `within` bytes, slice by slice; `MOST_SLICES` at most. */
export async function* recentCharges(pool: Pool, needle: Buffer, within: number): AsyncGenerator<Slice> {
  const months = await monthsOf(pool);
  let slices = 0;
  for (const [i, { name, blocks }] of months.entries()) {
    for (let end = blocks; end > 0; end -= SLICE_BLOCKS) {
      if (slices++ === MOST_SLICES) return;
      const start = Math.max(end - SLICE_BLOCKS, 0);
      const isLast = start === 0 && months.slice(i + 1).every((month) => month.blocks === 0);
      yield { ...(await readSlice(pool, name, [start, end], needle, within)), isLast };
    }
  }
}

interface Month {
  /** Quoted, as SQL has it. */
  name: string;
  blocks: number;
}

/** The partitions of entries, newest first; the default one, where what no month took may lie, last. */
async function monthsOf(pool: Pool): Promise<Month[]> {
  const { rows } = await pool.query<Month>(
    `SELECT c.oid::regclass::text AS name, (pg_relation_size(c.oid) / current_setting('block_size')::integer)::integer AS blocks
       FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'entries'::regclass
       ORDER BY c.relname = 'entries_default', c.relname DESC`,
  );
  return rows;
}

async function readSlice(
  pool: Pool,
  month: string,
  [start, end]: [number, number],
  needle: Buffer,
  within: number,
): Promise<Omit<Slice, 'isLast'>> {
  const blocks = `FROM ${month} WHERE kind = 2 AND ctid >= '(${start},0)'::tid AND ctid < '(${end},0)'::tid`;
  const all = await pool.query<{ looked: number; oldest: Date | null }>(
    `SELECT count(*)::integer AS looked, min(at) AS oldest ${blocks}`,
  );
  const found = await pool.query<Charge>(
    `SELECT id, account_id AS account, -amount AS amount, at, receipt ${blocks}
       AND position($1 IN substring(receipt FROM 1 FOR $2)) > 0 ORDER BY at DESC`,
    [needle, within],
  );
  return { ...all.rows[0]!, found: found.rows };
}
