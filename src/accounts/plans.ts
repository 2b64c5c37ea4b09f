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
    while (!end.signal.aborted) {
      try {
        await advanceDue(pool, end.signal);
        seen = await beginIncluded(pool, seen, end.signal);
      } catch (error) {
        if (!end.signal.aborted) log.warn({ err: error }, 'plans could not be looked after; they are, at the next use');
      }
      await sleep(PAUSE_MS, undefined, { ref: false, signal: end.signal }).catch(() => {});
    }
  };
  const ended = run();
  return () => {
    end.abort();
    return ended;
  };
}

/** Does what is due of all accounts, one by one; returns of how many. */
export async function advanceDue(pool: Pool, signal?: AbortSignal): Promise<number> {
  for (let done = 0; ; ) {
    const { rows } = await pool.query<{ account_id: bigint }>(
      'SELECT account_id FROM wallets WHERE policy_changes_at <= clock_timestamp() ORDER BY policy_changes_at LIMIT $1',
      [PAGE],
    );
    for (const { account_id: account } of rows) {
      if (signal?.aborted) return done;
      await advancePolicy(pool, account);
      done++;
    }
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
    for (const { account_id: account, begun } of page.rows) {
      if (signal?.aborted) return seen ?? 0n;
      if (!begun) await grantIncluded(pool, account);
    }
    if (page.rows.length < PAGE) return version;
    after = page.rows.at(-1)!.account_id;
  }
}
