/** A database of its own for a test file: a clone of the migrated template. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { inject } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { silentLogger } from '../../src/observe/log.ts';

export const TEMPLATE = 'tollgate_template';

export interface TestDatabase {
  url: string;
  pool: pg.Pool;
  drop(): Promise<void>;
}

export function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.toString();
}

/** Runs one statement on the server, outside of any test's database. */
export async function onServer(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject('serverUrl') });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

export async function createTestDatabase(): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await clone(name);
  const url = databaseUrl(inject('serverUrl'), name);
  const pool = createPool({ url, max: 8, applicationName: 'tollgate-test', log: silentLogger });
  // Tests ask hundreds of things at once, and a busy machine is no fault.
  pool.options.connectionTimeoutMillis = 30_000;
  return {
    url,
    pool,
    drop: async () => {
      await pool.end();
      await onServer(`DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/** Two clones at once get in each other's way: the template must have no other user. */
async function clone(name: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      // Through the log it takes six times as long.
      return await onServer(`CREATE DATABASE ${name} TEMPLATE ${TEMPLATE} STRATEGY FILE_COPY`);
    } catch (error) {
      if ((error as { code?: string }).code !== '55006' || tries === 100) throw error;
      await sleep(50);
    }
  }
}
