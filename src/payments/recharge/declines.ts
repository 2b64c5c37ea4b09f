/** What a refused charge means for the next one. Pure. */

/** Why an account's recharges stop, as `auto_recharge.stopped_reason` has it. */
export type StopReason =
  | 'declined'
  | 'declined_repeatedly'
  | 'authentication_required'
  | 'card_expired'
  | 'payment_method_gone'
  | 'customer_deleted'
  | 'refused'
  | 'payment_reversed'
  | 'pack_unavailable'
  | 'monthly_cap'
  | 'daily_attempts'
  | 'balance_limit';

/** What card networks say must not be tried again: each try costs trust, and some cost a fine. */
const NEVER_AGAIN = new Set([
  'card_not_supported',
  'currency_not_supported',
  'do_not_honor',
  'fraudulent',
  'incorrect_number',
  'invalid_account',
  'invalid_number',
  'lost_card',
  'merchant_blacklist',
  'new_account_information_available',
  'no_action_taken',
  'not_permitted',
  'pickup_card',
  'restricted_card',
  'revocation_of_all_authorizations',
  'revocation_of_authorization',
  'security_violation',
  'service_not_allowed',
  'stolen_card',
  'stop_payment_order',
  'transaction_not_allowed',
]);

const NEEDS_THE_CUSTOMER = new Set([
  'authentication_required',
  'authentication_not_handled',
  'payment_intent_authentication_failure',
]);

/**
 * Why no other charge may follow one that was declined with this (Stripe's `decline_code`, and the `code` it belongs to). `null`: it may
 * be tried again, a few times.
 */
export function stopAfter(code: string | null, declineCode: string | null): StopReason | null {
  for (const said of [declineCode, code]) {
    if (said === null) continue;
    if (NEEDS_THE_CUSTOMER.has(said)) return 'authentication_required';
    if (said === 'expired_card') return 'card_expired';
    if (NEVER_AGAIN.has(said)) return 'declined';
  }
  return null;
}
