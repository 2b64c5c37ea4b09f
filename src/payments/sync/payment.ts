/** A payment of its own: of a checkout, of a recharge, or made outside of Tollgate. */
import type { PaymentDeps } from '../deps.ts';
import { converge } from './converge.ts';
import type { SyncResult } from './types.ts';

/** Brings the payment of a payment intent in line. Throws what `converge` throws. */
export async function syncPayment(deps: PaymentDeps, intent: string, event: string | null): Promise<SyncResult> {
  return converge(
    deps,
    intent,
    event,
    () => deps.stripe.client.paymentIntents.retrieve(intent),
    async () => ({ changed: false, ours: false }),
  );
}

/** Brings a checkout session in line for which nothing was due, or that was not paid. Throws what `converge` throws. */
export async function syncSession(deps: PaymentDeps, session: string, event: string | null): Promise<SyncResult> {
  return converge(
    deps,
    session,
    event,
    () => deps.stripe.client.checkout.sessions.retrieve(session),
    async () => ({ changed: false, ours: false }),
  );
}
