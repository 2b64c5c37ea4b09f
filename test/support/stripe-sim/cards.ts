/** The means of payment Stripe gives to tests, and how each of them behaves when it is charged. */

/** How a charge of a payment method ends. `async` means of payment take days: the test settles them. */
export type Behaviour =
  | { kind: 'succeed' }
  | { kind: 'decline'; code: string; decline_code?: string; message: string }
  | { kind: 'authenticate' }
  | { kind: 'async' };

export interface Card {
  type: 'card' | 'sepa_debit' | 'us_bank_account';
  brand: string;
  last4: string;
  behaviour: Behaviour;
  /** Stripe refuses to attach a card that the bank declines at once. */
  attachable: boolean;
}

export function declined(decline_code: string): Behaviour {
  const own = OWN_CODES[decline_code];
  if (own !== undefined) return { kind: 'decline', code: decline_code, message: own };
  const message =
    decline_code === 'insufficient_funds' ? 'Your card has insufficient funds.' : 'Your card was declined.';
  return { kind: 'decline', code: 'card_declined', decline_code, message };
}

/** Declines that have an error code of their own; all others are `card_declined` with a decline code. */
const OWN_CODES: Record<string, string> = {
  expired_card: 'Your card has expired.',
  incorrect_cvc: "Your card's security code is incorrect.",
  processing_error: 'An error occurred while processing your card. Try again in a little bit.',
  authentication_required: 'Your card was declined. This transaction requires authentication.',
};

const good: Behaviour = { kind: 'succeed' };

function card(brand: string, last4: string, behaviour: Behaviour = good, attachable = true): Card {
  return { type: 'card', brand, last4, behaviour, attachable };
}

export const CARDS: Record<string, Card> = {
  pm_card_visa: card('visa', '4242'),
  pm_card_visa_debit: card('visa', '5556'),
  pm_card_mastercard: card('mastercard', '4444'),
  pm_card_amex: card('amex', '8431'),
  pm_card_visa_chargeDeclined: card('visa', '0002', declined('generic_decline'), false),
  pm_card_visa_chargeDeclinedInsufficientFunds: card('visa', '9995', declined('insufficient_funds'), false),
  pm_card_visa_chargeDeclinedLostCard: card('visa', '9987', declined('lost_card'), false),
  pm_card_visa_chargeDeclinedStolenCard: card('visa', '9979', declined('stolen_card'), false),
  pm_card_chargeDeclinedExpiredCard: card('visa', '0069', declined('expired_card'), false),
  pm_card_chargeDeclinedIncorrectCvc: card('visa', '0127', declined('incorrect_cvc'), false),
  pm_card_chargeDeclinedProcessingError: card('visa', '0119', declined('processing_error'), false),
  pm_card_chargeCustomerFail: card('visa', '0341', declined('generic_decline')),
  pm_card_authenticationRequired: card('visa', '3184', { kind: 'authenticate' }),
  pm_card_threeDSecure2Required: card('visa', '3220', { kind: 'authenticate' }),
  pm_sepa_debit: { type: 'sepa_debit', brand: '', last4: '3000', behaviour: { kind: 'async' }, attachable: true },
  pm_usBankAccount: {
    type: 'us_bank_account',
    brand: '',
    last4: '6789',
    behaviour: { kind: 'async' },
    attachable: true,
  },
};

/** Other names for the same: as Stripe's documentation writes them, its tokens, and what tests say in short. */
const ALIASES: Record<string, string> = {
  card: 'pm_card_visa',
  tok_visa: 'pm_card_visa',
  tok_mastercard: 'pm_card_mastercard',
  tok_chargeDeclined: 'pm_card_visa_chargeDeclined',
  tok_chargeCustomerFail: 'pm_card_chargeCustomerFail',
  pm_card_chargeDeclined: 'pm_card_visa_chargeDeclined',
  pm_card_chargeDeclinedInsufficientFunds: 'pm_card_visa_chargeDeclinedInsufficientFunds',
  pm_usBankAccount_success: 'pm_usBankAccount',
  async: 'pm_sepa_debit',
  sepa_debit: 'pm_sepa_debit',
  us_bank_account: 'pm_usBankAccount',
  declined: 'pm_card_visa_chargeDeclined',
  authentication: 'pm_card_authenticationRequired',
};

/** The card of a test name, undefined when there is none. */
export function cardNamed(name: string): { name: string; card: Card } | undefined {
  const known = ALIASES[name] ?? name;
  const found = CARDS[known];
  return found === undefined ? undefined : { name: known, card: found };
}
