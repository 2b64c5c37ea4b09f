/** Parts of an invoice that are read on their own: its lines, its payments, and what of its money went back. */
import type Stripe from 'stripe';
import type { PaymentDeps } from '../deps.ts';
import type { LineFacts } from './lines.ts';
import { fetchReversals, reversedMinor } from './reversed.ts';
import { idOf } from './types.ts';

/** Of one invoice; what is more is not looked at. Stripe allows 250 lines. */
const MOST_LINES = 1_000;
const MOST_NOTES = 1_000;

/** The subscription that an invoice is of; `null`: of none. */
export function subscriptionOf({ parent }: Pick<Stripe.Invoice, 'parent'>): string | null {
  return idOf(parent?.subscription_details?.subscription ?? null);
}

/** When an invoice was paid; `null`: it was not. */
export function paidAtOf({ status, status_transitions: { paid_at }, created }: Stripe.Invoice): Date | null {
  return status === 'paid' ? new Date((paid_at ?? created) * 1000) : null;
}

/** What an invoice asks for in all, in minor units; negative: it gives back more than it charges. */
export function askedOf({ total, pre_payment_credit_notes_amount: cut }: Stripe.Invoice): bigint {
  return BigInt(total) - BigInt(cut);
}

/** All lines of an invoice. */
export async function readLines(client: Stripe, invoice: Stripe.Invoice): Promise<LineFacts[]> {
  return (await linesOf(client, invoice)).map(toLine);
}

/** The payment intent that paid an invoice, the first of several; `null`: none did. */
export async function paymentIntentOf(client: Stripe, invoice: Stripe.Invoice): Promise<string | null> {
  const payments = await paymentsOf(client, invoice);
  return payments.flatMap((one) => ('payment_intent' in one ? [one.payment_intent] : []))[0] ?? null;
}

/** What of a paid invoice's money went back, in minor units, at most `most`: refunded, disputed, or given back by credit notes. */
export async function fetchReversed(deps: PaymentDeps, invoice: Stripe.Invoice, most: bigint): Promise<bigint> {
  const { client } = deps.stripe;
  const payments = await paymentsOf(client, invoice);
  const all = await Promise.all(payments.map((payment) => fetchReversals(deps, payment)));
  const reversals = {
    refunds: all.flatMap(({ refunds }) => refunds),
    disputes: all.flatMap(({ disputes }) => disputes),
  };
  const noted = invoice.post_payment_credit_notes_amount > 0 ? await notedBack(client, invoice.id!) : 0n;
  return reversedMinor(reversals, most, invoice.currency) + noted;
}

/** All lines of an invoice as Stripe has them: an invoice has but its first ten, of which prorations come first. */
export async function linesOf(client: Stripe, { id, lines }: Stripe.Invoice): Promise<Stripe.InvoiceLineItem[]> {
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
    creditedLines: credited?.invoice_line_items ?? [],
    isTakenThere: false,
    start: new Date(line.period.start * 1000),
    end: new Date(line.period.end * 1000),
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
