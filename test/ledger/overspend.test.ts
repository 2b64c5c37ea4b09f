/** P1: of N parallel holds of h, exactly ⌊(available + overdraft) / h⌋ are granted, however many processes ask. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { grant, hold, type LedgerRig, NotedConnection, newId, OWNER, openLedger, release, settle } from './rig.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);
const ROUNDS = 20;
const PARALLEL = 200;
const WRITERS = 3;

let ledger: LedgerRig;
let connections: NotedConnection[];
let writers: LedgerWriter[];
beforeAll(async () => {
  console.log(`overspend: LEDGER_SEED=${SEED}`);
  ledger = await openLedger();
  connections = Array.from({ length: WRITERS }, () => new NotedConnection(ledger.database.url, OWNER, silentLogger));
  writers = connections.map((connection) => new LedgerWriter({ connection, clock: systemClock, log: silentLogger }));
});
afterAll(async () => {
  await ledger.expectClean();
  for (const writer of writers) await writer.close();
  for (const connection of connections) await connection.close();
  await ledger.close();
});

/** A small generator of numbers from 0 to `below` − 1 (mulberry32), so that a seed says it all. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

it.each([1, WRITERS])('200 at once over %d writers, 20 rounds', async (count) => {
  const random = generator(SEED);
  for (let round = 0; round < ROUNDS; round++) {
    const size = BigInt(1 + random(1_000_000_000));
    const [available, overdraft] = [size * BigInt(random(30)) + BigInt(random(1_000)), BigInt(random(5)) * size];
    const account = await ledger.newAccount(overdraft);
    if (available > 0n) await writers[0]!.grant(grant(account, available));
    const ids = Array.from({ length: PARALLEL }, newId);
    const ask = (id: string, i: number) => writers[i % count]!.hold(hold(account, id, size));
    const answers = await Promise.all(ids.map(ask));
    const accepted = ids.filter((_, i) => answers[i]!.outcome === 'done');
    const where = `round ${round}: ${available} + ${overdraft} in holds of ${size}`;
    expect(accepted.length, where).toBe(Number((available + overdraft) / size));
    expect((await ledger.wallet(account)).held, where).toBe(BigInt(accepted.length) * size);

    // What ends makes room for as much again, asked for while it ends.
    const ends = accepted.map((id, i) =>
      i % 2 === 0
        ? writers[i % count]!.release(release(account, id))
        : writers[i % count]!.settle(settle(account, id, size)),
    );
    const more = Array.from({ length: PARALLEL }, newId);
    const second = await Promise.all([...ends, ...more.map(ask)]);
    const wallet = await ledger.wallet(account);
    const open = second.slice(ends.length).filter((result) => result.outcome === 'done').length;
    expect(wallet.held, where).toBe(BigInt(open) * size);
    expect(wallet.posted + overdraft - wallet.held, where).toBeGreaterThanOrEqual(0n);
  }
});
