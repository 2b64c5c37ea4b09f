/** Proves the ledger: what is stored equals what its entries say, and the entries hold together. It changes nothing. */
import type { Pool } from 'pg';
import type { Difference } from './audit/account.ts';
import { type AuditOptions, auditLedger } from './audit/index.ts';

/** With this many differences a verification ends: a ledger with more is not read row by row. */
const MOST_DIFFERENCES = 10_000;

export interface Verification {
  accounts: number;
  entries: number;
  /** None: it is proven. */
  differences: Difference[];
}

/**
 * Verifies every account, beside running gateways. Each difference names the row, what was expected and what was found; more
 * than 1,000 of one account are not named, and after 10,000 in all it stops. Throws what the driver throws.
 */
export async function verifyLedger(pool: Pool, options?: AuditOptions): Promise<Verification> {
  const result: Verification = { accounts: 0, entries: 0, differences: [] };
  for await (const audit of auditLedger(pool, options)) {
    result.accounts++;
    result.entries += audit.entries;
    result.differences.push(...audit.broken, ...audit.unbalanced, ...audit.drifted);
    if (result.differences.length >= MOST_DIFFERENCES) break;
  }
  return result;
}

/**
 * `verify` for many callers, so that however many ask, one reads at a time, over one connection of the pool. Whoever
 * comes while it reads shares the next with all who wait: what an answer proves was read after the question.
 */
export function sharedVerification(
  pool: Pool,
  verify: (pool: Pool) => Promise<Verification> = verifyLedger,
): () => Promise<Verification> {
  let last: Promise<unknown> = Promise.resolve();
  let next: Promise<Verification> | null = null;
  const begin = (): Promise<Verification> => {
    next = null;
    return verify(pool);
  };
  return () => {
    if (next === null) {
      next = last.then(begin, begin);
      last = next;
    }
    return next;
  };
}
