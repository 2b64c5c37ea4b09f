/**
 * The one way in which money of Stripe's becomes credits. Whoever hears of an object calls it: webhooks, the return page, the poller,
 * replay, auto-recharge, the reconciler. It finds what the object is part of, and brings that in line (`converge.ts`).
 *
 *   checkout.session ─▶ its payment intent, or itself when nothing was due; of mode subscription: its subscription and invoice
 *   charge, refund, dispute ─▶ payment_intent ─▶ that; the invoice that it paid, unless a session of mode payment stands behind it
 *   invoice_payment, credit_note ─▶ invoice        subscription, customer, setup_intent, payment_method: themselves
 */
import Stripe from 'stripe';
import type { PaymentDeps } from '../deps.ts';
import { syncPayment, syncSession } from './payment.ts';
import { NOT_OURS, type StripeRef, type SyncResult } from './types.ts';

export type { StripeRef, SyncResult } from './types.ts';

/**
 * Brings what `ref` is part of in line with Stripe, and marks `event` (whose hint it was; `null`: nobody's) processed in the same
 * transaction, or ignored where nothing of it is ours. An object that Stripe does not know, or that is of the other mode, is not ours.
 * Throws when Stripe or the database does not answer, and `InMotion`: the event waits, nothing was posted.
 */
export async function sync(deps: PaymentDeps, ref: StripeRef, event: string | null): Promise<SyncResult> {
  try {
    return (await HANDLERS[ref.kind]?.(deps, ref.id, event)) ?? NOT_OURS;
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError && error.code === 'resource_missing') return NOT_OURS;
    throw error;
  }
}

type Handler = (deps: PaymentDeps, id: string, event: string | null) => Promise<SyncResult>;

const HANDLERS: Readonly<Record<string, Handler>> = {
  payment_intent: syncIntent,
  'checkout.session': syncCheckout,
  charge: async (deps, id, event) => {
    const { payment_intent: intent } = await deps.stripe.client.charges.retrieve(id);
    return ofIntent(deps, intent, event);
  },
  refund: async (deps, id, event) => {
    const { payment_intent: intent } = await deps.stripe.client.refunds.retrieve(id);
    return ofIntent(deps, intent, event);
  },
  dispute: async (deps, id, event) => {
    const { payment_intent: intent } = await deps.stripe.client.disputes.retrieve(id);
    return ofIntent(deps, intent, event);
  },
  invoice: syncAnInvoice,
  invoice_payment: async (deps, id, event) => {
    const { invoice } = await deps.stripe.client.invoicePayments.retrieve(id);
    return syncAnInvoice(deps, idOf(invoice), event);
  },
  credit_note: async (deps, id, event) => {
    const { invoice } = await deps.stripe.client.creditNotes.retrieve(id);
    return syncAnInvoice(deps, idOf(invoice), event);
  },
};

/** The id of what Stripe tells by its id or, expanded, as a whole. */
function idOf(reference: string | { id: string }): string {
  return typeof reference === 'string' ? reference : reference.id;
}

async function ofIntent(
  deps: PaymentDeps,
  intent: string | { id: string } | null,
  event: string | null,
): Promise<SyncResult> {
  return intent === null ? NOT_OURS : syncIntent(deps, idOf(intent), event);
}

async function syncIntent(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  return syncPayment(deps, id, event);
}

async function syncCheckout(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  const { mode, payment_intent: intent } = await deps.stripe.client.checkout.sessions.retrieve(id);
  if (mode === 'payment' && intent !== null) return syncPayment(deps, idOf(intent), event);
  return mode === 'payment' ? syncSession(deps, id, event) : NOT_OURS;
}

async function syncAnInvoice(_deps: PaymentDeps, _id: string, _event: string | null): Promise<SyncResult> {
  return NOT_OURS;
}
