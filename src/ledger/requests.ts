/** What the ledger knows of requests: the open hold of one that runs, the entries of one that has ended. */
import type { Pool } from 'pg';
import type { Uuid } from '../lib/ids.ts';
import { type EntryKind, ON_ORPHAN, type OnOrphan } from './outcomes.ts';
import { ENTRIES, type Entry, type EntryRow, toEntry } from './read.ts';

/** A request that runs: what was frozen with its hold. */
export interface OpenHold {
  amount: bigint;
  frozen: Buffer;
}

/** One of `hold` and `entries` says how it stands; where both are there, it has just ended: the entries do. */
export interface LedgerRequest {
  id: Uuid;
  key: bigint | null;
  hold: OpenHold | null;
  /** In the order of their effect. */
  entries: Entry[];
}

const NEWEST: Uuid = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** One request of an account; `null`: the account has none with this id. */
export async function readRequest(pool: Pool, account: bigint, id: Uuid): Promise<LedgerRequest | null> {
  return (await readRequests(pool, account, [id]))[0] ?? null;
}

/** A page of an account's requests, newest first, those that run included; `after` is the last id of the page before. */
export async function listRequests(
  pool: Pool,
  account: bigint,
  page: { limit: number; after: Uuid | null },
): Promise<LedgerRequest[]> {
  const { rows } = await pool.query<{ id: Uuid }>(
    `(SELECT id FROM holds WHERE account_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3)
     UNION ALL
     (SELECT id FROM entries WHERE account_id = $1 AND id < $2 AND kind IN (2, 3, 4, 9) ORDER BY id DESC LIMIT $3)
     ORDER BY id DESC LIMIT $3`,
    [account, page.after ?? NEWEST, page.limit],
  );
  return readRequests(
    pool,
    account,
    rows.map((row) => row.id),
  );
}

/** Holds are read before entries: a request that ends in between is found in both, never in neither. */
async function readRequests(pool: Pool, account: bigint, ids: readonly Uuid[]): Promise<LedgerRequest[]> {
  const holds = await pool.query<{ id: Uuid; amount: bigint; key_id: bigint; frozen: Buffer }>(
    'SELECT id, amount, key_id, frozen FROM holds WHERE account_id = $1 AND id = ANY ($2::uuid[])',
    [account, ids],
  );
  const ended = await pool.query<EntryRow>(
    `${ENTRIES} WHERE e.account_id = $1 AND e.id = ANY ($2::uuid[]) AND e.kind IN (2, 3, 4, 5, 8, 9) ORDER BY e.seq`,
    [account, ids],
  );
  const found = new Map<Uuid, LedgerRequest>();
  for (const { id, key_id, amount, frozen } of holds.rows) {
    found.set(id, { id, key: key_id, hold: { amount, frozen }, entries: [] });
  }
  for (const entry of ended.rows.map(toEntry)) {
    const request = found.get(entry.id) ?? { id: entry.id, key: entry.key, hold: null, entries: [] };
    request.entries.push(entry);
    found.set(entry.id, request);
  }
  return ids.map((id) => found.get(id)).filter((request) => request !== undefined);
}

/** A hold that no gateway ended: its own time was over, or its gateway died. */
export interface EndedHold extends OpenHold {
  /** What decided the charge; `null`: its own time was over. */
  onOrphan: OnOrphan | null;
}

const AMOUNT_BYTES = 8;
/** By the last byte of what the sweep wrote. Gateways write text, which has no such bytes. */
const BY_NUMBER = new Map(Object.entries(ON_ORPHAN).map(([name, number]) => [number as number, name as OnOrphan]));

/**
 * The hold that an entry ended which no gateway wrote (recovered, lapsed, or released because its gateway died): what was
 * frozen with it, and its amount in nano-credits. `null`: the entry has a receipt of its own.
 */
export function endedHold(kind: EntryKind, receipt: Buffer): EndedHold | null {
  const swept = kind === 'recovered' || kind === 'release' ? (BY_NUMBER.get(receipt.at(-1) ?? -1) ?? null) : null;
  if (swept === null && kind !== 'lapse') return null;
  const end = receipt.length - AMOUNT_BYTES - (swept === null ? 0 : 1);
  return { frozen: receipt.subarray(0, end), amount: receipt.readBigInt64BE(end), onOrphan: swept };
}

const ACCOUNTS_PER_SLICE = 1_000;

/**
 * The account a request belongs to, where only its id is known. Every key of the ledger begins with the account, so
 * accounts are probed one index look-up each, newest first, in slices. Bounded: `null` when none of the newest
 * `most` accounts has it.
 */
export async function findAccountOfRequest(pool: Pool, id: Uuid, most: number): Promise<bigint | null> {
  let below: bigint | null = null;
  for (let probed = 0; probed < most; probed += ACCOUNTS_PER_SLICE) {
    const slice: Slice = await probeSlice(pool, id, below);
    if (slice.found !== null || slice.last === null) return slice.found;
    below = slice.last;
  }
  return null;
}

interface Slice {
  /** The last account probed; `null`: there was none. */
  last: bigint | null;
  found: bigint | null;
}

async function probeSlice(pool: Pool, id: Uuid, below: bigint | null): Promise<Slice> {
  // LIMIT inside LATERAL keeps it a probe per account, whatever the planner thinks of scanning a whole month.
  const { rows } = await pool.query<Slice>(
    `WITH slice AS MATERIALIZED (
       SELECT account_id FROM wallets WHERE $2::bigint IS NULL OR account_id < $2 ORDER BY account_id DESC LIMIT $3)
     SELECT (SELECT min(account_id) FROM slice) AS last,
       (SELECT s.account_id FROM slice s, LATERAL (
          (SELECT FROM holds h WHERE h.account_id = s.account_id AND h.id = $1 LIMIT 1) UNION ALL
          (SELECT FROM entries e WHERE e.account_id = s.account_id AND e.id = $1 AND e.kind IN (2, 3, 4, 9) LIMIT 1)) t
        LIMIT 1) AS found`,
    [id, below, ACCOUNTS_PER_SLICE],
  );
  return rows[0]!;
}
