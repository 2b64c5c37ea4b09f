/** An invoice as Stripe has it, read whole: its lines, the prices of what is sold, and what of its money went back. */
import type Stripe from 'stripe';
import type { Sold } from '../../catalog/types.ts';
import { parseDecimal } from '../../lib/money.ts';
import type { PaymentDeps } from '../deps.ts';
import type { Standing } from './given-back.ts';
import { fetchStanding } from './invoice-family.ts';
import { paidAtOf, paymentIntentOf, readLines } from './invoice-reads.ts';
import type { InvoiceFacts, PriceFacts } from './lines.ts';
import type { Interval } from './months.ts';
import { assertMode } from './types.ts';

export interface FetchedInvoice extends InvoiceFacts {
  invoice: Stripe.Invoice;
  prices: ReadonlyMap<string, PriceFacts>;
  standing: Standing;
  paymentIntent: string | null;
}

/** Reads an invoice with all that what it grants depends on. Throws `WrongMode`. */
export async function fetchInvoice(
  deps: PaymentDeps,
  id: string,
  soldOf: (price: string) => Sold | undefined,
): Promise<FetchedInvoice> {
  const { client } = deps.stripe;
  const invoice = await client.invoices.retrieve(id, { expand: ['payments'] });
  assertMode(deps, invoice);
  const standing = await fetchStanding(deps, invoice);
  const lines = (await readLines(client, invoice)).map((line) => ({
    ...line,
    isTakenThere: standing.taken.has(line.id),
  }));
  const sold = [
    ...new Set(lines.flatMap(({ price }) => (price !== null && soldOf(price) !== undefined ? [price] : []))),
  ];
  const prices = await Promise.all(
    sold.map(async (price) => [price, await fetchPrice(client, price, invoice.currency)]),
  );
  return {
    invoice,
    lines,
    prices: new Map(prices.filter((pair): pair is [string, PriceFacts] => pair[1] !== null)),
    paidAt: paidAtOf(invoice) ?? new Date(invoice.created * 1000),
    isDiscounted: invoice.discounts.length > 0 || (invoice.total_discount_amounts ?? []).length > 0,
    isChange: invoice.billing_reason === 'subscription_update',
    standing,
    paymentIntent: invoice.status === 'paid' ? await paymentIntentOf(client, invoice) : null,
  };
}

/** `null`: whoever pays chooses the amount, so the price says nothing of what it is worth. */
async function fetchPrice(client: Stripe, id: string, currency: string): Promise<PriceFacts | null> {
  const price = await client.prices.retrieve(id, { expand: ['currency_options'] });
  const own = price.currency === currency ? price : price.currency_options?.[currency];
  if (own === undefined || own.custom_unit_amount) return null;
  const unit = own.unit_amount_decimal?.toString() ?? null;
  const { recurring, transform_quantity: packages } = price;
  return {
    unitAmount: unit === null ? null : parseDecimal(unit, 12),
    unitsPerCharge: BigInt(packages?.divide_by ?? 1),
    roundsUp: packages?.round === 'up',
    every:
      recurring === null ? null : { unit: recurring.interval as Interval['unit'], count: recurring.interval_count },
    isMetered: recurring?.usage_type === 'metered',
  };
}
