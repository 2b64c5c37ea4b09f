/**
 * Every verb, with the wire to Postgres cut or frozen at every point of its call: the writer goes on until it has a definite
 * answer, the ledger ends as it does without the fault, and the same operation again moves nothing, be it a repeat or the
 * frozen call that reaches Postgres in the end.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WriterConnection } from '../../../src/ledger/connection.ts';
import { Journal } from '../../../src/ledger/journal/journal.ts';
import type { Ending } from '../../../src/ledger/journal/record.ts';
import { Takeover } from '../../../src/ledger/journal/takeover.ts';
import type { Result } from '../../../src/ledger/outcomes.ts';
import { LedgerWriter } from '../../../src/ledger/writer.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import { consume } from '../../ledger/named.ts';
import { grant, hold, type LedgerRig, newId, OWNER, openLedger, release, settle } from '../../ledger/rig.ts';
import {
  type Fate,
  POINTS,
  type Point,
  type Struck,
  startWireProxy,
  type WireProxy,
} from '../../support/wire-proxy.ts';

/** A frozen call is given up after 3 s: they wait side by side, as many as Postgres has connections for. */
const AT_ONCE = 40;

type Ask = (writer: LedgerWriter) => Promise<Result>;
/** Brings an account to where the verb has work to do; how that is asked for, any number of times. */
type Prepare = (account: bigint) => Promise<Ask>;

const verbs: Record<string, Prepare> = {
  grant: async (account) => {
    const operation = grant(account, 500n, { reference: 'second' });
    return (writer) => writer.apply(operation);
  },
  hold: async (account) => {
    const operation = hold(account, newId(), 300n);
    return (writer) => writer.hold(operation);
  },
  extend: async (account) => {
    const id = await opened(account);
    return (writer) => writer.apply({ verb: 'extend', account, id, want: 400n, least: 150n });
  },
  settle: async (account) => {
    const operation = settle(account, await opened(account), 70n);
    return (writer) => writer.settle(operation);
  },
  release: async (account) => {
    const operation = release(account, await opened(account));
    return (writer) => writer.release(operation);
  },
  adjust: async (account) => {
    const terms = { reference: 'goodwill', reason: 'a test', creditsPerUsd: 1000n } as const;
    const id = newId();
    return (writer) => writer.apply({ verb: 'adjust', account, id, amount: -30n, book: 'adjustment', ...terms });
  },
  reverse: async (account) => {
    const id = await opened(account);
    await ledger.one(settle(account, id, 70n));
    return (writer) => writer.apply({ verb: 'reverse', account, id, amount: null, reason: 'a test' });
  },
  consume: async (account) => {
    const operation = consume(account, 70n);
    return (writer) => writer.apply(operation);
  },
  'replay of a settle': async (account) => {
    const operation = settle(account, await opened(account), 70n);
    return (writer) => takeOver(writer, operation);
  },
  'replay of a settle whose hold was recovered': async (account) => {
    const operation = settle(account, await opened(account), 70n);
    await ledger.recover(account, operation.id);
    return (writer) => takeOver(writer, operation);
  },
  'replay of a release': async (account) => {
    const operation = release(account, await opened(account));
    return (writer) => takeOver(writer, operation);
  },
};

/** `idle`: the connection is struck before the operation is given to the writer. */
type When = 'idle' | Point;
const faults = (['idle', ...POINTS] as const).flatMap((when) =>
  (['cut', 'freeze'] as const).map((fate) => ({ when, fate })),
);
const cells = Object.entries(verbs).flatMap(([verb, prepare]) =>
  faults.map(({ when, fate }) => ({ verb, prepare, when, fate })),
);

interface Answers {
  first: Result;
  again: Result;
}

let ledger: LedgerRig;
const runs = new Map<(typeof cells)[number], { account: bigint; answers: Answers | Error }>();

beforeAll(async () => {
  ledger = await openLedger();
  const waiting: (() => Promise<void>)[] = [];
  for (const cell of cells) {
    const { account, ask } = await prepared(cell.prepare);
    const fault: Fault = (proxy) => strike(proxy, cell.when, cell.fate);
    waiting.push(async () => {
      const answers = await under(fault, ask).catch((error: Error) => error);
      runs.set(cell, { account, answers });
    });
  }
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await next();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

async function prepared(prepare: Prepare): Promise<{ account: bigint; ask: Ask }> {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n, { reference: 'first' }));
  return { account, ask: await prepare(account) };
}

async function opened(account: bigint): Promise<string> {
  const id = newId();
  await ledger.one(hold(account, id, 100n));
  return id;
}

type Fault = (proxy: WireProxy) => Promise<Struck | null>;

async function strike(proxy: WireProxy, when: When, fate: Fate): Promise<Struck | null> {
  if (when !== 'idle') return proxy.strike({ statement: /ledger_apply/, point: when, fate });
  proxy.strikeAll(fate);
  return null;
}

/** Asks twice, of a writer of its own whose wire `fault` has prepared. */
async function under(fault: Fault, ask: Ask): Promise<Answers> {
  const proxy = await startWireProxy(ledger.database.url);
  const connection = new WriterConnection(proxy.url, OWNER, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger, holdTimeoutMs: 20_000 });
  try {
    await writer.release(release(0n, newId())); // So that the connection is up.
    const struck = fault(proxy);
    const first = await ask(writer);
    // What was frozen on its way reaches Postgres after all, now that it has been done by another connection.
    await (await struck)?.deliver();
    return { first, again: await ask(writer) };
  } finally {
    await writer.close();
    await connection.close();
    await proxy.close();
  }
}

async function leftBehind(account: bigint): Promise<object> {
  const { rows: holds } = await ledger.pool.query('SELECT amount FROM holds WHERE account_id = $1', [account]);
  return { wallet: await ledger.wallet(account), entries: await ledger.entries(account), holds };
}

/** Charges what a gateway that is gone left in its journal; the answer to its one record. */
async function takeOver(writer: LedgerWriter, operation: Ending): Promise<Result> {
  const dataDir = mkdtempSync(join(tmpdir(), 'tollgate-journal-'));
  const common = { dataDir, bytes: 65_536, clock: systemClock, log: silentLogger };
  const left = await Journal.open({ ...common, owner: 1n });
  await left.append(operation);
  await left.close();
  const journal = await Journal.open({ ...common, owner: OWNER });
  const replays: Promise<Result>[] = [];
  const replay = (record: Ending): Promise<Result> => {
    replays.push(writer.replay(record));
    return replays.at(-1)!;
  };
  const takeover = new Takeover({ ...common, journal, owner: OWNER, gone: () => [], answers: () => true, replay });
  await takeover.pass();
  await takeover.stop();
  await journal.close();
  expect(readdirSync(journal.folder)).toEqual([]);
  rmSync(dataDir, { recursive: true });
  expect(replays).toHaveLength(1);
  return replays[0]!;
}

describe.each(Object.entries(verbs))('%s, the wire struck', (verb, prepare) => {
  let usual: Answers;
  let expected: object;
  beforeAll(async () => {
    const { account, ask } = await prepared(prepare);
    usual = await under(async () => null, ask);
    expected = await leftBehind(account);
  });

  it.each(cells.filter((cell) => cell.verb === verb))('$when, $fate: answered, and done once', async (cell) => {
    const { account, answers } = runs.get(cell)!;
    const committed = cell.when === 'answered' || cell.when === 'half answered';
    expect(answers).toEqual({
      first: committed ? { ...usual.first, outcome: 'repeated' } : usual.first,
      again: { ...usual.first, outcome: 'repeated' },
    });
    expect(await leftBehind(account)).toEqual(expected);
  });
});
