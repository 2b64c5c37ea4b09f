/** Billing a change of a subscription, as its `payment_behavior` says. The change is on the subscription already. */
import type { Sim } from '../core.ts';
import { createIntent, tryConfirm } from '../payment-intents.ts';
import { billNow, composeBill, issue, periodLines, waitingLines } from './bill.ts';
import { HOUR } from './calendar.ts';
import { copyOf, differences } from './changes.ts';
import { finalize, intentFor, methodOf } from './collect.ts';
import type { PendingChange } from './lifecycle.ts';
import { chargeOrThrow } from './start.ts';
import type { Invoice, InvoiceItem, PaymentIntent, Subscription } from './types.ts';

interface Update {
  before: Subscription;
  /** The prorations made for it. */
  made: InvoiceItem[];
  /** Whether a new period began. */
  anew: boolean;
  behavior: string;
}

/** Tells of a change that was made already, if it changed anything. */
export function tellUpdate(sim: Sim, sub: Subscription, before: Subscription): void {
  const previous = differences(before, sub);
  if (Object.keys(previous).length > 0) sim.emit('customer.subscription.updated', sub, previous);
}

export function billUpdate(sim: Sim, sub: Subscription, update: Update): void {
  const lines = [...waitingLines(sim, sub), ...(update.anew ? periodLines(sim, sub) : [])];
  if (update.behavior !== 'error_if_incomplete' && update.behavior !== 'pending_if_incomplete') {
    tellUpdate(sim, sub, update.before);
    billNow(sim, sub, 'subscription_update', lines);
    return;
  }
  const invoice = composeBill(sim, sub, 'subscription_update', lines, { start: sim.now(), end: sim.now() }, null);
  let paidBy: PaymentIntent | undefined;
  if (invoice.amount_due > 0) {
    paidBy =
      update.behavior === 'error_if_incomplete'
        ? chargeOrUndo(sim, sub, invoice, update)
        : chargeOrWait(sim, sub, invoice, update);
  }
  tellUpdate(sim, sub, update.before);
  issue(sim, sub, invoice);
  finalize(sim, invoice, paidBy);
}

function chargeOrUndo(sim: Sim, sub: Subscription, invoice: Invoice, update: Update): PaymentIntent {
  try {
    return chargeOrThrow(sim, sub, invoice, false);
  } catch (error) {
    for (const item of update.made) {
      sim.remove(item);
      sim.emit('invoiceitem.deleted', item);
    }
    Object.assign(sub, update.before);
    throw error;
  }
}

function chargeOrWait(sim: Sim, sub: Subscription, invoice: Invoice, update: Update): PaymentIntent {
  const intent = createIntent(sim, intentFor(invoice));
  const method = methodOf(sim, sub);
  if (method !== null) tryConfirm(sim, intent, { payment_method: method });
  if (intent.status === 'succeeded' || intent.status === 'processing') return intent;
  const after = copyOf(sub);
  sim.side<PendingChange>('billing.pending').set(sub.id, { invoice: invoice.id, after });
  Object.assign(sub, copyOf(update.before));
  sub.pending_update = {
    billing_cycle_anchor: update.anew ? after.billing_cycle_anchor : null,
    discount: null,
    discounts: null,
    expires_at: sim.now() + 23 * HOUR,
    metadata: null,
    subscription_items: after.items.data,
    trial_end: after.trial_end,
    trial_from_plan: null,
  } as unknown as Subscription['pending_update'];
  return intent;
}
