/** Lines of invoices, and their arithmetic: discounts first, then tax on what is left. Money in minor units. */
import type { Sim } from '../core.ts';
import { share, spread } from './calendar.ts';
import { running } from './discounts.ts';
import { amountOff, couponOf, intervalOf, nameOf, unitAmount } from './prices.ts';
import type { Discount, InvoiceItem, Line, Price, Subscription, SubscriptionItem, Tax } from './types.ts';

/** The fixed exclusive tax of `automatic_tax`, in percent. */
export const TAX_PERCENT = 20;

export interface Period {
  start: number;
  end: number;
}

/** One item's price for a whole period, or free of charge while on trial. */
export function itemLine(sim: Sim, sub: Subscription, item: SubscriptionItem, period: Period, trial = false): Line {
  const quantity = item.quantity ?? 1;
  const unit = trial ? 0 : unitAmount(sim, item.price, sub.currency);
  const name = `${quantity} × ${nameOf(sim, item.price)}`;
  const { interval, interval_count } = intervalOf(item.price);
  const every = interval_count === 1 ? interval : `every ${interval_count} ${interval}s`;
  return {
    ...newLine(sim, sub.currency, unit * quantity, period),
    description: trial
      ? `Trial period for ${nameOf(sim, item.price)}`
      : `${name} (at ${(unit / 100).toFixed(2)} / ${every})`,
    discounts: [...item.discounts] as string[],
    metadata: { ...sub.metadata },
    parent: {
      invoice_item_details: null,
      subscription_item_details: {
        invoice_item: null,
        proration: false,
        proration_details: { credited_items: null },
        subscription: sub.id,
        subscription_item: item.id,
      },
      type: 'subscription_item_details',
    },
    pricing: pricingOf(item.price, unit),
    quantity,
    quantity_decimal: String(quantity),
    subscription: sub.id,
  };
}

/** The line that an invoice item becomes: a proration keeps its subscription item, anything else names the item alone. */
export function pendingLine(sim: Sim, item: InvoiceItem): Line {
  const details = item.parent?.subscription_details ?? null;
  const subscription = details?.subscription ?? null;
  const credited_items = item.proration_details?.credited_items?.invoice_line_item_details ?? null;
  const proration_details = { credited_items };
  return {
    ...newLine(sim, item.currency, item.amount, item.period),
    description: item.description,
    discountable: item.discountable,
    discounts: [...(item.discounts ?? [])] as string[],
    metadata: { ...item.metadata },
    parent:
      details?.subscription_item === undefined
        ? {
            invoice_item_details: { invoice_item: item.id, proration: item.proration, proration_details, subscription },
            subscription_item_details: null,
            type: 'invoice_item_details',
          }
        : {
            invoice_item_details: null,
            subscription_item_details: {
              invoice_item: item.id,
              proration: item.proration,
              proration_details,
              subscription,
              subscription_item: details.subscription_item,
            },
            type: 'subscription_item_details',
          },
    pricing: item.pricing,
    quantity: item.quantity,
    quantity_decimal: item.quantity_decimal,
    subscription,
  };
}

function newLine(sim: Sim, currency: string, amount: number, period: Period): Line {
  return {
    id: sim.id('il'),
    object: 'line_item',
    amount,
    currency,
    description: null,
    discount_amounts: [],
    discountable: true,
    discounts: [],
    invoice: null,
    livemode: sim.livemode,
    metadata: {},
    parent: null,
    period: { end: period.end, start: period.start },
    pretax_credit_amounts: [],
    pricing: null,
    quantity: 1,
    quantity_decimal: '1',
    subscription: null,
    subtotal: amount,
    taxes: [],
  };
}

export function pricingOf(price: Price, unit: number): NonNullable<Line['pricing']> {
  return {
    price_details: { price: price.id, product: price.product as string },
    type: 'price_details',
    unit_amount_decimal: String(unit),
  };
}

/** Sets each line's discounts and taxes. `discounts` are the invoice's, for every line that allows them. */
export function reckon(sim: Sim, lines: Line[], discounts: string[], taxed: boolean): void {
  const left = lines.map((line) => line.subtotal);
  for (const line of lines) line.discount_amounts = [];
  const takeOff = (discount: Discount, over: number[]) => {
    const coupon = couponOf(sim, discount);
    const weights = over.map((index) => Math.max(0, left[index] as number));
    const total = weights.reduce((sum, each) => sum + each, 0);
    const parts =
      coupon.percent_off === null
        ? spread(Math.min(amountOff(coupon, lines[0]?.currency ?? ''), total), weights)
        : weights.map((each) => share(each, Math.round((coupon.percent_off ?? 0) * 100), 100_00));
    for (const [at, index] of over.entries()) {
      left[index] = (left[index] as number) - (parts[at] as number);
      lines[index]?.discount_amounts?.push({ amount: parts[at] as number, discount: discount.id });
    }
  };
  for (const [index, line] of lines.entries()) {
    for (const discount of running(sim, line.discounts as string[], line.period.start)) takeOff(discount, [index]);
  }
  const open = lines.flatMap((line, index) => (line.discountable ? [index] : []));
  for (const id of discounts) for (const discount of running(sim, [id], sim.now())) takeOff(discount, open);
  for (const [index, line] of lines.entries()) line.taxes = taxed ? [taxOn(left[index] as number)] : [];
}

function taxOn(amount: number): Tax {
  return {
    amount: share(amount, TAX_PERCENT, 100),
    tax_behavior: 'exclusive',
    tax_rate_details: { tax_rate: 'txr_simulated' },
    taxability_reason: 'standard_rated',
    taxable_amount: amount,
    type: 'tax_rate_details',
  };
}
