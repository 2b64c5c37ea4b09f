/** What customers do at a checkout: pay by one means or another, type a promotion code, or come by a payment link. */
import type Stripe from 'stripe';
import { startSubscription } from './billing/start.ts';
import { cardNamed } from './cards.ts';
import { keep, type Plan, planOf, total } from './checkout.ts';
import { newSession, type Session } from './checkout-session.ts';
import type { Sim, Stored } from './core.ts';
import { couponOf, promotionCodeOf, redeem } from './coupons.ts';
import { createCustomer } from './customers.ts';
import { StripeFault } from './fault.ts';
import { authenticateIntent, createIntent, settleIntent, tryConfirm } from './payment-intents.ts';
import { attach, createMethod } from './payment-methods.ts';
import { confirmSetup } from './setup-intents.ts';

export interface CompleteOptions {
  /** A test card by its name or in short: `card` (the default), `async`, `declined`, `authentication`, `us_bank_account`. */
  method?: string;
  /** Typed at the checkout, where the session allows it. */
  promotion_code?: string;
  email?: string;
  /** False: the customer fails to authenticate, or walks away. True unless told. */
  authenticates?: boolean;
  /** Which cards are the same. */
  fingerprint?: string;
}

/** The customer completes the session. It stays open when the payment is declined. */
export function completeSession(sim: Sim, session: Session, options: CompleteOptions = {}): Session {
  if (session.status !== 'open') throw new StripeFault(`${session.id} is ${session.status}`);
  const plan = planOf(sim, session.id);
  if (options.promotion_code !== undefined) applyCode(sim, session, plan, options.promotion_code);
  const email = options.email ?? session.customer_email ?? 'payer@example.test';
  const done = { payment: payFor, subscription: subscribe, setup: setUp }[session.mode as 'payment'](
    sim,
    session,
    plan,
    { ...options, email },
  );
  if (!done) return session;
  sim.change(session, {
    status: 'complete',
    url: null,
    customer_details: {
      address: { city: null, country: 'US', line1: null, line2: null, postal_code: '94102', state: null },
      business_name: null,
      email,
      individual_name: null,
      name: 'A Payer',
      phone: null,
      tax_exempt: 'none',
      tax_ids: [],
    },
  });
  sim.side<number>('open sessions').delete(session.id);
  sim.emit('checkout.session.completed', session);
  return session;
}

function applyCode(sim: Sim, session: Session, plan: Plan, typed: string): void {
  if (session.allow_promotion_codes !== true) throw new StripeFault(`${session.id} does not allow promotion codes`);
  const code = promotionCodeOf(sim, typed);
  if (code === undefined) throw new StripeFault(`there is no active promotion code ${typed}`);
  plan.discounts = [{ coupon: null, promotion_code: code.id }];
  total(sim, session, plan);
}

type Paying = CompleteOptions & { email: string };

function customerOfSession(sim: Sim, session: Session, email: string, always: boolean): string | null {
  if (session.customer !== null) return String(session.customer);
  if (!always && session.customer_creation !== 'always') return null;
  const customer = createCustomer(sim, { email, livemode: session.livemode });
  sim.change(session, { customer: customer.id });
  return customer.id;
}

function payFor(sim: Sim, session: Session, plan: Plan, { email, ...options }: Paying): boolean {
  const amount = session.amount_total ?? 0;
  const saves = plan.payment.setup_future_usage;
  const customer = customerOfSession(sim, session, email, saves !== null);
  for (const { coupon, promotion_code } of plan.discounts) {
    const code = promotion_code === null ? undefined : sim.get<Stripe.PromotionCode>('promotion_code', promotion_code);
    redeem(code === undefined ? sim.get<Stripe.Coupon>('coupon', coupon ?? '') : couponOf(sim, code), code);
  }
  if (amount === 0) {
    sim.change(session, { payment_status: 'no_payment_required' });
    return true;
  }
  const method = createMethod(sim, options.method ?? 'card', options.fingerprint);
  const known = session.payment_intent;
  const intent =
    known === null
      ? createIntent(sim, {
          customer,
          amount,
          currency: session.currency ?? 'usd',
          metadata: plan.payment.metadata,
          description: plan.payment.description,
          livemode: session.livemode,
          setup_future_usage: saves as 'off_session' | null,
          payment_method_types: [method.type],
        })
      : sim.get<Stripe.PaymentIntent>('payment_intent', String(known));
  sim.change(session, { payment_intent: intent.id });
  tryConfirm(sim, intent, { payment_method: method.id });
  if (intent.status === 'requires_action') authenticateIntent(sim, intent, options.authenticates !== false);
  if (intent.status !== 'succeeded' && intent.status !== 'processing') return false;
  if (saves !== null && customer !== null) attach(sim, method, customer);
  sim.change(session, { payment_status: intent.status === 'succeeded' ? 'paid' : 'unpaid' });
  return true;
}

function subscribe(sim: Sim, session: Session, plan: Plan, { email, ...options }: Paying): boolean {
  const customer = customerOfSession(sim, session, email, true) as string;
  const name = options.method ?? 'card';
  const method = name === 'none' ? null : attach(sim, createMethod(sim, name, options.fingerprint), customer);
  const asks = cardNamed(name)?.card.behaviour.kind === 'authenticate';
  const { trial_period_days, trial_end } = plan.subscription;
  let begun: ReturnType<typeof startSubscription>;
  try {
    begun = startSubscription(sim, {
      customer,
      items: plan.bought,
      currency: session.currency ?? 'usd',
      ...(method && { default_payment_method: method.id }),
      payment_behavior: asks ? 'allow_incomplete' : 'error_if_incomplete',
      metadata: plan.subscription.metadata,
      discounts: plan.discounts.map(({ coupon, promotion_code }) =>
        promotion_code === null ? { coupon: coupon ?? '' } : { promotion_code },
      ),
      automatic_tax: { enabled: plan.taxed },
      ...(trial_period_days !== null && { trial_period_days }),
      ...(trial_end !== null && { trial_end }),
      off_session: false,
    });
  } catch (error) {
    if (error instanceof StripeFault && error.type === 'card_error') return false;
    throw error;
  }
  const { invoice } = begun;
  const intent = intentOf(sim, invoice.id);
  if (intent?.status === 'requires_action') authenticateIntent(sim, intent, options.authenticates !== false);
  sim.change(session, { subscription: begun.subscription.id, invoice: invoice.id });
  if (asks && intent !== undefined && intent.status !== 'succeeded') return false;
  const free = invoice.amount_due === 0;
  sim.change(session, { payment_status: free ? 'no_payment_required' : invoice.status === 'paid' ? 'paid' : 'unpaid' });
  return true;
}

function setUp(sim: Sim, session: Session, _plan: Plan, { email, ...options }: Paying): boolean {
  const setup = sim.get<Stripe.SetupIntent>('setup_intent', String(session.setup_intent));
  sim.change(setup, { customer: customerOfSession(sim, session, email, false) });
  try {
    confirmSetup(sim, setup, createMethod(sim, options.method ?? 'card', options.fingerprint).id);
    return true;
  } catch (error) {
    if (error instanceof StripeFault && error.type === 'card_error') return false;
    throw error;
  }
}

/** The payment intent that pays an invoice, undefined when none does. */
export function intentOf(sim: Sim, invoice: string): Stripe.PaymentIntent | undefined {
  const payments = sim.all<Stripe.InvoicePayment>('invoice_payment');
  const id = payments.find((one) => one.invoice === invoice)?.payment.payment_intent;
  return id === undefined ? undefined : sim.find<Stripe.PaymentIntent>('payment_intent', String(id));
}

/** A payment that takes days comes to its end, and the session with it. */
export function settleSession(sim: Sim, session: Session, outcome: 'succeeded' | 'failed'): Session {
  const intent =
    session.payment_intent === null
      ? intentOf(sim, String(session.invoice))
      : sim.get<Stripe.PaymentIntent>('payment_intent', String(session.payment_intent));
  if (intent === undefined) throw new Error(`${session.id} has no payment to settle`);
  settleIntent(sim, intent, outcome);
  if (outcome === 'succeeded') sim.change(session, { payment_status: 'paid' });
  sim.emit(`checkout.session.async_payment_${outcome}`, session);
  return session;
}

export interface LinkOptions {
  client_reference_id?: string;
  email?: string;
  customer_creation?: 'always' | 'if_required';
  metadata?: Record<string, string>;
}

/** Somebody opens a payment link of the owner's: a session that Tollgate did not make and that names nothing of its. */
export function openPaymentLink(
  sim: Sim,
  bought: Array<{ price: string; quantity?: number }>,
  options: LinkOptions = {},
): Session {
  const lines = bought.map(({ price, quantity }) => ({ price, quantity: quantity ?? 1 }));
  const prices = lines.map(({ price }) => sim.get<Stripe.Price>('price', price));
  const mode = prices.some(({ type }) => type === 'recurring') ? 'subscription' : 'payment';
  const link = sim.id('plink');
  sim.put({
    id: link,
    object: 'payment_link',
    active: true,
    livemode: sim.livemode,
    metadata: {},
    url: `https://buy.stripe.test/${link}`,
  } as Stored);
  const { client_reference_id, customer_creation } = options;
  const session = newSession(sim, {
    mode,
    currency: prices[0]?.currency ?? 'usd',
    customer: null,
    form: {
      ...(client_reference_id !== undefined && { client_reference_id }),
      ...(customer_creation !== undefined && { customer_creation }),
      ...(options.email !== undefined && { customer_email: options.email }),
      ...(options.metadata !== undefined && { metadata: options.metadata }),
    },
    payment_link: link,
  });
  const plan: Plan = {
    bought: lines,
    discounts: [],
    lines: [],
    taxed: false,
    payment: { metadata: {}, description: null, setup_future_usage: null },
    subscription: { metadata: {}, trial_period_days: null, trial_end: null },
    setup: { metadata: {} },
  };
  total(sim, session, plan);
  return keep(sim, session, plan);
}
