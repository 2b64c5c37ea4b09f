/** Reads from Stripe all that a payment of its own is judged by. */
import type Stripe from 'stripe';
import type { CatalogCache } from '../../catalog/cache.ts';
import { checkoutOf } from '../checkout.ts';
import type { PaymentDeps } from '../deps.ts';
import type { Item, PackOf } from './bought.ts';
import { fetchReversals, NOTHING_REVERSED, type Reversals } from './reversed.ts';
import { assertMode, idOf } from './types.ts';

/** A payment as Stripe tells of it. Amounts are minor units of `currency`. */
export interface Fetched {
  /** The payment intent; the session where nothing was due. */
  key: string;
  intent: Stripe.PaymentIntent | null;
  session: Stripe.Checkout.Session | null;
  /** Whether the money is ours, or the order was placed and nothing was due. */
  received: boolean;
  paid: bigint;
  paidAt: Date;
  currency: string;
  customer: string | null;
  reversals: Reversals;
  /** Of a session that is no checkout of ours; empty before anything was received. */
  items: readonly Item[];
}

/** `session`: the id of the one that led here; `null`: Stripe is asked whether one stands behind the intent. */
export async function readPayment(deps: PaymentDeps, id: string, session: string | null): Promise<Fetched> {
  const { client } = deps.stripe;
  const [intent, behind] = await Promise.all([
    client.paymentIntents.retrieve(id, { expand: ['latest_charge.balance_transaction'] }),
    session === null ? sessionBehind(deps, id) : client.checkout.sessions.retrieve(session),
  ]);
  assertMode(deps, intent);
  const received = intent.status === 'succeeded' && intent.amount_received > 0;
  const charge = typeof intent.latest_charge === 'string' ? null : intent.latest_charge;
  return {
    key: id,
    intent,
    session: behind,
    received,
    paid: BigInt(intent.amount_received),
    paidAt: seconds(paidAt(charge) ?? intent.created),
    currency: intent.currency,
    customer: idOf(intent.customer),
    reversals: received ? await fetchReversals(deps, { payment_intent: id }) : NOTHING_REVERSED,
    items: received ? await readItems(deps, behind) : [],
  };
}

/** A session without a payment intent: it is open or ran out, or nothing was due. */
export async function readSession(deps: PaymentDeps, id: string): Promise<Fetched> {
  const session = await deps.stripe.client.checkout.sessions.retrieve(id);
  assertMode(deps, session);
  const received =
    session.mode === 'payment' &&
    session.status === 'complete' &&
    session.payment_status === 'no_payment_required' &&
    session.payment_intent === null;
  return {
    key: id,
    intent: null,
    session,
    received,
    paid: 0n,
    paidAt: seconds(session.created),
    currency: session.currency ?? 'usd',
    customer: idOf(session.customer),
    reversals: NOTHING_REVERSED,
    items: received ? await readItems(deps, session) : [],
  };
}

/** The checkout session of mode `payment` that a payment intent is of; `null`: none. */
export async function sessionBehind(
  { stripe: { client } }: Pick<PaymentDeps, 'stripe'>,
  intent: string,
): Promise<Stripe.Checkout.Session | null> {
  const { data } = await client.checkout.sessions.list({ payment_intent: intent, limit: 1 });
  return data[0]?.mode === 'payment' ? data[0] : null;
}

/** Money of an asynchronous method is booked days after its charge was made: then it was paid. */
function paidAt(charge: Stripe.Charge | null): number | null {
  if (charge === null) return null;
  const booked = charge.balance_transaction;
  return booked === null || typeof booked === 'string' ? charge.created : booked.created;
}

function seconds(since1970: number): Date {
  return new Date(since1970 * 1000);
}

/** A checkout of ours knows what it sold: its lines are not asked for. */
async function readItems(deps: PaymentDeps, session: Stripe.Checkout.Session | null): Promise<Item[]> {
  if (session === null || (await checkoutOf(deps.pool, session)) !== null) return [];
  // This process may not have heard yet of what the catalog says.
  await deps.catalogs.refresh();
  const lines = await deps.stripe.client.checkout.sessions.listLineItems(session.id, { limit: 100 });
  return lines.data.map(({ id, price, quantity, amount_total }) => ({
    id,
    price: price?.id ?? null,
    custom: (price?.custom_unit_amount ?? null) !== null,
    quantity: quantity ?? 0,
    paid: BigInt(amount_total),
  }));
}

/** The packs of the catalog by their prices at Stripe. */
export function packsOf({ current }: CatalogCache): PackOf {
  return (price) => {
    const sold = current.sold.get(price);
    return sold?.kind === 'pack' ? sold.pack : undefined;
  };
}
