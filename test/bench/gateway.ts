/** Tollgate as the benchmarks run it: a folder in the clone, a process of its own, its embedded Postgres beside it. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { pathsOf, urlOf } from '../../src/db/embedded/cluster.ts';
import { findServer, stopServer } from '../../src/db/embedded/process.ts';
import { createPool } from '../../src/db/pool.ts';
import { silentLogger } from '../../src/observe/log.ts';
import type { Child } from './processes.ts';

/** In the clone, not in the system's folder for temporary files: that is often memory, where an fsync costs nothing. */
const PARENT = join(import.meta.dirname, '../../.bench');

export interface Database {
  pool: pg.Pool;
  /** For what may take its time. */
  maintenance: pg.Client;
  postmaster: number;
}

/** A new folder for a run. */
export function makeFolder(): string {
  mkdirSync(PARENT, { recursive: true });
  const folder = mkdtempSync(join(PARENT, 'run-'));
  // As root, Postgres runs as another user, who must be able to enter.
  chmodSync(folder, 0o755);
  return folder;
}

/** The argument of contenders/tollgate.ts: a gateway whose provider `mock` has this base URL. */
export function settingsOf(folder: string, baseUrl: string, catalog: string): string {
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const provider = `{ kind: openai, base_url: "${baseUrl}", api_key: sk-bench }`;
  const env = {
    TOLLGATE_CONFIG: file('tollgate.yaml', `providers:\n  mock: ${provider}\n`),
    TOLLGATE_CATALOG: file('catalog.yaml', catalog),
    TOLLGATE_DATA_DIR: join(folder, 'data'),
    PORT: '0',
  };
  return JSON.stringify({ env, logPath: join(folder, 'tollgate.log') });
}

/** Connects to the Postgres of the gateway that runs in the folder. */
export async function openDatabase(folder: string): Promise<{ database: Database; url: string }> {
  const paths = pathsOf(join(folder, 'data'));
  const server = findServer(paths.folder)!;
  const url = urlOf(paths, server.port);
  const pool = createPool({ url, max: 2, applicationName: 'bench', log: silentLogger });
  const maintenance = new pg.Client({ connectionString: url, options: '-c search_path=tollgate' });
  await maintenance.connect();
  return { database: { pool, maintenance, postmaster: server.pid }, url };
}

/** Ends what ran in the folder, which is removed unless it is to be looked at. Throws when a process did not end well. */
export async function endAll(
  folder: string,
  database: Database | null,
  children: readonly Child[],
  keepFolder: boolean,
): Promise<void> {
  await database?.maintenance.end();
  await database?.pool.end();
  const ends = await Promise.allSettled(children.map((child) => child.stop()));
  const orphan = folder === '' ? null : findServer(pathsOf(join(folder, 'data')).folder);
  if (orphan !== null) await stopServer(orphan);
  if (!keepFolder) rmSync(folder, { recursive: true, force: true });
  const failure = ends.find((end) => end.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}
