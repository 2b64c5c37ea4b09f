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
import { syncMethods } from '../recharge/methods.ts';
import { syncInvoice, syncSubscription } from './billing.ts';
import { endEvent } from './converge.ts';
import { syncPayment, syncSession } from './payment.ts';
import { sessionBehind } from './read.ts';
import { idOf, NOT_OURS, type StripeRef, type SyncResult, WrongMode } from './types.ts';

export type { StripeRef, SyncResult } from './types.ts';

/**
 * Brings what `ref` is part of in line with Stripe, and marks `event` (whose hint it was; `null`: nobody's) processed in the same
 * transaction, or ignored where nothing of it is ours. An object that was deleted, or that is of the other mode, is not ours. Throws
 * when Stripe or the database does not answer, and `InMotion`: the event waits, and nothing was posted.
 */
export async function sync(deps: PaymentDeps, ref: StripeRef, event: string | null): Promise<SyncResult> {
  try {
    return (await HANDLERS.get(ref.kind)?.(deps, ref.id, event)) ?? NOT_OURS;
  } catch (error) {
    if (error instanceof WrongMode || (isMissing(error) && CAN_BE_DELETED.has(ref.kind))) return NOT_OURS;
    throw error;
  }
}

/**
 * Of these kinds an object can be gone. Of others it means that our key is of another Stripe account than the event: to ignore that
 * would be to take money and say nothing.
 */
const CAN_BE_DELETED: ReadonlySet<string> = new Set([
  'customer',
  'invoice',
  'invoice_payment',
  'credit_note',
  'payment_method',
]);

function isMissing(error: unknown): boolean {
  return error instanceof Stripe.errors.StripeInvalidRequestError && error.code === 'resource_missing';
}

type Handler = (deps: PaymentDeps, id: string, event: string | null) => Promise<SyncResult>;

const HANDLERS: ReadonlyMap<string, Handler> = new Map(
  Object.entries<Handler>({
    payment_intent: syncIntent,
    'checkout.session': syncCheckout,
    charge: async (deps, id, event) => ofIntent(deps, await deps.stripe.client.charges.retrieve(id), event),
    refund: async (deps, id, event) => ofIntent(deps, await deps.stripe.client.refunds.retrieve(id), event),
    dispute: async (deps, id, event) => ofIntent(deps, await deps.stripe.client.disputes.retrieve(id), event),
    invoice: syncAnInvoice,
    invoice_payment: async (deps, id, event) => {
      const { invoice } = await deps.stripe.client.invoicePayments.retrieve(id);
      return syncAnInvoice(deps, idOf(invoice), event);
    },
    subscription: syncSubscription,
    customer: syncCards('customer'),
    payment_method: syncCards('payment_method'),
    setup_intent: syncCards('setup_intent'),
    credit_note: async (deps, id, event) => {
      const { invoice } = await deps.stripe.client.creditNotes.retrieve(id);
      return syncAnInvoice(deps, idOf(invoice), event);
    },
  }),
);

/** Whatever has no payment intent was not paid for credits. */
async function ofIntent(
  deps: PaymentDeps,
  { payment_intent: intent }: { payment_intent: string | { id: string } | null },
  event: string | null,
): Promise<SyncResult> {
  return intent === null ? NOT_OURS : syncIntent(deps, idOf(intent), event);
}

/** A card that a customer left, or took away, may be what recharges wait for. */
function syncCards(kind: string): Handler {
  return (deps, id, event) => syncMethods(deps, { kind, id }, event);
}

async function syncIntent(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  const alone = await standsAlone(deps, id);
  if (alone !== null) return syncPayment(deps, id, event, alone.session);
  const { data } = await deps.stripe.client.invoicePayments.list({
    payment: { type: 'payment_intent', payment_intent: id },
    limit: 1,
  });
  return data[0] === undefined ? syncPayment(deps, id, event) : syncInvoice(deps, idOf(data[0].invoice), event);
}

/**
 * Whether a payment intent is a payment of its own although an invoice may name it: an invoice that a checkout session of mode
 * `payment` makes as a receipt, or one that an intent was attached to after it was granted. `null`: an invoice decides.
 */
async function standsAlone(deps: PaymentDeps, intent: string): Promise<{ session: string | null } | null> {
  const { rowCount } = await deps.pool.query('SELECT FROM payments WHERE payment_key = $1', [intent]);
  const session = await sessionBehind(deps, intent);
  return rowCount === 0 && session === null ? null : { session: session?.id ?? null };
}

async function syncAnInvoice(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  const { client } = deps.stripe;
  const { parent } = await client.invoices.retrieve(id);
  if (parent?.type === 'subscription_details') return syncInvoice(deps, id, event);
  const { data } = await client.invoicePayments.list({ invoice: id, limit: 100 });
  for (const { payment } of data) {
    if (payment.payment_intent === undefined) continue;
    const intent = idOf(payment.payment_intent);
    const alone = await standsAlone(deps, intent);
    if (alone !== null) return syncPayment(deps, intent, event, alone.session);
  }
  return syncInvoice(deps, id, event);
}

async function syncCheckout(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  const session = await deps.stripe.client.checkout.sessions.retrieve(id);
  if (session.mode === 'subscription') return syncOrder(deps, session, event);
  if (session.mode === 'setup') {
    const setup = idOf(session.setup_intent);
    return setup === null ? NOT_OURS : syncMethods(deps, { kind: 'setup_intent', id: setup }, event);
  }
  const intent = idOf(session.payment_intent);
  return intent === null ? syncSession(deps, id, event) : syncPayment(deps, intent, event, id);
}

/** A session that began a subscription: that says what is allowed, its invoice what is granted. */
async function syncOrder(
  deps: PaymentDeps,
  session: Stripe.Checkout.Session,
  event: string | null,
): Promise<SyncResult> {
  const noted = await syncSession(deps, session.id, null);
  const subscription = idOf(session.subscription);
  const invoice = idOf(session.invoice);
  const allowed = subscription === null ? NOT_OURS : await syncSubscription(deps, subscription, null);
  const paid = invoice === null ? NOT_OURS : await syncInvoice(deps, invoice, null);
  const results = [noted, allowed, paid];
  const result = { changed: results.some((r) => r.changed), ours: results.some((r) => r.ours) };
  if (event !== null && result.ours) await endEvent(deps.pool, event, 'processed');
  return result;
}
