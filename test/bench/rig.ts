/**
 * Everything that runs during a benchmark: the mock upstream, the contenders with Tollgate's Postgres, the load
 * generator. Each is a process of its own, on the same Node with the same flags, and listens on the loopback interface.
 *
 *   empty ──start──▶ running ──close──▶ empty: processes first, then a Postgres that a killed gateway left behind
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { pathsOf, urlOf } from '../../src/db/embedded/cluster.ts';
import { findServer, stopServer } from '../../src/db/embedded/process.ts';
import { createPool } from '../../src/db/pool.ts';
import { silentLogger } from '../../src/observe/log.ts';
import type { Keys } from './load-generator.ts';
import { Child } from './processes.ts';
import { seedAccounts } from './seed.ts';
import { CATALOG, METERED_PREFIX } from './workload.ts';

/** In the clone, not in the system's folder for temporary files: that is often memory, where an fsync costs nothing. */
const PARENT = join(import.meta.dirname, '../../.bench');
const SEED_MS = 60_000;

export interface Contender {
  name: string;
  port: number;
  pid: number;
  /** How many accounts its requests come from. */
  accounts: number;
  /** Whether it writes to the ledger. */
  metered: boolean;
}

export interface Database {
  pool: pg.Pool;
  /** For what may take its time. */
  maintenance: pg.Client;
  postmaster: number;
}

/** The names that the report compares. */
export const DIRECT = 'direct';
export const BARE = 'bare Fastify + undici';
export const DISPATCH = 'bare, by dispatch';
export const HTTP_PROXY = '@fastify/http-proxy';
export const TOLLGATE = 'Tollgate';
export const tollgateWith = (accounts: number): string =>
  `${TOLLGATE}, ${accounts === 1 ? '1 account' : `${accounts.toLocaleString('en')} accounts`}`;

export class Rig {
  readonly contenders: Contender[] = [];
  folder = '';
  #children: Child[] = [];
  #mock: Child | null = null;
  #load: Child | null = null;
  #database: Database | null = null;

  get mock(): Child {
    return this.#mock!;
  }

  get load(): Child {
    return this.#load!;
  }

  get database(): Database {
    return this.#database!;
  }

  /** Starts everything. `accounts`: how many the contender "Tollgate" has; `others`: of further ones, which are the same gateway. */
  async start(accounts: number, others: readonly number[]): Promise<void> {
    mkdirSync(PARENT, { recursive: true });
    this.folder = mkdtempSync(join(PARENT, 'run-'));
    // As root, Postgres runs as another user, who must be able to enter.
    chmodSync(this.folder, 0o755);
    const mock = await this.#start<{ port: number }>('mock-upstream.ts');
    this.#mock = mock.child;
    const upstream = `http://127.0.0.1:${mock.ready.port}`;
    const bare = await this.#start<{ port: number }>('contenders/bare.ts', [upstream]);
    const dispatch = await this.#start<{ port: number }>('contenders/dispatch.ts', [upstream]);
    const httpProxy = await this.#start<{ port: number }>('contenders/http-proxy.ts', [upstream]);
    const tollgate = await this.#startTollgate(upstream);
    const add = (
      name: string,
      from: { child: Child; ready: { port: number } },
      used: number,
      metered: boolean,
    ): void => {
      this.contenders.push({ name, port: from.ready.port, pid: from.child.pid, accounts: used, metered });
    };
    add(DIRECT, mock, accounts, false);
    add(BARE, bare, accounts, false);
    add(DISPATCH, dispatch, accounts, false);
    add(HTTP_PROXY, httpProxy, accounts, false);
    add(TOLLGATE, tollgate, accounts, true);
    for (const other of others) add(tollgateWith(other), tollgate, other, true);
    this.#load = (await this.#start('load-generator.ts')).child;
    await this.#seed(Math.max(accounts, ...others));
  }

  async #start<Ready>(script: string, args: string[] = []): Promise<{ child: Child; ready: Ready }> {
    const started = await Child.start<Ready>(script, args);
    this.#children.push(started.child);
    return started;
  }

  #startTollgate(upstream: string): Promise<{ child: Child; ready: { port: number } }> {
    const file = (name: string, text: string): string => {
      const path = join(this.folder, name);
      writeFileSync(path, text);
      return path;
    };
    const provider = `{ kind: openai, base_url: "${upstream}${METERED_PREFIX}/v1", api_key: sk-bench }`;
    const env = {
      TOLLGATE_CONFIG: file('tollgate.yaml', `providers:\n  mock: ${provider}\n`),
      TOLLGATE_CATALOG: file('catalog.yaml', CATALOG),
      TOLLGATE_DATA_DIR: join(this.folder, 'data'),
      PORT: '0',
    };
    const settings = JSON.stringify({ env, logPath: join(this.folder, 'tollgate.log') });
    return this.#start('contenders/tollgate.ts', [settings]);
  }

  async #seed(accounts: number): Promise<void> {
    const paths = pathsOf(join(this.folder, 'data'));
    const server = findServer(paths.folder)!;
    const url = urlOf(paths, server.port);
    const pool = createPool({ url, max: 2, applicationName: 'bench', log: silentLogger });
    const maintenance = new pg.Client({ connectionString: url, options: '-c search_path=tollgate' });
    this.#database = { pool, maintenance, postmaster: server.pid };
    await maintenance.connect();
    const keys: Keys = { keys: await seedAccounts(pool, url, accounts) };
    await this.load.ask(keys, SEED_MS);
  }

  /** Ends everything; the folder is removed unless it is to be looked at. Throws when a process did not end well. */
  async close(keepFolder: boolean): Promise<void> {
    await this.#database?.maintenance.end();
    await this.#database?.pool.end();
    const ends = await Promise.allSettled(this.#children.map((child) => child.stop()));
    const orphan = this.folder === '' ? null : findServer(pathsOf(join(this.folder, 'data')).folder);
    if (orphan !== null) await stopServer(orphan);
    if (!keepFolder) rmSync(this.folder, { recursive: true, force: true });
    const failure = ends.find((end) => end.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
  }
}
