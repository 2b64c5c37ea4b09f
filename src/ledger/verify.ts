/** Proves the ledger: each account's projections equal its entries, lots equal what was taken from them, holds have owners. */
import type { Pool } from 'pg';

/** Accounts looked at in one transaction: none of ours holds a snapshot for long. */
const SLICE = 50;

export interface Difference {
  account: bigint;
  subject: string;
  expected: string;
  found: string;
}

export interface Verification {
  accounts: number;
  entries: bigint;
  differences: Difference[];
}

/** Verifies every account. `progress` is called after each slice with the number of accounts done. */
export async function verifyLedger(pool: Pool, progress?: (accounts: number) => void): Promise<Verification> {
  const result: Verification = { accounts: 0, entries: 0n, differences: [] };
  let after = -1n;
  for (;;) {
    const client = await pool.connect();
    let failure: unknown = null;
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      const { rows } = await client.query<{ account_id: bigint; seq: bigint }>(
        'SELECT account_id, seq FROM wallets WHERE account_id > $1 ORDER BY account_id LIMIT $2',
        [after, SLICE],
      );
      const found = await client.query<{ account_id: bigint; subject: string; expected: string; found: string }>(
        `SELECT a AS account_id, d.* FROM unnest($1::bigint[]) a, LATERAL ledger_verify_account(a) d`,
        [rows.map((row) => row.account_id)],
      );
      await client.query('COMMIT');
      for (const row of found.rows) {
        result.differences.push({
          account: row.account_id,
          subject: row.subject,
          expected: row.expected,
          found: row.found,
        });
      }
      for (const row of rows) result.entries += row.seq;
      result.accounts += rows.length;
      if (rows.length < SLICE) return result;
      after = rows.at(-1)!.account_id;
      progress?.(result.accounts);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      client.release(failure !== null);
    }
  }
}
