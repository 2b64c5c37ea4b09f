/**
 * What the ledger's verbs answer. The numbers are those of `src/db/migrations/0004-ledger-verbs.sql`; where several
 * would fit, the first in this order is given:
 *
 *   hold     account_not_found · already_ended · exists_with_different_key · exists_with_different_amount · repeated ·
 *            stale_policy · account_suspended · key_inactive · insufficient_credits · credits_held · done
 *   settle   account_not_found · done (the hold was open) · hold_not_found · late (recovered or released, once) ·
 *            repeated · exists_with_different_amount
 *   release  account_not_found · done · hold_not_found · repeated · already_settled
 *   grant    account_not_found · exists_with_different_{amount, kind, expires_at, starts_at, priority} · repeated ·
 *            interval_empty · credit_scale_differs · done
 *
 * A denial leaves no row: a refused id may be used again.
 */
export const OUTCOMES = {
  0: 'account_not_found',
  1: 'done',
  2: 'repeated',
  3: 'late',
  10: 'already_ended',
  11: 'exists_with_different_amount',
  12: 'exists_with_different_key',
  13: 'exists_with_different_kind',
  14: 'exists_with_different_expires_at',
  15: 'exists_with_different_starts_at',
  16: 'exists_with_different_priority',
  20: 'hold_not_found',
  30: 'stale_policy',
  31: 'account_suspended',
  32: 'key_inactive',
  40: 'insufficient_credits',
  41: 'credits_held',
  50: 'already_settled',
  51: 'credit_scale_differs',
  52: 'interval_empty',
} as const;

export type Outcome = (typeof OUTCOMES)[keyof typeof OUTCOMES];

/** The answer to one operation. */
export interface Result {
  outcome: Outcome;
  /** Nano-credits granted to a hold, charged by a settle, or granted; 0 where nothing was. */
  amount: bigint;
  /** posted − held of the wallet after the operation, in nano-credits. */
  available: bigint;
  /** The sum of the wallet's open holds after the operation. */
  held: bigint;
}

export const LOT_KINDS = { topup: 10, subscription: 11, bonus: 12, promo: 13, adjustment: 14 } as const;
export type LotKind = keyof typeof LOT_KINDS;

export const ENTRY_KINDS = ['grant', 'charge', 'release', 'recovered', 'late', 'expire'] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

/** The books a transfer moves between; `source:<kind>` is where a lot's credits came from. */
export const BOOKS: Record<number, string> = {
  1: 'wallet',
  2: 'revenue',
  3: 'expired',
  4: 'clawback',
  10: 'source:topup',
  11: 'source:subscription',
  12: 'source:bonus',
  13: 'source:promo',
  14: 'source:adjustment',
};

export const ON_ORPHAN = { charge_metered: 0, release: 1, charge_hold: 2 } as const;
export type OnOrphan = keyof typeof ON_ORPHAN;
