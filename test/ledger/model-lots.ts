/** Credits, as simply as they can be said: lots, the debt that none of them paid, and the entries that moved them. */
import type { EntryKind, LotKind } from '../../src/ledger/outcomes.ts';

export interface ModelLot {
  id: string;
  reference: string;
  kind: LotKind;
  priority: number;
  granted: bigint;
  paid: { minor: bigint; currency: string } | null;
  /** Milliseconds. */
  startsAt: number;
  expiresAt: number;
  createdAt: number;
  started: boolean;
  remaining: bigint;
  repaid: bigint;
  expired: bigint;
}

/** By the reference of the lot. */
export type Shares = Record<string, bigint>;
export type EntryLine = [kind: EntryKind, amount: bigint, balanceAfter: bigint, lots: Shares];
/** What a lot gave to debt when it started, and what a late refund, a reverse or a clawback undone returned of such gifts. */
export type Gift = [kind: 'start' | 'late' | 'reverse' | 'adjust', lot: string, amount: bigint];

export const min = (...values: bigint[]): bigint => values.reduce((a, b) => (b < a ? b : a));
export const max = (...values: bigint[]): bigint => values.reduce((a, b) => (b > a ? b : a));

type Sorter = (a: ModelLot, b: ModelLot) => number;
const by =
  (...fields: ('priority' | 'startsAt' | 'expiresAt' | 'createdAt' | 'id')[]): Sorter =>
  (a, b) => {
    const field = fields.find((name) => a[name] !== b[name]);
    return field === undefined ? 0 : a[field] < b[field] ? -1 : 1;
  };
const burnOrder = by('priority', 'expiresAt', 'createdAt', 'id');
const startOrder = by('startsAt', 'createdAt', 'id');
const expiryOrder = by('expiresAt', 'createdAt', 'id');

export class ModelLots {
  readonly all: ModelLot[] = [];
  readonly entries: EntryLine[] = [];
  readonly gifts: Gift[] = [];
  debt = 0n;

  posted(now: number): bigint {
    return this.live(now).reduce((sum, lot) => sum + lot.remaining, 0n) - this.debt;
  }

  /** In burn order. */
  live(now: number): ModelLot[] {
    return this.all.filter((lot) => lot.started && lot.expiresAt > now).sort(burnOrder);
  }

  add(terms: Omit<ModelLot, 'started' | 'remaining' | 'repaid' | 'expired'>): void {
    this.all.push({ ...terms, started: false, remaining: terms.granted, repaid: 0n, expired: 0n });
  }

  /** What time brings: lots start and repay debt; those that expired are booked once no older hold is open. */
  pass(now: number, openedAts: readonly number[]): void {
    for (const lot of this.all.filter((lot) => !lot.started && lot.startsAt <= now).sort(startOrder)) {
      lot.started = true;
      lot.repaid = min(this.debt, lot.remaining);
      lot.remaining -= lot.repaid;
      this.debt -= lot.repaid;
      if (lot.repaid > 0n) this.gifts.push(['start', lot.reference, lot.repaid]);
    }
    const over = this.all.filter((lot) => lot.started && lot.expiresAt <= now && lot.remaining > 0n).sort(expiryOrder);
    for (const lot of over) {
      if (openedAts.some((openedAt) => openedAt < lot.expiresAt)) continue;
      this.book('expire', -lot.remaining, { [lot.reference]: lot.remaining });
      lot.expired += lot.remaining;
      lot.remaining = 0n;
    }
  }

  /** Takes `amount`: first from lots that expired after `openedAt`, then from live ones; the rest is debt. */
  burn(amount: bigint, openedAt: number, now: number): Shares {
    const expired = this.all.filter((lot) => lot.started && lot.expiresAt <= now && lot.expiresAt > openedAt);
    return this.#take(amount, [...expired.sort(burnOrder), ...this.live(now)]);
  }

  /** Takes `amount` of a payment's credits: of its `own` lots first, by reference; then of live ones; the rest is debt. */
  claw(amount: bigint, own: readonly string[], now: number): Shares {
    const mine = this.all.filter((lot) => own.includes(lot.reference));
    const pending = mine.filter((lot) => !lot.started).sort((a, b) => b.startsAt - a.startsAt || burnOrder(a, b));
    const expired = mine.filter((lot) => lot.started && lot.expiresAt <= now).sort(burnOrder);
    const live = this.live(now);
    const [first, others] = [live.filter((lot) => mine.includes(lot)), live.filter((lot) => !mine.includes(lot))];
    return this.#take(amount, [...pending, ...first, ...expired, ...others]);
  }

  #take(amount: bigint, lots: readonly ModelLot[]): Shares {
    const shares: Shares = {};
    let left = amount;
    for (const lot of lots) {
      const part = min(left, lot.remaining);
      if (part === 0n) continue;
      lot.remaining -= part;
      left -= part;
      shares[lot.reference] = part;
    }
    this.debt += left;
    return shares;
  }

  /**
   * Gives back: to debt first; then each lot gets up to what it `paid`, in the order of `first`, else the last in burn order
   * first; then any that burnt or repaid debt, live ones before others. Takes what went back out of `paid`; answers what
   * each lot got of what it had burnt.
   */
  giveBack(amount: bigint, paid: Shares, kind: 'late' | 'reverse' | 'adjust', now: number, first?: string[]): Shares {
    const toDebt = min(amount, this.debt);
    this.debt -= toDebt;
    let left = amount - toDebt;
    const shares: Shares = {};
    const give = (lot: ModelLot, most: bigint): void => {
      const burnt = lot.granted - lot.remaining - lot.repaid - lot.expired;
      const part = min(left, most, burnt + lot.repaid);
      const ofBurnt = min(part, burnt);
      const gift = part - ofBurnt;
      lot.remaining += part;
      lot.repaid -= gift;
      left -= part;
      if (ofBurnt > 0n) shares[lot.reference] = (shares[lot.reference] ?? 0n) + ofBurnt;
      if (gift > 0n) this.gifts.push([kind, lot.reference, gift]);
    };
    const backwards = [...this.all].sort((a, b) => burnOrder(b, a));
    const inTurn = first?.map((reference) => this.all.find((lot) => lot.reference === reference)!) ?? backwards;
    for (const lot of inTurn) give(lot, max(0n, paid[lot.reference] ?? 0n));
    const standing = (lot: ModelLot): number => (!lot.started ? 1 : lot.expiresAt > now ? 0 : 2);
    for (const lot of backwards.sort((a, b) => standing(a) - standing(b))) give(lot, left);
    if (left > 0n) throw new Error('more was given back than was charged');
    for (const [lot, part] of Object.entries(shares)) paid[lot] = (paid[lot] ?? 0n) - part;
    return shares;
  }

  book(kind: EntryKind, amount: bigint, shares: Shares): void {
    const before = this.entries.at(-1)?.[2] ?? 0n;
    this.entries.push([kind, amount, before + amount, shares]);
  }
}
