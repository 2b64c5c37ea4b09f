/**
 * Checkout sessions.
 *
 *     open ─▶ complete (payment_status paid | no_payment_required | unpaid ─ settled ─▶ paid, or unpaid for good)
 *      └────▶ expired, after 24 hours or when told
 *
 * The customer's side of it (`completeSession`, `settleSession`) is in `checkout-complete.ts`.
 */
import type { Price } from './catalogue.ts';
import {
  type Bought,
  boughtOf,
  choicesOf,
  type DiscountChoice,
  type LineItem,
  type Totals,
  totalsOf,
} from './checkout-lines.ts';
import { LIFE_SECONDS, newSession, type Session } from './checkout-session.ts';
import { type Call, page, type Sim } from './core.ts';
import { customerOf } from './customers.ts';
import { missing, StripeFault } from './fault.ts';
import { type Form, flag, hash, hashes, metadata, needed, text, whole } from './params.ts';
import { createSetup } from './setup-intents.ts';

/** What a session will do, which Stripe does not show. */
export interface Plan {
  bought: Bought[];
  discounts: DiscountChoice[];
  lines: LineItem[];
  taxed: boolean;
  payment: { metadata: Record<string, string>; description: string | null; setup_future_usage: string | null };
  subscription: { metadata: Record<string, string>; trial_period_days: number | null; trial_end: number | null };
  setup: { metadata: Record<string, string> };
}

export function planOf(sim: Sim, id: string): Plan {
  const plan = sim.side<Plan>('checkout plans').get(id);
  if (plan === undefined) throw new Error(`${id} has no plan`);
  return plan;
}

/** Works the amounts out anew, and sets them. */
export function total(sim: Sim, session: Session, plan: Plan): Totals | null {
  if (session.mode === 'setup') return null;
  const free = plan.subscription.trial_period_days !== null || plan.subscription.trial_end !== null;
  const terms = { currency: session.currency ?? 'usd', discounts: plan.discounts, taxed: plan.taxed, free };
  const totals = totalsOf(sim, plan.bought, terms);
  plan.lines = totals.lines;
  const { amount_subtotal, amount_total, total_details } = totals;
  const discounts = plan.discounts.length === 0 ? session.discounts : plan.discounts;
  sim.change(session, { amount_subtotal, amount_total, total_details, discounts });
  return totals;
}

function create(call: Call): Session {
  const { form, sim } = call;
  const mode = needed(form, 'mode');
  if (!['payment', 'subscription', 'setup'].includes(mode))
    throw new StripeFault('Invalid mode: must be one of payment, setup, or subscription', { param: 'mode' });
  refuseMixes(form, mode);
  const bought = hashes(form, 'line_items').map((line, index) => boughtOf(sim, line, index));
  const currency = currencyOf(sim, bought, mode, text(form, 'currency'));
  const customer = customerFor(sim, form);
  const plan = planFor(form, bought);
  const session = newSession(sim, { mode, currency, customer, form, life: lifeOf(sim, form) });
  const due = total(sim, session, plan)?.amount_total ?? 0;
  if (mode === 'payment' && due > 0 && due < 50) {
    const message = "The Checkout Session's total amount due must add up to at least $0.50 usd";
    throw new StripeFault(message, { code: 'amount_too_small' });
  }
  if (mode === 'setup') session.setup_intent = createSetup(sim, { customer, metadata: plan.setup.metadata }).id;
  return keep(sim, session, plan);
}

/** Keeps a session until it is completed or expires. */
export function keep(sim: Sim, session: Session, plan: Plan): Session {
  sim.put(session);
  sim.side<Plan>('checkout plans').set(session.id, plan);
  sim.side<number>('open sessions').set(session.id, session.expires_at);
  return session;
}

function refuseMixes(form: Form, mode: string): void {
  if (text(form, 'success_url') === undefined && !['embedded_page', 'elements'].includes(text(form, 'ui_mode') ?? ''))
    throw missing('success_url');
  if (mode !== 'setup' && hashes(form, 'line_items').length === 0) throw missing('line_items');
  const pairs: Array<[string, string]> = [
    ['allow_promotion_codes', 'discounts'],
    ['customer', 'customer_email'],
    ['customer', 'customer_creation'],
  ];
  for (const [one, other] of pairs) {
    if (form[one] === undefined || form[other] === undefined) continue;
    throw new StripeFault(`You may only specify one of these parameters: ${one}, ${other}.`, { param: one });
  }
  const ofModes: Record<string, string> = {
    payment_intent_data: 'payment',
    subscription_data: 'subscription',
    setup_intent_data: 'setup',
    customer_creation: 'payment',
  };
  for (const [param, only] of Object.entries(ofModes)) {
    if (form[param] === undefined || mode === only || (param === 'customer_creation' && mode === 'setup')) continue;
    throw new StripeFault(`You can not pass \`${param}\` in \`${mode}\` mode.`, { param });
  }
}

/** The session's currency; faults of prices that do not fit the mode. */
function currencyOf(sim: Sim, bought: Bought[], mode: string, asked?: string): string {
  const prices = bought.map(({ price }) => sim.get<Price>('price', price));
  if (mode === 'payment' && prices.some(({ type }) => type === 'recurring')) {
    throw new StripeFault(
      'You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.',
      { param: 'line_items[0][price]' },
    );
  }
  if (mode === 'subscription' && !prices.some(({ type }) => type === 'recurring')) {
    throw new StripeFault('You must provide at least one recurring price in `subscription` mode when using prices.', {
      param: 'line_items[0][price]',
    });
  }
  return (asked ?? prices[0]?.currency ?? 'usd').toLowerCase();
}

function customerFor(sim: Sim, form: Form): string | null {
  const named = text(form, 'customer');
  if (named === undefined) return null;
  const customer = customerOf(sim, named, 'customer');
  const taxed = flag(hash(form, 'automatic_tax') ?? {}, 'enabled') === true;
  const updates = text(hash(form, 'customer_update') ?? {}, 'address') === 'auto';
  if (taxed && !updates && !customer.address?.country) {
    const message =
      "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' to save the address entered in Checkout to the Customer.";
    throw new StripeFault(message, { code: 'customer_tax_location_invalid' });
  }
  return customer.id;
}

function planFor(form: Form, bought: Bought[]): Plan {
  const payment = hash(form, 'payment_intent_data') ?? {};
  const subscription = hash(form, 'subscription_data') ?? {};
  return {
    bought,
    discounts: choicesOf(hashes(form, 'discounts')),
    lines: [],
    taxed: flag(hash(form, 'automatic_tax') ?? {}, 'enabled') ?? false,
    payment: {
      metadata: metadata(payment),
      description: text(payment, 'description') ?? null,
      setup_future_usage: text(payment, 'setup_future_usage') ?? null,
    },
    subscription: {
      metadata: metadata(subscription),
      trial_period_days: whole(subscription, 'trial_period_days') ?? null,
      trial_end: whole(subscription, 'trial_end') ?? null,
    },
    setup: { metadata: metadata(hash(form, 'setup_intent_data') ?? {}) },
  };
}

function lifeOf(sim: Sim, form: Form): number {
  const at = whole(form, 'expires_at');
  const life = at === undefined ? LIFE_SECONDS : at - sim.now();
  if (life < 1800 - 5 || life > LIFE_SECONDS + 5) {
    throw new StripeFault(
      'The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.',
      { param: 'expires_at' },
    );
  }
  return life;
}

/** Ends an open session. */
export function expireSession(sim: Sim, session: Session): Session {
  if (session.status !== 'open') {
    throw new StripeFault(
      `Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of ${session.status}.`,
    );
  }
  sim.change(session, { status: 'expired', url: null });
  sim.side<number>('open sessions').delete(session.id);
  sim.emit('checkout.session.expired', session);
  return session;
}

function list(call: Call): unknown {
  const { query, sim } = call;
  const wanted = ['payment_intent', 'subscription', 'customer', 'status', 'payment_link'] as const;
  const asked = wanted.flatMap((key) => (text(query, key) === undefined ? [] : [[key, text(query, key)] as const]));
  return sim.list<Session>(call, 'checkout.session', (one) => asked.every(([key, value]) => one[key] === value));
}

export function checkoutRoutes(sim: Sim): void {
  for (const field of ['customer', 'invoice', 'payment_intent', 'setup_intent', 'subscription', 'payment_link']) {
    sim.link('checkout.session', field, field);
  }
  sim.link('checkout.session', 'discounts.coupon', 'coupon');
  sim.link('checkout.session', 'discounts.promotion_code', 'promotion_code');
  sim.part('checkout.session', 'line_items', (session) => {
    const { lines } = planOf(sim, String(session.id));
    const url = `/v1/checkout/sessions/${session.id}/line_items`;
    return { object: 'list', data: lines.slice(0, 10), has_more: lines.length > 10, url };
  });
  const named = (call: Call) => sim.get<Session>('checkout.session', call.params.id ?? '');
  sim.route('POST', '/v1/checkout/sessions', create);
  sim.route('GET', '/v1/checkout/sessions', list);
  sim.route('GET', '/v1/checkout/sessions/:id', named);
  sim.route('POST', '/v1/checkout/sessions/:id', (call) => {
    const session = named(call);
    sim.change(session, { metadata: metadata(call.form, session.metadata ?? {}) });
    return session;
  });
  sim.route('POST', '/v1/checkout/sessions/:id/expire', (call) => expireSession(sim, named(call)));
  sim.route('GET', '/v1/checkout/sessions/:id/line_items', (call) => page(call, planOf(sim, named(call).id).lines));
  const open = () => sim.side<number>('open sessions');
  sim.dueAt(() => (open().size === 0 ? null : Math.min(...open().values())));
  sim.onAdvance(() => {
    for (const [id, at] of open()) if (at <= sim.now()) expireSession(sim, sim.get<Session>('checkout.session', id));
  });
}
