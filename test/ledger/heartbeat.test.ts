/**
 * The beat of one gateway: it keeps the lease, ends what is stray, and sweeps others only after a whole lease without a
 * break. The timer of the beat and the clock are the test's; the database and its failures are real.
 */
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { DedicatedConnection } from '../../src/ledger/connection.ts';
import { applyOperations } from '../../src/ledger/operations.ts';
import { type Metered, Owner } from '../../src/ledger/owners.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.ts';
import {
  grant,
  hold,
  type LedgerRig,
  lockWallet,
  NotedConnection,
  newId,
  openLedger,
  release,
  second,
  until,
  writerWaits,
} from './rig.ts';

const ME = 1_001n;
const DEAD = 1_002n;
const BEAT_MS = 5_000;
/** After a beat that failed. */
const RETRY_MS = 750;

let ledger: LedgerRig;
let proxy: WireProxy;
let pool: pg.Pool;
let connection: NotedConnection;
let heart: DedicatedConnection;
let writer: LedgerWriter;
let owner: Owner;
let account: bigint;
let metered: Metered[];
/** What is planned, the beat before the tidying: the test says when they begin. */
let planned: (() => void)[];
const clock = { nowMs: 0, now: () => clock.nowMs };

beforeAll(async () => {
  ledger = await openLedger();
  proxy = await startWireProxy(ledger.database.url);
});
afterAll(async () => {
  await ledger.expectClean();
  await proxy.close();
  await ledger.close();
});
beforeEach(async () => {
  const timer = globalThis.setTimeout;
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((work: () => void, ms?: number) => {
    if (ms !== BEAT_MS && ms !== RETRY_MS) return timer(work, ms);
    planned.push(work);
    return timer(() => {}, 0);
  }) as typeof setTimeout);
  pool = createPool({ url: proxy.url, max: 2, applicationName: 'tollgate-test', log: silentLogger });
  connection = new NotedConnection(ledger.database.url, ME, silentLogger);
  heart = new DedicatedConnection(proxy.url, 'tollgate-heartbeat', silentLogger);
  writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  account = await ledger.newAccount();
  await writer.apply(grant(account, 1_000n));
  metered = [];
  clock.nowMs = 0;
  planned = [];
  owner = new Owner({ pool, heart, owner: ME, writer, clock, log: silentLogger, metered: () => metered });
  await owner.start();
});
afterEach(async () => {
  await owner.stop();
  await writer.close();
  await connection.close();
  await heart.close();
  await pool.end();
  vi.restoreAllMocks();
  // What a test left open is ended, so that the next one begins without it.
  await ledger.pool.query('SELECT ledger_end_owner($1, 100), ledger_end_owner($2, 100)', [ME, DEAD]);
});

/** One whole beat, and the tidying after it: each is over when it is planned again. */
async function beat(): Promise<void> {
  for (const begin of planned.splice(0)) {
    const before = planned.length;
    begin();
    await until('it is over', () => planned.length > before);
  }
}

/** The beat alone, which waits for nothing. */
async function beatOnce(): Promise<void> {
  const before = planned.length;
  planned[0]!();
  await until('it is over', () => planned.length > before);
}

async function holdOfDead(): Promise<Uuid> {
  const id = newId();
  await ledger.pool.query('INSERT INTO owners VALUES ($1, clock_timestamp(), clock_timestamp())', [DEAD]);
  await applyOperations(ledger.client, [hold(account, id, 40n, { floor: 10n })], DEAD);
  return id;
}

async function isOpen(id: Uuid): Promise<boolean> {
  return (await ledger.pool.query('SELECT FROM holds WHERE id = $1', [id])).rowCount === 1;
}

async function leaseSeconds(): Promise<number | undefined> {
  const { rows } = await ledger.pool.query<{ seconds: number }>(
    'SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 AS seconds FROM owners WHERE owner = $1',
    [ME],
  );
  return rows[0]?.seconds;
}

const age = (id: Uuid): Promise<unknown> =>
  ledger.pool.query(`UPDATE holds SET opened_at = opened_at - interval '1 minute' WHERE id = $1`, [id]);

it('takes a lease of 15 s, renews it, and gives it up when it stops without a hold', async () => {
  expect(await leaseSeconds()).toBeGreaterThan(10);
  await ledger.pool.query('UPDATE owners SET lease_until = clock_timestamp() WHERE owner = $1', [ME]);
  await beat();
  expect(await leaseSeconds()).toBeGreaterThan(10);
  await owner.stop();
  expect(await leaseSeconds()).toBeUndefined();
});

it('leaves the lease to run out when it stops with a hold open', async () => {
  await writer.hold(hold(account, newId(), 10n));
  await owner.stop();
  expect(await leaseSeconds()).toBeGreaterThan(0);
});

it('notes what its streams have metered', async () => {
  const id = newId();
  await writer.hold(hold(account, id, 40n));
  metered = [{ account, id, amount: 12n }];
  await beat();
  const { rows } = await ledger.pool.query('SELECT metered FROM holds WHERE id = $1', [id]);
  expect(rows).toEqual([{ metered: 12n }]);
});

it('releases holds in its name that it does not know, once they are 5 s old; those it works on it leaves', async () => {
  const [live, stray, fresh] = [newId(), newId(), newId()];
  await writer.hold(hold(account, live, 10n));
  await applyOperations(ledger.client, [hold(account, stray, 10n), hold(account, fresh, 10n)], ME);
  await age(live);
  await age(stray);
  await beat();
  expect([await isOpen(live), await isOpen(stray), await isOpen(fresh)]).toEqual([true, false, true]);
  expect((await ledger.entries(account)).at(-1)!.slice(0, 2)).toEqual(['release', 0n]);
});

it('beats although everything else waits for a connection of the pool', async () => {
  const waiting = [await pool.connect(), await pool.connect()];
  await ledger.pool.query('UPDATE owners SET lease_until = clock_timestamp() WHERE owner = $1', [ME]);
  await beatOnce();
  expect(await leaseSeconds()).toBeGreaterThan(10);
  for (const client of waiting) client.release();
});

it('looks at every hold in its name, however many it works on', async () => {
  const live = Array.from({ length: 1_001 }, newId).sort();
  await Promise.all(live.map((id) => writer.hold(hold(account, id, 0n))));
  const stray = newId(); // the latest, so on the second page
  await applyOperations(ledger.client, [hold(account, stray, 10n)], ME);
  await ledger.pool.query(`UPDATE holds SET opened_at = opened_at - interval '1 minute' WHERE owner = $1`, [ME]);
  await beat();
  expect(await isOpen(stray)).toBe(false);
  const { rows } = await ledger.pool.query('SELECT count(*) FROM holds WHERE owner = $1', [ME]);
  expect(rows[0].count).toBe(1_001n);
  await Promise.all(live.map((id) => writer.release(release(account, id))));
});

it('brings all accounts to now that nobody uses, passing over one that is broken: what expired is booked', async () => {
  const idle: bigint[] = [];
  const waiting = await ledger.newAccount();
  await ledger.one(grant(waiting, 5n, { expiresAt: second(-5) }), -120);
  await ledger.one(hold(waiting, newId(), 5n), -10); // older than the expiry: the lot waits for it
  // More than one statement looks at, the broken one first.
  for (let i = 0; i < 30; i++) {
    idle.push(await ledger.newAccount());
    await ledger.one(grant(idle[i]!, 5n, { expiresAt: second(i - 60) }), -120);
  }
  const broken = idle.shift()!;
  await ledger.pool.query('UPDATE wallets SET head_left = 6 WHERE account_id = $1', [broken]);
  clock.nowMs = 15_000;
  await beat();
  const booked = async (account: bigint): Promise<unknown> => (await ledger.entries(account)).at(-1)!.slice(0, 2);
  for (const account of idle) expect(await booked(account)).toEqual(['expire', -5n]);
  await ledger.pool.query('UPDATE wallets SET head_left = 5 WHERE account_id = $1', [broken]);
  await beat();
  expect(await booked(broken)).toEqual(['expire', -5n]);
  const asked = vi.spyOn(pool, 'query');
  await beat();
  // What stays due is looked at once.
  expect(asked.mock.calls.filter(([sql]) => String(sql).includes('ledger_expire_due'))).toHaveLength(1);
});

it('sweeps nobody before it was leased for 15 s, then whoever is dead', async () => {
  const id = await holdOfDead();
  clock.nowMs = 14_999;
  await beat();
  expect(await isOpen(id)).toBe(true);
  clock.nowMs = 15_000;
  await beat();
  expect(await isOpen(id)).toBe(false);
});

it('that lost the database waits for a whole lease again: every gateway needs the time to say that it lives', async () => {
  const id = await holdOfDead();
  proxy.open = false;
  proxy.strikeAll('cut');
  clock.nowMs = 15_000;
  await beat();
  proxy.open = true;
  clock.nowMs = 20_000;
  await beat();
  clock.nowMs = 34_999;
  await beat();
  expect(await isOpen(id)).toBe(true);
  clock.nowMs = 35_000;
  await beat();
  expect(await isOpen(id)).toBe(false);
});

describe('that ends while it looks for strays, or releases them', () => {
  async function makeStray(): Promise<Uuid> {
    const id = newId();
    await applyOperations(ledger.client, [hold(account, id, 10n, { floor: 5n })], ME);
    await age(id);
    return id;
  }

  /** A stray, and a lock that keeps the tidying from seeing it until the writer is closed and the owner told to stop. */
  async function endWhileTidying(): Promise<{ id: Uuid; look: () => Promise<void>; stopped: Promise<void> }> {
    const id = await makeStray();
    const session = await ledger.pool.connect();
    await session.query('BEGIN');
    await session.query('LOCK TABLE holds IN ACCESS EXCLUSIVE MODE');
    planned[1]!();
    await until('it waits for the lock', async () => {
      const { rowCount } = await session.query(
        "SELECT FROM pg_locks WHERE relation = 'holds'::regclass AND NOT granted",
      );
      return rowCount === 1;
    });
    await writer.close();
    const stopped = owner.stop();
    const look = async (): Promise<void> => {
      await session.query('ROLLBACK');
      session.release();
    };
    return { id, look, stopped };
  }

  it('waits for a release that is under way, also while it is tried again', async () => {
    const id = await makeStray();
    const { unlock } = await lockWallet(ledger.database.url, account);
    const before = connection.calls.length;
    planned[1]!();
    await until('it is being released', () => writerWaits(ledger.pool));
    const closed = writer.close();
    await until('it is tried again', () => connection.calls.length >= before + 2);
    await unlock();
    await closed;
    expect(await isOpen(id)).toBe(false);
    await owner.stop();
    expect(await leaseSeconds()).toBeUndefined();
  });

  it('releases what it finds, and then gives the lease up', async () => {
    const { id, look, stopped } = await endWhileTidying();
    await look();
    await stopped;
    expect(await isOpen(id)).toBe(false);
    expect((await ledger.entries(account)).at(-1)!.slice(0, 2)).toEqual(['release', 0n]);
    expect(await leaseSeconds()).toBeUndefined();
  });

  it('does not wait for an account that somebody has locked; its lease runs out', async () => {
    const { id, look, stopped } = await endWhileTidying();
    const { unlock } = await lockWallet(ledger.database.url, account);
    await look();
    await stopped;
    await unlock();
    expect(await isOpen(id)).toBe(true);
    expect(await leaseSeconds()).toBeGreaterThan(0);
  });
});
