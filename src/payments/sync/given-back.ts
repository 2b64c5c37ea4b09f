/**
 * Unused time that Stripe gives back when a subscription changes: a line of a later invoice that credits a line of an earlier one. While
 * that time still runs, the earlier invoice's credits are taken back in proportion, as by a refund, and what is charged instead grants
 * in full. So credits follow money: going up, down and up again, which costs once, grants once. When the time is over (the change is
 * billed with the next period) the line is set off inside its own invoice (`lines.ts`): what expired unused is not asked for again.
 */
import type Stripe from 'stripe';
import type { Sold } from '../../catalog/types.ts';
import type { PaymentDeps } from '../deps.ts';
import type { LineFacts } from './lines.ts';

export type SoldOf = (price: string) => Sold | undefined;

/** Of one invoice, while its period runs; what is more is not looked at. */
const MOST_LATER = 100;

/** When an invoice was paid; `null`: it was not. */
export function paidAtOf({ status, status_transitions: { paid_at }, created }: Stripe.Invoice): Date | null {
  return status === 'paid' ? new Date((paid_at ?? created) * 1000) : null;
}

/** Whether a line of an invoice that was paid at an instant gives back time of an earlier invoice that still runs. */
export function givesBack(line: LineFacts, paidAt: Date, soldOf: SoldOf): boolean {
  if (!line.isProration || line.credits === null || line.asked >= 0n || line.end <= paidAt) return false;
  const sold = line.price === null ? undefined : soldOf(line.price);
  return sold?.kind === 'plan' && (sold.plan.included?.credits ?? 0n) > 0n;
}

/**
 * The lines of an invoice, each with whether it is taken back of the invoice that it names: of one that was paid before this one.
 * Otherwise nothing was granted for it, and it is set off here.
 */
export async function withTaken(
  { stripe: { client } }: PaymentDeps,
  invoice: Stripe.Invoice,
  lines: readonly LineFacts[],
  soldOf: SoldOf,
): Promise<LineFacts[]> {
  const paidAt = paidAtOf(invoice);
  const backs = paidAt === null ? [] : lines.filter((line) => givesBack(line, paidAt, soldOf));
  const named = new Set(backs.map(({ credits }) => credits!).filter((id) => id !== invoice.id));
  const earlier = await Promise.all([...named].map((id) => client.invoices.retrieve(id)));
  const paid = new Set(earlier.filter((one) => isPaidBefore(one, paidAt)).map(({ id }) => id));
  return lines.map((line) => ({ ...line, isTakenThere: backs.includes(line) && paid.has(line.credits!) }));
}

function isPaidBefore(earlier: Stripe.Invoice, paidAt: Date | null): boolean {
  const at = paidAtOf(earlier);
  return at !== null && paidAt !== null && at <= paidAt;
}

/** What later invoices that are paid give back of one, in minor units. `readLines` gives all lines of an invoice. */
export async function fetchGivenBack(
  { stripe: { client } }: PaymentDeps,
  invoice: Stripe.Invoice,
  subscription: string | null,
  lines: readonly LineFacts[],
  soldOf: SoldOf,
  readLines: (invoice: Stripe.Invoice) => Promise<LineFacts[]>,
): Promise<bigint> {
  const end = Math.max(...lines.map((line) => line.end.getTime() / 1000));
  if (subscription === null || paidAtOf(invoice) === null || end <= invoice.created) return 0n;
  const asked = { subscription, status: 'paid' as const, created: { gte: invoice.created, lte: end }, limit: 100 };
  const later = await client.invoices.list(asked).autoPagingToArray({ limit: MOST_LATER });
  let back = 0n;
  for (const other of later) {
    const paidAt = paidAtOf(other);
    if (other.id === invoice.id || paidAt === null || !isPaidBefore(invoice, paidAt)) continue;
    for (const line of await readLines(other)) {
      if (line.credits === invoice.id && givesBack(line, paidAt, soldOf)) back -= line.asked;
    }
  }
  return back;
}
