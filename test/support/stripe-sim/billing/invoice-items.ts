/** Invoice items: what waits for the customer's next invoice, or was put onto a draft. */
import { type Sim, StripeFault } from '../core.ts';
import { type DiscountParam, makeDiscounts } from './discounts.ts';
import { type Period, pricingOf } from './lines.ts';
import { unitAmount } from './prices.ts';
import type { InvoiceItem, Price } from './types.ts';

export interface ItemParams {
  customer: string;
  currency: string;
  amount?: number | undefined;
  price?: string | undefined;
  unitAmount?: number | undefined;
  quantity?: number | undefined;
  description?: string | null | undefined;
  subscription?: string | undefined;
  subscriptionItem?: string | undefined;
  invoice?: string | undefined;
  period?: Period | undefined;
  proration?: boolean;
  /** What a credit gives back: lines of an invoice, or an invoice item that waits. */
  creditedItems?: { invoice: string; invoice_line_items: string[] } | string | null;
  discountable?: boolean | undefined;
  discounts?: DiscountParam[];
  metadata?: Record<string, string>;
}

/** Makes an invoice item and tells of it. Its amount is given, or a price's (or unit amount's) times the quantity. */
export function createItem(sim: Sim, params: ItemParams): InvoiceItem {
  const price = params.price === undefined ? null : sim.get<Price>('price', params.price, 'pricing[price]');
  const quantity = params.quantity ?? 1;
  const unit = price === null ? params.unitAmount : unitAmount(sim, price, params.currency);
  const amount = params.amount ?? (unit === undefined ? undefined : unit * quantity);
  if (amount === undefined) throw new StripeFault('You must pass either `amount` or `pricing`.', { param: 'amount' });
  const id = sim.id('ii');
  const discounts = makeDiscounts(sim, params.discounts ?? [], { customer: params.customer, invoice_item: id });
  const item: InvoiceItem = {
    id,
    object: 'invoiceitem',
    amount,
    currency: params.currency,
    customer: params.customer,
    customer_account: null,
    date: sim.now(),
    description: params.description ?? null,
    discountable: params.discountable ?? true,
    discounts,
    invoice: params.invoice ?? null,
    livemode: sim.livemode,
    metadata: params.metadata ?? {},
    net_amount: amount,
    parent: parentOf(params),
    period: params.period ?? { end: sim.now(), start: sim.now() },
    pricing: pricing(price, unit ?? amount, params),
    proration: params.proration ?? false,
    ...(params.proration === true
      ? { proration_details: { credited_items: credited(params), discount_amounts: [] } }
      : {}),
    quantity,
    quantity_decimal: String(quantity),
    tax_rates: [],
    test_clock: null,
  };
  sim.put(item);
  sim.emit('invoiceitem.created', item);
  return item;
}

function parentOf({ subscription, subscriptionItem }: ItemParams): InvoiceItem['parent'] {
  if (subscription === undefined) return null;
  return {
    subscription_details: {
      subscription,
      ...(subscriptionItem === undefined ? {} : { subscription_item: subscriptionItem }),
    },
    type: 'subscription_details',
  };
}

function credited({ creditedItems }: ItemParams): NonNullable<InvoiceItem['proration_details']>['credited_items'] {
  if (creditedItems == null) return null;
  if (typeof creditedItems === 'string') return { invoice_item: creditedItems, type: 'invoice_item' };
  return { invoice_line_item_details: creditedItems, type: 'invoice_line_items' };
}

function pricing(price: Price | null, unit: number, { proration }: ItemParams): InvoiceItem['pricing'] {
  if (price !== null) return pricingOf(price, unit);
  return proration === true ? null : { type: 'price_details', unit_amount_decimal: String(unit) };
}

/** What waits for the next invoice of this subscription (or of no subscription), oldest first. */
export function pendingItems(sim: Sim, customer: string, currency: string, subscription: string | null): InvoiceItem[] {
  return sim
    .all<InvoiceItem>('invoiceitem')
    .filter((item) => item.customer === customer && item.invoice === null && item.currency === currency)
    .filter((item) => {
      const own = item.parent?.subscription_details?.subscription ?? null;
      return own === null || own === subscription;
    })
    .reverse();
}
