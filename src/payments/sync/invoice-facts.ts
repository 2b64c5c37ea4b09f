/** An invoice as Stripe has it, read whole: its lines, the prices of what is sold, and what of its money went back. */
import type Stripe from 'stripe';
import { parseDecimal } from '../../lib/money.ts';
import type { PaymentDeps } from '../deps.ts';
import { fetchGivenBack, givesBack, paidAtOf, type SoldOf, withTaken } from './given-back.ts';
import type { InvoiceFacts, LineFacts, PriceFacts } from './lines.ts';
import type { Interval } from './months.ts';
import { fetchReversals, type Reversals } from './reversed.ts';
import { assertMode, idOf } from './types.ts';

/** Of one invoice; what is more is not looked at. Stripe allows 250. */
const MOST_LINES = 1_000;
const MOST_NOTES = 1_000;

export interface FetchedInvoice extends InvoiceFacts {
  invoice: Stripe.Invoice;
  prices: ReadonlyMap<string, PriceFacts>;
  /** Of the payments that it was paid with. */
  reversals: Reversals;
  /** What credit notes gave back otherwise than by refunds: to the customer's balance, or by hand. */
  credited: bigint;
  /** What later invoices of the subscription gave back of it: unused time, after a change. */
  givenBack: bigint;
  paymentIntent: string | null;
}

/** Reads an invoice with all that what it grants depends on. Throws `WrongMode`. */
export async function fetchInvoice(deps: PaymentDeps, id: string, soldOf: SoldOf): Promise<FetchedInvoice> {
  const { client } = deps.stripe;
  const invoice = await client.invoices.retrieve(id, { expand: ['payments'] });
  assertMode(deps, invoice);
  const readLines = async (of: Stripe.Invoice) => (await linesOf(client, of)).map(toLine);
  const lines = await withTaken(deps, invoice, await readLines(invoice), soldOf);
  const sold = [
    ...new Set(lines.flatMap(({ price }) => (price !== null && soldOf(price) !== undefined ? [price] : []))),
  ];
  const prices = await Promise.all(
    sold.map(async (price) => [price, await fetchPrice(client, price, invoice.currency)]),
  );
  const known = prices.filter((pair): pair is [string, PriceFacts] => pair[1] !== null);
  const isPaid = invoice.status === 'paid';
  const payments = isPaid ? await paymentsOf(client, invoice) : [];
  const reversals = await Promise.all(payments.map((payment) => fetchReversals(deps, payment)));
  return {
    invoice,
    lines,
    prices: new Map(known),
    paidAt: paidAtOf(invoice) ?? new Date(invoice.created * 1000),
    isDiscounted: invoice.discounts.length > 0 || (invoice.total_discount_amounts ?? []).length > 0,
    isChange: invoice.billing_reason === 'subscription_update',
    reversals: {
      refunds: reversals.flatMap(({ refunds }) => refunds),
      disputes: reversals.flatMap(({ disputes }) => disputes),
    },
    givenBack: await fetchGivenBack(deps, invoice, subscriptionOf(invoice), lines, soldOf, readLines),
    credited: isPaid && invoice.post_payment_credit_notes_amount > 0 ? await notedBack(client, id) : 0n,
    paymentIntent: payments.flatMap((one) => ('payment_intent' in one ? [one.payment_intent] : []))[0] ?? null,
  };
}

/** The subscription that an invoice is of; `null`: of none. */
export function subscriptionOf({ parent }: Pick<Stripe.Invoice, 'parent'>): string | null {
  return idOf(parent?.subscription_details?.subscription ?? null);
}

/** The invoices that an invoice gives back time of that still runs: what they granted changes with it. */
export async function creditedInvoices(deps: PaymentDeps, invoice: Stripe.Invoice): Promise<string[]> {
  const paidAt = paidAtOf(invoice);
  if (paidAt === null) return [];
  const soldOf: SoldOf = (price) => deps.catalogs.current.sold.get(price);
  const lines = (await linesOf(deps.stripe.client, invoice)).map(toLine);
  const named = lines.filter((line) => givesBack(line, paidAt, soldOf)).map(({ credits }) => credits!);
  return [...new Set(named)].filter((id) => id !== invoice.id);
}

async function linesOf(client: Stripe, { id, lines }: Stripe.Invoice): Promise<Stripe.InvoiceLineItem[]> {
  if (!lines.has_more) return lines.data;
  return client.invoices.listLineItems(id, { limit: 100 }).autoPagingToArray({ limit: MOST_LINES });
}

function toLine(line: Stripe.InvoiceLineItem): LineFacts {
  const details = line.parent?.subscription_item_details ?? line.parent?.invoice_item_details ?? null;
  const credited = details?.proration_details?.credited_items ?? null;
  const discounts = (line.discount_amounts ?? []).reduce((sum, { amount }) => sum + amount, 0);
  const taxes = (line.taxes ?? []).reduce(
    (sum, { amount, tax_behavior }) => sum + (tax_behavior === 'inclusive' ? 0 : amount),
    0,
  );
  return {
    id: line.id,
    amount: BigInt(line.amount),
    asked: BigInt(line.amount - discounts + taxes),
    price: idOf(line.pricing?.price_details?.price ?? null),
    quantity: BigInt(line.quantity ?? 1),
    isProration: details?.proration ?? false,
    isCredit: line.amount < 0 || credited !== null,
    credits: credited?.invoice ?? null,
    isTakenThere: false,
    start: new Date(line.period.start * 1000),
    end: new Date(line.period.end * 1000),
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

type PaidBy = { payment_intent: string } | { charge: string };

/** Payments that were made to an invoice: several where it was paid in parts; none where it was paid out of band. */
async function paymentsOf(client: Stripe, { id, payments }: Stripe.Invoice): Promise<PaidBy[]> {
  const all =
    payments === undefined || payments.has_more
      ? await client.invoicePayments.list({ invoice: id, limit: 100 }).autoPagingToArray({ limit: MOST_LINES })
      : payments.data;
  return all.flatMap(({ status, payment }): PaidBy[] => {
    const intent = idOf(payment.payment_intent ?? null);
    const charge = idOf(payment.charge ?? null);
    if (status !== 'paid') return [];
    if (intent !== null) return [{ payment_intent: intent }];
    return charge === null ? [] : [{ charge }];
  });
}

async function notedBack(client: Stripe, invoice: string): Promise<bigint> {
  const notes = await client.creditNotes.list({ invoice, limit: 100 }).autoPagingToArray({ limit: MOST_NOTES });
  return notes.reduce((sum, { status, post_payment_amount: all, refunds }) => {
    const refunded = refunds.reduce((part, { amount_refunded }) => part + amount_refunded, 0);
    return status === 'issued' && all > refunded ? sum + BigInt(all - refunded) : sum;
  }, 0n);
}
