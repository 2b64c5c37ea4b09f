/**
 * What its invoices do to a subscription. It changes subscriptions only; renewals and retries are the clock's (clock.ts).
 *
 *     incomplete ──first invoice paid (or processing)──▶ active      trialing ──trial ended──▶ active | paused | canceled
 *         └─23 h──▶ incomplete_expired                               paused ──resumed, paid──▶ active
 *     active ──latest invoice failed──▶ past_due ──retries used up──▶ unpaid | canceled
 *        ▲─────────latest invoice paid, void or uncollectible─────────────┘
 */
import type { Sim } from '../core.ts';
import { changing, copyOf } from './changes.ts';
import { settings } from './settings.ts';
import type { Invoice, Subscription, SubscriptionStatus } from './types.ts';

const ENDED: readonly string[] = ['canceled', 'incomplete_expired'];

export function isEnded(sub: Subscription): boolean {
  return ENDED.includes(sub.status);
}

/** The subscription that an invoice bills, if it is of one. */
export function subscriptionOf(sim: Sim, invoice: Invoice): Subscription | null {
  const id = invoice.parent?.subscription_details?.subscription;
  return id == null ? null : (sim.find<Subscription>('subscription', id) ?? null);
}

export function setStatus(sim: Sim, sub: Subscription, status: SubscriptionStatus): void {
  changing(sim, 'customer.subscription.updated', sub, () => {
    sub.status = status;
  });
}

/** The payment of a first invoice takes days: the subscription does not wait for it. What is owed stays owed until it is paid. */
export function paymentUnderWay(sim: Sim, invoice: Invoice): void {
  const sub = subscriptionOf(sim, invoice);
  if (sub?.status === 'incomplete') setStatus(sim, sub, 'active');
}

/** The invoice is paid. */
export function invoiceSettled(sim: Sim, invoice: Invoice, paidBy: string | null): void {
  const sub = subscriptionOf(sim, invoice);
  if (sub === null || isEnded(sub)) return;
  applyPending(sim, sub, invoice);
  const first = sub.status === 'incomplete';
  if (first && paidBy !== null && sub.payment_settings?.save_default_payment_method === 'on_subscription') {
    changing(sim, 'customer.subscription.updated', sub, () => {
      sub.status = 'active';
      sub.default_payment_method = paidBy;
    });
    return;
  }
  if (sub.status === 'paused' && sim.side<string>('billing.resuming').get(sub.id) === invoice.id) {
    sim.side<string>('billing.resuming').delete(sub.id);
    setStatus(sim, sub, 'active');
    sim.emit('customer.subscription.resumed', sub);
    return;
  }
  if (first || (owes(sub) && isLatest(sim, sub, invoice))) setStatus(sim, sub, 'active');
}

/** A payment of the invoice failed; `last` when there will be no other try. */
export function invoiceFailed(sim: Sim, invoice: Invoice, last: boolean): void {
  const sub = subscriptionOf(sim, invoice);
  if (sub === null || isEnded(sub) || invoice.billing_reason === 'manual') return;
  if (pendingOf(sim, sub)?.invoice === invoice.id) return;
  if ((sub.status === 'active' || sub.status === 'trialing') && isLatest(sim, sub, invoice)) {
    setStatus(sim, sub, 'past_due');
  }
  if (!last || sub.status !== 'past_due') return;
  const { afterRetries } = settings(sim);
  if (afterRetries === 'unpaid') setStatus(sim, sub, 'unpaid');
  if (afterRetries === 'cancel') endSubscription(sim, sub, 'payment_failed');
}

/** The invoice was voided or given up: nothing is owed for it any more. */
export function invoiceClosed(sim: Sim, invoice: Invoice): void {
  const sub = subscriptionOf(sim, invoice);
  if (sub !== null && owes(sub) && isLatest(sim, sub, invoice)) setStatus(sim, sub, 'active');
}

/** Ends a subscription now, and stops collecting its invoices. */
export function endSubscription(
  sim: Sim,
  sub: Subscription,
  reason: 'cancellation_requested' | 'payment_failed' | null,
): void {
  sub.status = sub.status === 'incomplete' ? 'incomplete_expired' : 'canceled';
  sub.ended_at = sim.now();
  sub.canceled_at ??= sim.now();
  if (sub.cancellation_details !== null && reason !== null) sub.cancellation_details.reason ??= reason;
  for (const invoice of sim.all<Invoice>('invoice')) {
    const open = invoice.status === 'open' || invoice.status === 'draft';
    if (!open || subscriptionOf(sim, invoice)?.id !== sub.id) continue;
    changing(sim, 'invoice.updated', invoice, () => {
      invoice.auto_advance = false;
      invoice.automatically_finalizes_at = null;
      invoice.next_payment_attempt = null;
    });
  }
  sim.emit('customer.subscription.deleted', sub);
}

/** A change that waits for its invoice to be paid: the subscription as it is to be, and that invoice. */
export interface PendingChange {
  invoice: string;
  after: Subscription;
}

export function pendingOf(sim: Sim, sub: Subscription): PendingChange | null {
  return sub.pending_update === null ? null : (sim.side<PendingChange>('billing.pending').get(sub.id) ?? null);
}

function applyPending(sim: Sim, sub: Subscription, invoice: Invoice): void {
  const pending = pendingOf(sim, sub);
  if (pending?.invoice !== invoice.id) return;
  const { items, billing_cycle_anchor, trial_end } = copyOf(pending.after);
  changing(sim, 'customer.subscription.updated', sub, () => {
    Object.assign(sub, { items, billing_cycle_anchor, trial_end, pending_update: null });
  });
  sim.side<PendingChange>('billing.pending').delete(sub.id);
  sim.emit('customer.subscription.pending_update_applied', sub);
}

function owes(sub: Subscription): boolean {
  return sub.status === 'past_due' || sub.status === 'unpaid';
}

/** Whether no other invoice of the subscription was finalized after this one. */
function isLatest(sim: Sim, sub: Subscription, invoice: Invoice): boolean {
  const newest = sim
    .all<Invoice>('invoice')
    .find((each) => each.status !== 'draft' && subscriptionOf(sim, each)?.id === sub.id);
  return newest === undefined || newest.id === invoice.id;
}
