/**
 * Subscriptions: what they allow their account, and until when. What is allowed stands in statements of the source `subscription`, one
 * for each item, which end by themselves (`validity.ts`): an event that is lost leaves nothing allowed for ever.
 *
 *   item of a plan's price ──allowed──▶ stated ──another plan, another end──▶ stated anew
 *                                         └──not allowed any more, gone from the subscription──▶ withdrawn
 */
import type { PoolClient } from 'pg';
import type Stripe from 'stripe';
import { putStatement, type Statement } from '../../accounts/entitlements.ts';
import { mintId } from '../../lib/ids.ts';
import type { PaymentDeps } from '../deps.ts';
import { converge } from './converge.ts';
import { linesOf } from './invoice-reads.ts';
import { accountOf, fetchSubscriber, type Subscriber } from './payer.ts';
import { lockWallet } from './post.ts';
import { assertMode, idOf, NOT_OURS, type SyncResult } from './types.ts';
import { allowedUntil, type SubscriptionFacts } from './validity.ts';

/** Whose newest tell until when it is paid. */
const INVOICES_LOOKED_AT = 24;
const AUTHOR = 'stripe';

interface Fetched {
  subscription: Stripe.Subscription;
  facts: SubscriptionFacts;
  /** The price that each item was last paid at; `null`: what stands is paid for, or is to be paid with a period. */
  paidPrices: ReadonlyMap<string, string> | null;
  subscriber: Subscriber;
}

/** What an item allows. */
interface Allowed {
  reference: string;
  plan: string;
  until: Date;
}

/** Brings the statements of a subscription's account in line with Stripe. Throws what `converge` throws. */
export async function convergeSubscription(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  return converge(deps, id, event, () => fetchSubscription(deps, id), postSubscription(deps));
}

async function fetchSubscription(deps: PaymentDeps, id: string): Promise<Fetched> {
  const { client } = deps.stripe;
  const [subscription, paid] = await Promise.all([
    client.subscriptions.retrieve(id, { expand: ['latest_invoice'] }),
    client.invoices.list({ subscription: id, status: 'paid', limit: INVOICES_LOOKED_AT }),
  ]);
  assertMode(deps, subscription);
  const lines = (await Promise.all(paid.data.map((invoice) => linesOf(client, invoice)))).flat();
  return {
    subscription,
    facts: factsOf(subscription, lines),
    paidPrices: isChangeUnpaid(subscription) ? paidPricesOf(lines) : null,
    subscriber: await fetchSubscriber(deps, idOf(subscription.customer), id),
  };
}

/** `null` of an instant that is not set. */
const at = (seconds: number | null | undefined): Date | null => (seconds == null ? null : new Date(seconds * 1000));

/** `paid`: lines of invoices that were paid. */
function factsOf(subscription: Stripe.Subscription, paid: readonly Stripe.InvoiceLineItem[]): SubscriptionFacts {
  const ends = subscription.items.data.map(({ current_period_end }) => current_period_end);
  const paidEnds = paid.flatMap(({ parent, amount, period }) =>
    parent?.subscription_item_details?.subscription === subscription.id && amount >= 0 ? [period.end] : [],
  );
  return {
    status: subscription.status,
    periodEnd: at(latest(ends)),
    trialEnd: at(subscription.trial_end),
    cancelAt: at(subscription.cancel_at),
    cancelsAtPeriodEnd: subscription.cancel_at_period_end,
    isCollectionPaused: subscription.pause_collection !== null,
    paidUntil: at(latest(paidEnds)),
  };
}

/** Whether it was changed for something that was then not paid: its items are the new ones all the same. */
function isChangeUnpaid({ status, latest_invoice: invoice }: Stripe.Subscription): boolean {
  if (status !== 'past_due' || invoice === null || typeof invoice === 'string') return false;
  return invoice.billing_reason === 'subscription_update' && invoice.status !== 'paid';
}

/** Of lines of invoices that were paid, newest first: by items, the price that was paid last. */
function paidPricesOf(paid: readonly Stripe.InvoiceLineItem[]): Map<string, string> {
  const prices = new Map<string, string>();
  for (const { parent, pricing, amount } of paid) {
    const item = parent?.subscription_item_details?.subscription_item;
    const price = pricing?.price_details?.price;
    if (item && price && amount >= 0 && !prices.has(item)) prices.set(item, idOf(price));
  }
  return prices;
}

function latest(instants: readonly number[]): number | null {
  return instants.length === 0 ? null : Math.max(...instants);
}

const postSubscription =
  (deps: PaymentDeps) =>
  async (db: PoolClient, fetched: Fetched): Promise<SyncResult> => {
    const { subscription, facts, subscriber } = fetched;
    const before = await accountBefore(db, subscription.id);
    const payer = await accountOf(db, subscriber);
    const account = payer?.id ?? before;
    if (account === null) return NOT_OURS;
    const allowed = payer?.isErased ? [] : allowedBy(deps, fetched);
    if (before === null && allowed.length === 0 && !sells(deps, subscription)) return NOT_OURS;
    // Of two accounts the lower is locked first, as everybody does.
    const others = before !== null && before !== account ? [before] : [];
    for (const each of [...others, account].sort((a, b) => (a < b ? -1 : 1))) await lockWallet(db, each);
    let changed = false;
    for (const other of others) changed = (await state(deps, db, other, fetched, [])) || changed;
    changed = (await state(deps, db, account, fetched, allowed)) || changed;
    const [sold] = subscription.items.data.flatMap(({ price }) => planOf(deps, price.id)?.name ?? []);
    await mirror(db, account, fetched, allowed[0]?.plan ?? sold ?? null);
    if (changed) await tell(db, account, subscription, allowed, facts);
    return { changed, ours: true };
  };

async function accountBefore(db: PoolClient, subscription: string): Promise<bigint | null> {
  const { rows } = await db.query<{ account_id: bigint }>(
    'SELECT account_id FROM subscriptions WHERE subscription_id = $1',
    [subscription],
  );
  return rows[0]?.account_id ?? null;
}

function planOf({ catalogs }: PaymentDeps, price: string | undefined) {
  const sold = price === undefined ? undefined : catalogs.current.sold.get(price);
  return sold?.kind === 'plan' ? sold.plan : null;
}

/** Whether anything of it is a plan of ours: subscriptions to something else are none of our business. */
function sells(deps: PaymentDeps, { items }: Stripe.Subscription): boolean {
  return items.data.some(({ price }) => planOf(deps, price.id) !== null);
}

function allowedBy(deps: PaymentDeps, { subscription, facts, paidPrices }: Fetched): Allowed[] {
  return subscription.items.data.flatMap((item) => {
    // What is asked for and not paid allows nothing: what was paid before it does.
    const plan = planOf(deps, paidPrices === null ? item.price.id : paidPrices.get(item.id));
    const until = plan === null ? null : allowedUntil(facts, plan.graceDays);
    if (plan === null || until === null) return [];
    return [{ reference: `${subscription.id}:${item.id}`, plan: plan.name, until }];
  });
}

/** Makes the statements of a subscription say what is allowed, where they say something else. Says whether one was made. */
async function state(
  deps: PaymentDeps,
  db: PoolClient,
  account: bigint,
  { subscription }: Fetched,
  allowed: readonly Allowed[],
): Promise<boolean> {
  const { now, live } = await liveStatements(db, account, subscription.id);
  const open = allowed.filter(({ until }) => until > now);
  const put = (made: Pick<Statement, 'reference' | 'value' | 'until'>, reason: string) =>
    putStatement(db, account, mintId(deps.clock), {
      ...made,
      source: 'subscription',
      key: 'plan',
      from: null,
      reason,
      author: AUTHOR,
    });
  let changed = false;
  for (const { reference, plan, until } of open) {
    const stands = live.find((one) => one.reference === reference);
    if (stands?.value === plan && stands.until?.getTime() === until.getTime()) continue;
    await put({ reference, value: plan, until }, `Subscription ${subscription.id} is ${subscription.status}`);
    changed = true;
  }
  for (const { reference } of live) {
    if (open.some((one) => one.reference === reference)) continue;
    await put({ reference, value: null, until: null }, `Subscription ${subscription.id} is ${subscription.status}`);
    changed = true;
  }
  return changed;
}

type Live = Pick<Statement, 'reference' | 'value' | 'until'>;

/** What the statements of a subscription say now, by the database's clock. */
async function liveStatements(
  db: PoolClient,
  account: bigint,
  subscription: string,
): Promise<{ now: Date; live: Live[] }> {
  const { rows } = await db.query<Live & { now: Date }>(
    `SELECT t.now, reference, value, nullif(valid_until, 'infinity') AS until
       FROM (SELECT clock_timestamp() AS now) t
         LEFT JOIN LATERAL (SELECT * FROM entitlements_at($1, t.now)
           WHERE source = 'subscription' AND key = 'plan' AND starts_with(reference, $2 || ':')) e ON true`,
    [account, subscription],
  );
  return { now: rows[0]!.now, live: rows.filter(({ reference }) => reference !== null) };
}

/** Keeps what was read, for those who look at it here. */
async function mirror(
  db: PoolClient,
  account: bigint,
  { subscription, facts }: Fetched,
  plan: string | null,
): Promise<void> {
  const [item] = subscription.items.data;
  await db.query(
    `INSERT INTO subscriptions AS s (subscription_id, account_id, customer_id, status, plan, quantity, period_start, period_end,
         paid_until, cancel_at, ended_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     ON CONFLICT (subscription_id) DO UPDATE SET account_id = $2, customer_id = $3, status = $4, plan = $5, quantity = $6,
       period_start = $7, period_end = $8, paid_until = $9, cancel_at = $10, ended_at = $11, synced_at = clock_timestamp()`,
    [
      subscription.id,
      account,
      idOf(subscription.customer),
      subscription.status,
      plan,
      item?.quantity ?? 1,
      at(item?.current_period_start),
      facts.periodEnd,
      facts.paidUntil,
      facts.cancelAt ?? (facts.cancelsAtPeriodEnd ? facts.periodEnd : null),
      at(subscription.ended_at),
    ],
  );
}

async function tell(
  db: PoolClient,
  account: bigint,
  { id, status }: Stripe.Subscription,
  allowed: readonly Allowed[],
  { cancelAt, cancelsAtPeriodEnd, periodEnd }: SubscriptionFacts,
): Promise<void> {
  await db.query(`SELECT outbox_tell($1, 'subscription.changed', NULL, $2)`, [
    account,
    JSON.stringify({
      subscription: id,
      status,
      plans: allowed.map(({ plan, until }) => ({ plan, valid_until: until })),
      cancel_at: cancelAt ?? (cancelsAtPeriodEnd ? periodEnd : null),
    }),
  ]);
}
