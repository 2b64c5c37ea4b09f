/** The rows that an audit reads: what one account's projections say, and the facts they follow from. */
import type { Uuid } from '../../lib/ids.ts';
import type { Link } from './chain.ts';

/** A wallet as it is stored, and what is told at the same instant. Nano-credits. */
export interface Head {
  account: bigint;
  seq: number;
  posted: bigint;
  held: bigint;
  debt: bigint;
  dormant: bigint;
  headLot: Uuid | null;
  headLeft: bigint;
  /** The first live lot in burn order. */
  firstLive: Uuid | null;
  /** Sum of open holds. */
  holds: bigint;
  nextChangeAt: string;
  /** When the next lot starts or ends, or the next hold; `null`: `nextChangeAt` is not later than that. */
  changesBefore: string | null;
}

export interface LotRow {
  lot: Uuid;
  /** The book its grant came from. */
  kind: number;
  /** 0 pending, 1 live, 2 expired and not booked, 3 closed. */
  state: number;
  granted: bigint;
  remaining: bigint;
  repaid: bigint;
  expired: bigint;
  /** What it gave to debt when it started, by its allocation. */
  gave: bigint;
}

export interface Entry extends Link {
  lot: Uuid | null;
  /** Books. */
  debit: number;
  credit: number;
}

export interface Allocation {
  id: Uuid;
  /** That of its entry, or 101, 105, 108 for repaid debt. */
  kind: number;
  lot: Uuid;
  amount: bigint;
  hasLot: boolean;
  /** Of its entry; `null`: there is none. */
  entrySeq: number | null;
  entryAmount: bigint | null;
}

export interface Adjustment {
  reference: string;
  amount: bigint;
  book: number;
  /** Whose credits it took or gave back; `null`: no payment's. */
  payment: string | null;
  entrySeq: number | null;
  entryAmount: bigint | null;
  /** The other side of the wallet's. */
  entryBook: number | null;
}
