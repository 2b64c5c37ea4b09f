/**
 * What the ledger's verbs answer. The numbers are those of `src/db/migrations/0004-ledger-verbs.sql` and 0018; where several
 * would fit, the first in this order is given:
 *
 *   hold     account_not_found · already_ended · exists_with_different_key · exists_with_different_amount · repeated ·
 *            stale_policy · account_suspended · key_inactive · key_budget_exceeded · account_budget_exceeded ·
 *            insufficient_credits · credits_held · done
 *   extend   account_not_found · hold_not_found · already_ended · repeated (it is that much already) ·
 *            key_budget_exceeded · account_budget_exceeded · insufficient_credits · credits_held · done
 *   settle   account_not_found · done (the hold was open) · hold_not_found · late (recovered, released or expired; once) ·
 *            repeated · exists_with_different_amount
 *   release  account_not_found · done · hold_not_found · repeated · already_expired · already_settled
 *   grant    account_not_found · exists_with_different_{amount, kind, expires_at, starts_at, priority} · repeated ·
 *            interval_empty · credit_scale_differs · done
 *   adjust   account_not_found · exists_with_different_{amount, book} · repeated · credit_scale_differs · done
 *   reverse  account_not_found · still_open · hold_not_found · exists_with_different_amount · repeated ·
 *            exceeds_charge (or nothing was charged) · done
 *   consume  account_not_found · repeated · exists_with_different_fields · what a hold answers that is refused · done
 *   reserve  account_not_found · repeated · exists_with_different_fields · too_many_holds · what a hold answers that is refused · done
 *   enlarge  account_not_found · repeated · exists_with_different_fields · hold_not_found · already_ended · what an extend
 *            answers that is refused · done
 *
 * A denial leaves no row: a refused id, or name, may be used again.
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
  17: 'exists_with_different_book',
  18: 'exists_with_different_fields',
  20: 'hold_not_found',
  30: 'stale_policy',
  31: 'account_suspended',
  32: 'key_inactive',
  40: 'insufficient_credits',
  41: 'credits_held',
  42: 'key_budget_exceeded',
  43: 'account_budget_exceeded',
  50: 'already_settled',
  51: 'credit_scale_differs',
  52: 'interval_empty',
  53: 'already_expired',
  54: 'still_open',
  55: 'exceeds_charge',
  56: 'too_many_holds',
} as const;

export type Outcome = (typeof OUTCOMES)[keyof typeof OUTCOMES];

/** The answer to one operation. */
export interface Result {
  outcome: Outcome;
  /**
   * Nano-credits: what a hold was granted (after an extension, in all), what was charged, granted, adjusted, given back or
   * added to a hold; `exceeds_charge` tells the charge; 0 where nothing was.
   */
  amount: bigint;
  /** posted − held of the wallet after the operation, in nano-credits. */
  available: bigint;
  /** The sum of the wallet's open holds after the operation. */
  held: bigint;
}

export const LOT_KINDS = { topup: 10, subscription: 11, bonus: 12, promo: 13, adjustment: 14 } as const;
export type LotKind = keyof typeof LOT_KINDS;

export const ENTRY_KINDS = [
  'grant',
  'charge',
  'release',
  'recovered',
  'late',
  'expire',
  'adjust',
  'reverse',
  'lapse',
] as const;
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

/** Where an adjustment comes from or goes to. */
export const ADJUSTMENT_BOOKS = { adjustment: 14, clawback: 4 } as const;
export type AdjustmentBook = keyof typeof ADJUSTMENT_BOOKS;

export const ON_ORPHAN = { charge_metered: 0, release: 1, charge_hold: 2 } as const;
export type OnOrphan = keyof typeof ON_ORPHAN;
