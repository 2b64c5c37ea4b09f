/**
 * Payment intents.
 *
 *     requires_payment_method ─confirm─▶ succeeded | processing | requires_action
 *                 ▲        ◀─ declined ──┘               │               │
 *                 └──────── failed (settle, authenticate) ┴───────────────┘ ─▶ succeeded
 *     requires_confirmation: has a method, was not confirmed.   any but succeeded and processing ─cancel─▶ canceled
 */
import type Stripe from 'stripe';
import { createCharge, settleCharge } from './charges.ts';
import type { Sim } from './core.ts';
import { StripeFault } from './fault.ts';
import { behaviourOf, methodOf, usableMethod } from './payment-methods.ts';

type PaymentIntent = Stripe.PaymentIntent;

export interface IntentRequest {
  customer: string | null;
  /** Minor units of `currency`. */
  amount: number;
  currency: string;
  payment_method?: string | null;
  off_session?: boolean;
  metadata?: Record<string, string>;
  description?: string | null;
  livemode?: boolean;
  receipt_email?: string | null;
  setup_future_usage?: 'off_session' | 'on_session' | null;
  payment_method_types?: string[];
}

const listeners = new WeakMap<Sim, Array<(intent: PaymentIntent) => void>>();

/** `listener` runs after each change of an intent's status. */
export function onIntent(sim: Sim, listener: (intent: PaymentIntent) => void): void {
  listeners.set(sim, [...(listeners.get(sim) ?? []), listener]);
}

function told(sim: Sim, intent: PaymentIntent): PaymentIntent {
  for (const listener of listeners.get(sim) ?? []) listener(intent);
  return intent;
}

/** Makes an intent and its event; nothing is charged yet. */
export function createIntent(sim: Sim, request: IntentRequest): PaymentIntent {
  const id = sim.id('pi');
  const method = request.payment_method == null ? null : usableMethod(sim, request.payment_method);
  const intent: PaymentIntent = {
    id,
    object: 'payment_intent',
    allowed_payment_method_types: null,
    amount: request.amount,
    amount_capturable: 0,
    amount_details: { tip: {} },
    amount_received: 0,
    application: null,
    application_fee_amount: null,
    automatic_payment_methods: { allow_redirects: 'always', enabled: true },
    canceled_at: null,
    cancellation_reason: null,
    capture_method: 'automatic_async',
    client_secret: `${id}_secret_${sim.id('s').slice(2)}`,
    confirmation_method: 'automatic',
    created: sim.now(),
    currency: request.currency,
    customer: request.customer,
    customer_account: null,
    description: request.description ?? null,
    excluded_payment_method_types: null,
    last_payment_error: null,
    latest_charge: null,
    livemode: request.livemode ?? sim.livemode,
    managed_payments: null,
    metadata: { ...request.metadata },
    next_action: null,
    on_behalf_of: null,
    payment_method: method?.id ?? null,
    payment_method_configuration_details: null,
    payment_method_options: {
      card: { installments: null, mandate_options: null, network: null, request_three_d_secure: 'automatic' },
    },
    payment_method_types: request.payment_method_types ?? ['card'],
    payment_record: null,
    processing: null,
    receipt_email: request.receipt_email ?? null,
    review: null,
    setup_future_usage: request.setup_future_usage ?? null,
    shipping: null,
    source: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: method === null ? 'requires_payment_method' : 'requires_confirmation',
    transfer_data: null,
    transfer_group: null,
  };
  sim.put(intent);
  sim.emit('payment_intent.created', intent);
  return intent;
}

const CONFIRMABLE = ['requires_payment_method', 'requires_confirmation', 'requires_action'];

/** Charges the intent. Throws card_error when the bank declines; the intent then waits for another method. */
export function confirmIntent(
  sim: Sim,
  intent: PaymentIntent,
  options: { payment_method?: string | null; off_session?: boolean } = {},
): PaymentIntent {
  if (!CONFIRMABLE.includes(intent.status)) {
    const message = `You cannot confirm this PaymentIntent because it has a status of ${intent.status}.`;
    throw new StripeFault(message, {
      code: 'payment_intent_unexpected_state',
      with: { payment_intent: { ...intent } },
    });
  }
  const chosen = options.payment_method ?? intent.payment_method;
  if (chosen === null) {
    const message = "You cannot confirm this PaymentIntent because it's missing a payment method.";
    throw new StripeFault(message, {
      code: 'payment_intent_unexpected_state',
      with: { payment_intent: { ...intent } },
    });
  }
  const method = usableMethod(sim, String(chosen));
  if (method.customer !== null && method.customer !== intent.customer) {
    throw new StripeFault('The provided PaymentMethod belongs to another Customer.', { param: 'payment_method' });
  }
  sim.change(intent, { payment_method: method.id });
  const behaviour = behaviourOf(sim, method);
  if (behaviour.kind === 'decline') return fail(sim, intent, method, behaviour);
  if (behaviour.kind === 'authenticate') {
    return options.off_session === true ? fail(sim, intent, method, NEEDS_CUSTOMER) : askCustomer(sim, intent);
  }
  if (behaviour.kind === 'async') return begin(sim, intent, method);
  return succeed(sim, intent, createCharge(sim, intent, method, 'succeeded').id);
}

const NEEDS_CUSTOMER = {
  code: 'authentication_required',
  decline_code: 'authentication_required',
  message: 'Your card was declined. This transaction requires authentication.',
};

/** Makes an intent and charges it; a decline is the intent's state, not an exception. What invoices are paid with. */
export function chargeFor(sim: Sim, request: IntentRequest): PaymentIntent {
  const intent = createIntent(sim, request);
  return intent.payment_method === null
    ? intent
    : tryConfirm(sim, intent, { off_session: request.off_session ?? false });
}

/** As `confirmIntent`, but a decline is the intent's state and not an exception. */
export function tryConfirm(
  sim: Sim,
  intent: PaymentIntent,
  options: Parameters<typeof confirmIntent>[2],
): PaymentIntent {
  try {
    return confirmIntent(sim, intent, options);
  } catch (error) {
    if (error instanceof StripeFault && error.type === 'card_error') return intent;
    throw error;
  }
}

function succeed(sim: Sim, intent: PaymentIntent, charge: string): PaymentIntent {
  sim.change(intent, {
    status: 'succeeded',
    amount_received: intent.amount,
    latest_charge: charge,
    last_payment_error: null,
    next_action: null,
    processing: null,
  });
  sim.emit('payment_intent.succeeded', intent);
  return told(sim, intent);
}

function begin(sim: Sim, intent: PaymentIntent, method: Stripe.PaymentMethod): PaymentIntent {
  const charge = createCharge(sim, intent, method, 'pending');
  sim.change(intent, { status: 'processing', latest_charge: charge.id, last_payment_error: null, next_action: null });
  sim.emit('payment_intent.processing', intent);
  return told(sim, intent);
}

function askCustomer(sim: Sim, intent: PaymentIntent): PaymentIntent {
  const url = `https://hooks.stripe.test/3d_secure/${intent.id}`;
  sim.change(intent, {
    status: 'requires_action',
    next_action: { type: 'redirect_to_url', redirect_to_url: { return_url: null, url } },
  });
  sim.emit('payment_intent.requires_action', intent);
  return told(sim, intent);
}

function fail(
  sim: Sim,
  intent: PaymentIntent,
  method: Stripe.PaymentMethod,
  why: { code: string; decline_code?: string; message: string },
  charge = createCharge(sim, intent, method, 'failed', why).id,
): never {
  const { code, decline_code, message } = why;
  const error = { type: 'card_error', charge, code, message, payment_method: structuredClone(method) };
  const last = {
    ...error,
    ...(decline_code === undefined ? {} : { decline_code }),
  } as Stripe.PaymentIntent.LastPaymentError;
  sim.change(intent, {
    status: 'requires_payment_method',
    latest_charge: charge,
    last_payment_error: last,
    payment_method: null,
    next_action: null,
    processing: null,
  });
  sim.emit('payment_intent.payment_failed', intent);
  told(sim, intent);
  throw new StripeFault(message, {
    type: 'card_error',
    code,
    ...(decline_code === undefined ? {} : { decline_code }),
    with: {
      advice_code: 'try_again_later',
      charge,
      network_decline_code: '01',
      payment_intent: structuredClone(intent),
      payment_method: structuredClone(method),
    },
  });
}

/** The customer answers the bank's question, or does not: from requires_action to succeeded or requires_payment_method. */
export function authenticateIntent(sim: Sim, intent: PaymentIntent, passes: boolean): PaymentIntent {
  if (intent.status !== 'requires_action') throw new Error(`${intent.id} is ${intent.status}, not requires_action`);
  const method = methodOf(sim, String(intent.payment_method));
  if (passes) return succeed(sim, intent, createCharge(sim, intent, method, 'succeeded').id);
  const message =
    'We are unable to authenticate your payment method. Please choose a different payment method and try again.';
  return quiet(intent, () => fail(sim, intent, method, { code: 'payment_intent_authentication_failure', message }));
}

/** A payment that takes days comes to its end. */
export function settleIntent(sim: Sim, intent: PaymentIntent, outcome: 'succeeded' | 'failed'): PaymentIntent {
  if (intent.status !== 'processing') throw new Error(`${intent.id} is ${intent.status}, not processing`);
  const charge = sim.get<Stripe.Charge>('charge', String(intent.latest_charge));
  if (outcome === 'succeeded') {
    settleCharge(sim, charge, null);
    return succeed(sim, intent, charge.id);
  }
  const why = { code: 'payment_intent_payment_attempt_failed', message: 'The payment failed.' };
  settleCharge(sim, charge, why);
  return quiet(intent, () => fail(sim, intent, methodOf(sim, String(intent.payment_method)), why, charge.id));
}

function quiet(intent: PaymentIntent, act: () => never): PaymentIntent {
  try {
    return act();
  } catch (error) {
    if (error instanceof StripeFault) return intent;
    throw error;
  }
}

/** Ends an intent that has not been paid. */
export function cancelIntent(
  sim: Sim,
  intent: PaymentIntent,
  reason: PaymentIntent['cancellation_reason'],
): PaymentIntent {
  if (!CONFIRMABLE.includes(intent.status)) {
    const message = `You cannot cancel this PaymentIntent because it has a status of ${intent.status}.`;
    throw new StripeFault(message, {
      code: 'payment_intent_unexpected_state',
      with: { payment_intent: { ...intent } },
    });
  }
  sim.change(intent, { status: 'canceled', canceled_at: sim.now(), cancellation_reason: reason, next_action: null });
  sim.emit('payment_intent.canceled', intent);
  return told(sim, intent);
}
