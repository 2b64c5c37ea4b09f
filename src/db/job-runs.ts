/** Work that one process does for all of them (0025-job-runs.sql has its states). */
import type { Pool } from 'pg';

export interface RunTerms {
  /** From the beginning of a run to that of the next. */
  everyMs: number;
  /** How long nobody else begins while a run lasts. What lasts longer may run twice at once, so it has to bear that. */
  leaseMs: number;
}

const TAKE = `
  INSERT INTO job_runs AS j (job, due_at) VALUES ($1, clock_timestamp() + $2 * interval '1 ms')
  ON CONFLICT (job) DO UPDATE SET due_at = excluded.due_at WHERE j.due_at <= clock_timestamp()
  RETURNING last_began, clock_timestamp() AS began`;

/**
 * Runs `work` when it is due and nobody runs it; returns whether it did. `lastBegan`: when the last run that ended well began, by the
 * database's clock; null: none has. What it throws is passed on; then it is due again once its lease is over.
 */
export async function runOnce(
  pool: Pool,
  job: string,
  { everyMs, leaseMs }: RunTerms,
  work: (lastBegan: Date | null) => Promise<void>,
): Promise<boolean> {
  const { rows } = await pool.query<{ last_began: Date | null; began: Date }>(TAKE, [job, leaseMs]);
  const taken = rows[0];
  if (taken === undefined) return false;
  await work(taken.last_began);
  await pool.query(
    `UPDATE job_runs SET last_began = $2, due_at = $2::timestamptz + $3 * interval '1 ms'
     WHERE job = $1 AND (last_began IS NULL OR last_began < $2)`,
    [job, taken.began, everyMs],
  );
  return true;
}
