/**
 * Applies the numbered SQL files of `migrations/` in order, each in a transaction of its own. Ten processes may start at
 * once: one migrates, the others wait for its advisory lock and then find nothing to do.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import type { Logger } from '../observe/log.ts';

const FOLDER = join(import.meta.dirname, 'migrations');
/** No migration may wait long behind traffic for a lock, and make traffic wait behind it. */
const LOCK_TIMEOUT_MS = 5_000;
/** How long a process waits for another one that migrates. */
const TURN_TIMEOUT_MS = 120_000;
const CONNECT_TIMEOUT_MS = 10_000;
const LOCK_ID = 7_465_113_402;
const LOCK_NOT_AVAILABLE = '55P03';

/** The database was migrated by a newer release: running an older one on it could corrupt it. */
export class SchemaNewerError extends Error {
  constructor(unknown: string[]) {
    super(
      `The database has migrations this release does not know (${unknown.join(', ')}). ` +
        'Start the newer release, or restore the database from before it ran. A database made before 0.1 was released cannot ' +
        'be brought up to it: start with an empty one.',
    );
    this.name = 'SchemaNewerError';
  }
}

/** Brings the database at `url` to the schema of this release. Throws `SchemaNewerError` when it is past it. */
export async function migrate(url: string, log: Logger): Promise<{ applied: string[] }> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'tollgate-migrate',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
  });
  // A lost connection fails the query that runs; without a listener it would end the process as well.
  client.on('error', () => {});
  await client.connect();
  try {
    await takeTurn(client);
    await client.query('CREATE SCHEMA IF NOT EXISTS tollgate');
    await client.query('SET search_path = tollgate');
    await refuseNewer(client);
    const applied: string[] = [];
    for (let name = await applyNext(client, log); name !== undefined; name = await applyNext(client, log)) {
      log.info({ migration: name }, 'migrated');
      applied.push(name);
    }
    return { applied };
  } finally {
    await client.end();
  }
}

/** Waits while another process migrates. The lock is the session's: it ends with the connection. */
async function takeTurn(client: pg.Client): Promise<void> {
  await client.query(`SET statement_timeout = 0; SET lock_timeout = ${TURN_TIMEOUT_MS}`);
  try {
    await client.query('SELECT pg_advisory_lock($1)', [LOCK_ID]);
  } catch (error) {
    if ((error as { code?: string }).code !== LOCK_NOT_AVAILABLE) throw error;
    throw new Error(
      `Another process has been migrating this database for ${TURN_TIMEOUT_MS / 1000} s. See what it waits for (pg_stat_activity), and start again.`,
      { cause: error },
    );
  }
  await client.query(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`);
}

/** Applies the first file that was not, in a transaction of its own. Its name; `undefined`: all were. */
async function applyNext(client: pg.Client, log: Logger): Promise<string | undefined> {
  const [applied] = await runner({
    dbClient: client,
    dir: FOLDER,
    direction: 'up',
    count: 1,
    migrationsTable: 'migrations',
    migrationsSchema: 'tollgate',
    checkOrder: true,
    // Ours, taken above, waits for its turn; the library's would fail instead.
    noLock: true,
    logger: { debug: () => {}, info: () => {}, warn: (text) => log.warn(text), error: (text) => log.error(text) },
  });
  return applied?.name;
}

async function refuseNewer(client: pg.Client): Promise<void> {
  const { rows: tables } = await client.query("SELECT to_regclass('tollgate.migrations') IS NOT NULL AS present");
  if (!tables[0]!.present) return;
  const known = new Set(readdirSync(FOLDER).map((file) => file.replace(/\.sql$/, '')));
  const { rows } = await client.query<{ name: string }>('SELECT name FROM tollgate.migrations ORDER BY id');
  const unknown = rows.map(({ name }) => name).filter((name) => !known.has(name));
  if (unknown.length > 0) throw new SchemaNewerError(unknown);
}
