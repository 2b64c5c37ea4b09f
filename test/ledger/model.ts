/**
 * The ledger once more, as simply as it can be said: one account in memory, one operation at a time, no batching, no
 * head lot, no projection. What it answers is what the real one must answer.
 */
import type { NamedOperation } from '../../src/ledger/named-operations.ts';
import type { Adjust, Extend, Grant, Hold, Operation, Release, Reverse, Settle } from '../../src/ledger/operations.ts';
import type { Outcome, Result } from '../../src/ledger/outcomes.ts';
import type { Period } from '../../src/ledger/wallets.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { ACCOUNT_ITSELF, ModelBudgets, periodFloor } from './model-budgets.ts';
import { ModelClawbacks } from './model-clawbacks.ts';
import type { Answer, Ended, ModelHold } from './model-holds.ts';
import { ModelLots, max, min, type Shares } from './model-lots.ts';
import { ModelNames } from './model-names.ts';

const ASKING: readonly Operation['verb'][] = ['hold', 'consume', 'reserve'];

export const inOrderOfEffect = (operations: readonly Operation[]): Operation[] => [
  ...operations.filter((o) => !ASKING.includes(o.verb)),
  ...operations.filter((o) => ASKING.includes(o.verb)),
];

export class ModelAccount {
  overdraft = 0n;
  suspended = false;
  policyVersion = 1n;
  /** When each active key expires, in milliseconds. */
  readonly keys = new Map<bigint, number>();
  readonly lots = new ModelLots();
  readonly budgets = new ModelBudgets();
  readonly holds = new Map<Uuid, ModelHold>();
  readonly ended = new Map<Uuid, Ended>();
  readonly adjustments = new Map<string, Adjust>();
  readonly named = new ModelNames();
  readonly clawbacks = new ModelClawbacks();

  get held(): bigint {
    return [...this.holds.values()].reduce((sum, hold) => sum + hold.amount, 0n);
  }

  /** Applies a batch: in order, but what ends or adds before what holds. Answers in the order given. */
  apply(operations: readonly Operation[], now: number, owner = 0n): Result[] {
    const results = new Map<Operation, Result>();
    for (const operation of inOrderOfEffect(operations)) {
      this.pass(now);
      const [outcome, amount] = this.#one(operation, now, owner);
      this.pass(now);
      results.set(operation, { outcome, amount, available: this.lots.posted(now) - this.held, held: this.held });
    }
    return operations.map((operation) => results.get(operation)!);
  }

  /** What time brings by itself: holds end, lots start and expire, periods turn. */
  pass(now: number): void {
    const over = [...this.holds].filter(([, hold]) => hold.expiresAt <= now);
    over.sort(([a, { expiresAt: x }], [b, { expiresAt: y }]) => x - y || (a < b ? -1 : 1));
    for (const [id, hold] of over) this.#end(id, hold, 'lapsed', 0n, now);
    const openedAts = [...this.holds.values()].map((hold) => hold.openedAt);
    this.lots.pass(now, openedAts);
    this.budgets.pass(now);
  }

  /** What time alone makes of it; the account itself stays as it is. */
  at(now: number): ModelAccount {
    const { lots, budgets, ...rest } = structuredClone({ ...this });
    const copy = Object.assign(new ModelAccount(), rest);
    Object.assign(copy.lots, lots);
    Object.assign(copy.budgets, budgets);
    copy.pass(now);
    return copy;
  }

  /** The gateway of an open hold died. */
  recover(id: Uuid, now: number): void {
    this.pass(now);
    const hold = this.holds.get(id)!;
    const metered = min(hold.amount, max(hold.floor, hold.metered));
    if (hold.onOrphan === 'release') this.#end(id, hold, 'released', 0n, now);
    else this.#end(id, hold, 'recovered', hold.onOrphan === 'charge_hold' ? hold.amount : metered, now);
    this.pass(now);
  }

  /** Gives a key (0: the account) a budget, or takes it away. `bornAt` says when the request of an id began. */
  setBudget(
    key: bigint,
    budget: { credits: bigint; period: Period } | null,
    now: number,
    bornAt: (id: Uuid) => number,
  ): void {
    this.policyVersion += 1n;
    if (budget === null) {
      this.budgets.byKey.delete(key);
      return;
    }
    const periodStart = periodFloor(budget.period, now);
    const mine = (of: { key: bigint }): boolean => key === ACCOUNT_ITSELF || of.key === key;
    const open = [...this.holds.values()].filter((hold) => mine(hold) && hold.openedAt >= periodStart);
    const held = open.reduce((sum, hold) => sum + hold.amount, 0n);
    const ended = [...this.ended].filter(([id, end]) => mine(end) && bornAt(id) >= periodStart);
    const spent = ended.reduce((sum, [, end]) => sum + end.charged - (end.reversed?.amount ?? 0n), 0n);
    this.budgets.byKey.set(key, { limit: budget.credits, period: budget.period, periodStart, held, spent });
  }

  #one(operation: Operation, now: number, owner: bigint): Answer {
    switch (operation.verb) {
      case 'hold':
        return this.#hold(operation, now, owner);
      case 'extend':
        return this.#extend(operation, now);
      case 'settle':
        return this.#settle(operation, now);
      case 'release':
        return this.#release(operation, now);
      case 'grant':
        return this.#grant(operation, now);
      case 'adjust':
        return this.#adjust(operation, now);
      case 'reverse':
        return this.#reverse(operation, now);
      default:
        return this.named.answer(operation, () => this.#firstOf(operation, now, owner));
    }
  }

  /** What comes of a name that is new. */
  #firstOf(asked: NamedOperation, now: number, owner: bigint): Outcome {
    const { id, amount } = asked;
    if (asked.verb === 'enlarge') {
      const whole = (this.holds.get(id)?.amount ?? 0n) + amount;
      return this.#extend({ verb: 'extend', account: asked.account, id, want: whole, least: whole }, now)[0];
    }
    const owes = asked.verb === 'consume' && asked.mayOwe;
    const want = owes ? 0n : amount;
    const ends = asked.verb === 'reserve' ? asked : { ttlSeconds: null, frozen: Buffer.alloc(0) };
    const terms = {
      want,
      least: want,
      floor: 0n,
      onOrphan: asked.verb === 'reserve' ? 'release' : 'charge_metered',
    } as const;
    const [outcome] = this.#hold({ ...asked, ...ends, ...terms, verb: 'hold' }, now, owner);
    if (outcome === 'done' && asked.verb === 'consume') this.#settle({ ...asked, verb: 'settle' }, now);
    return outcome;
  }

  #hold(asked: Hold, now: number, owner: bigint): Answer {
    if (this.ended.has(asked.id)) return ['already_ended', 0n];
    const open = this.holds.get(asked.id);
    if (open !== undefined) {
      const granted = open.amount - open.extended;
      if (open.key !== asked.key) return ['exists_with_different_key', granted];
      if (granted < asked.least || granted > asked.want) return ['exists_with_different_amount', granted];
      return ['repeated', granted];
    }
    if (asked.policyVersion < this.policyVersion) return ['stale_policy', 0n];
    if (this.suspended) return ['account_suspended', 0n];
    if ((this.keys.get(asked.key) ?? 0) <= now) return ['key_inactive', 0n];
    const [outcome, amount] = this.#take(asked.key, asked.want, asked.least, 0n, now, now);
    if (outcome !== 'done') return [outcome, 0n];
    const { key, onOrphan, ttlSeconds } = asked;
    const ends =
      ttlSeconds === null
        ? { owner, expiresAt: Number.POSITIVE_INFINITY }
        : { owner: 0n, expiresAt: now + ttlSeconds * 1000 };
    const floor = min(asked.floor, amount);
    this.holds.set(asked.id, { key, amount, extended: 0n, floor, metered: 0n, onOrphan, openedAt: now, ...ends });
    return ['done', amount];
  }

  #extend({ id, want, least }: Extend, now: number): Answer {
    const open = this.holds.get(id);
    if (open === undefined) return [this.ended.has(id) ? 'already_ended' : 'hold_not_found', 0n];
    if (open.amount >= least) return ['repeated', open.amount];
    const { key, amount: has, openedAt } = open;
    const [outcome, more] = this.#take(key, want - has, least - has, has, openedAt, now);
    open.amount += more;
    open.extended += more;
    return [outcome, open.amount];
  }

  /** How much of `want` a hold that `has` some gets: `least` of it or more, or nothing and the first that is short. */
  #take(key: bigint, want: bigint, least: bigint, has: bigint, openedAt: number, now: number): Answer {
    if (want === 0n) return ['done', 0n];
    const [keyRoom, accountRoom] = [this.budgets.room(key, openedAt), this.budgets.room(ACCOUNT_ITSELF, openedAt)];
    const free = this.lots.posted(now) + this.overdraft - this.held;
    if (keyRoom !== null && least > keyRoom) return ['key_budget_exceeded', 0n];
    if (accountRoom !== null && least > accountRoom) return ['account_budget_exceeded', 0n];
    if (least > free) return [least > free + this.held - has ? 'insufficient_credits' : 'credits_held', 0n];
    const amount = min(want, free, keyRoom ?? want, accountRoom ?? want);
    this.budgets.count(key, openedAt, amount, 0n);
    return ['done', amount];
  }

  #settle({ id, amount }: Settle, now: number): Answer {
    const open = this.holds.get(id);
    if (open !== undefined) {
      this.#end(id, open, 'settled', amount, now);
      return ['done', amount];
    }
    const ended = this.ended.get(id);
    if (ended === undefined) return ['hold_not_found', 0n];
    const charge = max(amount, ended.least);
    if (ended.exact) return [ended.charged === charge ? 'repeated' : 'exists_with_different_amount', ended.charged];
    const more = charge - ended.charged;
    if (more >= 0n) this.#pay(ended, this.lots.burn(more, ended.at, now), 'late', more);
    else this.lots.book('late', -more, this.lots.giveBack(-more, ended.paid, 'late', now));
    this.budgets.count(ended.key, ended.at, 0n, more);
    ended.charged = charge;
    ended.exact = true;
    return ['late', charge];
  }

  #release({ id }: Release, now: number): Answer {
    const open = this.holds.get(id);
    if (open !== undefined) {
      this.#end(id, open, 'released', 0n, now);
      return ['done', 0n];
    }
    const ended = this.ended.get(id);
    if (ended === undefined) return ['hold_not_found', 0n];
    const answers = { released: 'repeated', lapsed: 'already_expired' } as const;
    return [ended.how === 'released' || ended.how === 'lapsed' ? answers[ended.how] : 'already_settled', 0n];
  }

  #grant(terms: Grant, now: number): Answer {
    const startsAt = terms.startsAt?.getTime() ?? now;
    const expiresAt = terms.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY;
    const { id, reference, kind, priority, paid } = terms;
    const lot = this.lots.all.find((lot) => lot.reference === reference);
    if (lot !== undefined) {
      if (lot.granted !== terms.amount) return ['exists_with_different_amount', lot.granted];
      if (lot.kind !== kind) return ['exists_with_different_kind', lot.granted];
      if (lot.expiresAt !== expiresAt) return ['exists_with_different_expires_at', lot.granted];
      if (terms.startsAt !== null && lot.startsAt !== startsAt) return ['exists_with_different_starts_at', lot.granted];
      if (lot.priority !== priority) return ['exists_with_different_priority', lot.granted];
      return ['repeated', lot.granted];
    }
    if (startsAt >= expiresAt || expiresAt <= now) return ['interval_empty', 0n];
    this.lots.add({ id, reference, kind, priority, paid, granted: terms.amount, startsAt, expiresAt, createdAt: now });
    this.lots.book('grant', terms.amount, { [reference]: terms.amount });
    return ['done', terms.amount];
  }

  #adjust(asked: Adjust, now: number): Answer {
    const { id, amount } = asked;
    const before = this.adjustments.get(asked.reference);
    if (before !== undefined) {
      if (before.amount !== amount) return ['exists_with_different_amount', before.amount];
      return [before.book === asked.book ? 'repeated' : 'exists_with_different_book', before.amount];
    }
    this.adjustments.set(asked.reference, asked);
    const reference = `adjustment ${id}`;
    const terms = { id, reference, kind: 'adjustment' as const, priority: 0, paid: null };
    const forever = { startsAt: now, expiresAt: Number.POSITIVE_INFINITY, createdAt: now };
    if (amount > 0n) this.lots.add({ ...terms, ...forever, granted: amount });
    this.lots.book('adjust', amount, amount > 0n ? { [reference]: amount } : this.lots.burn(-amount, now, now));
    return ['done', amount];
  }

  #reverse({ id, amount }: Reverse, now: number): Answer {
    if (this.holds.has(id)) return ['still_open', 0n];
    const ended = this.ended.get(id);
    if (ended === undefined) return ['hold_not_found', 0n];
    if (ended.reversed !== null) {
      const same = (amount ?? ended.reversed.of) === ended.reversed.amount;
      return [same ? 'repeated' : 'exists_with_different_amount', ended.reversed.amount];
    }
    const back = amount ?? ended.charged;
    if (back > ended.charged || back === 0n) return ['exceeds_charge', ended.charged];
    this.lots.book('reverse', back, this.lots.giveBack(back, ended.paid, 'reverse', now));
    this.budgets.count(ended.key, ended.at, 0n, -back);
    ended.reversed = { of: ended.charged, amount: back };
    if (!ended.exact) ended.least = back;
    return ['done', back];
  }

  #end(id: Uuid, hold: ModelHold, how: Ended['how'], charge: bigint, now: number): void {
    this.holds.delete(id);
    this.budgets.count(hold.key, hold.openedAt, -hold.amount, charge);
    const at = how === 'lapsed' ? hold.expiresAt : now;
    const exact = how === 'settled';
    const ended: Ended = { how, key: hold.key, at, charged: charge, exact, paid: {}, reversed: null, least: 0n };
    const kinds = { settled: 'charge', released: 'release', recovered: 'recovered', lapsed: 'lapse' } as const;
    this.#pay(ended, this.lots.burn(charge, hold.openedAt, now), kinds[how], charge);
    this.ended.set(id, ended);
  }

  #pay(
    ended: Ended,
    shares: Shares,
    kind: 'charge' | 'release' | 'recovered' | 'lapse' | 'late',
    amount: bigint,
  ): void {
    for (const [lot, part] of Object.entries(shares)) ended.paid[lot] = (ended.paid[lot] ?? 0n) + part;
    this.lots.book(kind, -amount, shares);
  }
}
