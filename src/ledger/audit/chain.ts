/**
 * The chain of one account's entries: `seq` without a gap, each `balance_after` the one before it plus `amount`. Entries
 * arrive in the order of their ids, which is when requests began; `seq` is when they were booked. Those that are early wait:
 *
 *   seq   1 … next-1      next                next+1 …  ceiling-1      ceiling …
 *        ── proven ──  ── waited for ──  ── early: some are here ──  ── left to another pass ──
 *
 * A chain that is full (its account books far out of order: long streams, refunds of old requests) lets the entries of the
 * highest numbers go and asks for another pass over the account, from `ceiling` on.
 */
import type { Uuid } from '../../lib/ids.ts';

export interface Link {
  id: Uuid;
  kind: number;
  seq: number;
  amount: bigint;
  balanceAfter: bigint;
}

export type Report = (subject: string, expected: unknown, found: unknown) => void;

export const nameOf = (entry: { id: Uuid; kind: number }): string => `entry ${entry.id}/${entry.kind}`;

export class Chain {
  readonly #most: number;
  readonly #report: Report;
  readonly #reportBalance: Report;
  readonly #early = new Map<number, Link>();
  #balance = 0n;
  #next = 1;
  /** Numbers below belong to an earlier pass, from here on to a later one. */
  #from = 1;
  #ceiling = Number.POSITIVE_INFINITY;

  /**
   * `most`: how many early entries it keeps. `report` is told each entry that is missing or has another's number,
   * `reportBalance` each whose balance does not follow from the one before.
   */
  constructor(most: number, report: Report, reportBalance: Report) {
    this.#most = most;
    this.#report = report;
    this.#reportBalance = reportBalance;
  }

  /** The number of the last entry that was reached. */
  get end(): number {
    return this.#next - 1;
  }

  /** Takes the account's next entry, in any order. */
  add(entry: Link): void {
    if (entry.seq < this.#from || entry.seq >= this.#ceiling) return;
    if (entry.seq < this.#next || this.#early.has(entry.seq)) {
      this.#report(`${nameOf(entry)} seq`, 'a number of its own', entry.seq);
    } else if (entry.seq === this.#next) {
      this.#append(entry);
      this.#drain();
    } else {
      this.#early.set(entry.seq, entry);
      if (this.#early.size > this.#most) this.#letGo();
    }
  }

  /** Ends a pass over all entries; names those that are missing. Returns whether another pass is needed. */
  finish(): boolean {
    const isCut = this.#ceiling < Number.POSITIVE_INFINITY;
    for (const seq of this.#sorted()) if (seq >= this.#next) this.#skipTo(seq);
    this.#from = this.#next;
    this.#ceiling = Number.POSITIVE_INFINITY;
    return isCut;
  }

  #append(entry: Link): void {
    const expected = this.#balance + entry.amount;
    if (entry.balanceAfter !== expected)
      this.#reportBalance(`${nameOf(entry)} balance_after`, expected, entry.balanceAfter);
    this.#balance = entry.balanceAfter;
    this.#next = entry.seq + 1;
  }

  #drain(): void {
    for (let entry = this.#early.get(this.#next); entry !== undefined; entry = this.#early.get(this.#next)) {
      this.#early.delete(entry.seq);
      this.#append(entry);
    }
  }

  /** Goes on behind a gap: what the missing entries moved is told from the one that follows them. */
  #skipTo(seq: number): void {
    const { balanceAfter, amount } = this.#early.get(seq)!;
    const before = balanceAfter - amount;
    const which = seq - 1 === this.#next ? `entry of seq ${this.#next}` : `entries of seq ${this.#next} to ${seq - 1}`;
    this.#report(which, `to be there, moving ${before - this.#balance}`, 'missing');
    this.#balance = before;
    this.#next = seq;
    this.#drain();
  }

  #sorted(): number[] {
    return [...this.#early.keys()].sort((a, b) => a - b);
  }

  #letGo(): void {
    const seqs = this.#sorted();
    this.#ceiling = seqs[seqs.length >> 1]!;
    for (const seq of seqs) if (seq >= this.#ceiling) this.#early.delete(seq);
  }
}
