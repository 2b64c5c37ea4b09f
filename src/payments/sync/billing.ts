/**
 * A subscription and its invoices, together: whatever hints at one of them brings the other in line too, so that an event that is lost
 * is made up for by the next one, whichever that is.
 */
import type { PaymentDeps } from '../deps.ts';
import { convergeInvoice } from './invoice.ts';
import { subscriptionOf } from './invoice-facts.ts';
import { convergeSubscription } from './subscription.ts';
import { idOf, type SyncResult } from './types.ts';

/** Brings an invoice in line, and the subscription that it is of. Throws what `converge` throws. */
export async function syncInvoice(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  const subscription = subscriptionOf(await deps.stripe.client.invoices.retrieve(id));
  const first = subscription === null ? null : await convergeSubscription(deps, subscription, null);
  return together(first, await convergeInvoice(deps, id, event));
}

/** Brings a subscription in line, and its newest invoice. Throws what `converge` throws. */
export async function syncSubscription(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  const invoice = idOf((await deps.stripe.client.subscriptions.retrieve(id)).latest_invoice);
  const first = invoice === null ? null : await convergeInvoice(deps, invoice, null);
  return together(first, await convergeSubscription(deps, id, event));
}

function together(first: SyncResult | null, last: SyncResult): SyncResult {
  return { changed: last.changed || (first?.changed ?? false), ours: last.ours || (first?.ours ?? false) };
}
