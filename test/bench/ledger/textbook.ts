/**
 * The yardstick: the same pair as one writes it by the textbook, an application transaction that locks the wallet's row,
 * looks, and writes. Its rows carry what ours carry; commits are as durable; statements are prepared, and amounts are
 * bigint, both in its favour.
 *
 *   open ──pair, pair, …──▶ open ──faults: the gate──▶ open ──close──▶ closed
 */
import pg from 'pg';
import { systemClock } from '../../../src/lib/clock.ts';
import { mintId, uuidv7 } from '../../../src/lib/ids.ts';
import { CREDITS, REQUESTS, type Request } from './workload.ts';

const SCHEMA = `
  CREATE SCHEMA textbook;
  CREATE TABLE wallets (account_id bigint PRIMARY KEY, balance bigint NOT NULL, held bigint NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0) WITH (fillfactor = 30);
  CREATE TABLE holds (account_id bigint NOT NULL, id uuid NOT NULL, key_id bigint NOT NULL, amount bigint NOT NULL,
    floor bigint NOT NULL, opened_at timestamptz NOT NULL DEFAULT now(), frozen bytea NOT NULL, PRIMARY KEY (account_id, id));
  CREATE TABLE entries (account_id bigint NOT NULL, id uuid NOT NULL, seq bigint NOT NULL, amount bigint NOT NULL,
    balance_after bigint NOT NULL, key_id bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), receipt bytea NOT NULL,
    PRIMARY KEY (account_id, id));`;

const SQL = {
  lock: 'SELECT balance, held, seq FROM wallets WHERE account_id = $1 FOR UPDATE',
  open: 'INSERT INTO holds (account_id, id, key_id, amount, floor, frozen) VALUES ($1, $2, $1, $3, $4, $5)',
  hold: 'UPDATE wallets SET held = held + $2 WHERE account_id = $1',
  end: 'DELETE FROM holds WHERE account_id = $1 AND id = $2 RETURNING amount, key_id',
  book: 'INSERT INTO entries (account_id, id, seq, amount, balance_after, key_id, receipt) VALUES ($1, $2, $3, $4, $5, $6, $7)',
  charge: 'UPDATE wallets SET balance = $2, held = held - $3, seq = $4 WHERE account_id = $1',
} as const;

interface Wallet {
  balance: string;
  held: string;
  seq: string;
}

export class Textbook {
  readonly #account = mintId(systemClock);
  readonly #url: string;
  #pool: pg.Pool;
  #turn = 0;
  /** What the clients were answered. */
  #pairs = 0;
  #charged = 0n;

  private constructor(url: string) {
    this.#url = url;
    this.#pool = this.#connect(1);
  }

  /** With one hot account, in a schema of its own. */
  static async open(url: string): Promise<Textbook> {
    const textbook = new Textbook(url);
    await textbook.#pool.query(SCHEMA);
    await textbook.#pool.query('INSERT INTO wallets (account_id, balance) VALUES ($1, $2)', [
      textbook.#account,
      CREDITS,
    ]);
    return textbook;
  }

  /** Closes its connections, and takes so many new ones. */
  async use(connections: number): Promise<void> {
    await this.#pool.end();
    this.#pool = this.#connect(connections);
  }

  async pair(): Promise<void> {
    const request = REQUESTS[this.#turn++ % REQUESTS.length]!;
    const id = uuidv7(systemClock);
    await this.#transaction((client) => this.#hold(client, id, request));
    await this.#transaction((client) => this.#settle(client, id, request));
    this.#pairs++;
    this.#charged += request.charge;
  }

  async vacuum(): Promise<void> {
    await this.#pool.query('VACUUM wallets, holds, entries');
  }

  /** As of the ledger: empty, all is exact. */
  async faults(): Promise<string[]> {
    const { rows } = await this.#pool.query<Record<'charges' | 'charged' | 'holds' | 'held' | 'balance', string>>(
      `SELECT count(*) AS charges, coalesce(-sum(amount), 0) AS charged, (SELECT count(*) FROM holds) AS holds, w.held, w.balance
         FROM wallets w LEFT JOIN entries e USING (account_id) GROUP BY w.account_id`,
    );
    const found = JSON.stringify(rows[0]);
    const expected = JSON.stringify({
      ...{ charges: `${this.#pairs}`, charged: `${this.#charged}`, holds: '0', held: '0' },
      balance: `${CREDITS - this.#charged}`,
    });
    return found === expected ? [] : [`textbook: ${found}, expected ${expected}`];
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #hold(client: pg.PoolClient, id: string, request: Request): Promise<void> {
    const wallet = await this.#lock(client);
    if (BigInt(wallet.balance) - BigInt(wallet.held) < request.want) throw new Error('the textbook ran out of credits');
    const { want, floor, frozen } = request;
    await run(client, 'open', [this.#account, id, want, floor, frozen]);
    await run(client, 'hold', [this.#account, want]);
  }

  async #settle(client: pg.PoolClient, id: string, { charge, receipt }: Request): Promise<void> {
    const wallet = await this.#lock(client);
    const [hold] = await run<{ amount: string; key_id: string }>(client, 'end', [this.#account, id]);
    if (hold === undefined) throw new Error('the textbook lost a hold');
    const balance = BigInt(wallet.balance) - charge;
    const seq = BigInt(wallet.seq) + 1n;
    await run(client, 'book', [this.#account, id, seq, -charge, balance, hold.key_id, receipt]);
    await run(client, 'charge', [this.#account, balance, hold.amount, seq]);
  }

  async #lock(client: pg.PoolClient): Promise<Wallet> {
    return (await run<Wallet>(client, 'lock', [this.#account]))[0]!;
  }

  async #transaction(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
    const client = await this.#pool.connect();
    let failure: unknown;
    try {
      await client.query('BEGIN');
      await work(client);
      await client.query('COMMIT');
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      // A connection whose transaction failed is thrown away: that ends it.
      client.release(failure !== undefined);
    }
  }

  #connect(max: number): pg.Pool {
    const pool = new pg.Pool({ connectionString: this.#url, max, options: '-c search_path=textbook' });
    pool.on('error', () => {});
    return pool;
  }
}

async function run<Row extends pg.QueryResultRow>(
  client: pg.PoolClient,
  name: keyof typeof SQL,
  values: unknown[],
): Promise<Row[]> {
  return (await client.query<Row>({ name, text: SQL[name], values })).rows;
}
