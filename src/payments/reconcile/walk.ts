/**
 * Which objects of Stripe's are to be looked at: all that moved money or changed a subscription in the window, and what stands here
 * unfinished. What a list of Stripe's shows to be in line already is left out, so that most of them cost no call of their own.
 */
import type { Pool } from 'pg';
import type Stripe from 'stripe';
import type { PaymentDeps } from '../deps.ts';
import type { StripeRef } from '../sync/types.ts';

export interface Window {
  /** Seconds, half-open. */
  from: number;
  to: number;
}

const PAGE = 100;

/** Objects to look at, in no order, some of them more than once. `tell` hears how many of a kind were listed. */
export async function* walk(
  deps: PaymentDeps,
  window: Window,
  tell: (kind: string, listed: number) => void,
): AsyncGenerator<StripeRef> {
  const { client } = deps.stripe;
  const created = { gte: window.from, lt: window.to };
  const lists: [string, () => AsyncIterable<{ id: string }>, Picker][] = [
    [
      'payment_intent',
      () => client.paymentIntents.list({ created, limit: PAGE, expand: ['data.latest_charge'] }),
      (page) => paymentsNotInLine(deps.pool, page as Stripe.PaymentIntent[]),
    ],
    [
      'invoice',
      () => client.invoices.list({ created, limit: PAGE }),
      (page) => invoicesNotInLine(deps.pool, page as Stripe.Invoice[]),
    ],
    ['refund', () => client.refunds.list({ created, limit: PAGE }), all],
    ['dispute', () => client.disputes.list({ created, limit: PAGE }), all],
    [
      'checkout.session',
      () => client.checkout.sessions.list({ created, limit: PAGE }),
      async (page) => unpaidSessions(page as Stripe.Checkout.Session[]),
    ],
    [
      'subscription',
      () => client.subscriptions.list({ status: 'all', limit: PAGE }),
      (page) => subscriptionsToSee(deps.pool, page as Stripe.Subscription[], window),
    ],
  ];
  for (const [kind, list, pick] of lists) {
    let listed = 0;
    for await (const page of pages(list())) {
      listed += page.length;
      tell(kind, listed);
      for (const id of await pick(page)) yield { kind, id };
    }
  }
  yield* unfinishedHere(deps.pool);
}

/** Which objects of a page have to be looked at. */
type Picker = (page: { id: string }[]) => Promise<string[]>;

const all: Picker = async (page) => page.map(({ id }) => id);

async function* pages<T>(list: AsyncIterable<T>): AsyncGenerator<T[]> {
  let page: T[] = [];
  for await (const item of list) {
    page.push(item);
    if (page.length < PAGE) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

interface Known {
  paid: bigint;
  reversed: bigint;
}

/** What stands here of payments, by their keys and by the intents that paid them. */
async function known(pool: Pool, ids: readonly string[]): Promise<Map<string, Known>> {
  const { rows } = await pool.query<{ payment_key: string; payment_intent: string | null } & Known>(
    `SELECT payment_key, payment_intent, paid_minor AS paid, reversed_minor AS reversed FROM payments
     WHERE payment_key = ANY ($1) OR payment_intent = ANY ($1)`,
    [ids],
  );
  return new Map(
    rows.flatMap((row) =>
      [row.payment_key, row.payment_intent].flatMap((id) => (id === null ? [] : [[id, row] as const])),
    ),
  );
}

/** In line: all that was received stands here, and as much of it was reversed. One that was never paid has to be ours to be seen. */
async function paymentsNotInLine(pool: Pool, page: readonly Stripe.PaymentIntent[]): Promise<string[]> {
  const here = await known(
    pool,
    page.map(({ id }) => id),
  );
  return page.flatMap(({ id, status, amount_received, latest_charge, metadata }) => {
    const stands = here.get(id);
    const ours = Object.keys(metadata).some((name) => name.startsWith('tollgate_'));
    if (status !== 'succeeded') return stands !== undefined || ours ? [id] : [];
    if (stands === undefined || latest_charge === null || typeof latest_charge === 'string') return [id];
    const { disputed, amount_refunded } = latest_charge;
    const same = stands.paid === BigInt(amount_received) && stands.reversed === BigInt(amount_refunded);
    return same && !disputed && !ours ? [] : [id];
  });
}

/** Refunds and disputes of invoices are listed by themselves. */
async function invoicesNotInLine(pool: Pool, page: readonly Stripe.Invoice[]): Promise<string[]> {
  const here = await known(
    pool,
    page.map(({ id }) => id),
  );
  return page
    .filter(({ id, status, amount_paid }) => status === 'paid' && here.get(id)?.paid !== BigInt(amount_paid))
    .map(({ id }) => id);
}

/** Those with a payment intent are looked at by that. */
function unpaidSessions(page: readonly Stripe.Checkout.Session[]): string[] {
  return page
    .filter(
      ({ status, mode, payment_intent }) => status === 'complete' && mode === 'payment' && payment_intent === null,
    )
    .map(({ id }) => id);
}

/** All that may allow something, and those that have ended in the window or that we think have not. */
async function subscriptionsToSee(
  pool: Pool,
  page: readonly Stripe.Subscription[],
  { from }: Window,
): Promise<string[]> {
  const { rows } = await pool.query<{ id: string; status: string }>(
    'SELECT subscription_id AS id, status FROM subscriptions WHERE subscription_id = ANY ($1)',
    [page.map(({ id }) => id)],
  );
  const here = new Map(rows.map(({ id, status }) => [id, status]));
  const over = (status: string): boolean => status === 'canceled' || status === 'incomplete_expired';
  return page
    .filter(({ id, status, ended_at }) => !over(status) || here.get(id) !== status || (ended_at ?? 0) >= from)
    .map(({ id }) => id);
}

/** Sessions run out after a day at most; what is older and open here has missed that. */
const SESSION_HOURS = 25;
const RECHARGE_MINUTES = 10;

/** What stands here and has not ended, though it should have; and what is nobody's yet. Those of another business on the same Stripe account are not. */
async function* unfinishedHere(pool: Pool): AsyncGenerator<StripeRef> {
  const { rows } = await pool.query<StripeRef>(
    `SELECT 'checkout.session' AS kind, session_id AS id FROM checkouts
       WHERE status = 'open' AND session_id IS NOT NULL AND created_at < clock_timestamp() - make_interval(hours => $1)
     UNION ALL SELECT 'payment_intent', payment_intent FROM recharges
       WHERE ended_at IS NULL AND payment_intent IS NOT NULL AND created_at < clock_timestamp() - make_interval(mins => $2)
     UNION ALL SELECT kind, object_id FROM orphan_payments WHERE resolved_at IS NULL AND reason <> 'unrelated'
     UNION ALL SELECT 'subscription', subscription_id FROM subscriptions WHERE status NOT IN ('canceled', 'incomplete_expired')`,
    [SESSION_HOURS, RECHARGE_MINUTES],
  );
  yield* rows;
}
