/**
 * P1: no overspend, and no less than fits. 200 clients at once over 1, 2 and 4 processes, each with its own writer and
 * batches: of equal holds exactly ⌊(available + overdraft) / h⌋ are granted; of unequal ones no sum above what there is,
 * and nothing refused that would still fit. Meanwhile another session never sees more held than there is.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Hold } from '../../src/ledger/operations.ts';
import type { Result } from '../../src/ledger/outcomes.ts';
import type { Asked } from './contender.ts';
import { generator } from './random.ts';
import { grant, hold, KEY, type LedgerRig, newId, OTHER_KEY, OWNER, openLedger, release, settle } from './rig.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);
const ROUNDS = Number(process.env.LEDGER_ROUNDS ?? 8);
const CLIENTS = 200;
const PROCESSES = 4;

let ledger: LedgerRig;
let processes: ChildProcess[];
beforeAll(async () => {
  console.log(`overspend: LEDGER_SEED=${SEED} LEDGER_ROUNDS=${ROUNDS}`);
  ledger = await openLedger();
  processes = Array.from({ length: PROCESSES }, () =>
    fork(new URL('./contender.ts', import.meta.url), [ledger.database.url, String(OWNER)], {
      serialization: 'advanced',
    }),
  );
  await Promise.all(processes.map((each) => once(each, 'message')));
});
afterAll(async () => {
  for (const each of processes) each.disconnect();
  await Promise.all(processes.map((each) => once(each, 'exit')));
  await ledger.expectClean();
  await ledger.close();
});

/** Asks for all at once, client i through process i mod `count`; the answers are in their order. */
async function askAll(operations: Asked[], count: number): Promise<Result[]> {
  const answers = await Promise.all(
    processes.slice(0, count).map(async (each, n) => {
      const answer = once(each, 'message');
      each.send(operations.filter((_, i) => i % count === n));
      return (await answer)[0] as Result[] | string;
    }),
  );
  return operations.map((_, i) => {
    const answer = answers[i % count]!;
    if (typeof answer === 'string') throw new Error(answer);
    return answer[Math.floor(i / count)]!;
  });
}

/** Runs `work` while another session looks on: at no moment is more held than there is. */
async function watched<T>(account: bigint, work: Promise<T>): Promise<T> {
  let done = false;
  const watch = (async () => {
    while (!done) {
      const { rows } = await ledger.client.query<{ left: bigint }>(
        'SELECT posted - held + overdraft AS left FROM wallets WHERE account_id = $1',
        [account],
      );
      expect(rows[0]!.left).toBeGreaterThanOrEqual(0n);
      await sleep(1);
    }
  })();
  const result = await work.finally(() => {
    done = true;
  });
  await watch;
  return result;
}

async function accountWith(credits: bigint, overdraft: bigint): Promise<bigint> {
  const account = await ledger.newAccount(overdraft);
  if (credits > 0n) await ledger.one(grant(account, credits));
  return account;
}

const sum = (amounts: bigint[]): bigint => amounts.reduce((a, b) => a + b, 0n);
const granted = (results: Result[]): bigint =>
  sum(results.filter((result) => result.outcome === 'done').map((result) => result.amount));

describe.each([1, 2, PROCESSES])('200 clients over %d processes', (count) => {
  it('that ask for the same get exactly what fits, and again as much where some ended', async () => {
    const random = generator(SEED);
    for (let round = 0; round < ROUNDS; round++) {
      const size = BigInt(1 + random(1_000_000_000));
      const [credits, overdraft] = [size * BigInt(random(30)) + BigInt(random(1_000)), BigInt(random(5)) * size];
      const account = await accountWith(credits, overdraft);
      const where = `round ${round}: ${credits} + ${overdraft} in holds of ${size}`;
      const asks = Array.from({ length: CLIENTS }, () => hold(account, newId(), size));
      const answers = await watched(account, askAll(asks, count));
      const open = asks.filter((_, i) => answers[i]!.outcome === 'done');
      expect(open.length, where).toBe(Number((credits + overdraft) / size));

      // While these end, others ask: whatever the order, all that is charged and held fits.
      const ends = open.map(({ id }, i) => (i % 2 === 0 ? release(account, id) : settle(account, id, size)));
      const more = Array.from({ length: CLIENTS - ends.length }, () => hold(account, newId(), size));
      const after = await watched(account, askAll([...ends, ...more], count));
      const wallet = await ledger.wallet(account);
      expect(wallet.held, where).toBe(granted(after.slice(ends.length)));
      expect(wallet.posted, where).toBe(credits - size * BigInt(Math.floor(open.length / 2)));
    }
  });

  it('that ask for anything get no more than there is, and none is refused who would still fit', async () => {
    const random = generator(SEED + 1);
    for (let round = 0; round < ROUNDS; round++) {
      const [credits, overdraft] = [BigInt(random(20_000)), BigInt(random(2_000))];
      const account = await accountWith(credits, overdraft);
      const asks = Array.from({ length: CLIENTS }, () => {
        const want = BigInt(1 + random(1_000));
        return hold(account, newId(), want, { least: random(3) > 0 ? want : 1n + (want * BigInt(random(100))) / 100n });
      });
      const answers = await watched(account, askAll(asks, count));
      const left = credits + overdraft - granted(answers);
      expect(left, `round ${round}`).toBeGreaterThanOrEqual(0n);
      for (const [i, { want, least }] of asks.entries()) expectMaximal(answers[i]!, want, least, left);
      expect((await ledger.wallet(account)).held).toBe(granted(answers));
    }
  });

  it('of two keys with budgets, in an account with one, get what fits all three', async () => {
    const random = generator(SEED + 2);
    for (let round = 0; round < ROUNDS; round++) {
      const account = await accountWith(20_000n, 0n);
      const budgets = { [`${KEY}`]: BigInt(random(8_000)), [`${OTHER_KEY}`]: BigInt(random(8_000)) };
      const ofAccount = BigInt(random(12_000));
      for (const key of [KEY, OTHER_KEY]) await ledger.setBudget(account, key, budgets[`${key}`]!, 'total');
      await ledger.setBudget(account, 0n, ofAccount, 'total');
      const asks = Array.from({ length: CLIENTS }, (_, i): Hold => {
        const key = i % 3 === 0 ? OTHER_KEY : KEY;
        return hold(account, newId(), BigInt(1 + random(500)), { key, policyVersion: 4n });
      });
      const answers = await askAll(asks, count);
      const leftOfAccount = ofAccount - granted(answers);
      for (const key of [KEY, OTHER_KEY]) {
        const mine = answers.filter((_, i) => asks[i]!.key === key);
        const left = budgets[`${key}`]! - granted(mine);
        const room = left < leftOfAccount ? left : leftOfAccount;
        expect(room, `round ${round}, key ${key}`).toBeGreaterThanOrEqual(0n);
        for (const [i, ask] of asks.entries()) {
          if (ask.key === key) expectMaximal(answers[i]!, ask.want, ask.least, room);
        }
      }
    }
  });
});

/** Nothing ended meanwhile, so what did not fit then does not fit now, and who got less than all took all that was left. */
function expectMaximal(answer: Result, want: bigint, least: bigint, left: bigint): void {
  if (answer.outcome !== 'done') {
    expect(answer.outcome).toMatch(/insufficient_credits|credits_held|key_budget_exceeded|account_budget_exceeded/);
    expect(least).toBeGreaterThan(left);
  } else {
    expect(answer.amount).toBeGreaterThanOrEqual(least);
    if (answer.amount < want) expect(left).toBe(0n);
    else expect(answer.amount).toBe(want);
  }
}
