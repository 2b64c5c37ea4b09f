/** `/healthz` says that the process runs; `/readyz` whether it can serve: nothing is served without the ledger. */
import type { Pool } from 'pg';
import type { Clock } from '../lib/clock.ts';

const PROBE_TIMEOUT_MS = 1_000;

export interface Readiness {
  ok: boolean;
  database: 'ok' | 'down';
  redis: 'ok' | 'down' | 'unset';
  /** Settlements that wait on disk for the ledger. */
  journal: number;
  /** This machine's clock less the database's. Money does not depend on it; logs and receipts do. */
  clock_skew_ms: number | null;
}

/** Asks the database, for at most a second. `journal`: how many settlements wait on disk. Without Redis all is served. */
export async function readiness(
  pool: Pool,
  clock: Clock,
  { journal, redis }: Pick<Readiness, 'journal' | 'redis'>,
): Promise<Readiness> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), PROBE_TIMEOUT_MS);
  });
  const asked = clock.now();
  const probe = pool.query<{ now: Date }>('SELECT clock_timestamp() AS now').then(
    ({ rows }) => Math.round((asked + clock.now()) / 2 - rows[0]!.now.getTime()),
    () => null,
  );
  const skew = await Promise.race([probe, limit]);
  clearTimeout(timer);
  return {
    ok: skew !== null,
    database: skew === null ? 'down' : 'ok',
    redis,
    journal,
    clock_skew_ms: skew,
  };
}
