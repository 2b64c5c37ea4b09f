/** Connections that die before, while and after a call, and locks that cross: the same answers, and nothing twice. */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { silentLogger } from '../../src/observe/log.ts';
import type { WireProxy } from '../support/wire-proxy.ts';
import {
  grant,
  hold,
  killWriters,
  type LedgerRig,
  lockWallet,
  NotedConnection,
  newId,
  OWNER,
  openLedger,
  openWriter,
  settle,
  until,
  type WriterRig,
  writerWaits,
} from './rig.ts';

let ledger: LedgerRig;
let rig: WriterRig;
let wire: WireProxy;
let connection: NotedConnection;
let writer: LedgerWriter;
let account: bigint;
/** A hold of 10 that is open. */
let open: Uuid;

beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});
beforeEach(async () => {
  rig = await openWriter(ledger);
  ({ wire, connection, writer, account, open } = rig);
});
afterEach(() => rig.close());

const kinds = async (): Promise<string[]> => (await ledger.entries(account)).map((entry) => entry[0]);

async function expectOneCharge(): Promise<void> {
  expect(await kinds()).toEqual(['grant', 'charge']);
  expect(await ledger.wallet(account)).toMatchObject({ posted: 993n, held: 0n });
}

describe('a connection that is killed', () => {
  it('before the call: the call goes over a new one', async () => {
    await killWriters(ledger.pool);
    expect(await writer.settle(settle(account, open, 7n))).toMatchObject({ outcome: 'done', amount: 7n });
    await expectOneCharge();
  });

  it('while the call waits: it goes again, once the other attempt is gone', async () => {
    const lock = await lockWallet(ledger.database.url, account);
    const settled = writer.settle(settle(account, open, 7n));
    await until('the call waits', () => writerWaits(ledger.pool));
    await killWriters(ledger.pool);
    await lock.unlock();
    expect(await settled).toMatchObject({ outcome: 'done', amount: 7n });
    await expectOneCharge();
    expect(connection.calls.length).toBeGreaterThan(2);
  });

  it('after the commit, before the answer: the same amount again, and nothing moves', async () => {
    wire.passes = 'statements';
    const asked = newId();
    const settled = writer.settle(settle(account, open, 7n));
    const held = writer.hold(hold(account, asked, 20n));
    await until('the call is committed', async () => (await kinds()).length === 2);
    wire.passes = 'all';
    wire.strikeAll('cut');
    expect(await settled).toMatchObject({ outcome: 'repeated', amount: 7n });
    expect(await held).toMatchObject({ outcome: 'repeated', amount: 20n });
    expect(await ledger.wallet(account)).toMatchObject({ posted: 993n, held: 20n });
    expect(await kinds()).toEqual(['grant', 'charge']);
  });
});

describe('a connection that goes half-open', () => {
  it('is given up: the hold is told in time, the settle is answered over a new one', async () => {
    wire.passes = 'nothing';
    const settled = writer.settle(settle(account, open, 7n));
    const held = writer.hold(hold(account, newId(), 20n));
    await expect(held).rejects.toThrow(expect.objectContaining({ code: 'ledger_unavailable' }));
    wire.passes = 'all';
    expect(await settled).toMatchObject({ outcome: 'done', amount: 7n });
    await expectOneCharge();
  });

  it('after the server had committed: the hold nobody waited for is released', async () => {
    wire.passes = 'statements';
    const id = newId();
    const held = writer.hold(hold(account, id, 20n));
    await expect(held).rejects.toThrow(expect.objectContaining({ code: 'ledger_unavailable' }));
    expect(await ledger.wallet(account)).toMatchObject({ held: 30n });
    wire.passes = 'all';
    await until('it is released', () => !writer.isLive(id));
    expect(await ledger.wallet(account)).toMatchObject({ posted: 1_000n, held: 10n });
  });
});

it('a database that is away and comes back answers what waited', async () => {
  wire.open = false;
  wire.strikeAll('cut');
  const settled = writer.settle(settle(account, open, 7n));
  await until('it was tried', () => connection.calls.length > 3);
  wire.open = true;
  expect(await settled).toMatchObject({ outcome: 'done', amount: 7n });
  await expectOneCharge();
});

it('an account that somebody has locked for long keeps no other waiting; its own goes on when it is free', async () => {
  const other = await ledger.newAccount();
  await ledger.one(grant(other, 1_000n));
  const { unlock } = await lockWallet(ledger.database.url, account);
  const settled = writer.settle(settle(account, open, 7n));
  const held: Promise<unknown>[] = [];
  // For longer than a hold may wait, with new ones of the locked account all the while.
  for (let i = 0; i < 25; i++) {
    writer.hold(hold(account, newId(), 1n)).catch(() => {});
    held.push(writer.hold(hold(other, newId(), 1n)).then((result) => result.outcome));
    await sleep(100);
  }
  expect(await Promise.all(held)).toEqual(held.map(() => 'done'));
  await unlock();
  expect((await settled).outcome).toBe('done');
  await until(
    'what nobody waits for is ended',
    async () => (await ledger.wallet(account)).held === 0n || writer.depth === 0,
  );
});

describe('deadlocks', () => {
  it('with a session that locks in another order: the batch that gave way goes again', async () => {
    const other = await ledger.newAccount();
    await ledger.one(grant(other, 1_000n));
    const session = new pg.Client({ connectionString: ledger.database.url, options: '-c search_path=tollgate' });
    await session.connect();
    await session.query("SET deadlock_timeout = '60s'"); // so that the writer is the one to notice
    await session.query('BEGIN');
    await session.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [other]);
    const results = Promise.all([
      writer.settle(settle(account, open, 7n)),
      writer.apply(grant(other, 5n, { reference: 'more' })),
    ]);
    await until('the writer waits for the other account', () => writerWaits(ledger.pool));
    await session.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [account]);
    await session.query('COMMIT');
    await session.end();
    expect((await results).map((result) => result.outcome)).toEqual(['done', 'done']);
    await expectOneCharge();
    expect(connection.calls.length).toBeGreaterThanOrEqual(3);
  });

  it('do not happen between writers, whatever the order their operations arrive in', async () => {
    const second = new NotedConnection(ledger.database.url, OWNER, silentLogger);
    const twin = new LedgerWriter({ connection: second, clock: systemClock, log: silentLogger });
    const accounts: bigint[] = [];
    for (let i = 0; i < 6; i++) accounts.push(await ledger.newAccount());
    for (const id of accounts) await ledger.one(grant(id, 1_000n));
    const rounds = 25;
    for (let round = 0; round < rounds; round++) {
      const there = accounts.map((id) => writer.hold(hold(id, newId(), 1n)));
      const back = accounts.toReversed().map((id) => twin.hold(hold(id, newId(), 1n)));
      await Promise.all([...there, ...back]);
    }
    await twin.close();
    await second.close();
    expect(second.calls.length).toBe(rounds);
    for (const id of accounts) expect((await ledger.wallet(id)).held).toBe(BigInt(2 * rounds));
  });
});
