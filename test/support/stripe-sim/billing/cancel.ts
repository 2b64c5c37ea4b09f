/** Ending, resuming: what a subscription's own routes do besides updates. */
import { type Sim, StripeFault } from '../core.ts';
import { billNow, composeBill, issue, periodLines, restartPeriods, waitingLines } from './bill.ts';
import { changing } from './changes.ts';
import { attemptPayment, finalize, voidAndCancel } from './collect.ts';
import { endSubscription, isEnded, pendingOf, setStatus, subscriptionOf } from './lifecycle.ts';
import { creditUnused } from './prorate.ts';
import type { Invoice, Subscription } from './types.ts';

/** Ends a subscription now. `prorate` credits the unused time; `invoiceNow` bills what waits. */
export function cancelSubscription(
  sim: Sim,
  sub: Subscription,
  options: { invoiceNow?: boolean | undefined; prorate?: boolean | undefined } = {},
): Subscription {
  if (isEnded(sub)) {
    throw new StripeFault(`No such subscription: '${sub.id}'`, { status: 404, code: 'resource_missing', param: 'id' });
  }
  const bills = sub.status === 'active' || sub.status === 'past_due';
  if (options.prorate === true && bills) {
    for (const item of sub.items.data) creditUnused(sim, sub, item, sim.now());
  }
  endSubscription(sim, sub, 'cancellation_requested');
  if (options.invoiceNow === true) billNow(sim, sub, 'subscription_update', waitingLines(sim, sub));
  return sub;
}

/** 23 hours without a payment of the first invoice: the subscription is over, and the invoice void. */
export function expireIncomplete(sim: Sim, sub: Subscription): void {
  for (const invoice of sim.all<Invoice>('invoice')) {
    if (invoice.status === 'open' && subscriptionOf(sim, invoice)?.id === sub.id) voidAndCancel(sim, invoice);
  }
  changing(sim, 'customer.subscription.updated', sub, () => {
    sub.ended_at = sim.now();
    sub.canceled_at = sim.now();
    sub.status = 'incomplete_expired';
  });
}

/** 23 hours without a payment for a change that waits: it is forgotten, and its invoice void. */
export function expirePending(sim: Sim, sub: Subscription): void {
  const pending = pendingOf(sim, sub);
  changing(sim, 'customer.subscription.updated', sub, () => {
    sub.pending_update = null;
  });
  const invoice = sim.find<Invoice>('invoice', pending?.invoice ?? '');
  if (invoice?.status === 'open') voidAndCancel(sim, invoice);
  sim.emit('customer.subscription.pending_update_expired', sub);
}

/** Pauses a subscription whose trial ended without a method to charge. */
export function pauseSubscription(sim: Sim, sub: Subscription): void {
  setStatus(sim, sub, 'paused');
  sim.emit('customer.subscription.paused', sub);
}

/** A paused subscription begins a new period now; it is active once that is paid. */
export function resumeSubscription(sim: Sim, sub: Subscription): Subscription {
  if (sub.status !== 'paused') {
    throw new StripeFault('Only paused subscriptions can be resumed.', { param: 'id' });
  }
  restartPeriods(sim, sub);
  const lines = [...waitingLines(sim, sub), ...periodLines(sim, sub)];
  const period = { start: sim.now(), end: sim.now() };
  const invoice = composeBill(sim, sub, 'subscription_update', lines, period, null);
  sim.side<string>('billing.resuming').set(sub.id, invoice.id);
  issue(sim, sub, invoice);
  finalize(sim, invoice);
  if (invoice.status === 'open') attemptPayment(sim, invoice, { scheduled: true });
  return sub;
}
