/**
 * Collecting an invoice: its PaymentIntent, its InvoicePayments, failures and retries.
 *
 *     invoice payment: open ──intent succeeded──▶ paid
 *                       └──intent canceled──▶ canceled
 *     Attempts: the first when the invoice is finalized, then by `retryDays`; none left → lifecycle decides.
 */
import { type Sim, StripeFault } from '../core.ts';
import { cancelIntent, createIntent, tryConfirm } from '../payment-intents.ts';
import { DAY } from './calendar.ts';
import { changing, copyOf } from './changes.ts';
import { markUncollectible, openInvoice, voidInvoice } from './invoices.ts';
import { invoiceClosed, invoiceFailed, invoiceSettled, paymentUnderWay, subscriptionOf } from './lifecycle.ts';
import { settings } from './settings.ts';
import type { Customer, Invoice, InvoicePayment, PaymentIntent, Subscription } from './types.ts';

export interface Attempt {
  payment_method?: string | undefined;
  off_session?: boolean;
  /** By the schedule, or (false) by a call of the API: only the first of those counts as an attempt. */
  scheduled: boolean;
}

const DESCRIPTIONS: Record<string, string> = {
  subscription_create: 'Subscription creation',
  subscription_cycle: 'Subscription update',
  subscription_update: 'Subscription update',
};

/** draft → open, with the PaymentIntent that is to pay it; paid at once when nothing is due. `paidBy`: an intent that has succeeded already. */
export function finalize(sim: Sim, invoice: Invoice, paidBy?: PaymentIntent): void {
  if (sim.side<boolean>('billing.unfinalizable').has(invoice.customer as string)) {
    failFinalization(sim, invoice);
    return;
  }
  openInvoice(sim, invoice);
  if (invoice.amount_due === 0) {
    markPaid(sim, invoice, null);
    return;
  }
  if (paidBy !== undefined) {
    attach(sim, invoice, paidBy, true);
    intentChanged(sim, paidBy);
    return;
  }
  if (invoice.collection_method === 'send_invoice') sim.emit('invoice.sent', invoice);
  attach(sim, invoice, createIntent(sim, intentFor(invoice)), true);
}

/** The invoice stays a draft that nothing finalizes by itself. */
function failFinalization(sim: Sim, invoice: Invoice): void {
  changing(sim, 'invoice.updated', invoice, () => {
    invoice.auto_advance = false;
    invoice.automatically_finalizes_at = null;
    invoice.automatic_tax.status = 'requires_location_inputs';
    invoice.last_finalization_error = {
      code: 'customer_tax_location_invalid',
      message:
        "The customer's location isn't recognized. Set a valid customer address in order to automatically calculate tax.",
      type: 'invalid_request_error',
    };
  });
  sim.emit('invoice.finalization_failed', invoice);
}

/** What the intent of an invoice is created with. Its metadata stays empty, as Stripe leaves it. */
export function intentFor(invoice: Invoice): Parameters<typeof createIntent>[1] {
  return {
    amount: invoice.amount_remaining,
    currency: invoice.currency,
    customer: invoice.customer as string,
    livemode: invoice.livemode,
    description: DESCRIPTIONS[invoice.billing_reason ?? ''] ?? null,
    setup_future_usage: 'off_session',
  };
}

/** Links an intent with an invoice: it pays (a part of) the invoice once it has succeeded. */
export function attach(sim: Sim, invoice: Invoice, intent: PaymentIntent, isDefault: boolean): InvoicePayment {
  const payment: InvoicePayment = {
    id: sim.id('inpay'),
    object: 'invoice_payment',
    amount_paid: null,
    amount_requested: intent.amount,
    created: sim.now(),
    currency: invoice.currency,
    invoice: invoice.id,
    is_default: isDefault,
    livemode: invoice.livemode,
    payment: { payment_intent: intent.id, type: 'payment_intent' },
    status: 'open',
    status_transitions: { canceled_at: null, paid_at: null },
  };
  sim.side<string>('billing.intents').set(intent.id, payment.id);
  return sim.put(payment);
}

/** The payments of an invoice, newest first. */
export function paymentsOf(sim: Sim, invoice: string): InvoicePayment[] {
  return sim.all<InvoicePayment>('invoice_payment').filter((payment) => payment.invoice === invoice);
}

/** The intent that is to pay the invoice. */
export function defaultIntent(sim: Sim, invoice: string): PaymentIntent | null {
  const payment = paymentsOf(sim, invoice).find(({ is_default }) => is_default);
  const id = payment?.payment.payment_intent;
  return id == null ? null : sim.get<PaymentIntent>('payment_intent', id as string);
}

/** The method that an invoice is charged to, when the call names none. */
export function methodFor(sim: Sim, invoice: Invoice): string | null {
  const sub = subscriptionOf(sim, invoice);
  if (invoice.default_payment_method !== null) return invoice.default_payment_method as string;
  return sub === null ? ofCustomer(sim, invoice.customer as string) : methodOf(sim, sub);
}

/** The method that a subscription is charged to: its own, or else its customer's. */
export function methodOf(sim: Sim, sub: Subscription): string | null {
  return (sub.default_payment_method as string | null) ?? ofCustomer(sim, sub.customer as string);
}

function ofCustomer(sim: Sim, id: string): string | null {
  return sim.get<Customer>('customer', id).invoice_settings.default_payment_method as string | null;
}

/** Tries to pay an open invoice. A decline is no fault here: the invoice and its subscription tell of it. */
export function attemptPayment(sim: Sim, invoice: Invoice, attempt: Attempt): void {
  const intent = defaultIntent(sim, invoice.id);
  if (intent === null) throw new StripeFault('This invoice has no payment to confirm.', { code: 'invoice_no_payment' });
  const method = attempt.payment_method ?? methodFor(sim, invoice);
  if (attempt.scheduled) sim.side<boolean>('billing.scheduled').set(invoice.id, true);
  try {
    if (method === null) failed(sim, invoice);
    else tryConfirm(sim, intent, { payment_method: method, off_session: attempt.off_session ?? false });
  } finally {
    sim.side<boolean>('billing.scheduled').delete(invoice.id);
  }
}

/** Throws the card_error (402) of an attempt that a call asked for and that did not pay. */
export function throwDecline(sim: Sim, invoice: Invoice): void {
  const intent = defaultIntent(sim, invoice.id);
  if (invoice.status === 'paid' || intent === null || intent.status === 'processing') return;
  const error = intent.last_payment_error;
  const acts = intent.status === 'requires_action';
  throw new StripeFault(error?.message ?? 'This payment requires additional user action before it can be completed.', {
    type: 'card_error',
    code: acts ? 'invoice_payment_intent_requires_action' : (error?.code ?? 'card_declined'),
    ...(error?.decline_code === undefined ? {} : { decline_code: error.decline_code }),
    with: { payment_intent: copyOf(intent) },
  });
}

/** Called after each change of an intent's status, whoever caused it: the invoice behind it follows. */
export function intentChanged(sim: Sim, intent: PaymentIntent): void {
  const id = sim.side<string>('billing.intents').get(intent.id);
  const payment = id === undefined ? undefined : sim.find<InvoicePayment>('invoice_payment', id);
  if (payment === undefined || payment.status !== 'open') return;
  const invoice = sim.get<Invoice>('invoice', payment.invoice as string);
  if (intent.status === 'succeeded') received(sim, invoice, payment, intent);
  else if (intent.status === 'canceled') {
    payment.status = 'canceled';
    payment.status_transitions.canceled_at = sim.now();
  } else if (invoice.status !== 'open') return;
  else if (intent.status === 'processing') {
    changing(sim, 'invoice.updated', invoice, () => {
      countAttempt(sim, invoice, null);
      invoice.auto_advance = true;
    });
    sim.side<boolean>('billing.processing').set(invoice.id, true);
    paymentUnderWay(sim, invoice);
  } else if (intent.status === 'requires_action') {
    failed(sim, invoice);
    sim.emit('invoice.payment_action_required', invoice);
  } else if (intent.status === 'requires_payment_method' && intent.last_payment_error !== null) failed(sim, invoice);
}

function received(sim: Sim, invoice: Invoice, payment: InvoicePayment, intent: PaymentIntent): void {
  payment.status = 'paid';
  payment.status_transitions.paid_at = sim.now();
  payment.amount_paid = Math.min(intent.amount_received, invoice.amount_remaining);
  invoice.amount_paid += payment.amount_paid;
  invoice.amount_overpaid += intent.amount_received - payment.amount_paid;
  invoice.amount_remaining = invoice.amount_due - invoice.amount_paid;
  sim.emit('invoice_payment.paid', payment);
  if (invoice.amount_overpaid > 0) sim.emit('invoice.overpaid', invoice);
  if (invoice.amount_remaining === 0) markPaid(sim, invoice, intent.payment_method as string | null);
  else {
    sim.emit('invoice.updated', invoice, { amount_paid: invoice.amount_paid - payment.amount_paid });
    askForTheRest(sim, invoice);
  }
}

/** After a partial payment the invoice's own intent asks for what is left. */
function askForTheRest(sim: Sim, invoice: Invoice): void {
  const payment = paymentsOf(sim, invoice.id).find(({ is_default, status }) => is_default && status === 'open');
  const intent = defaultIntent(sim, invoice.id);
  if (payment === undefined || intent === null) return;
  payment.amount_requested = invoice.amount_remaining;
  intent.amount = invoice.amount_remaining;
}

/** → paid, however it was: by an intent, by nothing being due, or out of band. */
export function markPaid(sim: Sim, invoice: Invoice, paidBy: string | null): void {
  sim.side<boolean>('billing.processing').delete(invoice.id);
  changing(sim, 'invoice.updated', invoice, () => {
    if (paidBy !== null) countAttempt(sim, invoice, null);
    invoice.attempted = true;
    invoice.auto_advance = false;
    invoice.next_payment_attempt = null;
    invoice.status = 'paid';
    invoice.status_transitions.paid_at = sim.now();
  });
  sim.emit('invoice.paid', invoice);
  sim.emit('invoice.payment_succeeded', invoice);
  invoiceSettled(sim, invoice, paidBy);
}

/** Paid outside of Stripe: what was to charge it is called off. */
export function payOutOfBand(sim: Sim, invoice: Invoice): void {
  callOff(sim, invoice);
  invoice.amount_paid_off_stripe = invoice.amount_remaining;
  invoice.amount_paid = invoice.amount_due;
  invoice.amount_remaining = 0;
  markPaid(sim, invoice, null);
}

/** Voids an invoice, and cancels what was to charge it. */
export function voidAndCancel(sim: Sim, invoice: Invoice): void {
  voidInvoice(sim, invoice);
  callOff(sim, invoice);
  invoiceClosed(sim, invoice);
}

export function giveUp(sim: Sim, invoice: Invoice): void {
  markUncollectible(sim, invoice);
  invoiceClosed(sim, invoice);
}

function callOff(sim: Sim, invoice: Invoice): void {
  for (const payment of paymentsOf(sim, invoice.id)) {
    const id = payment.payment.payment_intent;
    if (payment.status !== 'open' || id == null) continue;
    const intent = sim.get<PaymentIntent>('payment_intent', id as string);
    if (intent.status !== 'processing') cancelIntent(sim, intent, 'void_invoice');
  }
}

function failed(sim: Sim, invoice: Invoice): void {
  if (sim.side<boolean>('billing.processing').delete(invoice.id)) {
    // The attempt was counted when it began; it fails now, days later, and the schedule goes on from here.
    invoice.attempt_count -= 1;
    sim.side<boolean>('billing.scheduled').set(invoice.id, true);
  }
  const first =
    invoice.billing_reason === 'subscription_create' && subscriptionOf(sim, invoice)?.status === 'incomplete';
  const days = first ? undefined : settings(sim).retryDays[invoice.attempt_count];
  const next = days === undefined || invoice.auto_advance === false ? null : sim.now() + days * DAY;
  const counts = changing(sim, 'invoice.updated', invoice, () => countAttempt(sim, invoice, next));
  sim.side<boolean>('billing.scheduled').delete(invoice.id);
  sim.emit('invoice.payment_failed', invoice);
  invoiceFailed(sim, invoice, counts && next === null);
}

/** Any attempt counts as the first; after it, those of the schedule only. */
function countAttempt(sim: Sim, invoice: Invoice, next: number | null): void {
  const scheduled = sim.side<boolean>('billing.scheduled').has(invoice.id);
  invoice.attempted = true;
  if (invoice.attempt_count > 0 && !scheduled) return;
  invoice.attempt_count += 1;
  invoice.next_payment_attempt = next;
}
