/**
 * What one account's facts say: entries, allocations, the terms of lots, open holds. From them follows every projection;
 * what is stored is compared with it. Pure: what was read comes in, differences come out.
 */
import type { Uuid } from '../../lib/ids.ts';
import { Chain, type Link, nameOf } from './chain.ts';
import type { Adjustment, Allocation, Entry, Head, LotRow } from './facts.ts';

/** Of one account more are not named: a ledger with so many is not mended row by row. */
const MOST_NAMED = 1_000;

export interface Difference {
  account: bigint;
  /** The row that differs: an entry by id and kind, a lot, a hold, a field of the wallet. */
  subject: string;
  expected: string;
  found: string;
}

/**
 * What to add to what is stored, so that it is what the facts say. It stays right while operations go on: each changes
 * what is stored and what its facts say by the same amounts.
 */
export interface Correction {
  account: bigint;
  seqFound: number;
  seq: number;
  debt: bigint;
  lots: { lot: Uuid; remaining: bigint; repaid: bigint; expired: bigint }[];
}

interface Lot {
  found: LotRow;
  granted: bigint;
  burnt: bigint;
  expired: bigint;
  repaid: bigint;
}

const GRANT = 1;
const EXPIRE = 6;
const ADJUST = 7;
const REPAID = 100;
const [WALLET, REVENUE] = [1, 2];
/** Of other kinds it is revenue; of a grant, the kind of its lot. An adjustment also says which. */
const BOOKS_OF: Record<number, readonly number[]> = { [EXPIRE]: [3], [ADJUST]: [4, 14] };
const STARTED = 101;
const [PENDING, LIVE, EXPIRED, CLOSED] = [0, 1, 2, 3];

export class AccountAudit {
  readonly account: bigint;
  /** What does not hold together by itself, or is missing: nothing can be told from it for sure. */
  readonly broken: Difference[] = [];
  /** Entries whose balance does not follow from the one before: their amounts may be right, or may be what was changed. */
  readonly unbalanced: Difference[] = [];
  /** Projections that differ from what the facts say. */
  readonly drifted: Difference[] = [];
  readonly chain: Chain;
  readonly #head: Head;
  readonly #through: number;
  readonly #lots = new Map<Uuid, Lot>();
  #entries = 0;
  #sum = 0n;
  #adjustments = 0;
  /** What clawbacks have taken of each payment and not given back. */
  readonly #taken = new Map<string, bigint>();
  #newer = 0;
  #newest: Link | null = null;

  /**
   * @param through the number of the last entry to look at; later ones were booked after the wallet was read
   * @param most how many entries may wait for earlier ones: see `Chain`
   */
  constructor(head: Head, lots: Iterable<LotRow>, through: number, most: number) {
    this.account = head.account;
    this.#head = head;
    this.#through = through;
    this.chain = new Chain(
      most,
      (subject, expected, found) => this.reportBroken(subject, expected, found),
      (subject, expected, found) => this.#report(this.unbalanced, subject, expected, found),
    );
    for (const found of lots) {
      this.#lots.set(found.lot, { found, granted: 0n, burnt: 0n, expired: 0n, repaid: found.gave });
    }
  }

  /** How many entries were looked at. */
  get entries(): number {
    return this.#entries;
  }

  /** The last entry that was passed over because the wallet, when it was read, did not count it. */
  get newest(): Link | null {
    return this.#newest;
  }

  /** Whether the entries that were passed over are all those from `through` up to the newest. */
  get newerHaveNoGap(): boolean {
    return this.#newest !== null && this.#newer === this.#newest.seq - this.#through;
  }

  reportBroken(subject: string, expected: unknown, found: unknown): void {
    this.#report(this.broken, subject, expected, found);
  }

  reportDrifted(subject: string, expected: unknown, found: unknown): void {
    this.#report(this.drifted, subject, expected, found);
  }

  addEntry(entry: Entry): void {
    if (entry.seq > this.#through) {
      this.#newer++;
      if (this.#newest === null || entry.seq > this.#newest.seq) this.#newest = entry;
      return;
    }
    this.#entries++;
    this.#sum += entry.amount;
    this.chain.add(entry);
    if (entry.kind === ADJUST) this.#adjustments++;
    this.#checkBooks(entry);
    if (entry.lot === null) return;
    const lot = this.#lots.get(entry.lot);
    if (lot === undefined) this.reportBroken(`${nameOf(entry)} lot_id`, 'a lot of the account', entry.lot);
    else if (entry.kind === GRANT || (entry.kind === ADJUST && entry.amount > 0n)) lot.granted += entry.amount;
    else if (entry.kind === EXPIRE) lot.expired -= entry.amount;
    else lot.burnt -= entry.amount;
  }

  /** A transfer has the wallet on the side its sign says, and on the other the book of its kind. */
  #checkBooks(entry: Entry): void {
    const [side, other] = entry.amount > 0n ? [entry.credit, entry.debit] : [entry.debit, entry.credit];
    const lotKind = entry.lot === null ? undefined : this.#lots.get(entry.lot)?.found.kind;
    const books = entry.kind === GRANT ? [lotKind] : (BOOKS_OF[entry.kind] ?? [REVENUE]);
    if (side === WALLET && books.includes(other)) return;
    this.reportBroken(
      `${nameOf(entry)} books`,
      `the wallet and ${books.join(' or ')}`,
      `${entry.debit} to ${entry.credit}`,
    );
  }

  /** Takes another pass over the same entries: only the chain wants it. */
  addAgain(entry: Entry): void {
    if (entry.seq <= this.#through) this.chain.add(entry);
  }

  addAllocation({ id, kind, lot: lotId, amount, hasLot, entrySeq, entryAmount }: Allocation): void {
    const lot = this.#lots.get(lotId);
    const name = `allocation ${id}/${kind} of lot ${lotId}`;
    if (!hasLot) this.reportBroken(name, 'a lot of the account', 'none');
    // What a lot gave when it started came with the lot: it has no entry that would tell when that was.
    if (kind === STARTED) return;
    if (entrySeq === null) this.reportBroken(name, 'an entry', 'none');
    else if (entrySeq <= this.#through && lot !== undefined) {
      if (kind > REPAID) lot.repaid -= amount;
      else lot.burnt += entryAmount! < 0n ? amount : -amount;
    }
  }

  addAdjustment({ reference, amount, book, payment, entrySeq, entryAmount, entryBook }: Adjustment): void {
    if (entrySeq !== null && entrySeq > this.#through) return;
    if (payment !== null) this.#taken.set(payment, (this.#taken.get(payment) ?? 0n) - amount);
    if (entrySeq !== null) this.#adjustments--;
    if (entryAmount !== amount) this.reportBroken(`adjustment ${reference} amount`, entryAmount ?? 'an entry', amount);
    else if (entryBook !== book) this.reportBroken(`adjustment ${reference} book`, entryBook, book);
  }

  /** Compares what is stored with what was taken: call it once, when all was. */
  conclude(): void {
    if (this.#adjustments > 0) this.reportBroken('adjustments', 'one for each entry', `${this.#adjustments} missing`);
    for (const [payment, taken] of this.#taken) {
      if (taken < 0n) this.reportBroken(`clawbacks of ${payment}`, 'no more back than was taken', taken);
    }
    const left = [0n, 0n, 0n, 0n];
    for (const lot of this.#lots.values()) {
      this.#compareLot(lot);
      left[lot.found.state]! += remainderOf(lot);
    }
    const head = this.#head;
    const debt = this.#debt();
    const compare = (field: string, expected: unknown, found: unknown): void => {
      if (expected !== found) this.reportDrifted(`wallet ${field}`, expected, found);
    };
    compare('seq', this.chain.end, head.seq);
    compare('posted', left[LIVE]! - debt, head.posted);
    compare('dormant', left[PENDING]! + left[EXPIRED]!, head.dormant);
    compare('debt', debt, head.debt);
    compare('held', head.holds, head.held);
    compare('head_lot', head.firstLive, head.headLot);
    if (head.headLot === null) compare('head_left', 0n, head.headLeft);
    if (head.changesBefore !== null) compare('next_change_at', head.changesBefore, head.nextChangeAt);
    if (debt > 0n && left[LIVE]! > 0n) this.reportBroken('wallet debt', 'repaid by live lots', debt);
  }

  /** What makes the stored projections equal to what was concluded. */
  correction(): Correction {
    const lots = [...this.#lots.values()].map((lot) => ({
      lot: lot.found.lot,
      remaining: remainderOf(lot) - lot.found.remaining,
      repaid: lot.repaid - lot.found.repaid,
      expired: lot.expired - lot.found.expired,
    }));
    return {
      account: this.account,
      seqFound: this.#head.seq,
      seq: this.chain.end,
      debt: this.#debt() - this.#head.debt,
      lots: lots.filter(({ remaining, repaid, expired }) => remaining !== 0n || repaid !== 0n || expired !== 0n),
    };
  }

  /** What no lot paid: the lots hold that much more than the entries come to. */
  #debt(): bigint {
    let remainders = 0n;
    for (const lot of this.#lots.values()) remainders += remainderOf(lot);
    return remainders - this.#sum;
  }

  #compareLot(lot: Lot): void {
    const { found } = lot;
    const compare = (field: string, expected: bigint, stored: bigint): void => {
      if (expected !== stored) this.reportDrifted(`lot ${found.lot} ${field}`, expected, stored);
    };
    if (lot.granted !== found.granted) this.reportBroken(`lot ${found.lot} granted`, lot.granted, found.granted);
    compare('remaining', remainderOf(lot), found.remaining);
    compare('repaid', lot.repaid, found.repaid);
    compare('expired', lot.expired, found.expired);
    if (found.state === CLOSED && remainderOf(lot) > 0n)
      this.reportDrifted(`lot ${found.lot} state`, 'not closed', 'closed');
  }

  #report(list: Difference[], subject: string, expected: unknown, found: unknown): void {
    // Another pass over the entries may come upon the same again.
    if (list.length === MOST_NAMED || list.some((difference) => difference.subject === subject)) return;
    list.push({ account: this.account, subject, expected: String(expected), found: String(found) });
  }
}

const remainderOf = (lot: Lot): bigint => lot.found.granted - lot.burnt - lot.expired - lot.repaid;
