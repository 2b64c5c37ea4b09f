/** A ledger on a real Postgres for tests of its verbs: accounts, operations with short forms, and a clock in seconds. */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { expect } from 'vitest';
import { WriterConnection } from '../../src/ledger/connection.ts';
import {
  type Adjust,
  applyOperations,
  type Extend,
  type Grant,
  type Hold,
  type Operation,
  type Release,
  type Reverse,
  type Settle,
} from '../../src/ledger/operations.ts';
import type { Result } from '../../src/ledger/outcomes.ts';
import { ENTRIES, type EntryRow, toEntry } from '../../src/ledger/read.ts';
import { verifyLedger } from '../../src/ledger/verify.ts';
import { addSpender, openWallet, type Period } from '../../src/ledger/wallets.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type Uuid, uuidv7 } from '../../src/lib/ids.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.ts';
import type { EntryLine } from './model-lots.ts';

/** The gateway that the holds of these tests belong to. */
export const OWNER = 7n;
export const KEY = 1n;
export const OTHER_KEY = 2n;
export const newId = (): Uuid => uuidv7(systemClock);

/**
 * Second 0 of the tests' time: now, since ids are as old as what they name. Money is judged by the instant that is passed
 * along, so that no test waits for one.
 */
const BASE_MS = Math.floor(Date.now() / 1000) * 1000;
export const second = (seconds: number): Date => new Date(BASE_MS + seconds * 1000);

export function hold(account: bigint, id: Uuid, want: bigint, more: Partial<Hold> = {}): Hold {
  return {
    verb: 'hold',
    account,
    id,
    key: KEY,
    want,
    least: want,
    floor: 0n,
    policyVersion: 1n,
    catalogVersion: 1n,
    onOrphan: 'charge_metered',
    ttlSeconds: null,
    frozen: Buffer.from('frozen'),
    ...more,
  };
}

export function settle(account: bigint, id: Uuid, amount: bigint): Settle {
  return { verb: 'settle', account, id, amount, receipt: Buffer.from('receipt') };
}

export function release(account: bigint, id: Uuid): Release {
  return { verb: 'release', account, id, receipt: Buffer.from('released') };
}

export function grant(account: bigint, amount: bigint, more: Partial<Grant> = {}): Grant {
  const id = more.id ?? newId();
  return {
    verb: 'grant',
    account,
    id,
    amount,
    kind: 'topup',
    reference: id,
    priority: 0,
    startsAt: null,
    expiresAt: null,
    reason: null,
    paid: null,
    creditsPerUsd: 1000n,
    ...more,
  };
}

/** Makes the hold `want` in all, or at least `least`. */
export function extend(account: bigint, id: Uuid, want: bigint, least = want): Extend {
  return { verb: 'extend', account, id, want, least };
}

export function adjust(account: bigint, amount: bigint, more: Partial<Adjust> = {}): Adjust {
  const id = more.id ?? newId();
  return {
    verb: 'adjust',
    account,
    id,
    amount,
    book: 'adjustment',
    reference: id,
    reason: 'because',
    creditsPerUsd: 1000n,
    ...more,
  };
}

/** Gives back `amount` of what the request was charged, or all of it. */
export function reverse(account: bigint, id: Uuid, amount: bigint | null = null): Reverse {
  return { verb: 'reverse', account, id, amount, reason: 'because' };
}

export interface WalletRow {
  posted: bigint;
  held: bigint;
  debt: bigint;
  dormant: bigint;
  seq: bigint;
}

export interface LedgerRig {
  database: TestDatabase;
  pool: pg.Pool;
  client: pg.PoolClient;
  /** An account with two active keys. */
  newAccount(overdraft?: bigint): Promise<bigint>;
  apply(operations: Operation[], at?: number, owner?: bigint): Promise<Result[]>;
  one(operation: Operation, at?: number, owner?: bigint): Promise<Result>;
  /** Ends an open hold as the sweep does when its gateway died. */
  recover(account: bigint, id: Uuid, at?: number): Promise<void>;
  /** Gives a key (0: the account) a budget, or takes it away; as `setBudget` does, at an instant. */
  setBudget(account: bigint, key: bigint, credits: bigint | null, period: Period, at?: number): Promise<void>;
  wallet(account: bigint): Promise<WalletRow>;
  /** What is left of each lot, by reference; of the lot being burnt the wallet knows. */
  lots(account: bigint): Promise<Record<string, bigint>>;
  /** The entries in the order of their effect: kind, amount, balance after it, and what each lot gave or got. */
  entries(account: bigint): Promise<EntryLine[]>;
  expectClean(): Promise<void>;
  close(): Promise<void>;
}

export async function openLedger(): Promise<LedgerRig> {
  const database = await createTestDatabase();
  const { pool } = database;
  const client = await pool.connect();
  // As the writer's connection has it.
  await client.query('SET plan_cache_mode = force_generic_plan');
  await client.query("INSERT INTO owners VALUES ($1, 'infinity', now())", [OWNER]);
  let accounts = 0n;
  const rig: LedgerRig = {
    database,
    pool,
    client,
    newAccount: async (overdraft = 0n) => {
      const account = ++accounts;
      await openWallet(client, account, overdraft);
      for (const key of [KEY, OTHER_KEY]) await addSpender(client, account, key, null);
      return account;
    },
    apply: (operations, at = 0, owner = OWNER) => applyOperations(client, operations, owner, second(at)),
    one: async (operation, at = 0, owner = OWNER) => (await rig.apply([operation], at, owner))[0]!,
    recover: async (account, id, at = 0) => {
      const { rowCount } = await client.query(
        `SELECT ledger_store(ledger_recover(
           CASE WHEN $3 >= w.next_change_at THEN ledger_refresh(w, $3) ELSE w END, h, $3))
           FROM wallets w JOIN holds h USING (account_id) WHERE account_id = $1 AND h.id = $2`,
        [account, id, second(at)],
      );
      expect(rowCount, 'the hold is open').toBe(1);
    },
    setBudget: async (account, key, credits, period, at = 0) => {
      const number = { day: 1, month: 2, total: 3 }[period];
      const values = [account, key, credits, number, second(at)];
      await client.query('SELECT ledger_set_budget($1, $2, $3, $4::smallint, $5)', values);
    },
    wallet: async (account) => {
      const { rows } = await client.query<WalletRow>(
        'SELECT posted, held, debt, dormant, seq FROM wallets WHERE account_id = $1',
        [account],
      );
      return rows[0]!;
    },
    lots: async (account) => {
      const { rows } = await client.query<{ reference: string; remaining: bigint }>(
        `SELECT reference, CASE WHEN lot_id = head_lot THEN head_left ELSE remaining END AS remaining
           FROM lots JOIN wallets USING (account_id) WHERE account_id = $1`,
        [account],
      );
      return Object.fromEntries(rows.map((row) => [row.reference, row.remaining]));
    },
    entries: async (account) => {
      const { rows } = await client.query<EntryRow>(`${ENTRIES} WHERE e.account_id = $1 ORDER BY e.seq`, [account]);
      const lots = await client.query<{ lot_id: Uuid; reference: string }>(
        'SELECT lot_id, reference FROM lots WHERE account_id = $1',
        [account],
      );
      const names = new Map(lots.rows.map((row) => [row.lot_id, row.reference]));
      return rows.map(toEntry).map((entry) => {
        const shares = entry.lots.map((share) => [names.get(share.lot)!, share.amount]);
        return [entry.kind, entry.amount, entry.balanceAfter, Object.fromEntries(shares)];
      });
    },
    expectClean: async () => {
      expect((await verifyLedger(pool)).differences).toEqual([]);
    },
    close: async () => {
      client.release();
      await database.drop();
    },
  };
  return rig;
}

/** Waits until `condition` holds; gives up loudly. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) {
    if (await condition()) return;
    await sleep(10);
  }
  throw new Error(`never happened: ${what}`);
}

/** Locks an account's wallet from a session of its own, so that the ledger waits. */
export async function lockWallet(url: string, account: bigint): Promise<{ unlock(): Promise<void> }> {
  const session = new pg.Client({ connectionString: url, options: '-c search_path=tollgate' });
  await session.connect();
  await session.query('BEGIN');
  await session.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [account]);
  return {
    unlock: async () => {
      await session.query('ROLLBACK');
      await session.end();
    },
  };
}

/** Whether a writer's call waits for a lock. */
export async function writerWaits(pool: pg.Pool): Promise<boolean> {
  const { rowCount } = await pool.query(
    `SELECT FROM pg_stat_activity
      WHERE datname = current_database() AND application_name = 'tollgate-writer' AND wait_event_type = 'Lock'`,
  );
  return rowCount! > 0;
}

/** Ends the sessions of all writers on this database, as an administrator or a failing server would. */
export async function killWriters(pool: pg.Pool): Promise<void> {
  await pool.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND application_name = 'tollgate-writer'`,
  );
}

/** The writer's real connection, which also notes each call it makes. */
export class NotedConnection extends WriterConnection {
  readonly calls: Operation[][] = [];

  override apply(operations: readonly Operation[]): Promise<Result[]> {
    this.calls.push([...operations]);
    return super.apply(operations);
  }
}

/** A writer over a wire of its own that can fail, and an account of 1,000 with a hold of 10 that is open. */
export interface WriterRig {
  wire: WireProxy;
  connection: NotedConnection;
  writer: LedgerWriter;
  account: bigint;
  open: Uuid;
  /** Mends the wire, lets the writer end what it has, and closes them. */
  close(): Promise<void>;
}

export async function openWriter(ledger: LedgerRig): Promise<WriterRig> {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n));
  const wire = await startWireProxy(ledger.database.url);
  const connection = new NotedConnection(wire.url, OWNER, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  const open = newId();
  await writer.hold(hold(account, open, 10n));
  const close = async (): Promise<void> => {
    wire.open = true;
    wire.passes = 'all';
    await writer.close();
    await connection.close();
    await wire.close();
  };
  return { wire, connection, writer, account, open, close };
}
