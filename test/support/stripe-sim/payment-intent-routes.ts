/** The routes of payment intents. */
import type Stripe from 'stripe';
import type { Call, Sim } from './core.ts';
import { customerOf } from './customers.ts';
import { StripeFault } from './fault.ts';
import { flag, metadata, needed, text, texts, whole } from './params.ts';
import { cancelIntent, confirmIntent, createIntent, type IntentRequest } from './payment-intents.ts';
import { attach, methodOf, usableMethod } from './payment-methods.ts';

type PaymentIntent = Stripe.PaymentIntent;

/** The least Stripe charges, in minor units, where it is not 50. */
const LEAST: Record<string, number> = { gbp: 30, jpy: 50 };

function requestOf(call: Call): IntentRequest {
  const { form, sim } = call;
  const currency = needed(form, 'currency').toLowerCase();
  const amount = whole(form, 'amount');
  if (amount === undefined)
    throw new StripeFault('Missing required param: amount.', { code: 'parameter_missing', param: 'amount' });
  if (amount < 1) {
    throw new StripeFault('Invalid positive integer', { code: 'parameter_invalid_integer', param: 'amount' });
  }
  if (amount < (LEAST[currency] ?? 50)) {
    throw new StripeFault('Amount must be at least $0.50 usd', { code: 'amount_too_small', param: 'amount' });
  }
  const customer = text(form, 'customer');
  const types = texts(form, 'payment_method_types');
  return {
    amount,
    currency,
    customer: customer === undefined ? null : customerOf(sim, customer, 'customer').id,
    payment_method: text(form, 'payment_method') ?? null,
    metadata: metadata(form),
    description: text(form, 'description') ?? null,
    receipt_email: text(form, 'receipt_email') ?? null,
    setup_future_usage: (text(form, 'setup_future_usage') as 'off_session' | undefined) ?? null,
    ...(types === undefined ? {} : { payment_method_types: types }),
  };
}

function confirm(call: Call, intent: PaymentIntent): PaymentIntent {
  const { form, sim } = call;
  const off_session = text(form, 'off_session') !== undefined && text(form, 'off_session') !== 'false';
  const chosen = text(form, 'payment_method');
  const done = confirmIntent(sim, intent, { off_session, ...(chosen === undefined ? {} : { payment_method: chosen }) });
  if (done.status === 'requires_action' && flag(form, 'error_on_requires_action') === true) {
    const message =
      'This payment required an authentication action to complete, but `error_on_requires_action` was set.';
    throw new StripeFault(message, {
      type: 'card_error',
      code: 'authentication_required',
      with: { payment_intent: { ...done } },
    });
  }
  if (done.status === 'succeeded' && done.setup_future_usage !== null && done.customer !== null) {
    attach(sim, methodOf(sim, String(done.payment_method)), String(done.customer));
  }
  return done;
}

function create(call: Call): PaymentIntent {
  const { form, sim } = call;
  const request = requestOf(call);
  const confirms = flag(form, 'confirm') === true;
  if (!confirms && text(form, 'off_session') !== undefined) {
    throw new StripeFault('`off_session` can only be set when confirming.', { param: 'off_session' });
  }
  if (confirms) {
    if (request.payment_method == null) {
      throw new StripeFault("You cannot confirm this PaymentIntent because it's missing a payment method.", {
        code: 'payment_intent_unexpected_state',
      });
    }
    // What is wrong with the method is said before anything is made.
    const method = usableMethod(sim, request.payment_method);
    if (method.customer !== null && method.customer !== request.customer) {
      const message = `The customer does not have a payment method with the ID ${method.id}.`;
      throw new StripeFault(message, { code: 'resource_missing', param: 'payment_method' });
    }
  }
  const intent = createIntent(sim, request);
  return confirms ? confirm(call, intent) : intent;
}

function update(call: Call): PaymentIntent {
  const { form, sim } = call;
  const intent = sim.get<PaymentIntent>('payment_intent', call.params.id ?? '');
  const fields: Partial<PaymentIntent> = { metadata: metadata(form, intent.metadata) };
  const description = text(form, 'description');
  if (description !== undefined) fields.description = description === '' ? null : description;
  const amount = whole(form, 'amount');
  const method = text(form, 'payment_method');
  if (
    (amount !== undefined || method !== undefined) &&
    ['succeeded', 'canceled', 'processing'].includes(intent.status)
  ) {
    const message = `This PaymentIntent could not be updated because it has a status of ${intent.status}.`;
    throw new StripeFault(message, { code: 'payment_intent_unexpected_state' });
  }
  if (amount !== undefined) fields.amount = amount;
  if (method !== undefined) {
    fields.payment_method = usableMethod(sim, method).id;
    fields.status = 'requires_confirmation';
  }
  sim.change(intent, fields);
  return intent;
}

export function paymentIntentRoutes(sim: Sim): void {
  sim.link('payment_intent', 'customer', 'customer');
  sim.link('payment_intent', 'latest_charge', 'charge');
  sim.link('payment_intent', 'payment_method', 'payment_method');
  const named = (call: Call) => sim.get<PaymentIntent>('payment_intent', call.params.id ?? '');
  sim.route('POST', '/v1/payment_intents', create);
  sim.route('GET', '/v1/payment_intents', (call) => {
    const customer = text(call.query, 'customer');
    return sim.list<PaymentIntent>(
      call,
      'payment_intent',
      (one) => customer === undefined || one.customer === customer,
    );
  });
  sim.route('GET', '/v1/payment_intents/:id', named);
  sim.route('POST', '/v1/payment_intents/:id', update);
  sim.route('POST', '/v1/payment_intents/:id/confirm', (call) => confirm(call, named(call)));
  sim.route('POST', '/v1/payment_intents/:id/cancel', (call) =>
    cancelIntent(sim, named(call), (text(call.form, 'cancellation_reason') as 'abandoned' | undefined) ?? null),
  );
}
