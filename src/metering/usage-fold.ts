/**
 * Usage by day follows the ledger: each account is folded up to an entry's number, its watermark, and no further.
 *
 *   behind ──tally──▶ added up in memory ──watermark where it was──▶ folded, watermark moved, one statement
 *     ▲                      └──────────── moved by another ───────▶ behind, by less
 *     └────────────────────────── a request ends ◀──────────────────┘
 *
 * Requests write nothing for it. A reader folds what its account lacks, which is little, because a job folds accounts that are
 * far behind. So what is read is exact, and its sums are the ledger's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { TollgateError } from '../errors.ts';
import type { Logger } from '../observe/log.ts';
import { columnsOf, tally } from './usage-tally.ts';

/** Whoever loses a race has less left to do; so many in a row do not happen. */
const MOST_RACES = 20;
/** Accounts that the job looks at in one statement. */
const SLICE = 1_000;
/** Entries that a reader may be left with: some milliseconds. The job would write a row for each if it folded them singly. */
const LEAST_BEHIND = 200;
const PAUSE_MS = 2_000;
/** The job rests so many times longer than it worked: it is to take a twentieth of one core at most. */
const REST = 20;

export interface FoldOptions {
  /** Of more entries than these none is folded. */
  most?: number;
  /** Gives up between two pages. */
  signal?: AbortSignal;
}

/**
 * Folds all entries that the account had when it was called. `null`: there is no such account. Resolves with the number of
 * the last entry. Throws `overloaded`, having done nothing, when more than `most` wait: the job is at them, then.
 */
export async function foldUsage(pool: Pool, account: bigint, options: FoldOptions = {}): Promise<bigint | null> {
  const { most = Number.POSITIVE_INFINITY, signal } = options;
  let through: bigint | null = null;
  for (let races = 0; races < MOST_RACES; races++) {
    const { rows } = await pool.query<{ seq: bigint; folded: bigint }>(
      `SELECT w.seq, coalesce(f.seq, 0) AS folded FROM wallets w LEFT JOIN usage_folds f USING (account_id)
        WHERE w.account_id = $1`,
      [account],
    );
    const found = rows[0];
    if (found === undefined) return null;
    through ??= found.seq;
    if (found.folded >= through) return through;
    if (found.seq - found.folded > most) throw new TollgateError('overloaded', { cause: 'usage is being added up' });
    const sums = await tally(pool, account, found.folded, found.seq, signal);
    const moved = [account, found.folded, found.seq, sums.balance ?? 0n, ...columnsOf(sums.days())];
    const written = await pool.query<{ folded: boolean }>(FOLD, moved);
    if (written.rows[0]!.folded) return through;
  }
  throw new TollgateError('overloaded', { cause: 'usage was folded by others all the time' });
}

const FOLD = `
  WITH moved AS (
    INSERT INTO usage_folds AS f (account_id, seq, balance) VALUES ($1, $3, $4)
    ON CONFLICT (account_id) DO UPDATE SET seq = excluded.seq, balance = excluded.balance WHERE f.seq = $2
    RETURNING 1
  ), added AS (
    INSERT INTO usage_days AS d (account_id, day, key_id, model, requests, input_tokens, output_tokens, credits)
    SELECT $1, t.* FROM unnest($5::date[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[]) t
     WHERE EXISTS (SELECT FROM moved)
    ON CONFLICT (account_id, day, key_id, model) DO UPDATE SET requests = d.requests + excluded.requests,
      input_tokens = d.input_tokens + excluded.input_tokens, output_tokens = d.output_tokens + excluded.output_tokens,
      credits = d.credits + excluded.credits
  )
  SELECT EXISTS (SELECT FROM moved) AS folded`;

/**
 * Folds accounts that are at least `least` entries behind, each in turn; returns how many. Any number of processes may do so at
 * once. An account that cannot be folded is logged, and passed over.
 */
export async function foldAll(pool: Pool, log: Logger, signal: AbortSignal, least = LEAST_BEHIND): Promise<number> {
  let folded = 0;
  for (let after: bigint | null = -(1n << 63n); after !== null && !signal.aborted; ) {
    const { last, behind }: Slice = (await pool.query<Slice>(BEHIND, [after, SLICE, least])).rows[0]!;
    for (const account of behind) {
      if (signal.aborted) break;
      await foldUsage(pool, account, { signal }).then(
        () => folded++,
        (error) => {
          if (!signal.aborted) log.warn({ err: error }, 'the usage of an account could not be added up');
        },
      );
    }
    after = last;
  }
  return folded;
}

interface Slice {
  /** `null`: there are no more accounts. */
  last: bigint | null;
  behind: bigint[];
}

const BEHIND = `
  WITH slice AS MATERIALIZED (SELECT account_id, seq FROM wallets WHERE account_id > $1 ORDER BY account_id LIMIT $2)
  SELECT max(account_id) AS last,
      coalesce(array_agg(account_id) FILTER (WHERE s.seq - coalesce(f.seq, 0) >= $3), '{}') AS behind
    FROM slice s LEFT JOIN usage_folds f USING (account_id)`;

/** Folds for as long as the process lives; returns what ends it, and resolves once nothing of it runs. Failures are logged. */
export function keepUsageFolded(pool: Pool, log: Logger): () => Promise<void> {
  const end = new AbortController();
  const { signal } = end;
  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      const began = performance.now();
      await foldAll(pool, log, signal).catch((error) => log.warn({ err: error }, 'usage could not be added up'));
      const rest = Math.max(PAUSE_MS, REST * (performance.now() - began));
      await sleep(rest, undefined, { signal, ref: false }).catch(() => {});
    }
  };
  const running = run();
  return () => {
    end.abort();
    return running;
  };
}
