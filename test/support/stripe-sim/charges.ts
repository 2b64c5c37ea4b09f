/** Charges and balance transactions: what a payment really did. Made by payment intents only. */
import type Stripe from 'stripe';
import type { Sim } from './core.ts';
import { NO_ADDRESS } from './customers.ts';
import { metadata, text } from './params.ts';

type Charge = Stripe.Charge;
type BalanceTransaction = Stripe.BalanceTransaction;

/** The currency that the owner's balance is kept in, and what a unit of any other is worth in it now. */
export interface Settlement {
  currency: string;
  rate: number;
}

/** Money that moves in the balance. `amount` in minor units, negative when it leaves; `fee` is taken besides. */
export function createTransaction(
  sim: Sim,
  fields: Pick<BalanceTransaction, 'amount' | 'currency' | 'type' | 'reporting_category'> & {
    source: string;
    fee?: number;
    description?: string;
  },
): BalanceTransaction {
  const settlement = sim.side<Settlement>('settlement').get('now');
  const changed = settlement !== undefined && settlement.currency !== fields.currency;
  const currency = changed ? settlement.currency : fields.currency;
  const rate = changed ? settlement.rate : 1;
  const [amount, fee] = [Math.round(fields.amount * rate), Math.round((fields.fee ?? 0) * rate)];
  const detail = {
    amount: fee,
    application: null,
    currency,
    description: 'Stripe processing fees',
    type: 'stripe_fee',
  };
  return sim.put<BalanceTransaction>({
    id: sim.id('txn'),
    object: 'balance_transaction',
    amount,
    available_on: sim.now() + 2 * 86_400,
    balance_type: 'payments',
    created: sim.now(),
    currency,
    description: fields.description ?? null,
    exchange_rate: changed ? rate : null,
    fee,
    fee_details: fee === 0 ? [] : [detail],
    net: amount - fee,
    reporting_category: fields.reporting_category,
    source: fields.source,
    status: 'pending',
    type: fields.type,
  });
}

/** A charge of a payment intent: succeeded, failed with its reason, or pending (means of payment that take days). */
export function createCharge(
  sim: Sim,
  intent: Stripe.PaymentIntent,
  method: Stripe.PaymentMethod,
  status: Stripe.Charge.Status,
  failure: { code: string; decline_code?: string; message: string } | null = null,
): Charge {
  const charge: Charge = {
    id: sim.id(method.type === 'card' ? 'ch' : 'py'),
    object: 'charge',
    amount: intent.amount,
    amount_captured: 0,
    amount_refunded: 0,
    application: null,
    application_fee: null,
    application_fee_amount: null,
    balance_transaction: null,
    billing_details: { address: { ...NO_ADDRESS }, email: null, name: null, phone: null, tax_id: null },
    calculated_statement_descriptor: 'TOLLGATE',
    captured: status !== 'failed',
    created: sim.now(),
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: failure?.code ?? null,
    failure_message: failure?.message ?? null,
    fraud_details: {},
    livemode: intent.livemode,
    metadata: { ...intent.metadata },
    on_behalf_of: null,
    outcome: outcomeOf(status, failure),
    paid: status !== 'failed',
    payment_intent: intent.id,
    payment_method: method.id,
    payment_method_details: detailsOf(method, intent.amount),
    receipt_email: intent.receipt_email,
    receipt_number: null,
    receipt_url: status === 'failed' ? null : 'https://pay.stripe.test/receipts/simulated',
    refunded: false,
    review: null,
    shipping: null,
    source: null,
    source_transfer: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status,
    transfer_data: null,
    transfer_group: null,
  };
  sim.put(charge);
  if (status === 'succeeded') book(sim, charge);
  sim.emit(`charge.${status}`, charge);
  return charge;
}

/** Brings a pending charge to its end. */
export function settleCharge(sim: Sim, charge: Charge, failure: { code: string; message: string } | null): void {
  const previous = sim.change(
    charge,
    failure === null
      ? { status: 'succeeded', paid: true }
      : {
          status: 'failed',
          paid: false,
          captured: false,
          failure_code: failure.code,
          failure_message: failure.message,
          outcome: outcomeOf('failed', failure),
        },
  );
  if (failure === null) book(sim, charge);
  sim.emit(`charge.${charge.status}`, charge, previous);
}

function book(sim: Sim, charge: Charge): void {
  const { amount, currency, id } = charge;
  const fee = Math.round(amount * 0.029) + 30;
  const type = charge.id.startsWith('py_') ? 'payment' : 'charge';
  charge.balance_transaction = createTransaction(sim, {
    amount,
    currency,
    source: id,
    fee,
    type,
    reporting_category: 'charge',
  }).id;
  charge.amount_captured = amount;
}

function outcomeOf(
  status: Stripe.Charge.Status,
  failure: { code: string; decline_code?: string } | null,
): Stripe.Charge.Outcome {
  const failed = status === 'failed';
  return {
    advice_code: failed ? 'try_again_later' : null,
    network_advice_code: null,
    network_decline_code: failed ? '01' : null,
    network_status: failed ? 'declined_by_network' : 'approved_by_network',
    reason: failed ? (failure?.decline_code ?? failure?.code ?? null) : null,
    risk_level: 'normal',
    risk_score: 20,
    seller_message: failed ? 'The bank did not return any further details with this decline.' : 'Payment complete.',
    type: failed ? 'issuer_declined' : 'authorized',
  };
}

function detailsOf(method: Stripe.PaymentMethod, amount: number): Stripe.Charge.PaymentMethodDetails {
  const { card, sepa_debit, us_bank_account, type } = method;
  if (card === undefined) {
    const bank = sepa_debit ?? us_bank_account;
    return { type, [type]: { fingerprint: bank?.fingerprint ?? null, last4: bank?.last4 ?? null, mandate: null } };
  }
  return {
    type,
    card: {
      amount_authorized: amount,
      authorization_code: null,
      brand: card.brand,
      checks: card.checks,
      country: card.country,
      electronic_commerce_indicator: null,
      exp_month: card.exp_month,
      exp_year: card.exp_year,
      extended_authorization: { status: 'disabled' },
      fingerprint: card.fingerprint ?? null,
      funding: card.funding,
      incremental_authorization: { status: 'unavailable' },
      installments: null,
      last4: card.last4,
      mandate: null,
      multicapture: { status: 'unavailable' },
      network: card.brand,
      network_token: { used: false },
      network_transaction_id: null,
      overcapture: { maximum_amount_capturable: amount, status: 'unavailable' },
      regulated_status: 'unregulated',
      three_d_secure: null,
      transaction_link_id: null,
      wallet: null,
    },
  };
}

export function chargeRoutes(sim: Sim): void {
  for (const field of ['balance_transaction', 'customer', 'payment_intent', 'failure_balance_transaction']) {
    sim.link('charge', field, field === 'failure_balance_transaction' ? 'balance_transaction' : field);
  }
  sim.link('balance_transaction', 'source', 'charge');
  sim.route('GET', '/v1/charges', (call) => {
    const customer = text(call.query, 'customer');
    const intent = text(call.query, 'payment_intent');
    return sim.list<Charge>(
      call,
      'charge',
      (one) =>
        (customer === undefined || one.customer === customer) &&
        (intent === undefined || one.payment_intent === intent),
    );
  });
  sim.route('GET', '/v1/charges/:id', (call) => sim.get('charge', call.params.id ?? ''));
  sim.route('POST', '/v1/charges/:id', (call) => {
    const charge = sim.get<Charge>('charge', call.params.id ?? '');
    const previous = sim.change(charge, { metadata: metadata(call.form, charge.metadata) });
    if (Object.keys(previous).length > 0) sim.emit('charge.updated', charge, previous);
    return charge;
  });
  sim.route('GET', '/v1/balance_transactions', (call) => {
    const source = text(call.query, 'source');
    const type = text(call.query, 'type');
    return sim.list<BalanceTransaction>(
      call,
      'balance_transaction',
      (one) => (source === undefined || one.source === source) && (type === undefined || one.type === type),
    );
  });
  sim.route('GET', '/v1/balance_transactions/:id', (call) => sim.get('balance_transaction', call.params.id ?? ''));
}
