/**
 * The writer's own connection to Postgres, with plans pinned for `ledger_apply`.
 *
 *   absent ──apply──▶ connecting ──▶ ready ──error, end or a call that outlasts its bound──▶ absent
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
/** The server gives up before we do, so that its error, not our guess, says what happened. */
const SETTINGS = [
  'search_path=tollgate',
  'plan_cache_mode=force_generic_plan',
  'enable_seqscan=off',
  'enable_hashjoin=off',
  'enable_mergejoin=off',
  'jit=off',
  'statement_timeout=2500',
  'lock_timeout=2000',
  'idle_in_transaction_session_timeout=5000',
  'synchronous_commit=on',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

/**
 * Whether the database refused the operations themselves (a CHECK, a bad value), so that sending them again would fail
 * again; all else — connections, deadlocks, timeouts, a server that starts or stops — may pass.
 */
export function isPoison(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  if (typeof code !== 'string' || code.length !== 5) return false;
  return code.startsWith('22') || code.startsWith('23') || code === 'P0001' || code.startsWith('42');
}

/** Whether a lock or a statement took too long: one account of the batch may be the reason. */
export function isStuck(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === '55P03' || code === '57014';
}

export class WriterConnection {
  readonly #url: string;
  readonly #owner: bigint;
  readonly #log: Logger;
  #client: pg.Client | null = null;

  constructor(url: string, owner: bigint, log: Logger) {
    this.#url = url;
    this.#owner = owner;
    this.#log = log;
  }

  /** Applies a batch, connecting first where needed. Throws what went wrong; the fate of the batch is then unknown. */
  async apply(operations: readonly Operation[]): Promise<Result[]> {
    const client = this.#client ?? (await this.#connect());
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.#drop(client);
        reject(new Error(`the database did not answer within ${CALL_TIMEOUT_MS} ms`));
      }, CALL_TIMEOUT_MS);
    });
    try {
      return await Promise.race([applyOperations(client, operations, this.#owner), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.end();
  }

  async #connect(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.#url,
      options: SETTINGS,
      application_name: 'tollgate-writer',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
    });
    client.on('error', (error) => {
      this.#log.warn({ err: error }, 'the writer lost its connection to the database');
      this.#drop(client);
    });
    client.on('end', () => this.#drop(client));
    await client.connect();
    this.#client = client;
    return client;
  }

  #drop(client: pg.Client): void {
    if (this.#client === client) this.#client = null;
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }
}
