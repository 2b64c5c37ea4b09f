/**
 * Credits that plans include (0017-plans.sql), and what else time alone changes of accounts. Nobody has to wait for this job: the
 * first hold after an instant makes its gateway do what is due. The job does it for accounts that nobody uses.
 *
 *   idle ──each 5 s──▶ accounts that are due ──the catalog has changed──▶ accounts whose plan has come to include credits ──▶ idle
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientBase, Pool } from 'pg';
import type { Logger } from '../observe/log.ts';

const PAUSE_MS = 5_000;
/** Accounts that are read at a time. */
const PAGE = 500;
const BEFORE_ALL = 0n;

/**
 * Grants what the plan of an account includes and was not granted yet: to a new account, and to one whose plan has come to
 * include more. What an assigned plan includes comes with its statement.
 */
export async function grantIncluded(db: Pick<ClientBase, 'query'>, account: bigint): Promise<void> {
  await db.query('SELECT plan_advance($1, NULL, true)', [account]);
}

/** Does what is due of an account by time alone. */
export async function advancePolicy(db: Pick<ClientBase, 'query'>, account: bigint): Promise<void> {
  await db.query('SELECT policy_advance($1)', [account]);
}

/** Does what is due of accounts, again and again. Returns what ends it, and resolves when it has. Failures are logged. */
export function keepPoliciesAdvanced(pool: Pool, log: Logger): () => Promise<void> {
  const end = new AbortController();
  const run = async (): Promise<void> => {
    let seen: bigint | null = null;
    const warn = (error: unknown): void => {
      if (!end.signal.aborted) log.warn({ err: error }, 'plans could not be looked after; they are, at the next use');
    };
    while (!end.signal.aborted) {
      await advanceDue(pool, end.signal).catch(warn);
      seen = await beginIncluded(pool, seen, end.signal).catch((error) => {
        warn(error);
        return seen;
      });
      await sleep(PAUSE_MS, undefined, { ref: false, signal: end.signal }).catch(() => {});
    }
  };
  const ended = run();
  return () => {
    end.abort();
    return ended;
  };
}

/**
 * Does what is due of all accounts, one by one; returns of how many. One that fails holds none up: its error is thrown at the end of
 * its page, and the next round goes on with those after it.
 */
export async function advanceDue(pool: Pool, signal?: AbortSignal): Promise<number> {
  for (let done = 0; ; ) {
    const { rows } = await pool.query<{ account_id: bigint }>(
      'SELECT account_id FROM wallets WHERE policy_changes_at <= clock_timestamp() ORDER BY policy_changes_at LIMIT $1',
      [PAGE],
    );
    done += await each(rows, (account) => advancePolicy(pool, account), signal);
    if (signal?.aborted) return done;
    if (rows.length < PAGE) return done;
  }
}

/**
 * Grants the first period to accounts whose plan has come to include credits since the catalog's version `seen` (`null`: since
 * whenever). Returns the version that it has seen.
 */
export async function beginIncluded(pool: Pool, seen: bigint | null, signal?: AbortSignal): Promise<bigint> {
  const { rows } = await pool.query<{ version: bigint }>('SELECT version FROM catalog_state');
  const { version } = rows[0]!;
  if (version === seen) return version;
  for (let after = BEFORE_ALL; ; ) {
    const page = await pool.query<{ account_id: bigint; begun: boolean }>('SELECT * FROM plans_begun($1, $2)', [
      after,
      PAGE,
    ]);
    const behind = page.rows.filter(({ begun }) => !begun);
    await each(behind, (account) => pool.query('SELECT plan_advance($1)', [account]), signal);
    if (signal?.aborted) return seen ?? 0n;
    if (page.rows.length < PAGE) return version;
    after = page.rows.at(-1)!.account_id;
  }
}

/** Works on accounts one after another, and throws the first error when all had their turn. Returns how many there were. */
async function each(
  rows: readonly { account_id: bigint }[],
  work: (account: bigint) => Promise<unknown>,
  signal?: AbortSignal,
): Promise<number> {
  const failed: unknown[] = [];
  for (const { account_id: account } of rows) {
    if (signal?.aborted) break;
    await work(account).catch((error) => failed.push(error));
  }
  if (failed.length > 0) throw failed[0];
  return rows.length;
}
