/** The database that a command works on: the same as the gateway's, beside it or without it. */
import type { Pool } from 'pg';
import { type Config, loadConfig } from '../config.ts';
import { joinEmbedded } from '../db/embedded/index.ts';
import { assertServer, createPool } from '../db/pool.ts';
import { WriterConnection } from '../ledger/connection.ts';
import { LedgerWriter } from '../ledger/writer.ts';
import { systemClock } from '../lib/clock.ts';
import { mintId } from '../lib/ids.ts';
import { createLogger, type Logger } from '../observe/log.ts';

const CONNECTIONS = 4;
const STANDARD_ERROR = 2;

export interface Database {
  config: Config;
  url: string;
  log: Logger;
}

/** Runs `work` with the database of the settings: DATABASE_URL, else the embedded one, which is started if it does not run. */
export async function withDatabase<T>(work: (database: Database) => Promise<T>): Promise<T> {
  const config = loadConfig();
  const log = createLogger('warn', STANDARD_ERROR);
  const embedded = config.databaseUrl === null ? await joinEmbedded({ dataDir: config.dataDir, log }) : null;
  try {
    return await work({ config, log, url: embedded?.url ?? config.databaseUrl!.reveal() });
  } catch (error) {
    throw explained(error);
  } finally {
    await embedded?.stop();
    await new Promise((resolve) => log.flush(resolve));
  }
}

/** The same with a pool on it. */
export function withPool<T>(work: (pool: Pool, database: Database) => Promise<T>): Promise<T> {
  return withDatabase(async (database) => {
    const { url, log } = database;
    const pool = createPool({ url, max: CONNECTIONS, applicationName: 'tollgate-cli', log });
    try {
      await assertServer(pool);
      return await work(pool, database);
    } finally {
      await pool.end();
    }
  });
}

/** A ledger writer on the database, for as long as `work` takes. */
export async function withWriter<T>({ url, log }: Database, work: (writer: LedgerWriter) => Promise<T>): Promise<T> {
  const connection = new WriterConnection(url, mintId(systemClock), log);
  const writer = new LedgerWriter({ connection, clock: systemClock, log });
  try {
    return await work(writer);
  } finally {
    await writer.close();
    await connection.close();
  }
}

const UNREACHABLE = ['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', '28P01', '28000', '3D000'];
const NOT_MIGRATED = ['42P01', '42703', '42883', '3F000'];

/** What to do about an error of the database, where that is known. Never shows the URL: it holds the password. */
function explained(error: unknown): unknown {
  const code = String((error as { code?: unknown }).code);
  if (UNREACHABLE.includes(code)) {
    return new Error(`The database cannot be reached (${code}). See that it runs, and that DATABASE_URL is right.`, {
      cause: error,
    });
  }
  if (NOT_MIGRATED.includes(code)) {
    return new Error('The database lacks the tables of this release. Run "npx tollgate migrate" first.', {
      cause: error,
    });
  }
  return error;
}
