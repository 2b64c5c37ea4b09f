/**
 * A connection to Postgres for one purpose alone, so that it waits behind nobody; the writer's has plans pinned for
 * `ledger_apply`.
 *
 *   absent ──run──▶ connecting ──▶ ready ──error, end, a call that outlasts its bound, or a server that cannot write──▶ absent
 *     └──close──▶ closed
 *
 * A call that outlasts its bound is given up together with its connection: on a half-open socket the server may run it
 * later, which the idempotence of every operation makes harmless.
 */
import pg from 'pg';
import type { Logger } from '../observe/log.ts';
import { applyOperations, type Operation } from './operations.ts';
import type { Result } from './outcomes.ts';

const CONNECT_TIMEOUT_MS = 2_000;
const CALL_TIMEOUT_MS = 3_000;
/** How long the server may take to hear that we leave. */
const CLOSE_TIMEOUT_MS = 500;
/** The server gives up before we do, so that its error, not our guess, says what happened. */
const SETTINGS = [
  'search_path=tollgate',
  'jit=off',
  'statement_timeout=2500',
  // Less than a hold may wait: an account that somebody has locked must not keep all others waiting behind it.
  'lock_timeout=250',
  'idle_in_transaction_session_timeout=5000',
  'synchronous_commit=on',
];
const PINNED_PLANS = [
  'plan_cache_mode=force_generic_plan',
  'enable_seqscan=off',
  'enable_hashjoin=off',
  'enable_mergejoin=off',
];

const codeOf = (error: unknown): string => String((error as { code?: unknown }).code);

/**
 * Whether the database refused the operations themselves (a CHECK, a bad value), so that sending them again would fail
 * again; all else may pass: connections, deadlocks, timeouts, a server that starts or stops, and a function or a right that
 * is missing (class 42), which says nothing of the operations.
 */
export function isPoison(error: unknown): boolean {
  return /^(22...|23...|P0001)$/.test(codeOf(error));
}

/** Whether a lock or a statement took too long: one account of the batch may be the reason. */
export function isStuck(error: unknown): boolean {
  return ['55P03', '57014'].includes(codeOf(error));
}

/** Whether the next call may go over the same connection: what failed was the statement, or a lock it crossed. */
function isHealthy(error: unknown): boolean {
  return isPoison(error) || isStuck(error) || codeOf(error).startsWith('40');
}

export class DedicatedConnection {
  readonly #url: string;
  readonly #name: string;
  readonly #log: Logger;
  readonly #options: string;
  #client: pg.Client | null = null;
  #closed = false;

  /** `name`: what the server shows it as. `settings`: of its sessions, beside those of every connection here. */
  constructor(url: string, name: string, log: Logger, settings: readonly string[] = []) {
    this.#url = url;
    this.#name = name;
    this.#log = log;
    this.#options = [...SETTINGS, ...settings].map((setting) => `-c ${setting}`).join(' ');
  }

  /**
   * Gives the connection to `work`, connecting first where needed. Throws what went wrong, after 5 s at most; the fate of
   * the work is then unknown.
   */
  async run<T>(work: (client: pg.ClientBase) => Promise<T>): Promise<T> {
    const client = this.#client ?? (await this.#connect());
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`the database did not answer within ${CALL_TIMEOUT_MS} ms`)),
        CALL_TIMEOUT_MS,
      );
    });
    try {
      return await Promise.race([work(client), late]);
    } catch (error) {
      // A server that became read-only, or stops, stays what it is: the next connection may lead to the one in its place.
      if (!isHealthy(error)) this.#drop(client);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the connection for good; does not wait for a server that does not answer. */
  async close(): Promise<void> {
    this.#closed = true;
    const client = this.#client;
    this.#client = null;
    if (client === null) return;
    const timer = setTimeout(() => this.#drop(client), CLOSE_TIMEOUT_MS);
    await client.end();
    clearTimeout(timer);
  }

  async #connect(): Promise<pg.Client> {
    if (this.#closed) throw new Error('the connection is closed');
    const client = new pg.Client({
      connectionString: this.#url,
      options: this.#options,
      application_name: this.#name,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
    });
    client.on('error', (error) => {
      this.#log.warn({ err: error, connection: this.#name }, 'a connection to the database was lost');
      this.#drop(client);
    });
    client.on('end', () => this.#drop(client));
    await client.connect();
    if (this.#closed) this.#drop(client);
    else this.#client = client;
    return client;
  }

  #drop(client: pg.Client): void {
    if (this.#client === client) this.#client = null;
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }
}

export class WriterConnection extends DedicatedConnection {
  readonly #owner: bigint;

  constructor(url: string, owner: bigint, log: Logger) {
    super(url, 'tollgate-writer', log, PINNED_PLANS);
    this.#owner = owner;
  }

  /** Applies a batch. Throws what went wrong; the fate of the batch is then unknown. */
  apply(operations: readonly Operation[]): Promise<Result[]> {
    return this.run((client) => applyOperations(client, operations, this.#owner));
  }
}
