/** Recreates the projections from entries, allocations, the terms of lots and open holds, where they differ from those. */
import type { Pool } from 'pg';
import type { AccountAudit, Correction, Difference } from './audit/account.ts';
import { type AuditOptions, auditLedger } from './audit/index.ts';

/** Of what was changed, and of what does not hold together, no more is listed. */
const MOST_LISTED = 10_000;

export interface RebuildOptions extends AuditOptions {
  /** Says what it would change, and changes nothing. */
  dryRun?: boolean;
  /** Also accounts whose running balance has a break: the amounts of their entries are taken as they are. */
  trustAmounts?: boolean;
  /** An instant to judge by instead of the database's clock; for tests alone. */
  at?: Date;
}

export interface Rebuilding {
  accounts: number;
  entries: number;
  /** How many accounts differed, and are now as expected; with `dryRun`, would be. */
  rebuilt: number;
  /** In what they differed. */
  changed: Difference[];
  /** What does not hold together; accounts with any of it were left as they are, but for what `trustAmounts` allows. */
  broken: Difference[];
}

/**
 * Rebuilds every account, beside running gateways: each in one transaction, and only where something differs. Throws what the
 * driver throws; accounts that were done before stay done.
 */
export async function rebuildLedger(pool: Pool, options: RebuildOptions = {}): Promise<Rebuilding> {
  const { dryRun = false, trustAmounts = false, at } = options;
  const result: Rebuilding = { accounts: 0, entries: 0, rebuilt: 0, changed: [], broken: [] };
  for await (const audit of auditLedger(pool, options)) {
    result.accounts++;
    result.entries += audit.entries;
    list(result.broken, [...audit.broken, ...audit.unbalanced]);
    const holdsTogether = audit.broken.length === 0 && (trustAmounts || audit.unbalanced.length === 0);
    if (audit.drifted.length === 0 || !holdsTogether) continue;
    const refusal = dryRun ? null : await correct(pool, audit, at);
    if (refusal === null) result.rebuilt++;
    list(refusal === null ? result.changed : result.broken, refusal === null ? audit.drifted : [refusal]);
  }
  return result;
}

const list = (all: Difference[], more: Difference[]): void => void all.push(...more.slice(0, MOST_LISTED - all.length));

const REFUSED = ['23514', 'P0001'];

/** Writes an account's projections; what the database refuses comes back as a difference. */
async function correct(pool: Pool, audit: AccountAudit, at?: Date): Promise<Difference | null> {
  const { account, seqFound, seq, debt, lots }: Correction = audit.correction();
  try {
    await pool.query(
      'SELECT ledger_rebuild($1, $2, $3, $4, $5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[], $9)',
      [
        account,
        seqFound,
        seq,
        debt,
        lots.map((lot) => lot.lot),
        lots.map((lot) => lot.remaining),
        lots.map((lot) => lot.repaid),
        lots.map((lot) => lot.expired),
        at ?? null,
      ],
    );
    return null;
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    if (!REFUSED.includes(String(code))) throw error;
    return { account, subject: 'wallet', expected: 'what can be stored', found: message };
  }
}
