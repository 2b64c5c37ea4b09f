/**
 * A subscription and its invoices, together: whatever hints at one of them brings the other in line too, so that an event that is lost
 * is made up for by the next one, whichever that is.
 */
import type Stripe from 'stripe';
import type { PaymentDeps } from '../deps.ts';
import { convergeInvoice } from './invoice.ts';
import { touchedInvoices } from './invoice-family.ts';
import { subscriptionOf } from './invoice-reads.ts';
import { convergeSubscription } from './subscription.ts';
import type { SyncResult } from './types.ts';

/** Brings an invoice in line, the subscription that it is of, and the invoices whose credits may change with it. Throws what `converge` throws. */
export async function syncInvoice(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  const invoice = await deps.stripe.client.invoices.retrieve(id);
  const subscription = subscriptionOf(invoice);
  if (subscription === null) return together(await invoices(deps, invoice, event));
  return bothOf(
    async () => [await convergeSubscription(deps, subscription, null)],
    (hint) => invoices(deps, invoice, hint),
    event,
  );
}

/** Brings a subscription in line, and its newest invoice. Throws what `converge` throws. */
export async function syncSubscription(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  const { latest_invoice: invoice } = await deps.stripe.client.subscriptions.retrieve(id, {
    expand: ['latest_invoice'],
  });
  return bothOf(
    async () => (invoice === null || typeof invoice === 'string' ? [] : invoices(deps, invoice, null)),
    async (hint) => [await convergeSubscription(deps, id, hint)],
    event,
  );
}

/**
 * Does both, whatever becomes of the first: credits that cannot be granted must not keep a plan that was cancelled, nor the other way
 * round. The event ends with the second, and only where neither failed.
 */
async function bothOf(
  first: () => Promise<SyncResult[]>,
  second: (event: string | null) => Promise<SyncResult[]>,
  event: string | null,
): Promise<SyncResult> {
  const [begun] = await Promise.allSettled([first()]);
  const results = await second(begun.status === 'fulfilled' ? event : null);
  if (begun.status === 'rejected') throw begun.reason;
  return together([...begun.value, ...results]);
}

/** An invoice, and those that may change with it: what it grants comes first, so that what is taken of others finds that before other lots. */
async function invoices(deps: PaymentDeps, invoice: Stripe.Invoice, event: string | null): Promise<SyncResult[]> {
  const all = [invoice.id, ...(await touchedInvoices(deps, invoice))];
  const results: SyncResult[] = [];
  for (const id of all) results.push(await convergeInvoice(deps, id, id === all.at(-1) ? event : null));
  return results;
}

function together(results: readonly SyncResult[]): SyncResult {
  return { changed: results.some(({ changed }) => changed), ours: results.some(({ ours }) => ours) };
}
