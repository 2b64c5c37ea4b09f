/** Proration: what is given back for the unused time of an item as it was, and asked for the rest of it as it is. */
import type { Sim } from '../core.ts';
import { share } from './calendar.ts';
import { running } from './discounts.ts';
import { createItem } from './invoice-items.ts';
import { subscriptionOf } from './lifecycle.ts';
import { couponOf, nameOf, unitAmount } from './prices.ts';
import { linesOf } from './settings.ts';
import type { Invoice, InvoiceItem, Subscription, SubscriptionItem } from './types.ts';

/** Puts the credit for `item`'s time from `at` to its period's end onto the next invoice. */
export function creditUnused(sim: Sim, sub: Subscription, item: SubscriptionItem, at: number): InvoiceItem {
  return prorated(sim, sub, item, at, -1);
}

/** Puts the price of `item`'s time from `at` to its period's end onto the next invoice. */
export function chargeRest(sim: Sim, sub: Subscription, item: SubscriptionItem, at: number): InvoiceItem {
  return prorated(sim, sub, item, at, 1);
}

/** What `item` costs from `at` to the end of its period: by seconds, to the nearest minor unit, its percent discounts taken off. */
export function restOf(sim: Sim, sub: Subscription, item: SubscriptionItem, at: number): number {
  const { current_period_start: start, current_period_end: end } = item;
  const full = unitAmount(sim, item.price, sub.currency) * (item.quantity ?? 1);
  const discounts = running(sim, [...(sub.discounts as string[]), ...(item.discounts as string[])], at);
  const reduced = discounts.reduce((amount, discount) => {
    const percent = couponOf(sim, discount).percent_off ?? 0;
    return amount - share(amount, Math.round(percent * 100), 100_00);
  }, full);
  return share(reduced, Math.min(Math.max(0, end - at), end - start), end - start);
}

function prorated(sim: Sim, sub: Subscription, item: SubscriptionItem, at: number, sign: 1 | -1): InvoiceItem {
  const quantity = item.quantity ?? 1;
  const what = `${sign < 0 ? 'Unused' : 'Remaining'} time on ${quantity > 1 ? `${quantity} × ` : ''}${nameOf(sim, item.price)}`;
  return createItem(sim, {
    customer: sub.customer as string,
    currency: sub.currency,
    amount: sign * restOf(sim, sub, item, at),
    price: item.price.id,
    quantity,
    description: `${what} after ${dayOf(at)}`,
    subscription: sub.id,
    subscriptionItem: item.id,
    period: { start: at, end: item.current_period_end },
    proration: true,
    creditedItems: sign < 0 ? debitOf(sim, sub, item, at) : null,
    discountable: false,
    metadata: { ...sub.metadata },
  });
}

/** What billed this item, as it is now, for time that has not passed: an invoice item that waits, or the newest line of an invoice. */
function debitOf(
  sim: Sim,
  sub: Subscription,
  item: SubscriptionItem,
  at: number,
): { invoice: string; invoice_line_items: string[] } | string | null {
  const waiting = sim
    .all<InvoiceItem>('invoiceitem')
    .find(
      (each) =>
        each.invoice === null &&
        each.proration &&
        each.amount >= 0 &&
        each.parent?.subscription_details?.subscription_item === item.id,
    );
  if (waiting !== undefined) return waiting.id;
  for (const invoice of sim.all<Invoice>('invoice')) {
    if (invoice.status === 'void' || subscriptionOf(sim, invoice)?.id !== sub.id) continue;
    const line = linesOf(sim, invoice.id).findLast(
      ({ parent, amount, period, pricing }) =>
        parent?.subscription_item_details?.subscription_item === item.id &&
        pricing?.price_details?.price === item.price.id &&
        amount >= 0 &&
        period.end > at,
    );
    if (line !== undefined) return { invoice: invoice.id, invoice_line_items: [line.id] };
  }
  return null;
}

/** `29 Nov 2026`, without the cost of a locale. */
function dayOf(at: number): string {
  const [, day, month, year] = new Date(at * 1000).toUTCString().split(' ');
  return `${day} ${month} ${year}`;
}
