/**
 * Proves the projection of usage, and makes it anew.
 *
 * A proof adds up no receipts: what an account was charged up to its watermark is what all else moved, less the balance that
 * stands there. Grants, expiries and adjustments are few. The balance is one that `verifyLedger` proves to be that of the entries.
 */
import type { Pool } from 'pg';
import { transaction } from '../db/pool.ts';
import type { Difference } from '../ledger/audit/account.ts';
import type { AuditOptions } from '../ledger/audit/index.ts';
import { type Rebuilding, type RebuildOptions, rebuildLedger } from '../ledger/rebuild.ts';
import { type Verification, verifyLedger } from '../ledger/verify.ts';
import { UnreadableReceipt } from './receipt.ts';
import { foldUsage } from './usage-fold.ts';
import { columnsOf, type Tally, tally, type UsageDay } from './usage-tally.ts';

/** Accounts read by one statement. */
const SLICE = 500;
/** Of differences no more are listed. */
const MOST_LISTED = 10_000;
const FIRST = -(1n << 63n);

/** Proves the ledger, then that the usage of each account comes to what the ledger charged it. Changes nothing. */
export async function verifyBooks(pool: Pool, options: AuditOptions = {}): Promise<Verification> {
  const result = await verifyLedger(pool, options);
  await verifyUsage(pool, options.account, (difference) => {
    if (result.differences.length < MOST_LISTED) result.differences.push(difference);
  });
  return result;
}

interface Proof {
  account: bigint;
  counted: bigint;
  folded: bigint;
  credits: string;
  expected: string;
}

async function verifyUsage(pool: Pool, only: bigint | undefined, report: (found: Difference) => void): Promise<void> {
  for (let after = only === undefined ? FIRST : only - 1n; ; ) {
    const slice = [after, only ?? null, SLICE];
    const { rows } = await transaction(pool, (client) => client.query<Proof>(PROOFS, slice));
    for (const { account, counted, folded, credits, expected } of rows) {
      if (folded > counted) {
        report({ account, subject: 'usage seq', expected: `at most ${counted}`, found: String(folded) });
      } else if (credits !== expected) {
        report({ account, subject: `usage credits up to seq ${folded}`, expected, found: credits });
      }
    }
    if (rows.length < SLICE) return;
    after = rows.at(-1)!.account;
  }
}

const PROOFS = `
  SELECT w.account_id AS account, w.seq AS counted, coalesce(f.seq, 0) AS folded, u.credits::text,
      (m.moved - coalesce(CASE WHEN f.seq = w.seq THEN w.posted + w.dormant ELSE f.balance END, 0))::text AS expected
    FROM wallets w LEFT JOIN usage_folds f USING (account_id),
      LATERAL (SELECT coalesce(sum(d.credits), 0) AS credits FROM usage_days d WHERE d.account_id = w.account_id) u,
      LATERAL (SELECT coalesce(sum(e.amount), 0) AS moved FROM entries e
        WHERE e.account_id = w.account_id AND e.seq <= f.seq AND e.kind NOT IN (2, 3) AND e.kind IN (1, 6, 7)) m
   WHERE w.account_id > $1 AND ($2::bigint IS NULL OR w.account_id = $2) ORDER BY w.account_id LIMIT $3`;

export interface BooksRebuilding extends Rebuilding {
  /** How many accounts' usage differed, and is now as expected; with `dryRun`, would be. */
  usageRebuilt: number;
}

/** Rebuilds the ledger's projections, then the usage of every account, where they differ, beside running gateways. */
export async function rebuildBooks(pool: Pool, options: RebuildOptions = {}): Promise<BooksRebuilding> {
  const { account: only, dryRun = false, progress = () => {} } = options;
  const result: BooksRebuilding = { ...(await rebuildLedger(pool, options)), usageRebuilt: 0 };
  const done = { accounts: 0, entries: 0 };
  for (let after = only === undefined ? FIRST : only - 1n; ; ) {
    const { rows } = await pool.query<{ account: bigint }>(
      `SELECT account_id AS account FROM wallets WHERE account_id > $1 AND ($2::bigint IS NULL OR account_id = $2)
        ORDER BY account_id LIMIT $3`,
      [after, only ?? null, SLICE],
    );
    for (const { account } of rows) {
      const found = await rebuildAccount(pool, account, dryRun);
      if (found.changed.length > 0) result.usageRebuilt++;
      list(result.changed, found.changed);
      list(result.broken, found.broken);
      done.accounts++;
      done.entries += found.entries;
      progress(done);
    }
    if (rows.length < SLICE) return result;
    after = rows.at(-1)!.account;
  }
}

const list = (all: Difference[], more: Difference[]): void => void all.push(...more.slice(0, MOST_LISTED - all.length));

interface Found {
  entries: number;
  changed: Difference[];
  broken: Difference[];
}

interface Stored {
  counted: bigint;
  /** `null`: nothing was ever folded. */
  folded: bigint | null;
  balance: bigint | null;
  days: { name: string; text: string }[];
}

/** As often as it takes for no reader to fold in between: so often in a row does not happen. */
const MOST_RACES = 20;

async function rebuildAccount(pool: Pool, account: bigint, dryRun: boolean): Promise<Found> {
  try {
    for (let races = 0; races < MOST_RACES; races++) {
      if (!dryRun) await foldUsage(pool, account);
      const stored = await readStored(pool, account);
      const folded = stored.folded ?? 0n;
      // A watermark beyond the entries that there are is brought back to the last of them.
      const through = folded > stored.counted ? stored.counted : folded;
      const sums = await tally(pool, account, 0n, through);
      const entries = Number(sums.entries);
      // What is detached was counted while it was there: it is not to be forgotten for that.
      if (sums.entries < through) return broken(account, `${through} entries`, entries);
      const changed = compare(account, stored, sums, through);
      if (changed.length === 0 || dryRun || (await replace(pool, account, stored, sums, through))) {
        return { entries, changed, broken: [] };
      }
    }
  } catch (error) {
    if (error instanceof UnreadableReceipt) return broken(account, 'receipts that can be read', 0, error.message);
    throw error;
  }
  throw new Error('the usage of an account was folded by others all the time: try again');
}

function broken(account: bigint, expected: string, entries: number, found = String(entries)): Found {
  return { entries, changed: [], broken: [{ account, subject: 'usage', expected, found }] };
}

async function readStored(pool: Pool, account: bigint): Promise<Stored> {
  const { rows } = await pool.query<Stored>(
    `SELECT w.seq AS counted, f.seq AS folded, f.balance, coalesce(d.days, '[]') AS days
      FROM wallets w LEFT JOIN usage_folds f USING (account_id), LATERAL (
        SELECT json_agg(json_build_object('name', concat_ws(' ', d.day, d.key_id, d.model),
            'text', concat_ws(' ', d.requests, d.input_tokens, d.output_tokens, d.credits))) AS days
          FROM usage_days d WHERE d.account_id = w.account_id) d
      WHERE w.account_id = $1`,
    [account],
  );
  return rows[0]!;
}

const nameOf = ({ day, key, model }: UsageDay): string => `${day} ${key} ${model}`;
/** Requests, input tokens, output tokens, nano-credits. */
const textOf = ({ requests, inputTokens, outputTokens, credits }: UsageDay): string =>
  `${requests} ${inputTokens} ${outputTokens} ${credits}`;

function compare(account: bigint, stored: Stored, sums: Tally, through: bigint): Difference[] {
  const found = new Map(stored.days.map(({ name, text }) => [name, text]));
  const expected = new Map(sums.days().map((day) => [nameOf(day), textOf(day)]));
  const differences: Difference[] = [];
  const check = (subject: string, wanted: string, has: string): void => {
    if (wanted !== has) differences.push({ account, subject: `usage ${subject}`, expected: wanted, found: has });
  };
  check('seq', String(through), String(stored.folded ?? 0n));
  if (stored.folded !== null) check('balance', String(sums.balance ?? 0n), String(stored.balance));
  for (const name of new Set([...expected.keys(), ...found.keys()])) {
    check(name, expected.get(name) ?? 'no row', found.get(name) ?? 'no row');
  }
  return differences;
}

/** Writes what entries come to in place of what is stored; false: somebody folded in between, and nothing was done. */
function replace(pool: Pool, account: bigint, stored: Stored, sums: Tally, through: bigint): Promise<boolean> {
  return transaction(pool, async (client) => {
    const moved = await client.query(
      'UPDATE usage_folds SET seq = $3, balance = $4 WHERE account_id = $1 AND seq = $2',
      [...[account, stored.folded ?? 0n, through, sums.balance ?? 0n]],
    );
    if (stored.folded !== null && moved.rowCount === 0) return false;
    await client.query('DELETE FROM usage_days WHERE account_id = $1', [account]);
    await client.query(
      `INSERT INTO usage_days (account_id, day, key_id, model, requests, input_tokens, output_tokens, credits)
       SELECT $1, t.* FROM unnest($2::date[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[]) t`,
      [account, ...columnsOf(sums.days())],
    );
    return true;
  });
}
