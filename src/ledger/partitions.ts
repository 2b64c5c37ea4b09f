/** Keeps months of entries made ahead. One that is missing costs nothing but tidiness: its rows go to the default partition. */
import type { Pool } from 'pg';
import type { Logger } from '../observe/log.ts';

const MONTHS_AHEAD = 3;
const DAY_MS = 86_400_000;

/** Makes what is due now and once a day; returns what ends it. A failure, for lack of rights as a rule, is logged. */
export function keepPartitions(pool: Pool, log: Logger): () => void {
  const make = (): void => {
    makePartitions(pool, log).catch((error) =>
      log.warn({ err: error }, 'months of entries could not be made ahead; run tollgate migrate'),
    );
  };
  make();
  const timer = setInterval(make, DAY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Makes the months that are due, and logs those that cannot be made; returns how many it made. Throws what the driver throws. */
export async function makePartitions(pool: Pool, log: Logger): Promise<number> {
  const client = await pool.connect();
  const warn = ({ message }: { message: string | undefined }): void =>
    log.warn(`${message}; see docs/ledger-archive.md`);
  client.on('notice', warn);
  try {
    const { rows } = await client.query<{ made: number }>('SELECT make_partitions($1) AS made', [MONTHS_AHEAD]);
    return rows[0]!.made;
  } finally {
    client.off('notice', warn);
    client.release();
  }
}
