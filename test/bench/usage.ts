/**
 * `npm run bench -- usage`: how long `GET usage` takes when there are many receipts. It makes them set-based, folds them as the
 * job does, and asks over HTTP, on an embedded Postgres as Tollgate ships it.
 *
 *   empty ──setUp──▶ booked ──fold──▶ folded ──measure, the gate──▶ folded ──close──▶ gone
 */
import type { FastifyInstance } from 'fastify';
import type pg from 'pg';
import { registerAdmin } from '../../src/admin/routes.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import { createHttp } from '../../src/http.ts';
import { WriterConnection } from '../../src/ledger/connection.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { publicId } from '../../src/lib/ids.ts';
import { formatCredits } from '../../src/lib/money.ts';
import { decodeReceipt, encodeReceipt } from '../../src/metering/receipt.ts';
import { foldUsage } from '../../src/metering/usage-fold.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { connect } from './ledger/ledger.ts';
import { accountIds, months, openAccounts } from './ledger/preload.ts';
import { Server } from './ledger/server.ts';
import { CREDITS, CREDITS_PER_USD, REQUESTS } from './ledger/workload.ts';
import { quantile } from './statistics.ts';

type Progress = (line: string) => void;

export interface UsagePlan {
  receipts: number;
  /** Requests for each line of the result. */
  samples: number;
}
export const QUICK_USAGE: UsagePlan = { receipts: 1_000_000, samples: 200 };
export const FULL_USAGE: UsagePlan = { receipts: 10_000_000, samples: 1_000 };

const ACCOUNTS = 1_000;
/** One receipt of so many is the large account's. */
const LARGE_ONE_OF = 10;
const KEYS = 5;
const MODELS = 20;
/** Receipts in one statement. */
const PAGE = 100_000;
/** What a reader is left with at most by the job: `LEAST_BEHIND`. */
const UNFOLDED = 199;
const DATABASE = 'usage';
const ADMIN_KEY = 'bench-admin-key-of-32-characters-or-more';
/** What the issue promises. */
const MOST_P99_MS = 100;
const CHARGE = REQUESTS[0]!.charge;

export interface UsageLine {
  what: string;
  p50: number;
  p99: number;
}

export interface UsageOutcome {
  lines: UsageLine[];
  folded: { entries: number; perSecond: number };
  faults: string[];
}

export class UsageBench {
  readonly #accounts = accountIds(ACCOUNTS);
  #server: Server | null = null;
  #client: pg.Client | null = null;
  #pool: pg.Pool | null = null;
  #close: (() => Promise<unknown>)[] = [];
  #booked = 0;
  #url = '';

  get folder(): string {
    return this.#server?.folder ?? '';
  }

  async run(plan: UsagePlan, progress: Progress): Promise<UsageOutcome> {
    await this.#setUp(plan.receipts, progress);
    const folded = await this.#fold(progress);
    const lines = await this.#measure(plan.samples, progress);
    progress('the gate: what usage tells = what was charged');
    return { lines, folded, faults: [...(await this.#gate()), ...slow(lines)] };
  }

  async close(keepFolder: boolean): Promise<void> {
    for (const close of this.#close.reverse()) await close().catch(() => {});
    await this.#server?.stop(keepFolder);
  }

  async #setUp(receipts: number, progress: Progress): Promise<void> {
    progress(`booking ${receipts.toLocaleString('en')} receipts of ${ACCOUNTS} accounts`);
    this.#server = await Server.start();
    await this.#server.create(DATABASE);
    const url = this.#server.url(DATABASE);
    await migrate(url, silentLogger);
    const client = await connect(url);
    this.#client = client;
    const pool = createPool({ url, max: 8, applicationName: 'bench', log: silentLogger });
    this.#pool = pool;
    this.#close.push(
      () => client.end(),
      () => pool.end(),
    );
    await openAccounts(client, this.#accounts);
    await this.#book(receipts, progress);
    await client.query('VACUUM (FREEZE, ANALYZE)');
    const http = await serve(pool, url, this.#close);
    this.#url = await http.listen({ host: '127.0.0.1', port: 0 });
  }

  /** Books receipts over the months, the accounts in turn: where they lie is where they would if they had come one by one. */
  async #book(receipts: number, progress: Progress): Promise<void> {
    const spans = await months(this.#client!);
    for (const [i, { from, to }] of spans.entries()) {
      const next = Math.floor((receipts * (i + 1)) / spans.length);
      const stepMs = (to.getTime() - from.getTime()) / (next - this.#booked);
      for (let at = from.getTime(); this.#booked < next; at += PAGE * stepMs) {
        const first = this.#booked;
        await this.#bookFrom(first, Math.min(first + PAGE, next), new Date(at), stepMs);
        progress(`${this.#booked.toLocaleString('en')} booked`);
      }
    }
    await this.#client!.query(COUNT, [this.#accounts, CHARGE]);
  }

  async #bookFrom(first: number, next: number, at: Date, stepMs: number): Promise<void> {
    await this.#client!.query(BOOK, [
      ...[first, next - 1, this.#accounts[0], ACCOUNTS - 1, LARGE_ONE_OF, at, stepMs],
      ...[CHARGE, CREDITS, RECEIPTS, KEYS],
    ]);
    this.#booked = next;
  }

  async #fold(progress: Progress): Promise<UsageOutcome['folded']> {
    const began = performance.now();
    let told = began;
    let entries = 0;
    const rate = (): number => entries / ((performance.now() - began) / 1000);
    for (const account of this.#accounts) {
      entries += Number(await foldUsage(this.#pool!, account));
      if (performance.now() - told < 5_000) continue;
      told = performance.now();
      progress(`${entries.toLocaleString('en')} entries folded, ${Math.round(rate()).toLocaleString('en')} a second`);
    }
    return { entries, perSecond: Math.round(rate()) };
  }

  async #measure(samples: number, progress: Progress): Promise<UsageLine[]> {
    const [large, ...others] = this.#accounts;
    const lines: UsageLine[] = [];
    const accounts: [string, (turn: number) => bigint][] = [
      ['the large account', () => large!],
      ['the others', (turn) => others[(turn * 7919) % others.length]!],
    ];
    for (const [who, account] of accounts) {
      for (const [when, query] of [
        ['this month', ''],
        ['five months', '&from=2000-01-01'],
      ] as const) {
        for (const by of ['model', 'key', 'day']) {
          const ask = (turn: number) => this.#ask(account(turn), `group_by=${by}${query}`);
          lines.push(await timed(`${who}, ${when}, by ${by}`, samples, ask));
          progress(textOf(lines.at(-1)!));
        }
      }
    }
    const behind = async (turn: number): Promise<void> => this.#fallBehind(large!, turn);
    const ask = () => this.#ask(large!, 'group_by=day');
    lines.push(await timed(`the large account, this month, by day, ${UNFOLDED} receipts behind`, samples, ask, behind));
    progress(textOf(lines.at(-1)!));
    return lines;
  }

  /** So many more receipts of one account, as the job would leave it. */
  async #fallBehind(account: bigint, turn: number): Promise<void> {
    await this.#client!.query(MORE, [account, CHARGE, RECEIPTS[turn % MODELS], UNFOLDED]);
    this.#booked += UNFOLDED;
  }

  async #ask(account: bigint, query: string): Promise<{ credits: string; requests: number }> {
    const url = `${this.#url}/admin/v1/accounts/${publicId('acct', account)}/usage?${query}`;
    const response = await fetch(url, { headers: { authorization: `Bearer ${ADMIN_KEY}` } });
    const { total } = (await response.json()) as { total: { credits: string; requests: number } };
    if (!response.ok) throw new Error(`GET usage answered ${response.status}`);
    return total;
  }

  async #gate(): Promise<string[]> {
    const faults: string[] = [];
    let requests = 0;
    for (const account of this.#accounts) {
      const total = await this.#ask(account, 'from=2000-01-01');
      requests += total.requests;
      const expected = formatCredits(BigInt(total.requests) * CHARGE);
      if (total.credits !== expected) faults.push(`account ${account}: ${total.credits} credits, not ${expected}`);
    }
    if (requests !== this.#booked) faults.push(`${requests} requests, not ${this.#booked}`);
    return faults;
  }
}

/** Twenty models; every charge is the same, so that balances can be written set-based. */
const RECEIPTS: readonly Buffer[] = Array.from({ length: MODELS }, (_, i) => {
  const { receipt } = REQUESTS[i % REQUESTS.length]!;
  return encodeReceipt({ ...decodeReceipt(receipt).settled!, model: `model-${i}` });
});

/** The n-th receipt of all is the large account's for n = 0, 10, 20, …; the others take turns. An account's grant is its entry 1. */
const BOOK = `
  INSERT INTO entries (account_id, seq, amount, balance_after, key_id, at, id, lot_id, kind, debit, credit, receipt)
  SELECT w.account_id, 2 + o.i, -$8::bigint, $9::bigint - $8::bigint * (1 + o.i), w.account_id + o.i % $11::int,
      t.at, uuid_at(t.at), w.head_lot, 2, 1, 2, ($10::bytea[])[1 + (hashint8(n) & 1023) % cardinality($10::bytea[])]
    FROM generate_series($1::bigint, $2::bigint) n
      CROSS JOIN LATERAL (SELECT n - n / $5::int - 1 AS m) small
      CROSS JOIN LATERAL (SELECT CASE WHEN n % $5::int = 0 THEN n / $5::int ELSE m / $4::int END AS i,
        CASE WHEN n % $5::int = 0 THEN 0 ELSE 1 + m % $4::int END AS which) o
      JOIN wallets w ON w.account_id = $3::bigint + o.which
      CROSS JOIN LATERAL (SELECT $6::timestamptz + (n - $1::bigint) * $7::float8 * interval '1 millisecond' AS at) t`;

const COUNT = `
  UPDATE wallets w SET seq = w.seq + e.charges, posted = posted - e.charges * $2, head_left = head_left - e.charges * $2
    FROM (SELECT account_id, count(*) AS charges FROM entries WHERE kind = 2 GROUP BY 1) e
   WHERE e.account_id = w.account_id AND w.account_id = ANY ($1)`;

const MORE = `
  WITH w AS (
    UPDATE wallets SET seq = seq + $4::int, posted = posted - $2::bigint * $4::int, head_left = head_left - $2::bigint * $4::int
      WHERE account_id = $1 RETURNING account_id, seq - $4::int AS seq, posted + $2::bigint * $4::int AS posted, head_lot
  )
  INSERT INTO entries (account_id, seq, amount, balance_after, key_id, at, id, lot_id, kind, debit, credit, receipt)
  SELECT account_id, seq + n, -$2::bigint, posted - $2::bigint * n, account_id, clock_timestamp(), uuid_at(clock_timestamp()),
      head_lot, 2, 1, 2, $3::bytea
    FROM w, generate_series(1, $4::int) n`;

async function serve(pool: pg.Pool, url: string, close: (() => Promise<unknown>)[]): Promise<FastifyInstance> {
  const limits = { maxBodyBytes: 1_000_000, headersTimeoutMs: 20_000, requestTimeoutMs: 60_000 };
  const http = createHttp({ ...limits, clock: systemClock, log: silentLogger });
  const connection = new WriterConnection(url, 1n, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  close.push(
    () => connection.close(),
    () => writer.close(),
    () => http.close(),
  );
  await registerAdmin(http, {
    pool,
    writer,
    clock: systemClock,
    adminKey: ADMIN_KEY,
    creditsPerUsd: CREDITS_PER_USD,
    catalogAt: () => Promise.reject(new Error('usage needs no catalog')),
    markup: 1_000_000n,
    payments: null,
  });
  return http;
}

/** One after the other, each alone; the first few are thrown away. */
async function timed(
  what: string,
  samples: number,
  work: (turn: number) => Promise<unknown>,
  before: (turn: number) => Promise<void> = async () => {},
): Promise<UsageLine> {
  const warmUp = Math.ceil(samples / 20);
  const took: number[] = [];
  for (let turn = 0; turn < samples + warmUp; turn++) {
    await before(turn);
    const began = performance.now();
    await work(turn);
    if (turn >= warmUp) took.push(performance.now() - began);
  }
  return { what, p50: quantile(took, 0.5), p99: quantile(took, 0.99) };
}

function slow(lines: readonly UsageLine[]): string[] {
  return lines.filter(({ p99 }) => p99 > MOST_P99_MS).map((line) => `above ${MOST_P99_MS} ms: ${textOf(line)}`);
}

export function textOf({ what, p50, p99 }: UsageLine): string {
  return `${what.padEnd(62)} p50 ${p50.toFixed(1).padStart(6)} ms   p99 ${p99.toFixed(1).padStart(6)} ms`;
}
