/**
 * A database clock that stands where a test puts it. In these sessions the ledger's own SQL finds our `clock_timestamp`
 * before that of Postgres, so that readers and jobs, which take no instant, are tested exactly at the borders of time.
 */
import type pg from 'pg';
import { createPool } from '../../src/db/pool.ts';
import { silentLogger } from '../../src/observe/log.ts';
import type { TestDatabase } from '../support/database.ts';
import { second } from './rig.ts';

export interface StoppedClock {
  /** Sessions that live by this clock. */
  pool: pg.Pool;
  set(seconds: number): Promise<void>;
  close(): Promise<void>;
}

export async function stopClock(database: TestDatabase): Promise<StoppedClock> {
  await database.pool.query('CREATE SCHEMA stopped CREATE TABLE instant (t timestamptz NOT NULL)');
  await database.pool.query('INSERT INTO stopped.instant VALUES (now())');
  for (const name of ['clock_timestamp', 'statement_timestamp']) {
    await database.pool.query(
      `CREATE FUNCTION stopped.${name}() RETURNS timestamptz LANGUAGE sql AS 'SELECT t FROM stopped.instant'`,
    );
  }
  const url = new URL(database.url);
  url.searchParams.set('options', '-c search_path=stopped,tollgate,pg_catalog -c plan_cache_mode=force_generic_plan');
  const pool = createPool({ url: url.toString(), max: 2, applicationName: 'tollgate-test', log: silentLogger });
  return {
    pool,
    set: async (seconds) => {
      await pool.query('UPDATE stopped.instant SET t = $1', [second(seconds)]);
    },
    close: () => pool.end(),
  };
}
