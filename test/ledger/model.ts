/**
 * The ledger once more, as simply as it can be said: one account in memory, one operation at a time, no batching, no
 * head lot, no projection. What it answers is what the real one must answer.
 */
import type { Grant, Hold, Operation, Release, Settle } from '../../src/ledger/operations.ts';
import type { Outcome, Result } from '../../src/ledger/outcomes.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import type { EntryLine } from './rig.ts';

interface ModelLot {
  terms: Grant;
  /** Milliseconds. */
  startsAt: number;
  expiresAt: number;
  createdAt: number;
  started: boolean;
  remaining: bigint;
  repaid: bigint;
  expired: bigint;
}

interface ModelHold {
  key: bigint;
  amount: bigint;
  floor: bigint;
  openedAt: number;
}

interface Ended {
  how: 'settled' | 'released' | 'recovered';
  at: number;
  charged: bigint;
  late: boolean;
  /** What each lot paid of it, by reference. */
  paid: Record<string, bigint>;
}

type Answer = [Outcome, bigint];

const min = (...values: bigint[]): bigint => values.reduce((a, b) => (b < a ? b : a));
const compare = (a: number | string, b: number | string): number => (a < b ? -1 : a > b ? 1 : 0);

function burnOrder(a: ModelLot, b: ModelLot): number {
  return (
    compare(a.terms.priority, b.terms.priority) ||
    compare(a.expiresAt, b.expiresAt) ||
    compare(a.createdAt, b.createdAt) ||
    compare(a.terms.id, b.terms.id)
  );
}

export class ModelAccount {
  overdraft = 0n;
  suspended = false;
  policyVersion = 1n;
  /** When each active key expires, in milliseconds. */
  readonly keys = new Map<bigint, number>();
  readonly lots: ModelLot[] = [];
  readonly holds = new Map<Uuid, ModelHold>();
  readonly entries: EntryLine[] = [];
  debt = 0n;
  readonly #ended = new Map<Uuid, Ended>();

  get held(): bigint {
    return [...this.holds.values()].reduce((sum, hold) => sum + hold.amount, 0n);
  }

  available(now: number): bigint {
    const live = this.lots.filter((lot) => lot.started && lot.expiresAt > now);
    return live.reduce((sum, lot) => sum + lot.remaining, 0n) - this.debt - this.held;
  }

  /** Applies a batch: in order, but what ends or adds before what holds. Answers in the order given. */
  apply(operations: readonly Operation[], now: number): Result[] {
    const results = new Map<Operation, Result>();
    const inOrder = [...operations.filter((o) => o.verb !== 'hold'), ...operations.filter((o) => o.verb === 'hold')];
    for (const operation of inOrder) {
      this.#pass(now);
      const [outcome, amount] = this.#one(operation, now);
      results.set(operation, { outcome, amount, available: this.available(now), held: this.held });
    }
    return operations.map((operation) => results.get(operation)!);
  }

  /** Ends an open hold whose gateway died. */
  recover(id: Uuid, now: number): void {
    this.#pass(now);
    const hold = this.holds.get(id)!;
    this.#end(id, hold, 'recovered', min(hold.floor, hold.amount), now);
  }

  #one(operation: Operation, now: number): Answer {
    switch (operation.verb) {
      case 'hold':
        return this.#hold(operation, now);
      case 'settle':
        return this.#settle(operation, now);
      case 'release':
        return this.#release(operation, now);
      case 'grant':
        return this.#grant(operation, now);
    }
  }

  #hold(asked: Hold, now: number): Answer {
    if (this.#ended.has(asked.id)) return ['already_ended', 0n];
    const open = this.holds.get(asked.id);
    if (open !== undefined) {
      if (open.key !== asked.key) return ['exists_with_different_key', open.amount];
      if (open.amount < asked.least || open.amount > asked.want) return ['exists_with_different_amount', open.amount];
      return ['repeated', open.amount];
    }
    if (asked.policyVersion < this.policyVersion) return ['stale_policy', 0n];
    if (this.suspended) return ['account_suspended', 0n];
    if ((this.keys.get(asked.key) ?? 0) <= now) return ['key_inactive', 0n];
    const free = this.available(now) + this.overdraft;
    if (asked.want > 0n && asked.least > free) {
      return [asked.least > free + this.held ? 'insufficient_credits' : 'credits_held', 0n];
    }
    const amount = asked.want === 0n ? 0n : min(asked.want, free);
    this.holds.set(asked.id, { key: asked.key, amount, floor: asked.floor, openedAt: now });
    return ['done', amount];
  }

  #settle({ id, amount }: Settle, now: number): Answer {
    const open = this.holds.get(id);
    if (open !== undefined) {
      this.#end(id, open, 'settled', amount, now);
      return ['done', amount];
    }
    const ended = this.#ended.get(id);
    if (ended === undefined) return ['hold_not_found', 0n];
    if (ended.how === 'settled' || ended.late) {
      return [ended.charged === amount ? 'repeated' : 'exists_with_different_amount', ended.charged];
    }
    const more = amount - ended.charged;
    const shares = more >= 0n ? this.#burn(more, ended.at, now) : this.#giveBack(-more, ended.paid, now);
    this.#book('late', -more, shares);
    ended.charged = amount;
    ended.late = true;
    this.#pass(now);
    return ['late', amount];
  }

  #release({ id }: Release, now: number): Answer {
    const open = this.holds.get(id);
    if (open !== undefined) {
      this.#end(id, open, 'released', 0n, now);
      return ['done', 0n];
    }
    const ended = this.#ended.get(id);
    if (ended === undefined) return ['hold_not_found', 0n];
    return [ended.how === 'released' ? 'repeated' : 'already_settled', 0n];
  }

  #grant(terms: Grant, now: number): Answer {
    const startsAt = terms.startsAt?.getTime() ?? now;
    const expiresAt = terms.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY;
    const lot = this.lots.find(({ terms: { reference } }) => reference === terms.reference);
    if (lot !== undefined) {
      const granted = lot.terms.amount;
      if (granted !== terms.amount) return ['exists_with_different_amount', granted];
      if (lot.terms.kind !== terms.kind) return ['exists_with_different_kind', granted];
      if (lot.expiresAt !== expiresAt) return ['exists_with_different_expires_at', granted];
      if (terms.startsAt !== null && lot.startsAt !== startsAt) return ['exists_with_different_starts_at', granted];
      if (lot.terms.priority !== terms.priority) return ['exists_with_different_priority', granted];
      return ['repeated', granted];
    }
    if (startsAt >= expiresAt || expiresAt <= now) return ['interval_empty', 0n];
    const { amount, reference } = terms;
    const state = { started: false, remaining: amount, repaid: 0n, expired: 0n };
    this.lots.push({ terms, startsAt, expiresAt, createdAt: now, ...state });
    this.#book('grant', amount, { [reference]: amount });
    this.#pass(now);
    return ['done', amount];
  }

  #end(id: Uuid, hold: ModelHold, how: Ended['how'], charge: bigint, now: number): void {
    this.holds.delete(id);
    const paid = this.#burn(charge, hold.openedAt, now);
    this.#book(how === 'settled' ? 'charge' : how === 'released' ? 'release' : 'recovered', -charge, paid);
    this.#ended.set(id, { how, at: now, charged: charge, late: false, paid });
    this.#pass(now);
  }

  /** What time brings by itself: lots start and repay debt, lots that expired are booked once no older hold is open. */
  #pass(now: number): void {
    const byStart = (a: ModelLot, b: ModelLot): number =>
      compare(a.startsAt, b.startsAt) || compare(a.createdAt, b.createdAt) || compare(a.terms.id, b.terms.id);
    for (const lot of this.lots.filter((lot) => !lot.started && lot.startsAt <= now).sort(byStart)) {
      lot.started = true;
      lot.repaid = min(this.debt, lot.remaining);
      lot.remaining -= lot.repaid;
      this.debt -= lot.repaid;
    }
    const byExpiry = (a: ModelLot, b: ModelLot): number =>
      compare(a.expiresAt, b.expiresAt) || compare(a.createdAt, b.createdAt) || compare(a.terms.id, b.terms.id);
    const over = this.lots.filter((lot) => lot.started && lot.expiresAt <= now && lot.remaining > 0n).sort(byExpiry);
    for (const lot of over) {
      if ([...this.holds.values()].some((hold) => hold.openedAt < lot.expiresAt)) continue;
      this.#book('expire', -lot.remaining, { [lot.terms.reference]: lot.remaining });
      lot.expired += lot.remaining;
      lot.remaining = 0n;
    }
  }

  #burn(amount: bigint, openedAt: number, now: number): Record<string, bigint> {
    const usable = this.lots.filter((lot) => lot.started && lot.remaining > 0n);
    const expired = usable.filter((lot) => lot.expiresAt <= now && lot.expiresAt > openedAt).sort(burnOrder);
    const live = usable.filter((lot) => lot.expiresAt > now).sort(burnOrder);
    const shares: Record<string, bigint> = {};
    let left = amount;
    for (const lot of [...expired, ...live]) {
      const part = min(left, lot.remaining);
      if (part === 0n) break;
      lot.remaining -= part;
      left -= part;
      shares[lot.terms.reference] = part;
    }
    this.debt += left;
    return shares;
  }

  #giveBack(amount: bigint, paid: Record<string, bigint>, now: number): Record<string, bigint> {
    const toDebt = min(amount, this.debt);
    this.debt -= toDebt;
    let left = amount - toDebt;
    const shares: Record<string, bigint> = {};
    const give = (lot: ModelLot, most: bigint): void => {
      const burnt = lot.terms.amount - lot.remaining - lot.repaid - lot.expired;
      const part = min(left, most, burnt + lot.repaid);
      const ofBurnt = min(part, burnt);
      lot.remaining += part;
      lot.repaid -= part - ofBurnt;
      left -= part;
      if (ofBurnt > 0n) shares[lot.terms.reference] = (shares[lot.terms.reference] ?? 0n) + ofBurnt;
    };
    const reversed = this.lots.filter((lot) => lot.startsAt <= now).sort((a, b) => burnOrder(b, a));
    for (const lot of reversed) give(lot, paid[lot.terms.reference] ?? 0n);
    for (const lot of reversed) give(lot, left);
    if (left > 0n) throw new Error('more was given back than was charged');
    return shares;
  }

  #book(kind: EntryLine[0], amount: bigint, shares: Record<string, bigint>): void {
    const before = this.entries.at(-1)?.[2] ?? 0n;
    this.entries.push([kind, amount, before + amount, shares]);
  }
}
