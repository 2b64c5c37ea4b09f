/** Beginning a subscription: by the API, or from a checkout session that was completed. */
import { type Sim, StripeFault } from '../core.ts';
import { createIntent, tryConfirm } from '../payment-intents.ts';
import { DAY, periodEnd, share } from './calendar.ts';
import { attemptPayment, finalize, intentFor, methodOf } from './collect.ts';
import { unmakeDiscounts } from './discounts.ts';
import { pendingItems } from './invoice-items.ts';
import { composeInvoice, keepInvoice, useDiscounts } from './invoices.ts';
import { setStatus } from './lifecycle.ts';
import { itemLine, pendingLine } from './lines.ts';
import { intervalOf } from './prices.ts';
import { settings } from './settings.ts';
import { blankSubscription, newItem, type SubscriptionParams, setItems, usablePrice } from './subscription-shape.ts';
import type { Customer, Invoice, PaymentIntent, Subscription } from './types.ts';

/**
 * Starts a subscription with its first invoice, and collects that as `payment_behavior` says:
 * `allow_incomplete` (the default) tries to charge, and leaves the subscription incomplete when that fails;
 * `default_incomplete` leaves the charge to the client; `error_if_incomplete` throws a card_error (402) and leaves
 * nothing behind. With an async method the subscription is active while the invoice's payment is processing.
 */
export function startSubscription(
  sim: Sim,
  params: SubscriptionParams,
): { subscription: Subscription; invoice: Invoice } {
  const customer = sim.get<Customer>('customer', params.customer, 'customer');
  const sub = compose(sim, params);
  const invoice = firstInvoice(sim, sub, customer, params);
  const charged = sub.collection_method === 'charge_automatically';
  const behavior = params.payment_behavior ?? 'allow_incomplete';
  const due = charged && invoice.amount_due > 0;
  const offSession = params.off_session ?? false;
  if (due && behavior !== 'default_incomplete') requireMethod(sim, sub);
  const paidBy = due && behavior === 'error_if_incomplete' ? chargeFirst(sim, sub, invoice, offSession) : undefined;
  keepSubscription(sim, sub, invoice);
  keepInvoice(sim, invoice);
  useDiscounts(sim, sub, invoice);
  if (!charged && invoice.amount_due > 0) {
    invoice.automatically_finalizes_at = sim.now() + settings(sim).draftSeconds;
    return { subscription: sub, invoice };
  }
  finalize(sim, invoice, paidBy);
  if (due && behavior === 'allow_incomplete')
    attemptPayment(sim, invoice, { scheduled: true, off_session: offSession });
  if (sub.status === 'incomplete' && invoice.status === 'paid') setStatus(sim, sub, 'active');
  return { subscription: sub, invoice };
}

function compose(sim: Sim, params: SubscriptionParams): Subscription {
  const [first] = params.items;
  if (first === undefined) {
    throw new StripeFault('Missing required param: items.', { code: 'parameter_missing', param: 'items' });
  }
  const price = usablePrice(sim, first.price);
  const interval = intervalOf(price);
  const currency = params.currency ?? price.currency;
  const id = sim.id('sub');
  const sub = blankSubscription(sim, id, params, currency);
  const now = sim.now();
  const trialEnd = trialEndOf(params, now);
  if (trialEnd !== null) {
    sub.status = 'trialing';
    sub.trial_start = now;
    sub.trial_end = trialEnd;
    sub.billing_cycle_anchor = trialEnd;
  } else if (sub.collection_method === 'send_invoice') sub.status = 'active';
  if (params.billing_cycle_anchor !== undefined) sub.billing_cycle_anchor = params.billing_cycle_anchor;
  const end = trialEnd ?? periodEnd(sub.billing_cycle_anchor, interval, now);
  setItems(
    sim,
    sub,
    params.items.map((item) => newItem(sim, { id, customer: params.customer }, item, { start: now, end })),
  );
  if (params.cancel_at_period_end === true) {
    sub.cancel_at_period_end = true;
    sub.cancel_at = end;
    sub.canceled_at = now;
  }
  if (sub.cancel_at !== null && sub.cancellation_details !== null) {
    sub.cancellation_details.reason = 'cancellation_requested';
  }
  return sub;
}

function trialEndOf(params: SubscriptionParams, now: number): number | null {
  if (params.trial_end === 'now') return null;
  const end = params.trial_end ?? (params.trial_period_days ? now + params.trial_period_days * DAY : now);
  return end > now ? end : null;
}

function firstInvoice(sim: Sim, sub: Subscription, customer: Customer, params: SubscriptionParams): Invoice {
  const now = sim.now();
  const lines = sub.items.data.map((item) => {
    const period = { start: item.current_period_start, end: item.current_period_end };
    const line = itemLine(sim, sub, item, period, sub.status === 'trialing');
    if (params.billing_cycle_anchor !== undefined && sub.status !== 'trialing') {
      // The first period is a part of one: it costs that part, or nothing.
      const whole = periodEnd(period.end, intervalOf(item.price), period.end) - period.end;
      const part = params.proration_behavior === 'none' ? 0 : Math.min(whole, period.end - now);
      line.amount = share(line.amount, part, whole);
      line.subtotal = line.amount;
      const details = line.parent?.subscription_item_details;
      if (details != null) details.proration = true;
    }
    return line;
  });
  const waiting = pendingItems(sim, customer.id, sub.currency, sub.id).map((item) => pendingLine(sim, item));
  return composeInvoice(sim, {
    customer,
    currency: sub.currency,
    subscription: sub,
    billing_reason: 'subscription_create',
    period: { start: now, end: now },
    lines: [...waiting, ...lines],
    auto_advance: sub.collection_method === 'send_invoice',
    collection_method: sub.collection_method,
    days_until_due: sub.days_until_due,
    discounts: sub.discounts as string[],
    taxed: sub.automatic_tax.enabled,
  });
}

function keepSubscription(sim: Sim, sub: Subscription, invoice: Invoice): void {
  sub.latest_invoice = invoice.id;
  sim.put(sub);
  sim.emit('customer.subscription.created', sub);
  for (const id of sub.discounts as string[]) sim.emit('customer.discount.created', sim.get('discount', id));
}

function chargeFirst(sim: Sim, sub: Subscription, invoice: Invoice, offSession: boolean): PaymentIntent {
  try {
    return chargeOrThrow(sim, sub, invoice, offSession);
  } catch (error) {
    unmakeDiscounts(sim, [sub.discounts, ...sub.items.data.map((item) => item.discounts)].flat() as string[]);
    throw error;
  }
}

function requireMethod(sim: Sim, sub: Subscription): void {
  if (sub.default_payment_method !== null) {
    sim.get('payment_method', sub.default_payment_method as string, 'default_payment_method');
    return;
  }
  if (methodOf(sim, sub) !== null) return;
  throw new StripeFault(
    'This customer has no attached payment source or default payment method. Please consider adding a default payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.',
    { code: 'resource_missing' },
  );
}

/** Charges before anything is kept. Throws the card_error of a decline. */
export function chargeOrThrow(sim: Sim, sub: Subscription, invoice: Invoice, offSession: boolean): PaymentIntent {
  const method = methodOf(sim, sub);
  if (method === null)
    throw new StripeFault('This customer has no default payment method.', { code: 'resource_missing' });
  const intent = createIntent(sim, intentFor(invoice));
  tryConfirm(sim, intent, { payment_method: method, off_session: offSession });
  if (intent.status === 'succeeded' || intent.status === 'processing') return intent;
  const error = intent.last_payment_error;
  const acts = intent.status === 'requires_action';
  throw new StripeFault(error?.message ?? 'Your card was declined.', {
    type: 'card_error',
    code: acts ? 'subscription_payment_intent_requires_action' : (error?.code ?? 'card_declined'),
    ...(error?.decline_code === undefined ? {} : { decline_code: error.decline_code }),
  });
}
