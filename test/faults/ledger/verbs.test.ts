/**
 * Every verb, with the wire to Postgres cut or frozen at every point of its call: the writer goes on until it has a definite
 * answer, the ledger ends as it does without the fault, and the same operation again moves nothing, be it a repeat or the
 * frozen call that reaches Postgres in the end.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WriterConnection } from '../../../src/ledger/connection.ts';
import type { Operation } from '../../../src/ledger/operations.ts';
import type { Result } from '../../../src/ledger/outcomes.ts';
import { LedgerWriter } from '../../../src/ledger/writer.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import {
  type EntryLine,
  grant,
  hold,
  type LedgerRig,
  newId,
  OWNER,
  openLedger,
  release,
  settle,
  type WalletRow,
} from '../../ledger/rig.ts';
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

/** An account where the verb has work to do, and that work. */
type Prepare = (account: bigint) => Promise<Operation>;

const verbs: Record<Operation['verb'], Prepare> = {
  grant: async (account) => grant(account, 500n, { reference: 'second' }),
  hold: async (account) => hold(account, newId(), 300n),
  settle: async (account) => settle(account, await opened(account), 70n),
  release: async (account) => release(account, await opened(account)),
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
    const { account, operation } = await prepared(cell.prepare);
    const fault: Fault = (proxy) => strike(proxy, cell.when, cell.fate);
    waiting.push(async () => {
      const answers = await ask(operation, fault).catch((error: Error) => error);
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

async function prepared(prepare: Prepare): Promise<{ account: bigint; operation: Operation }> {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n, { reference: 'first' }));
  return { account, operation: await prepare(account) };
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

/** Gives the operation, twice, to a writer of its own whose wire `fault` has prepared. */
async function ask(operation: Operation, fault: Fault): Promise<Answers> {
  const proxy = await startWireProxy(ledger.database.url);
  const connection = new WriterConnection(proxy.url, OWNER, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger, holdTimeoutMs: 20_000 });
  try {
    await writer.release(release(operation.account, newId())); // So that the connection is up.
    const struck = fault(proxy);
    const first = await give(writer, operation);
    // What was frozen on its way reaches Postgres after all, now that it has been done by another connection.
    await (await struck)?.deliver();
    return { first, again: await give(writer, operation) };
  } finally {
    await writer.close();
    await connection.close();
    await proxy.close();
  }
}

async function leftBehind(account: bigint): Promise<{ wallet: WalletRow; entries: EntryLine[]; holds: unknown[] }> {
  const { rows: holds } = await ledger.pool.query('SELECT amount FROM holds WHERE account_id = $1', [account]);
  return { wallet: await ledger.wallet(account), entries: await ledger.entries(account), holds };
}

function give(writer: LedgerWriter, operation: Operation): Promise<Result> {
  switch (operation.verb) {
    case 'hold':
      return writer.hold(operation);
    case 'settle':
      return writer.settle(operation);
    case 'release':
      return writer.release(operation);
    case 'grant':
      return writer.grant(operation);
  }
}

describe.each(cells)('$verb, the wire struck: $when, $fate', (cell) => {
  it('is answered, and done exactly once', async () => {
    const { account, operation } = await prepared(cell.prepare);
    const usual = await ask(operation, async () => null);
    const run = runs.get(cell)!;
    const committed = cell.when === 'answered' || cell.when === 'half answered';
    expect(run.answers).toEqual({
      first: { ...usual.first, outcome: committed ? 'repeated' : 'done' },
      again: usual.again,
    });
    expect(usual.again.outcome).toBe('repeated');
    expect(await leftBehind(run.account)).toEqual(await leftBehind(account));
  });
});
