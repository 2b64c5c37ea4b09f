/** Whose a subscription is, and what is billed for it. */
import type Stripe from 'stripe';
import type { Db } from '../../db/pool.ts';
import type { PaymentDeps } from '../deps.ts';
import { findPayer } from './accounts.ts';

/** What says whose it is, as it was read from Stripe. */
export interface Subscriber {
  customer: string | null;
  /** Of the session that it was bought with; `null`: none, or the customer is known anyway. */
  clientReference: string | null;
}

/** Asks Stripe for the session that a subscription was bought with where its customer is nobody's. */
export async function fetchSubscriber(
  deps: PaymentDeps,
  customer: string | null,
  subscription: string | null,
): Promise<Subscriber> {
  const isKnown = customer !== null && (await findPayer(deps.pool, { customer })) !== null;
  if (isKnown || subscription === null) return { customer, clientReference: null };
  const sessions: Stripe.ApiList<Stripe.Checkout.Session> = await deps.stripe.client.checkout.sessions.list({
    subscription,
    limit: 1,
  });
  return { customer, clientReference: sessions.data[0]?.client_reference_id ?? null };
}

/** The account; `null`: nobody's. `isErased`: it is nobody's any more. */
export async function accountOf(db: Db, subscriber: Subscriber): Promise<{ id: bigint; isErased: boolean } | null> {
  const id = await findPayer(db, subscriber);
  if (id === null) return null;
  const { rows } = await db.query<{ erased: boolean }>(
    'SELECT erased_at IS NOT NULL AS erased FROM accounts WHERE account_id = $1',
    [id],
  );
  return { id, isErased: rows[0]?.erased ?? true };
}
