/**
 * Payments whose money is reversed, bit by bit, and restored again, while their credits are spent, expire, start and are topped
 * up: what is clawed back is always floor(granted × reversed ÷ paid), and the wallet is what the model says.
 *
 * LEDGER_SEED=… replays a run, LEDGER_RUNS=… makes it a long one; `npm run soak:ledger` does both.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Grant, Operation } from '../../src/ledger/operations.ts';
import { verifyLedger } from '../../src/ledger/verify.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { claw, clawback } from './clawback-rig.ts';
import { ModelAccount } from './model.ts';
import { expectAsModelled, expectRebuildsEqual, refresh } from './model-compare.ts';
import { preparing, preparingPool } from './prepared.ts';
import { grant, hold, KEY, type LedgerRig, newId, openLedger, reverse, second, settle } from './rig.ts';

const SEED = Number(process.env.LEDGER_SEED ?? Date.now() % 2 ** 31);
const RUNS = Number(process.env.LEDGER_RUNS ?? 15);

let ledger: LedgerRig;
beforeAll(async () => {
  console.log(`clawback.property: LEDGER_SEED=${SEED} LEDGER_RUNS=${RUNS}`);
  ledger = await openLedger();
  preparing(ledger.client);
  preparingPool(ledger.pool);
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});

const soon = fc.option(fc.integer({ min: 1, max: 12 }), { freq: 2 });
/** A line of a payment: what it grants, in how many seconds that starts and how long it lasts. */
const lineOf = fc.record({
  credits: fc.bigInt({ min: 1n, max: 30n }),
  startsIn: soon,
  lasts: soon,
  priority: fc.nat({ max: 1 }),
});
const paymentOf = fc.record({
  /** In minor units: what was paid for all lines. */
  paid: fc.bigInt({ min: 1n, max: 2_000n }),
  lines: fc.array(lineOf, { minLength: 1, maxLength: 3 }),
});
const which = fc.nat({ max: 1 });
const stepOf = fc.oneof(
  /** So many twelfths of its money are back with the payer now. */
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('reverse money' as const),
      which,
      twelfths: fc.constantFrom(0n, 1n, 3n, 4n, 6n, 7n, 9n, 11n, 12n),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('lose all' as const, 'win all' as const), which }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('spend' as const), amount: fc.bigInt({ min: 1n, max: 25n }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('give back a charge' as const), nth: fc.nat({ max: 9 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('open a hold' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('top up' as const), line: lineOf }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('grant a line more' as const), which, line: lineOf }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 6 }) }) },
);
type ValueOf<A> = A extends fc.Arbitrary<infer T> ? T : never;
type Step = ValueOf<typeof stepOf>;
type Line = ValueOf<typeof lineOf>;

interface Payment {
  key: string;
  paid: bigint;
  reversed: bigint;
  granted: bigint;
  clawed: bigint;
  lots: Uuid[];
}

class Life {
  readonly account: bigint;
  readonly model = new ModelAccount();
  readonly payments: Payment[] = [];
  readonly #spent: Uuid[] = [];
  #now = 0;
  /** Since the last operation: the ledger has not looked at the time since. */
  #waited = false;

  constructor(account: bigint) {
    this.account = account;
    this.model.keys.set(KEY, Number.POSITIVE_INFINITY);
  }

  get #ms(): number {
    return second(this.#now).getTime();
  }

  async pay(index: number, { paid, lines }: ValueOf<typeof paymentOf>): Promise<void> {
    this.payments.push({ key: `pi_${index}`, paid, reversed: 0n, granted: 0n, clawed: 0n, lots: [] });
    for (const line of lines) await this.#grantLine(this.payments[index]!, line);
  }

  async do(step: Step): Promise<void> {
    switch (step.do) {
      case 'reverse money': {
        const payment = this.payments[step.which]!;
        return this.#reverse(payment, (payment.paid * step.twelfths) / 12n);
      }
      case 'lose all':
        return this.#reverse(this.payments[step.which]!, this.payments[step.which]!.paid);
      case 'win all':
        return this.#reverse(this.payments[step.which]!, 0n);
      case 'spend': {
        const id = newId();
        this.#spent.push(id);
        await this.#apply(hold(this.account, id, 0n));
        return this.#apply(settle(this.account, id, step.amount));
      }
      case 'give back a charge': {
        const id = this.#spent[step.nth % this.#spent.length];
        return id === undefined ? undefined : this.#apply(reverse(this.account, id));
      }
      case 'open a hold':
        return this.#apply(hold(this.account, newId(), 0n));
      case 'top up':
        return this.#apply(this.#lot(step.line));
      case 'grant a line more': {
        const payment = this.payments[step.which]!;
        await this.#grantLine(payment, step.line);
        return this.#reverse(payment, payment.reversed);
      }
      case 'wait':
        this.#now += step.seconds;
        this.#waited = true;
        return;
    }
  }

  /** Money moved: claws back, or gives back, what makes the sum of all clawbacks the share of it that is reversed. */
  async #reverse(payment: Payment, reversed: bigint): Promise<void> {
    payment.reversed = reversed;
    const target = (payment.granted * reversed) / payment.paid;
    const moved = payment.clawed - target;
    payment.clawed = target;
    if (moved === 0n) return;
    const asked = clawback(this.account, moved, payment.lots, { payment: payment.key });
    this.model.pass(this.#ms);
    expect(this.model.clawbacks.answer(asked, this.model.lots, this.#ms)).toBe('done');
    this.model.pass(this.#ms);
    this.#waited = false;
    expect(await claw(ledger.client, asked, this.#now)).toBe('done');
  }

  #lot({ credits, startsIn, lasts, priority }: Line): Grant {
    const startsAt = this.#now + (startsIn ?? 0);
    return grant(this.account, credits, {
      priority,
      startsAt: startsIn === null ? null : second(startsAt),
      expiresAt: lasts === null ? null : second(startsAt + lasts),
    });
  }

  async #grantLine(payment: Payment, line: Line): Promise<void> {
    const lot = this.#lot(line);
    await this.#apply(lot);
    payment.granted += line.credits;
    payment.lots.push(lot.id);
  }

  async #apply(operation: Operation): Promise<void> {
    this.#waited = false;
    const [expected] = this.model.apply([operation], this.#ms);
    expect(await ledger.one(operation, this.#now)).toEqual(expected);
  }

  async expectTrue(): Promise<void> {
    const { rows } = await ledger.client.query<{ payment: string; clawed: bigint }>(
      'SELECT payment, (-sum(amount))::bigint AS clawed FROM adjustments WHERE account_id = $1 GROUP BY 1 HAVING sum(amount) <> 0',
      [this.account],
    );
    const due = this.payments.filter(({ clawed }) => clawed > 0n).map(({ key, clawed }) => [key, clawed]);
    expect(Object.fromEntries(rows.map(({ payment, clawed }) => [payment, clawed]))).toEqual(Object.fromEntries(due));
    for (const { clawed, granted } of this.payments) expect(clawed).toBeLessThanOrEqual(granted);
    if (!this.#waited) expect((await ledger.wallet(this.account)).posted).toBe(this.model.lots.posted(this.#ms));
    expect((await verifyLedger(ledger.pool, { account: this.account })).differences).toEqual([]);
  }

  async end(): Promise<void> {
    this.model.pass(this.#ms);
    await refresh(ledger, [this.account], this.#now);
    await expectAsModelled(ledger, this.account, this.model);
    await expectRebuildsEqual(ledger, this.account, this.#now);
  }
}

const lives = fc.record({
  payments: fc.tuple(paymentOf, paymentOf),
  steps: fc.array(stepOf, { minLength: 6, maxLength: 14, size: 'max' }),
});

const promise = 'a clawback is the share of the money that is reversed, up and down, whatever became of the credits';
it(promise, { timeout: 30_000 + RUNS * 2_000 }, async () => {
  const property = fc.asyncProperty(fc.noBias(lives), async ({ payments, steps }) => {
    const life = new Life(await ledger.newAccount());
    for (const [i, payment] of payments.entries()) await life.pay(i, payment);
    for (const step of steps) {
      await life.do(step);
      await life.expectTrue();
    }
    await life.end();
  });
  await fc.assert(property, { seed: SEED, numRuns: RUNS });
});
