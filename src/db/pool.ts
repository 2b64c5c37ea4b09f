/** Connections to Postgres: one small pool for reads and slow work. The ledger's writer has a connection of its own. */
import pg from 'pg';
import { TollgateError } from '../errors.ts';
import type { Logger } from '../observe/log.ts';

const CONNECT_TIMEOUT_MS = 2_000;
const STATEMENT_TIMEOUT_MS = 10_000;
const PROMPT_MS = 1_800;
const OLDEST_SERVER = 150_000;

/** bigint columns are `bigint`; numeric stays text: no float ever holds money. */
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, (text) => BigInt(text));
types.setTypeParser(1016, (text) =>
  text === '{}'
    ? []
    : text
        .slice(1, -1)
        .split(',')
        .map((item) => BigInt(item)),
);

export interface PoolOptions {
  url: string;
  max: number;
  applicationName: string;
  log: Logger;
}

/** A pool whose connections see the schema `tollgate`. A connection that dies is replaced, never a crash. */
export function createPool(options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.max,
    application_name: options.applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 1_000,
    options: '-c search_path=tollgate -c idle_in_transaction_session_timeout=5000',
    keepAlive: true,
    types,
  });
  // The pool listens to idle connections only: one that dies inside a transaction, between two queries, would end us.
  pool.on('connect', (client) => client.on('error', () => {}));
  pool.on('error', ({ message }) => {
    // The server may go while we say goodbye. (The error carries its whole connection, so only its words are logged.)
    if (!pool.ending) options.log.warn({ cause: message }, 'an idle database connection was lost');
  });
  return pool;
}

/** A pool, or a connection of one inside its caller's transaction. */
export type Db = pg.Pool | pg.PoolClient;

/**
 * Runs `work` in one transaction: committed when it returns, rolled back when it throws. Inside a transaction already it is part of
 * that, whose end is its caller's.
 */
export async function transaction<T>(db: Db, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  if (!(db instanceof pg.Pool)) return work(db);
  const client = await db.connect();
  let broken = false;
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {
      broken = true;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}

/**
 * The answer to a read that a request waits for; throws `ledger_unavailable` when the database is away or does not
 * answer within 1.8 s, so that the client hears so within 2.
 */
export async function promptly<T>(read: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the database did not answer in time')), PROMPT_MS);
  });
  try {
    return await Promise.race([read, late]);
  } catch (cause) {
    throw cause instanceof TollgateError ? cause : new TollgateError('ledger_unavailable', { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** Throws when the server is too old for the migrations. */
export async function assertServer(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query<{ server_version_num: string; server_version: string }>(
    "SELECT current_setting('server_version_num') AS server_version_num, current_setting('server_version') AS server_version",
  );
  if (Number(rows[0]!.server_version_num) < OLDEST_SERVER) {
    throw new Error(
      `Postgres ${rows[0]!.server_version} is too old: Tollgate needs 15 or newer. Upgrade it, or unset DATABASE_URL.`,
    );
  }
}
