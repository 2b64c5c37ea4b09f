/** Invoices: what their lines grant once they are paid, and what is taken back of it. */
import type { PaymentDeps } from '../deps.ts';
import { NOT_OURS, type SyncResult } from './types.ts';

/** Brings what an invoice granted in line with Stripe. Call `sync`, which knows whether a checkout session stands behind it. */
export async function syncInvoice(_deps: PaymentDeps, _id: string, _event: string | null): Promise<SyncResult> {
  return NOT_OURS;
}
