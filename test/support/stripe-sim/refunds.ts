/**
 * Refunds.
 *
 *     (card) ─────────▶ succeeded ─▶ failed      the bank of the customer sent it back
 *     (other) ▶ pending ─▶ succeeded | failed | canceled
 *
 * While pending or succeeded its amount is taken from the charge; when it fails or is canceled, it is given back.
 */
import type Stripe from 'stripe';
import { createTransaction } from './charges.ts';
import type { Call, Sim } from './core.ts';
import { missing, noSuch, StripeFault } from './fault.ts';
import { metadata, text, whole } from './params.ts';

type Refund = Stripe.Refund;
type Charge = Stripe.Charge;

export interface RefundRequest {
  charge?: string;
  payment_intent?: string;
  /** Minor units; what is left of the charge unless told. */
  amount?: number;
  reason?: string;
  metadata?: Record<string, string>;
  /** How it begins: `succeeded` for cards and `pending` for all else, unless told. */
  status?: 'succeeded' | 'pending' | 'requires_action';
}

/** Refunds a charge, with its events. Fault when there is less left than asked for. */
export function createRefund(sim: Sim, request: RefundRequest): Refund {
  const charge = chargeOf(sim, request);
  const left = charge.amount - charge.amount_refunded;
  const amount = request.amount ?? left;
  refuse(charge, amount, left);
  const isCard = charge.payment_method_details?.card !== undefined;
  const refund: Refund = {
    id: sim.id(isCard ? 're' : 'pyr'),
    object: 'refund',
    amount,
    balance_transaction: null,
    charge: charge.id,
    created: sim.now(),
    currency: charge.currency,
    customer: charge.customer,
    customer_account: null,
    ...(isCard && {
      destination_details: {
        card: { type: 'refund', reference_status: 'pending', reference_type: 'acquirer_reference_number' },
        type: 'card',
      },
    }),
    metadata: request.metadata ?? {},
    payment_intent: charge.payment_intent,
    payment_method: charge.payment_method,
    reason: (request.reason as Refund['reason']) ?? null,
    receipt_number: null,
    source_transfer_reversal: null,
    status: request.status ?? (isCard ? 'succeeded' : 'pending'),
    transfer_reversal: null,
  };
  const taken = {
    amount: -amount,
    currency: charge.currency,
    source: refund.id,
    type: 'refund',
    reporting_category: 'refund',
  } as const;
  refund.balance_transaction = createTransaction(sim, taken).id;
  sim.put(refund);
  const previous = takeFrom(sim, charge, amount);
  sim.emit('refund.created', refund);
  sim.emit('charge.refunded', charge, previous);
  return refund;
}

function chargeOf(sim: Sim, request: RefundRequest): Charge {
  if (request.charge !== undefined) return sim.get<Charge>('charge', request.charge, 'charge');
  if (request.payment_intent === undefined) throw missing('payment_intent');
  const intent = sim.get<Stripe.PaymentIntent>('payment_intent', request.payment_intent, 'payment_intent');
  if (intent.status === 'succeeded' && intent.latest_charge !== null)
    return sim.get<Charge>('charge', String(intent.latest_charge));
  throw new StripeFault('This PaymentIntent does not have a successful charge to refund.', { param: 'payment_intent' });
}

function refuse(charge: Charge, amount: number, left: number): void {
  if (charge.status !== 'succeeded') throw new StripeFault('This charge has not succeeded.', { param: 'charge' });
  if (left === 0) {
    throw new StripeFault(`Charge ${charge.id} has already been refunded.`, { code: 'charge_already_refunded' });
  }
  if (amount <= 0)
    throw new StripeFault('Invalid positive integer', { code: 'parameter_invalid_integer', param: 'amount' });
  if (amount > left) {
    const message = `Refund amount (${amount}) is greater than unrefunded amount on charge (${left})`;
    throw new StripeFault(message, { param: 'amount' });
  }
}

/** Moves what is refunded of a charge by `amount` minor units, either way. */
function takeFrom(sim: Sim, charge: Charge, amount: number): Partial<Charge> {
  const amount_refunded = charge.amount_refunded + amount;
  return sim.change(charge, { amount_refunded, refunded: amount_refunded === charge.amount });
}

/** Brings a refund to its end. One that succeeded can still fail. */
export function settleRefund(
  sim: Sim,
  refund: Refund,
  status: 'succeeded' | 'failed' | 'canceled',
  failure_reason = 'expired_or_canceled_card',
): Refund {
  const mayEnd = status === 'failed' ? ['pending', 'requires_action', 'succeeded'] : ['pending', 'requires_action'];
  if (!mayEnd.includes(refund.status ?? '')) throw new StripeFault(`This refund is ${refund.status}.`);
  const previous = sim.change(refund, { status });
  if (status !== 'succeeded') {
    const charge = sim.get<Charge>('charge', String(refund.charge));
    const given = {
      amount: refund.amount,
      currency: refund.currency,
      source: refund.id,
      type: 'refund_failure',
      reporting_category: 'refund_failure',
    } as const;
    refund.failure_balance_transaction = createTransaction(sim, given).id;
    if (status === 'failed') refund.failure_reason = failure_reason;
    takeFrom(sim, charge, -refund.amount);
  }
  sim.emit('refund.updated', refund, previous);
  sim.emit('charge.refund.updated', refund, previous);
  if (status === 'failed') sim.emit('refund.failed', refund);
  return refund;
}

function create(call: Call): Refund {
  const { form, sim } = call;
  const request: RefundRequest = { metadata: metadata(form) };
  const amount = whole(form, 'amount');
  if (amount !== undefined) request.amount = amount;
  for (const key of ['charge', 'payment_intent', 'reason'] as const) {
    const value = text(form, key);
    if (value !== undefined) request[key] = value;
  }
  return createRefund(sim, request);
}

export function refundRoutes(sim: Sim): void {
  for (const field of ['charge', 'payment_intent', 'customer', 'balance_transaction', 'payment_method'])
    sim.link('refund', field, field);
  sim.link('refund', 'failure_balance_transaction', 'balance_transaction');
  sim.part('charge', 'refunds', (charge) => {
    const data = sim.all<Refund>('refund').filter((one) => one.charge === charge.id);
    return {
      object: 'list',
      data: data.slice(0, 10),
      has_more: data.length > 10,
      url: `/v1/charges/${charge.id}/refunds`,
    };
  });
  sim.route('POST', '/v1/refunds', create);
  sim.route('GET', '/v1/refunds', (call) => {
    const charge = text(call.query, 'charge');
    const intent = text(call.query, 'payment_intent');
    if (charge !== undefined && sim.find('charge', charge) === undefined) throw noSuch('charge', charge, 'charge');
    return sim.list<Refund>(
      call,
      'refund',
      (one) =>
        (charge === undefined || one.charge === charge) && (intent === undefined || one.payment_intent === intent),
    );
  });
  sim.route('GET', '/v1/refunds/:id', (call) => sim.get('refund', call.params.id ?? ''));
  sim.route('POST', '/v1/refunds/:id', (call) => {
    const refund = sim.get<Refund>('refund', call.params.id ?? '');
    const previous = sim.change(refund, { metadata: metadata(call.form, refund.metadata ?? {}) });
    if (Object.keys(previous).length > 0) sim.emit('refund.updated', refund, previous);
    return refund;
  });
  sim.route('POST', '/v1/refunds/:id/cancel', (call) =>
    settleRefund(sim, sim.get<Refund>('refund', call.params.id ?? ''), 'canceled'),
  );
}
