/** Random histories: what may happen to two accounts, in small numbers, so that the borders of decisions meet. */
import fc from 'fast-check';
import type { Operation } from '../../src/ledger/operations.ts';
import { LOT_KINDS, type LotKind, type OnOrphan } from '../../src/ledger/outcomes.ts';
import type { Period } from '../../src/ledger/wallets.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { type Clawback, clawback } from './clawback-rig.ts';
import type { ModelAccount } from './model.ts';
import { ACCOUNT_ITSELF } from './model-budgets.ts';
import { consume, enlarge, reserve } from './named.ts';
import { adjust, extend, grant, hold, KEY, OTHER_KEY, release, reverse, second, settle } from './rig.ts';

export const REVOKED_KEY = 3n;
export const EXPIRING_KEY = 4n;
export const OVERDRAFTS = [0n, 15n];
export const SLOTS = 6;

const amount = fc.bigInt({ min: 0n, max: 9n });
const account = fc.nat({ max: OVERDRAFTS.length - 1 });
const owner = fc.nat({ max: 1 });
/**
 * Which id: a new one for a hold and one in the right state for the others; one whose cost is not known yet; one that was
 * reversed; or any.
 */
const slot = fc.nat({ max: SLOTS - 1 });
const target = fc.oneof(
  { weight: 6, arbitrary: fc.constant('apt' as const) },
  { weight: 2, arbitrary: fc.constant('inexact' as const) },
  { weight: 1, arbitrary: fc.constantFrom('reversed' as const, 'any' as const) },
);
const seconds = fc.option(fc.integer({ min: -1, max: 20 }), { freq: 2 });
/** Seconds to pass; or up to the n-th instant from now at which something starts, expires or turns. */
const wait = fc.oneof(
  { weight: 4, arbitrary: fc.record({ by: fc.constantFrom(0, 0, 0, 1, 1, 2, 5) }) },
  { weight: 1, arbitrary: fc.record({ toBoundary: fc.nat({ max: 1 }) }) },
);

const of = <V extends string>(verb: V) => ({ verb: fc.constant(verb), account, slot, target });
const asking = {
  key: fc.oneof(
    { weight: 12, arbitrary: fc.constant(KEY) },
    { weight: 3, arbitrary: fc.constant(OTHER_KEY) },
    { weight: 1, arbitrary: fc.constantFrom(REVOKED_KEY, EXPIRING_KEY) },
  ),
  stale: fc.nat({ max: 15 }).map((n) => n === 15),
};
const holdOf = fc.record({
  ...of('hold'),
  ...asking,
  want: amount,
  least: fc.option(amount),
  floor: amount,
  ttlSeconds: fc.option(fc.integer({ min: 1, max: 9 }), { freq: 2 }),
  onOrphan: fc.constantFrom<OnOrphan>('charge_metered', 'charge_metered', 'release', 'charge_hold'),
});
const extendOf = fc.record({ ...of('extend'), want: fc.bigInt({ min: 4n, max: 24n }), least: fc.option(amount) });
const settleOf = fc.record({ ...of('settle'), amount });
const releaseOf = fc.record(of('release'));
const reverseOf = fc.record({ ...of('reverse'), amount: fc.option(amount) });
const grantOf = fc.record({
  ...of('grant'),
  amount: fc.bigInt({ min: 1n, max: 40n }),
  kind: fc.constantFrom(...(Object.keys(LOT_KINDS) as LotKind[])),
  priority: fc.integer({ min: 0, max: 2 }),
  startsIn: seconds,
  expiresIn: seconds,
  paid: fc.option(amount),
});
const adjustOf = fc.record({
  ...of('adjust'),
  amount: fc.bigInt({ min: -12n, max: 12n }).filter((value) => value !== 0n),
  book: fc.constantFrom('adjustment' as const, 'clawback' as const),
});
const consumeOf = fc.record({ ...of('consume'), ...asking, amount, mayOwe: fc.constantFrom(false, false, true) });
const reserveOf = fc.record({ ...of('reserve'), ...asking, amount, ttlSeconds: fc.integer({ min: 1, max: 9 }) });
const enlargeOf = fc.record({ ...of('enlarge'), amount: fc.bigInt({ min: 1n, max: 9n }) });
/** One that was asked before, as it was or with another value in one field. */
const againOf = fc.record({
  verb: fc.constant('again' as const),
  nth: fc.nat({ max: 99 }),
  change: fc.constantFrom(null, null, 'amount' as const, 'terms' as const),
});
const operationOf = fc.oneof(
  { weight: 11, arbitrary: holdOf },
  { weight: 8, arbitrary: settleOf },
  { weight: 4, arbitrary: extendOf },
  { weight: 2, arbitrary: releaseOf },
  { weight: 3, arbitrary: reverseOf },
  { weight: 4, arbitrary: grantOf },
  { weight: 2, arbitrary: adjustOf },
  { weight: 4, arbitrary: consumeOf },
  { weight: 2, arbitrary: reserveOf },
  { weight: 2, arbitrary: enlargeOf },
  { weight: 3, arbitrary: againOf },
);

const batchOf = fc.record({
  kind: fc.constant('batch' as const),
  wait,
  owner,
  operations: fc.array(operationOf, { minLength: 1, maxLength: 7 }),
  /** As the writer has it: no id twice in a batch. */
  distinct: fc.constantFrom(true, true, true, false),
});
const budgetOf = fc.record({
  kind: fc.constant('budget' as const),
  account,
  key: fc.constantFrom(KEY, KEY, OTHER_KEY, ACCOUNT_ITSELF),
  credits: fc.option(fc.bigInt({ min: 0n, max: 30n })),
  period: fc.constantFrom<Period>('day', 'day', 'month', 'total'),
});
/** Credits of a payment are taken, or given back: some, or all that can be. */
const clawbackOf = fc.record({
  kind: fc.constant('clawback' as const),
  wait,
  account,
  payment: fc.nat({ max: 1 }),
  amount: fc.oneof(fc.constantFrom('all' as const, 'back' as const), fc.bigInt({ min: -12n, max: 8n })),
  again: fc.nat({ max: 7 }).map((n) => n === 7),
});
const stepOf = fc.oneof(
  { weight: 12, arbitrary: batchOf },
  { weight: 3, arbitrary: clawbackOf },
  { weight: 2, arbitrary: budgetOf },
  /** The job for idle accounts; some histories never see it, others see it twice. */
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('job' as const), wait }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('gateway dies' as const), owner, limit: fc.constantFrom(1, 2, 99) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('meter' as const), account, slot, amount }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('status' as const),
      account,
      suspended: fc.constantFrom(false, false, true),
    }),
  },
);

type ValueOf<A> = A extends fc.Arbitrary<infer T> ? T : never;
export type Step = ValueOf<typeof stepOf>;
export type Wait = ValueOf<typeof wait>;
export type Spec = ValueOf<typeof operationOf>;
type NewSpec = Exclude<Spec, { verb: 'again' }>;

export const histories: fc.Arbitrary<Step[]> = fc.array(stepOf, { minLength: 6, maxLength: 17, size: 'max' });

/** What the specs of a history are made into operations with. */
export interface Book {
  models: ModelAccount[];
  accounts: bigint[];
  /** Of requests, by account. */
  ids: Uuid[][];
  /** Of lots and adjustments, by slot; in order, so that a replayed seed breaks ties as the first run did. */
  lotIds: Uuid[];
  adjustmentIds: Uuid[];
  asked: Operation[];
  /** A new id of the history's own time. */
  newId(): Uuid;
}

const ASKING: readonly NewSpec['verb'][] = ['hold', 'consume', 'reserve'];

function requestId(book: Book, spec: Exclude<NewSpec, { verb: 'grant' | 'adjust' }>): Uuid | null {
  const used = book.ids[spec.account]!;
  const model = book.models[spec.account]!;
  if (spec.target === 'any') return used[spec.slot % used.length]!;
  if (ASKING.includes(spec.verb)) {
    used.push(book.newId());
    return used.at(-1)!;
  }
  const ended = [...model.ended];
  const apt = spec.verb === 'reverse' ? ended.filter(([, { charged }]) => charged > 0n) : [...model.holds];
  const inexact = ended.filter(([, { exact, charged }]) => !exact && (spec.verb !== 'reverse' || charged > 0n));
  const reversed = ended.filter((end) => end[1].reversed !== null);
  const wished = { apt, inexact, reversed }[spec.target];
  const fit = (wished.length > 0 ? wished : apt).map(([id]) => id);
  return fit[spec.slot % fit.length] ?? null;
}

/** The clawback of a step, on one account; `null`: there are no lots. Lots belong to both payments by turns. */
export function toClawback(book: Book, step: Step & { kind: 'clawback' }): Clawback | null {
  const { lots, clawbacks } = book.models[step.account]!;
  if (lots.all.length === 0) return null;
  const nth = lots.all.length === 1 ? 0 : step.payment;
  const payment = `pi_${nth}`;
  const last = [...clawbacks.asked.values()].at(-1);
  if (step.again && last !== undefined) return { ...last, payment };
  const own = lots.all.filter((_, i) => i % 2 === nth);
  const granted = own.reduce((sum, lot) => sum + lot.granted, 0n);
  const taken = clawbacks.taken(payment);
  const asked = step.amount === 'all' ? taken - granted : step.amount === 'back' ? taken : step.amount;
  const amount = asked > 0n && taken === 0n ? -asked : asked === 0n ? -1n : asked;
  const ids = own.map((lot) => lot.id);
  return clawback(book.accounts[step.account]!, amount, ids, { id: book.newId(), payment });
}

/** The operation of a spec at second `now`; `null` when there is nothing that it could be about. */
export function toOperation(book: Book, spec: Spec, now: number): Operation | null {
  if (spec.verb === 'again') {
    const before = book.asked[spec.nth % book.asked.length];
    return before === undefined ? null : changed(before, spec.change);
  }
  const operation = fresh(book, spec, now);
  if (operation !== null) book.asked.push(operation);
  return operation;
}

function fresh(book: Book, spec: NewSpec, now: number): Operation | null {
  const account = book.accounts[spec.account]!;
  if (spec.verb === 'adjust') {
    const more = { book: spec.book, reference: `adjust ${spec.slot}`, id: book.adjustmentIds[spec.slot]! };
    return adjust(account, spec.amount, more);
  }
  if (spec.verb === 'grant') {
    const { kind, priority } = spec;
    const startsAt = spec.startsIn === null ? null : second(now + spec.startsIn);
    const expiresAt = spec.expiresIn === null ? null : second(now + spec.expiresIn);
    const paid = spec.paid === null ? null : { minor: spec.paid, currency: 'usd' };
    const terms = { kind, priority, startsAt, expiresAt, paid };
    return grant(account, spec.amount, { ...terms, reference: `lot ${spec.slot}`, id: book.lotIds[spec.slot]! });
  }
  const id = requestId(book, spec);
  if (id === null) return null;
  switch (spec.verb) {
    case 'hold': {
      const { key, floor, ttlSeconds, onOrphan, want } = spec;
      const policyVersion = versionOf(book, spec);
      const more = { key, floor, ttlSeconds, onOrphan, policyVersion, least: atMost(spec.least, want) };
      return hold(account, id, want, more);
    }
    case 'consume':
    case 'reserve': {
      const { amount, key } = spec;
      const more = { id, key, name: `name ${spec.slot}`, policyVersion: versionOf(book, spec) };
      if (spec.verb === 'consume') return consume(account, amount, { ...more, mayOwe: spec.mayOwe });
      return reserve(account, amount, { ...more, ttlSeconds: spec.ttlSeconds });
    }
    case 'enlarge':
      return enlarge(account, id, spec.amount, `name ${book.asked.length}`);
    case 'extend':
      return extend(account, id, spec.want, atMost(spec.least, spec.want));
    case 'settle':
      return settle(account, id, spec.amount);
    case 'release':
      return release(account, id);
    case 'reverse':
      return reverse(account, id, spec.amount);
  }
}

const versionOf = (book: Book, { account, stale }: { account: number; stale: boolean }): bigint =>
  book.models[account]!.policyVersion - (stale ? 1n : 0n);

const atMost = (value: bigint | null, most: bigint): bigint => (value === null || value > most ? most : value);

function changed(operation: Operation, change: 'amount' | 'terms' | null): Operation {
  if (change === 'amount') {
    switch (operation.verb) {
      case 'hold':
      case 'extend':
        return { ...operation, want: operation.want + 1n, least: operation.want + 1n };
      case 'settle':
        return { ...operation, amount: operation.amount + 1n };
      case 'grant':
        return { ...operation, amount: operation.amount + 1n };
      case 'adjust':
        return { ...operation, amount: operation.amount * 2n };
      case 'consume':
      case 'reserve':
      case 'enlarge':
        return { ...operation, fields: { credits: 'others' } };
      case 'reverse':
        return { ...operation, amount: (operation.amount ?? 0n) + 1n };
    }
  }
  if (change === 'terms') {
    if (operation.verb === 'hold') return { ...operation, key: operation.key === KEY ? OTHER_KEY : KEY };
    if (operation.verb === 'grant') return { ...operation, priority: operation.priority + 1, expiresAt: second(9) };
    if (operation.verb === 'adjust')
      return { ...operation, book: operation.book === 'clawback' ? 'adjustment' : 'clawback' };
  }
  return { ...operation };
}
