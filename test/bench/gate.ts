/** The ledger gate: a benchmark of something that loses count of money is worth nothing. */
import type { Pool } from 'pg';
import { verifyLedger } from '../../src/ledger/verify.ts';
import { formatCredits } from '../../src/lib/money.ts';
import type { Served } from './mock-upstream.ts';
import { INPUT_NANO, OUTPUT_NANO } from './workload.ts';

/**
 * Everything that does not agree between what clients got whole (`answered`), what the upstream served and what the
 * ledger booked; empty: all is exact.
 */
export async function ledgerFaults(pool: Pool, served: Served, answered: number): Promise<string[]> {
  const faults: string[] = [];
  const expect = (what: string, found: unknown, expected: unknown): void => {
    if (found !== expected) faults.push(`${what}: ${found}, expected ${expected}`);
  };
  const { rows } = await pool.query<{ charges: bigint; charged: string; others: bigint; holds: bigint; held: string }>(
    `SELECT count(*) FILTER (WHERE kind = 2) AS charges, coalesce(-sum(amount) FILTER (WHERE kind = 2), 0) AS charged,
       count(*) FILTER (WHERE kind NOT IN (1, 2)) AS others, (SELECT count(*) FROM holds) AS holds,
       (SELECT coalesce(sum(held), 0) FROM wallets) AS held
     FROM entries`,
  );
  const { charges, charged, others, holds, held } = rows[0]!;
  const worth = BigInt(served.input) * INPUT_NANO + BigInt(served.output) * OUTPUT_NANO;
  expect('requests that the upstream served', served.requests, answered);
  expect('charges in the ledger', charges, BigInt(served.requests));
  expect('credits charged', formatCredits(BigInt(charged)), formatCredits(worth));
  expect('entries that are neither grant nor charge', others, 0n);
  expect('open holds', holds, 0n);
  expect('credits held', formatCredits(BigInt(held)), '0');
  const { differences } = await verifyLedger(pool);
  for (const d of differences) faults.push(`account ${d.account}, ${d.subject}: ${d.found}, expected ${d.expected}`);
  return faults;
}
