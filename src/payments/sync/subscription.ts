/** Subscriptions: what they allow their account, and until when. */
import type { PaymentDeps } from '../deps.ts';
import { NOT_OURS, type SyncResult } from './types.ts';

/** Brings the statements of a subscription's account in line with Stripe. */
export async function syncSubscription(_deps: PaymentDeps, _id: string, _event: string | null): Promise<SyncResult> {
  return NOT_OURS;
}
