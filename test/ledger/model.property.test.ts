/**
 * Random histories against the model: the real ledger answers as the model does, whether operations come as batches or
 * one at a time, whether jobs ran or not, and every projection stays equal to its entries.
 *
 * LEDGER_SEED=… replays a run, LEDGER_RUNS=… makes it a long one; `npm run soak:ledger` does both.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Operation } from '../../src/ledger/operations.ts';
import type { Result } from '../../src/ledger/outcomes.ts';
import { verifyLedger } from '../../src/ledger/verify.ts';
import { setWalletStatus } from '../../src/ledger/wallets.ts';
import { skewedClock } from '../../src/lib/clock.ts';
import { type Uuid, uuidv7 } from '../../src/lib/ids.ts';
import { claw } from './clawback-rig.ts';
import { inOrderOfEffect, ModelAccount } from './model.ts';
import {
  type Book,
  EXPIRING_KEY,
  histories,
  OVERDRAFTS,
  REVOKED_KEY,
  SLOTS,
  type Step,
  toClawback,
  toOperation,
  type Wait,
} from './model-commands.ts';
import { expectAsModelled, expectBalance, expectRebuildsEqual, expectSameRows, refresh } from './model-compare.ts';
import { preparing, preparingPool } from './prepared.ts';
import { KEY, type LedgerRig, OTHER_KEY, openLedger, second } from './rig.ts';
import { type StoppedClock, stopClock } from './stopped-clock.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);
const RUNS = Number(process.env.LEDGER_RUNS ?? 120);
/** The UTC day and month that histories run into, in the tests' seconds: the first of the next month. */
const TURN = (Date.UTC(second(0).getUTCFullYear(), second(0).getUTCMonth() + 1, 1) - second(0).getTime()) / 1000;
const START = TURN - 12;
const KEY_ENDS = START + 15;
const DAY = 86_400;
/** Ages of ids that a history begins with, in days: entries of other months, a gateway whose clock is wrong. */
const ID_AGES = [0, 0, 40, -3];
/** Batched accounts' gateways; those of the single ones are ten more. */
const GATEWAYS = [7n, 8n];
const OF_SINGLE = 10n;

let ledger: LedgerRig;
let clock: StoppedClock;
/** How many were opened: their ids. */
let accounts = 0n;
beforeAll(async () => {
  console.log(`model.property: LEDGER_SEED=${SEED} LEDGER_RUNS=${RUNS}`);
  ledger = await openLedger();
  clock = await stopClock(ledger.database);
  preparing(ledger.client);
  for (const pool of [ledger.pool, clock.pool]) preparingPool(pool);
  await takeLeases(GATEWAYS);
});
afterAll(async () => {
  await ledger.expectClean();
  await clock.close();
  await ledger.close();
});

/** Of gateways, and of those of the single ones. No history lets a lease run out by itself: `die` says when. */
async function takeLeases(gateways: readonly bigint[]): Promise<void> {
  await ledger.client.query(
    "INSERT INTO owners SELECT o, 'infinity', now() FROM unnest($1::bigint[]) o ON CONFLICT DO NOTHING",
    [withTwins(gateways)],
  );
}

const withTwins = (gateways: readonly bigint[]): bigint[] => [...gateways, ...gateways.map((each) => each + OF_SINGLE)];

const ms = (seconds: number): number => second(seconds).getTime();
const idAt = (seconds: number): Uuid => uuidv7(skewedClock(ms(seconds) - Date.now()));
const bornAt = (id: Uuid): number => Number.parseInt(id.replace('-', '').slice(0, 12), 16);

/** One history on two sets of accounts: `accounts` get each batch at once, `single` get its operations one at a time. */
interface Run extends Book {
  single: bigint[];
  now: number;
}

async function newRun(): Promise<Run> {
  const inOrder = (): Uuid[] => Array.from({ length: SLOTS }, () => idAt(START)).sort();
  const run: Run = {
    models: [],
    accounts: [],
    single: [],
    ids: OVERDRAFTS.map(() => ID_AGES.map((days) => idAt(START - days * DAY))),
    lotIds: inOrder(),
    adjustmentIds: inOrder(),
    asked: [],
    now: START,
    newId: () => idAt(run.now),
  };
  for (const overdraft of OVERDRAFTS) {
    const model = new ModelAccount();
    model.overdraft = overdraft;
    for (const key of [KEY, OTHER_KEY]) model.keys.set(key, Number.POSITIVE_INFINITY);
    model.keys.set(EXPIRING_KEY, ms(KEY_ENDS));
    run.models.push(model);
    run.accounts.push(++accounts);
    run.single.push(++accounts);
  }
  await ledger.client.query(
    `WITH opened AS (INSERT INTO wallets (account_id, overdraft)
       SELECT a, o FROM unnest($1::bigint[], $2::bigint[]) AS t (a, o))
     INSERT INTO spenders (account_id, key_id, state, expires_at) SELECT a, k.* FROM unnest($1) a,
       (VALUES ($3::bigint, 0, 'infinity'::timestamptz), ($4, 0, 'infinity'), ($5, 1, 'infinity'), ($6, 0, $7)) k`,
    [
      [...run.accounts, ...run.single],
      [...OVERDRAFTS, ...OVERDRAFTS],
      ...[KEY, OTHER_KEY, REVOKED_KEY, EXPIRING_KEY],
      second(KEY_ENDS),
    ],
  );
  return run;
}

async function doBatch(run: Run, { operations, owner, distinct }: Step & { kind: 'batch' }): Promise<void> {
  const all = operations.map((spec) => toOperation(run, spec, run.now)).filter((operation) => operation !== null);
  const batch = distinct ? all.filter((o, i) => all.findIndex(({ id }) => id === o.id) === i) : all;
  const gateway = GATEWAYS[owner]!;
  const expected = new Map<Operation, Result>();
  for (const [i, model] of run.models.entries()) {
    const mine = batch.filter((operation) => operation.account === run.accounts[i]);
    const results = model.apply(mine, ms(run.now), gateway);
    for (const [n, operation] of mine.entries()) expected.set(operation, results[n]!);
  }
  const told = batch.map((operation) => expected.get(operation));
  if (batch.length > 0) expect(await ledger.apply(batch, run.now, gateway), 'batched').toEqual(told);
  for (const operation of inOrderOfEffect(batch)) {
    const twin = { ...operation, account: run.single[run.accounts.indexOf(operation.account)]! };
    expect(await ledger.one(twin, run.now, gateway + OF_SINGLE), 'one at a time').toEqual(expected.get(operation));
  }
}

/** Lets time pass, and compares what readers find then, before any operation or job has looked at it. */
async function pass(run: Run, wait: Wait): Promise<void> {
  const before = run.now;
  if ('by' in wait) run.now += wait.by;
  else {
    const boundaries = run.models.flatMap((model) => [
      ...model.lots.all.flatMap((lot) => [lot.startsAt, lot.expiresAt]),
      ...[...model.holds.values()].map((hold) => hold.expiresAt),
    ]);
    const turns = [KEY_ENDS, TURN, TURN + DAY, TURN + 31 * DAY];
    const instants = [...boundaries.map((at) => START + (at - ms(START)) / 1000), ...turns];
    const ahead = [...new Set(instants)].filter((at) => at > before && at < TURN + 90 * DAY).sort((a, b) => a - b);
    run.now = ahead[wait.toBoundary] ?? ahead[0] ?? before;
  }
  if (run.now !== before) await expectBalances(run);
}

async function expectBalances(run: Run): Promise<void> {
  await clock.set(run.now);
  for (const [i, model] of run.models.entries()) {
    await expectBalance(clock.pool, run.accounts[i]!, model.at(ms(run.now)), ms(run.now));
  }
}

/** The job for idle accounts. */
async function doJob(run: Run): Promise<void> {
  await clock.set(run.now);
  await clock.pool.query('SELECT ledger_expire_due(1000)');
  for (const model of run.models) model.pass(ms(run.now));
  await expectBalances(run);
}

/** Gateways are found dead: up to `limit` of the holds of each are ended, in the order of accounts and ids. */
async function die(run: Run, gateways: readonly bigint[], limit: number): Promise<void> {
  for (const gateway of gateways) {
    let left = limit;
    for (const model of run.models) {
      const mine = [...model.holds].filter(([, hold]) => hold.owner === gateway).map(([id]) => id);
      for (const id of mine.sort().slice(0, left)) model.recover(id, ms(run.now));
      left -= Math.min(left, mine.length);
    }
  }
  await clock.set(run.now);
  await clock.pool.query('SELECT ledger_end_owner(o, $2) FROM unnest($1::bigint[]) o', [withTwins(gateways), limit]);
  await takeLeases(gateways);
}

/** A heartbeat notes what a running request has used. */
async function meter(run: Run, { account, slot, amount }: Step & { kind: 'meter' }): Promise<void> {
  const holds = [...run.models[account]!.holds];
  const [id, hold] = holds[slot % holds.length] ?? [];
  if (id === undefined || hold === undefined) return;
  if (amount > hold.metered) hold.metered = amount;
  await ledger.client.query('SELECT ledger_heartbeat(99, $1, $2, $3)', [
    [run.accounts[account], run.single[account]],
    [id, id],
    [amount, amount],
  ]);
}

async function changeStatus(run: Run, { account, suspended }: Step & { kind: 'status' }): Promise<void> {
  const model = run.models[account]!;
  model.suspended = suspended;
  model.policyVersion += 1n;
  for (const accounts of [run.accounts, run.single]) {
    await setWalletStatus(ledger.client, accounts[account]!, suspended ? 'suspended' : 'active');
  }
}

async function setBudget(run: Run, { account, key, credits, period }: Step & { kind: 'budget' }): Promise<void> {
  run.models[account]!.setBudget(key, credits === null ? null : { credits, period }, ms(run.now), bornAt);
  for (const id of [run.accounts[account]!, run.single[account]!]) {
    await ledger.setBudget(id, key, credits, period, run.now);
  }
}

/** A payment is taken back, or stands after all. */
async function doClawback(run: Run, step: Step & { kind: 'clawback' }): Promise<void> {
  const asked = toClawback(run, step);
  if (asked === null) return;
  const model = run.models[step.account]!;
  model.pass(ms(run.now));
  const expected = model.clawbacks.answer(asked, model.lots, ms(run.now));
  model.pass(ms(run.now));
  for (const accounts of [run.accounts, run.single]) {
    const answer = claw(ledger.client, { ...asked, account: accounts[step.account]! }, run.now);
    expect(await answer.catch(({ constraint }: { constraint: string }) => constraint)).toBe(expected);
  }
}

async function doStep(run: Run, step: Step): Promise<void> {
  switch (step.kind) {
    case 'batch':
      await pass(run, step.wait);
      return doBatch(run, step);
    case 'clawback':
      await pass(run, step.wait);
      return doClawback(run, step);
    case 'job':
      await pass(run, step.wait);
      return doJob(run);
    case 'gateway dies':
      return die(run, [GATEWAYS[step.owner]!], step.limit);
    case 'meter':
      return meter(run, step);
    case 'status':
      return changeStatus(run, step);
    case 'budget':
      return setBudget(run, step);
  }
}

async function expectEqual(run: Run): Promise<void> {
  for (const [i, model] of run.models.entries()) {
    await expectSameRows(ledger, run.accounts[i]!, run.single[i]!);
    await expectAsModelled(ledger, run.accounts[i]!, model);
  }
}

/** Verifies both accounts, and has one of them rebuilt. */
async function expectProven(run: Run): Promise<void> {
  for (const account of run.accounts) {
    expect((await verifyLedger(clock.pool, { account })).differences, 'verify').toEqual([]);
  }
  for (const model of run.models) model.pass(ms(run.now));
  await refresh(ledger, [...run.accounts, ...run.single], run.now);
  await expectRebuildsEqual(ledger, run.accounts[run.asked.length % run.accounts.length]!, run.now);
}

/** Plays a history; then lets its gateways die and all its time pass, so that nothing is left to happen. */
async function play(steps: readonly Step[]): Promise<void> {
  const run = await newRun();
  for (const step of steps) await doStep(run, step);
  await expectProven(run);
  await die(run, GATEWAYS, 1_000);
  run.now += 400 * DAY;
  await expectBalances(run);
  await doJob(run);
  await expectEqual(run);
  const due = await ledger.client.query("SELECT FROM wallets WHERE next_change_at < 'infinity' OR held > 0");
  expect(due.rowCount, 'wallets that still wait for something').toBe(0);
}

it('answers as the model does, batched and one at a time', { timeout: 30_000 + RUNS * 1_000 }, async () => {
  await fc.assert(fc.asyncProperty(histories, play), { seed: SEED, numRuns: RUNS });
});
