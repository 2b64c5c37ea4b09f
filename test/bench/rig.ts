/**
 * Everything that runs during a benchmark: the mock upstream, the contenders with Tollgate's Postgres, the load
 * generator. Each is a process of its own, on the same Node with the same flags, and listens on the loopback interface.
 *
 *   empty ──start──▶ running ──close──▶ empty: processes first, then a Postgres that a killed gateway left behind
 */
import { type Database, endAll, makeFolder, openDatabase, settingsOf } from './gateway.ts';
import type { Keys } from './load-generator.ts';
import { Child } from './processes.ts';
import { seedAccounts } from './seed.ts';
import { CATALOG, METERED_PREFIX } from './workload.ts';

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
    this.folder = makeFolder();
    const mock = await this.#start<{ port: number }>('mock-upstream.ts');
    this.#mock = mock.child;
    const upstream = `http://127.0.0.1:${mock.ready.port}`;
    const bare = await this.#start<{ port: number }>('contenders/bare.ts', [upstream]);
    const dispatch = await this.#start<{ port: number }>('contenders/dispatch.ts', [upstream]);
    const httpProxy = await this.#start<{ port: number }>('contenders/http-proxy.ts', [upstream]);
    const tollgate = await this.#start<{ port: number }>('contenders/tollgate.ts', [
      settingsOf(this.folder, `${upstream}${METERED_PREFIX}/v1`, CATALOG),
    ]);
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

  async #seed(accounts: number): Promise<void> {
    const { database, url } = await openDatabase(this.folder);
    this.#database = database;
    const keys: Keys = { keys: await seedAccounts(database.pool, url, accounts) };
    await this.load.ask(keys, SEED_MS);
  }

  /** Ends everything; the folder is removed unless it is to be looked at. Throws when a process did not end well. */
  async close(keepFolder: boolean): Promise<void> {
    await endAll(this.folder, this.#database, this.#children, keepFolder);
  }
}
