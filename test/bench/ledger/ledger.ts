/**
 * The ledger under load: a database of its own, and the real writer on the real connection.
 *
 *   open ──pair, pair, …──▶ open ──faults: the gate──▶ open ──close──▶ closed
 */
import pg from 'pg';
import { createPool } from '../../../src/db/pool.ts';
import { WriterConnection } from '../../../src/ledger/connection.ts';
import { verifyLedger } from '../../../src/ledger/verify.ts';
import { LedgerWriter } from '../../../src/ledger/writer.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { uuidv7 } from '../../../src/lib/ids.ts';
import { formatCredits } from '../../../src/lib/money.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import type { Past } from './preload.ts';
import { REQUESTS } from './workload.ts';

/** Long: a stall shows in the latencies, and need not end the run. */
const PATIENCE_MS = 30_000;
const OWNER = 1n;

export class Ledger {
  readonly #url: string;
  readonly #client: pg.Client;
  readonly #connection: WriterConnection;
  readonly #writer: LedgerWriter;
  readonly #catalogVersion: bigint;
  /** What the ledger must hold: its past, and what the clients were answered since. */
  readonly #expected: Past;
  #turn = 0;

  private constructor(url: string, client: pg.Client, past: Past, catalogVersion: bigint) {
    this.#url = url;
    this.#client = client;
    this.#expected = { ...past };
    this.#catalogVersion = catalogVersion;
    this.#connection = new WriterConnection(url, OWNER, silentLogger);
    this.#writer = new LedgerWriter({
      ...{ connection: this.#connection, clock: systemClock, log: silentLogger },
      ...{ holdTimeoutMs: PATIENCE_MS, settleTimeoutMs: PATIENCE_MS },
    });
  }

  static async open(url: string, past: Past): Promise<Ledger> {
    const client = await connect(url);
    const { rows } = await client.query<{ version: string }>('SELECT version FROM catalog_state');
    return new Ledger(url, client, past, BigInt(rows[0]!.version));
  }

  /** A hold and its settle, one after the other, as a request makes them. Throws when either is refused. */
  async pair(account: bigint): Promise<void> {
    const request = REQUESTS[this.#turn++ % REQUESTS.length]!;
    const id = uuidv7(systemClock);
    const held = await this.#writer.hold({
      ...{ verb: 'hold', account, id, key: account, want: request.want, least: request.least, floor: request.floor },
      ...{ policyVersion: 1n, catalogVersion: this.#catalogVersion, onOrphan: 'charge_metered' },
      ...{ frozen: request.frozen, ttlSeconds: null },
    });
    if (held.outcome !== 'done') throw new Error(`a hold answered ${held.outcome}`);
    const { charge: amount, receipt } = request;
    const settled = await this.#writer.settle({ verb: 'settle', account, id, amount, receipt });
    if (settled.outcome !== 'done') throw new Error(`a settle answered ${settled.outcome}`);
    this.#expected.charges++;
    this.#expected.charged += settled.amount;
  }

  /** Clears away what ended holds and old versions of wallets leave behind. */
  async vacuum(): Promise<void> {
    await this.#client.query('VACUUM wallets, holds, entries');
  }

  /** The gate: everything that does not agree between what clients were answered and what is booked. Empty: all is exact. */
  async faults(): Promise<string[]> {
    const faults: string[] = [];
    const expect = (what: string, found: string, expected: string): void => {
      if (found !== expected) faults.push(`${what}: ${found}, expected ${expected}`);
    };
    const { rows } = await this.#client.query<Record<'charges' | 'charged' | 'others' | 'holds' | 'held', string>>(
      `SELECT count(*) FILTER (WHERE kind = 2) AS charges, coalesce(-sum(amount) FILTER (WHERE kind = 2), 0) AS charged,
         count(*) FILTER (WHERE kind NOT IN (1, 2)) AS others, (SELECT count(*) FROM holds) AS holds,
         (SELECT coalesce(sum(held), 0) FROM wallets) AS held
       FROM entries`,
    );
    const { charges, charged, others, holds, held } = rows[0]!;
    expect('charges', charges, this.#expected.charges.toString());
    expect('credits charged', formatCredits(BigInt(charged)), formatCredits(this.#expected.charged));
    expect('entries that are neither grant nor charge', others, '0');
    expect('open holds', holds, '0');
    expect('credits held', formatCredits(BigInt(held)), '0');
    const pool = createPool({ url: this.#url, max: 1, applicationName: 'bench', log: silentLogger });
    const { differences } = await verifyLedger(pool).finally(() => pool.end());
    for (const d of differences) faults.push(`account ${d.account}, ${d.subject}: ${d.found}, expected ${d.expected}`);
    return faults;
  }

  async close(): Promise<void> {
    await this.#connection.close();
    await this.#client.end();
  }
}

/** A session for what may take its time. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, options: '-c search_path=tollgate' });
  // One that is lost fails its next query.
  client.on('error', () => {});
  await client.connect();
  return client;
}
