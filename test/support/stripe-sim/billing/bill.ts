/** Invoices of a subscription that runs: one now for what waits, one for a new period. */
import type { Sim } from '../core.ts';
import { periodEnd } from './calendar.ts';
import { changing } from './changes.ts';
import { attemptPayment, finalize } from './collect.ts';
import { pendingItems } from './invoice-items.ts';
import { composeInvoice, keepInvoice, useDiscounts } from './invoices.ts';
import { itemLine, type Period, pendingLine } from './lines.ts';
import { intervalOf } from './prices.ts';
import { settings } from './settings.ts';
import type { Customer, Invoice, Line, Subscription } from './types.ts';

/** The customer's waiting items of this subscription as lines. */
export function waitingLines(sim: Sim, sub: Subscription): Line[] {
  return pendingItems(sim, sub.customer as string, sub.currency, sub.id).map((item) => pendingLine(sim, item));
}

/** Lines for the items' present periods. */
export function periodLines(sim: Sim, sub: Subscription): Line[] {
  return sub.items.data.map((item) =>
    itemLine(sim, sub, item, { start: item.current_period_start, end: item.current_period_end }),
  );
}

/** An invoice of the subscription, unseen yet. */
export function composeBill(
  sim: Sim,
  sub: Subscription,
  reason: string,
  lines: Line[],
  period: Period,
  draftUntil: number | null,
): Invoice {
  return composeInvoice(sim, {
    customer: sim.get<Customer>('customer', sub.customer as string),
    currency: sub.currency,
    subscription: sub,
    billing_reason: reason,
    period,
    lines,
    auto_advance: true,
    automatically_finalizes_at: draftUntil,
    collection_method: sub.collection_method,
    days_until_due: sub.days_until_due,
    discounts: sub.discounts as string[],
    taxed: sub.automatic_tax.enabled,
  });
}

/** Keeps an invoice as the subscription's latest. */
export function issue(sim: Sim, sub: Subscription, invoice: Invoice): void {
  keepInvoice(sim, invoice);
  changing(sim, 'customer.subscription.updated', sub, () => {
    sub.latest_invoice = invoice.id;
  });
  useDiscounts(sim, sub, invoice);
}

/** Bills now: draft, finalized, charged. Returns null when there is nothing to bill. */
export function billNow(
  sim: Sim,
  sub: Subscription,
  reason: string,
  lines: Line[],
  offSession = false,
): Invoice | null {
  if (lines.length === 0) return null;
  const invoice = composeBill(sim, sub, reason, lines, { start: sim.now(), end: sim.now() }, null);
  issue(sim, sub, invoice);
  finalize(sim, invoice);
  if (invoice.status === 'open' && sub.collection_method === 'charge_automatically') {
    attemptPayment(sim, invoice, { scheduled: true, off_session: offSession });
  }
  return invoice;
}

/** Moves the items into the period that begins at `at`, anchored at the subscription's anchor. */
export function movePeriods(sub: Subscription, at: number): void {
  for (const item of sub.items.data) {
    if (item.current_period_end > at) continue;
    item.current_period_start = item.current_period_end;
    item.current_period_end = periodEnd(sub.billing_cycle_anchor, intervalOf(item.price), item.current_period_start);
  }
}

/** Begins a new period now, with now as the anchor. */
export function restartPeriods(sim: Sim, sub: Subscription): void {
  sub.billing_cycle_anchor = sim.now();
  for (const item of sub.items.data) {
    item.current_period_start = sim.now();
    item.current_period_end = periodEnd(sim.now(), intervalOf(item.price), sim.now());
  }
}

/** When a renewal's draft is finalized. */
export function draftUntil(sim: Sim): number {
  return sim.now() + settings(sim).draftSeconds;
}
