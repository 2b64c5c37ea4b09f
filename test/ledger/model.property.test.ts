/**
 * Random histories against the model: the real ledger answers as the model does, whether operations come as batches or
 * one at a time, and every projection stays equal to its entries.
 *
 * LEDGER_SEED=… replays a run, LEDGER_RUNS=… makes it a long one.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Operation } from '../../src/ledger/operations.ts';
import { LOT_KINDS, type LotKind, type Result } from '../../src/ledger/outcomes.ts';
import { setWalletStatus } from '../../src/ledger/wallets.ts';
import { skewedClock } from '../../src/lib/clock.ts';
import { type Uuid, uuidv7 } from '../../src/lib/ids.ts';
import { ModelAccount } from './model.ts';
import { grant, hold, KEY, type LedgerRig, newId, OTHER_KEY, openLedger, release, second, settle } from './rig.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);
const RUNS = Number(process.env.LEDGER_RUNS ?? 120);
const REVOKED_KEY = 3n;
const EXPIRING_KEY = 4n;
const EXPIRING_KEY_ENDS = 12;
const OVERDRAFTS = [0n, 15n];
const SLOTS = 6;
/** Ages of ids that a history begins with, in days: entries of other months, a gateway whose clock is wrong. */
const ID_AGES = [0, 0, 40, -3];

let ledger: LedgerRig;
beforeAll(async () => {
  console.log(`model.property: LEDGER_SEED=${SEED} LEDGER_RUNS=${RUNS}`);
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

/** Small numbers meet each other, and with them the borders where a decision turns. */
const amount = fc.bigInt({ min: 0n, max: 9n });
const account = fc.nat({ max: OVERDRAFTS.length - 1 });
/** Which id: a new one for a hold and one that is open for what ends it, or else any that was used before. */
const slot = fc.nat({ max: SLOTS - 1 });
const apt = fc.constantFrom(true, true, true, true, false);
const seconds = fc.option(fc.integer({ min: -1, max: 20 }), { freq: 1 });

const holdOf = fc.record({
  verb: fc.constant('hold' as const),
  account,
  slot,
  apt,
  want: amount,
  least: fc.option(amount),
  floor: amount,
  key: fc.constantFrom(KEY, KEY, KEY, KEY, OTHER_KEY, REVOKED_KEY, EXPIRING_KEY),
  stale: fc.constantFrom(false, false, false, false, false, true),
});
const settleOf = fc.record({ verb: fc.constant('settle' as const), account, slot, apt, amount });
const releaseOf = fc.record({ verb: fc.constant('release' as const), account, slot, apt });
const grantOf = fc.record({
  verb: fc.constant('grant' as const),
  account,
  slot,
  amount: fc.bigInt({ min: 1n, max: 25n }),
  kind: fc.constantFrom(...(Object.keys(LOT_KINDS) as LotKind[])),
  priority: fc.integer({ min: 0, max: 2 }),
  startsIn: seconds,
  expiresIn: seconds,
});
const operationOf = fc.oneof(
  { weight: 5, arbitrary: holdOf },
  { weight: 4, arbitrary: settleOf },
  { weight: 1, arbitrary: releaseOf },
  { weight: 2, arbitrary: grantOf },
);
const stepOf = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('batch' as const),
      wait: fc.constantFrom(0, 0, 0, 1, 1, 2, 5),
      operations: fc.array(operationOf, { minLength: 1, maxLength: 8 }),
      /** As the writer has it: no id twice in a batch. */
      distinct: fc.constantFrom(true, true, true, false),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('gateway dies' as const), account }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('status' as const), account }) },
);

type Step = typeof stepOf extends fc.Arbitrary<infer T> ? T : never;
type Spec = typeof operationOf extends fc.Arbitrary<infer T> ? T : never;

/** One history on two sets of accounts: `batched` gets each batch at once, `single` gets its operations one at a time. */
interface Run {
  models: ModelAccount[];
  batched: bigint[];
  single: bigint[];
  /** Of requests, by account. */
  ids: Uuid[][];
  /** By slot; in order, so that a replayed seed breaks ties as the first run did. */
  lotIds: Uuid[];
}

async function newRun(): Promise<Run> {
  const run: Run = { models: [], batched: [], single: [], ids: [], lotIds: [] };
  for (const overdraft of OVERDRAFTS) {
    const model = new ModelAccount();
    model.overdraft = overdraft;
    for (const key of [KEY, OTHER_KEY]) model.keys.set(key, Number.POSITIVE_INFINITY);
    model.keys.set(EXPIRING_KEY, second(EXPIRING_KEY_ENDS).getTime());
    run.models.push(model);
    run.ids.push(ID_AGES.map((days) => uuidv7(skewedClock(-days * 86_400_000))));
    for (const set of [run.batched, run.single]) {
      const id = await ledger.newAccount(overdraft);
      set.push(id);
      await ledger.client.query(
        `INSERT INTO spenders (account_id, key_id, state, expires_at) VALUES ($1, $2, 1, 'infinity'), ($1, $3, 0, $4)`,
        [id, REVOKED_KEY, EXPIRING_KEY, second(EXPIRING_KEY_ENDS)],
      );
    }
  }
  run.lotIds.push(...Array.from({ length: SLOTS }, newId).sort());
  return run;
}

function requestId(run: Run, spec: Exclude<Spec, { verb: 'grant' }>): Uuid {
  const used = run.ids[spec.account]!;
  const open = [...run.models[spec.account]!.holds.keys()];
  if (spec.apt && spec.verb === 'hold') used.push(newId());
  if (spec.apt && spec.verb === 'hold') return used.at(-1)!;
  return spec.apt && open.length > 0 ? open[spec.slot % open.length]! : used[spec.slot % used.length]!;
}

/** The operation on the accounts that take batches. */
function toOperation(run: Run, spec: Spec, now: number): Operation {
  const id = run.batched[spec.account]!;
  switch (spec.verb) {
    case 'hold': {
      const policyVersion = run.models[spec.account]!.policyVersion - (spec.stale ? 1n : 0n);
      const least = spec.least === null || spec.least > spec.want ? spec.want : spec.least;
      const more = { least, floor: spec.floor, key: spec.key, policyVersion };
      return hold(id, requestId(run, spec), spec.want, more);
    }
    case 'settle':
      return settle(id, requestId(run, spec), spec.amount);
    case 'release':
      return release(id, requestId(run, spec));
    case 'grant': {
      const { kind, priority } = spec;
      const startsAt = spec.startsIn === null ? null : second(now + spec.startsIn);
      const expiresAt = spec.expiresIn === null ? null : second(now + spec.expiresIn);
      const more = { kind, priority, startsAt, expiresAt, reference: `lot ${spec.slot}`, id: run.lotIds[spec.slot]! };
      return grant(id, spec.amount, more);
    }
  }
}

async function doBatch(run: Run, specs: readonly Spec[], distinct: boolean, now: number): Promise<void> {
  const all = specs.map((spec) => toOperation(run, spec, now));
  const batch = distinct ? all.filter((o, i) => all.findIndex(({ id }) => id === o.id) === i) : all;
  const expected = new Map<Operation, Result>();
  for (const [i, model] of run.models.entries()) {
    const mine = batch.filter((operation) => operation.account === run.batched[i]);
    const results = model.apply(mine, second(now).getTime());
    for (const [n, operation] of mine.entries()) expected.set(operation, results[n]!);
  }
  expect(await ledger.apply(batch, now), 'batched').toEqual(batch.map((operation) => expected.get(operation)));
  for (const operation of [...batch.filter((o) => o.verb !== 'hold'), ...batch.filter((o) => o.verb === 'hold')]) {
    const twin = { ...operation, account: run.single[run.batched.indexOf(operation.account)]! };
    expect(await ledger.one(twin, now), 'one at a time').toEqual(expected.get(operation));
  }
}

/** The gateway of the account's oldest open hold dies. */
async function die(run: Run, account: number, now: number): Promise<void> {
  const model = run.models[account]!;
  const id = model.holds.keys().next().value;
  if (id === undefined) return;
  model.recover(id, second(now).getTime());
  for (const accounts of [run.batched, run.single]) await ledger.recover(accounts[account]!, id, now);
}

async function changeStatus(run: Run, account: number): Promise<void> {
  const model = run.models[account]!;
  model.suspended = !model.suspended;
  model.policyVersion += 1n;
  for (const accounts of [run.batched, run.single]) {
    await setWalletStatus(ledger.client, accounts[account]!, model.suspended ? 'suspended' : 'active');
  }
}

/** Everything the ledger knows of an account, but for what is random in it: the ids of expiries. */
async function rowsOf(account: bigint): Promise<unknown> {
  const without = (table: string, order: string, drop = ''): string =>
    `(SELECT jsonb_agg(to_jsonb(t) - 'account_id' ${drop} ORDER BY ${order}) FROM ${table} t WHERE t.account_id = w.account_id)`;
  const { rows } = await ledger.client.query(
    `SELECT to_jsonb(w) - 'account_id' AS wallet, ${without('lots', 'lot_id')} AS lots, ${without('holds', 'id')} AS holds,
       ${without('entries', 'seq', "- CASE WHEN kind = 6 THEN 'id' ELSE '' END")} AS entries,
       ${without('allocations', 'id, kind, lot_id')} AS allocations
     FROM wallets w WHERE account_id = $1`,
    [account],
  );
  return rows[0];
}

async function expectEqual(run: Run): Promise<void> {
  for (const [i, model] of run.models.entries()) {
    const [batched, single] = [run.batched[i]!, run.single[i]!];
    expect(await rowsOf(batched)).toEqual(await rowsOf(single));
    expect(await ledger.entries(batched)).toEqual(model.entries);
    expect(await ledger.lots(batched)).toEqual(
      Object.fromEntries(model.lots.map((lot) => [lot.terms.reference, lot.remaining])),
    );
    const wallet = await ledger.wallet(batched);
    expect([wallet.held, wallet.debt]).toEqual([model.held, model.debt]);
    for (const account of [batched, single]) {
      const { rows } = await ledger.client.query('SELECT * FROM ledger_verify_account($1)', [account]);
      expect(rows, 'verify').toEqual([]);
    }
  }
}

async function play(steps: readonly Step[]): Promise<void> {
  const run = await newRun();
  let now = 0;
  for (const step of steps) {
    if (step.kind === 'batch') {
      now += step.wait;
      await doBatch(run, step.operations, step.distinct, now);
    } else if (step.kind === 'status') await changeStatus(run, step.account);
    else await die(run, step.account, now);
  }
  await expectEqual(run);
}

it('answers as the model does, batched and one at a time', { timeout: 30_000 + RUNS * 1_000 }, async () => {
  const steps = fc.array(stepOf, { minLength: 4, maxLength: 25, size: 'max' });
  await fc.assert(fc.asyncProperty(steps, play), { seed: SEED, numRuns: RUNS });
});
