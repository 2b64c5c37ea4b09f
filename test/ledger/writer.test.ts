/** The writer shares calls without changing what any operation is told, and stays within its bounds. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TollgateError } from '../../src/errors.ts';
import { LedgerWriter, type WriterOptions } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import {
  grant,
  hold,
  type LedgerRig,
  lockWallet,
  NotedConnection,
  newId,
  OWNER,
  openLedger,
  release,
  settle,
  until,
  writerWaits,
} from './rig.ts';

let ledger: LedgerRig;
let account: bigint;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});
beforeEach(async () => {
  account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n));
});

interface Rig {
  writer: LedgerWriter;
  connection: NotedConnection;
  /** Milliseconds that the writer's clock is ahead. */
  clock: { aheadMs: number; now(): number };
}

/** Runs `work` with a writer, and closes it. */
async function withWriter(work: (rig: Rig) => Promise<void>, more: Partial<WriterOptions> = {}): Promise<void> {
  const connection = new NotedConnection(ledger.database.url, OWNER, silentLogger);
  const clock = { aheadMs: 0, now: () => systemClock.now() + clock.aheadMs };
  const writer = new LedgerWriter({ connection, clock, log: silentLogger, ...more });
  try {
    await work({ writer, connection, clock });
  } finally {
    await writer.close();
    await connection.close();
  }
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'answered',
    (error: TollgateError) => error.code,
  );

describe('a batch', () => {
  it('is what gathered while the last call ran: a lone operation waits for nobody', () =>
    withWriter(async ({ writer, connection }) => {
      const lone = writer.hold(hold(account, newId(), 1n));
      await until('the first call is under way', () => connection.calls.length === 1);
      const others = Array.from({ length: 30 }, () => writer.hold(hold(account, newId(), 1n)));
      const results = await Promise.all([lone, ...others]);
      expect(results.map((result) => result.outcome)).toEqual(Array(31).fill('done'));
      expect(connection.calls.map((call) => call.length)).toEqual([1, 30]);
    }));

  it('has at most 200 operations', () =>
    withWriter(async ({ writer, connection }) => {
      await Promise.all(Array.from({ length: 450 }, () => writer.hold(hold(account, newId(), 1n))));
      expect(connection.calls.map((call) => call.length)).toEqual([200, 200, 50]);
    }));

  it('carries what ends or adds first, then holds, each in the order of arrival', () =>
    withWriter(async ({ writer, connection }) => {
      const [a, b] = [newId(), newId()];
      await Promise.all([writer.hold(hold(account, a, 600n)), writer.hold(hold(account, b, 400n))]);
      const results = await Promise.all([
        writer.hold(hold(account, newId(), 1_500n)),
        writer.settle(settle(account, a, 100n)),
        writer.hold(hold(account, newId(), 1n)),
        writer.release(release(account, b)),
        writer.apply(grant(account, 600n)),
      ]);
      expect(connection.calls.at(-1)!.map((o) => o.verb)).toEqual(['settle', 'release', 'grant', 'hold', 'hold']);
      expect(results.map((r) => r.outcome)).toEqual(['done', 'done', 'credits_held', 'done', 'done']);
    }));

  it('never has the same id twice', () =>
    withWriter(async ({ writer, connection }) => {
      const id = newId();
      await writer.hold(hold(account, id, 10n));
      const results = await Promise.all([5n, 5n, 6n].map((amount) => writer.settle(settle(account, id, amount))));
      expect(results.map((r) => r.outcome)).toEqual(['done', 'repeated', 'exists_with_different_amount']);
      expect(connection.calls.map((call) => call.length)).toEqual([1, 1, 1, 1]);
    }));

  it('that the database refuses harms only the operation at fault', () =>
    withWriter(async ({ writer, connection }) => {
      const ids = Array.from({ length: 50 }, newId);
      await Promise.all(ids.map((id) => writer.hold(hold(account, id, 10n))));
      const poison = 2_000_000_000_000_000_000n; // above the largest balance there may be
      const codes = await Promise.all(
        ids.map((id, i) => codeOf(writer.settle(settle(account, id, i === 17 ? poison : 10n)))),
      );
      expect(codes.filter((code) => code === 'answered')).toHaveLength(49);
      expect(codes[17]).toBe('internal_error');
      expect(await ledger.wallet(account)).toMatchObject({ posted: 510n, held: 10n });
      expect(writer.isLive(ids[17]!), 'what was not settled is not stray').toBe(true);
      expect(connection.calls.map((call) => call.length)).toEqual([50, 50, ...Array(50).fill(1)]);
    }));
});

describe('the queue', () => {
  it('refuses holds beyond its bound as overloaded, never what ends one', () =>
    withWriter(
      async ({ writer }) => {
        const open = newId();
        await writer.hold(hold(account, open, 1n));
        const lock = await lockWallet(ledger.database.url, account);
        const holds = Array.from({ length: 5 }, () => codeOf(writer.hold(hold(account, newId(), 1n))));
        const ends = codeOf(writer.settle(settle(account, open, 1n)));
        expect(writer.depth).toBe(4);
        await lock.unlock();
        expect(await Promise.all([...holds, ends])).toEqual([
          ...Array(3).fill('answered'),
          ...Array(2).fill('overloaded'),
          'answered',
        ]);
        expect(writer.depth).toBe(0);
      },
      { maxQueued: 3 },
    ));

  it('takes no hold once it closes, and answers what it took', () =>
    withWriter(async ({ writer }) => {
      const lock = await lockWallet(ledger.database.url, account);
      const taken = writer.hold(hold(account, newId(), 1n));
      const closed = writer.close();
      expect(await codeOf(writer.hold(hold(account, newId(), 1n)))).toBe('shutting_down');
      await lock.unlock();
      await closed;
      expect((await taken).outcome).toBe('done');
    }));
});

describe('a hold that nobody answers in 1.8 s', () => {
  it('is told ledger_unavailable; where it was committed after all, it is released', () =>
    withWriter(async ({ writer, clock }) => {
      const id = newId();
      const lock = await lockWallet(ledger.database.url, account);
      const code = codeOf(writer.hold(hold(account, id, 10n)));
      await until('the call waits', () => writerWaits(ledger.pool));
      clock.aheadMs = 1_800;
      expect(await code).toBe('ledger_unavailable');
      expect(writer.isLive(id), 'the stray sweep leaves it to the writer').toBe(true);
      await lock.unlock();
      await until('it is released', () => !writer.isLive(id));
      expect((await ledger.entries(account)).at(-1)![0]).toBe('release');
      expect(await ledger.wallet(account)).toMatchObject({ posted: 1_000n, held: 0n });
    }));

  it('and was never sent is forgotten', () =>
    withWriter(async ({ writer, connection, clock }) => {
      const [first, second] = [newId(), newId()];
      const lock = await lockWallet(ledger.database.url, account);
      const one = codeOf(writer.hold(hold(account, first, 10n)));
      await until('the call waits', () => writerWaits(ledger.pool));
      const two = codeOf(writer.hold(hold(account, second, 10n)));
      clock.aheadMs = 1_800;
      expect(await Promise.all([one, two])).toEqual(['ledger_unavailable', 'ledger_unavailable']);
      expect(writer.isLive(second)).toBe(false);
      await lock.unlock();
      await until('the first is released', () => !writer.isLive(first));
      expect(connection.calls.flat().map((o) => o.id)).toEqual([first, first]);
    }));
});

it('a settle is tried until 30 s have passed; its hold then stays live, since releasing it would be free usage', () =>
  withWriter(async ({ writer, clock }) => {
    const id = newId();
    await writer.hold(hold(account, id, 10n));
    const lock = await lockWallet(ledger.database.url, account);
    const code = codeOf(writer.settle(settle(account, id, 10n)));
    await until('the call waits', () => writerWaits(ledger.pool));
    clock.aheadMs = 29_000;
    await new Promise((resolve) => setTimeout(resolve, 250)); // two looks at the deadlines
    expect(writer.depth).toBe(1);
    clock.aheadMs = 30_000;
    expect(await code).toBe('ledger_unavailable');
    expect(writer.isLive(id)).toBe(true);
    await lock.unlock();
    await until('the call under way is answered after all', () => !writer.isLive(id));
    expect(await ledger.wallet(account)).toMatchObject({ posted: 990n, held: 0n });
  }));

it('a hold is live from when it is asked for until its end was answered; one that was refused is not', () =>
  withWriter(async ({ writer }) => {
    const [id, refused] = [newId(), newId()];
    const asked = writer.hold(hold(account, id, 10n));
    expect(writer.isLive(id)).toBe(true);
    await asked;
    expect(writer.isLive(id)).toBe(true);
    await writer.settle(settle(account, id, 1n));
    expect(writer.isLive(id)).toBe(false);
    await writer.hold(hold(account, refused, 10_000n));
    expect(writer.isLive(refused)).toBe(false);
  }));
