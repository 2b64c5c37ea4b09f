/** A hold of the model: while it is open, and once it has ended. */
import type { OnOrphan, Outcome } from '../../src/ledger/outcomes.ts';
import type { Shares } from './model-lots.ts';

export type Answer = [Outcome, bigint];

export interface ModelHold {
  key: bigint;
  amount: bigint;
  /** Of the amount. */
  extended: bigint;
  floor: bigint;
  metered: bigint;
  onOrphan: OnOrphan;
  /** 0: nobody's, it ends by itself. */
  owner: bigint;
  /** Milliseconds. */
  openedAt: number;
  expiresAt: number;
}

export interface Ended {
  how: 'settled' | 'released' | 'recovered' | 'lapsed';
  key: bigint;
  at: number;
  charged: bigint;
  /** Whether what it cost is known for good. */
  exact: boolean;
  /** What each lot paid of it. */
  paid: Shares;
  /** What was charged when it was reversed, and how much of it came back. */
  reversed: { of: bigint; amount: bigint } | null;
  /** What came back before the exact cost was known: it is not given back again. */
  least: bigint;
}
