/** Subscriptions for tests: a database, the simulator's billing behind the real library, and the syncs that its events hint at. */
import { createAccount } from '../../../src/accounts/accounts.ts';
import { CatalogCache } from '../../../src/catalog/cache.ts';
import { loadCatalog, putEntry } from '../../../src/catalog/store.ts';
import { stateCreditScale } from '../../../src/ledger/wallets.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { formatCredits } from '../../../src/lib/money.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import type { PaymentDeps } from '../../../src/payments/deps.ts';
import { sync } from '../../../src/payments/sync/sync.ts';
import { createTestDatabase } from '../../support/database.ts';
import { bench } from '../../support/stripe-sim/billing/harness.ts';
import type { Sim } from '../../support/stripe-sim/core.ts';

export const DAY = 86_400;
const BUILT = { providers: new Set<string>(), markup: 1_000_000n };

/** What an event is about. */
interface About {
  object: string;
  id: string;
  customer?: string;
}

/** Kinds of objects that tell of subscriptions and what is billed for them. */
const HEARD = new Set(['invoice', 'subscription']);

export type SubscriptionRig = Awaited<ReturnType<typeof createSubscriptionRig>>;

export async function createSubscriptionRig() {
  const database = await createTestDatabase();
  const { pool } = database;
  const { sim, stripe, events, customer, until } = bench();
  await stateCreditScale(pool, 1000n);
  const read = () => loadCatalog(pool, BUILT);
  const catalogs = new CatalogCache(await read(), read);
  const deps: PaymentDeps = {
    pool,
    stripe: { client: stripe, livemode: false },
    catalogs,
    clock: systemClock,
    log: silentLogger,
  };

  async function pack(name: string, body: object): Promise<void> {
    await putEntry(pool, 'pack', name, body, 'test');
    await catalogs.refresh();
  }

  let current = '';
  /** An account with a customer whose card is this one. */
  async function subscriber(card: string | null = 'pm_card_visa') {
    const { id } = await customer(card);
    current = id;
    const none = { externalId: null, email: null, plan: null, planQuantity: 1, overdraft: 0n, budget: null };
    const made = { ...none, name: 'Ada', metadata: {}, stripeCustomerId: id };
    const { account } = await createAccount(pool, systemClock, made, 'test');
    return { account: account.id, customer: id };
  }

  /** A plan of the catalog with prices of its own at Stripe: amounts in cents. Returns their ids in this order. */
  async function plan(
    name: string,
    body: object,
    ...prices: [amount: number, interval: 'month' | 'year'][]
  ): Promise<string[]> {
    const product = await stripe.products.create({ name });
    const ids: string[] = [];
    for (const [unit_amount, interval] of prices) {
      const made = { currency: 'usd', unit_amount, product: product.id, recurring: { interval } };
      ids.push((await stripe.prices.create(made)).id);
    }
    await putEntry(pool, 'plan', name, { models: ['*'], stripe_prices: ids, ...body }, 'test');
    await catalogs.refresh();
    return ids;
  }

  /**
   * Syncs what the events since the last call are about, each once, in the order that `arrange` gives them. Only what is the last
   * subscriber's: those of other tests go on renewing as the clock moves. Says how many changed something.
   */
  async function heard(arrange: (all: About[]) => About[] = (all) => all): Promise<number> {
    const about = events().map(({ data }) => data.object as unknown as About);
    const own = about.filter((one) => one.customer === current);
    const once = new Map(own.map((one) => [one.id, one]));
    let changed = 0;
    for (const { object, id } of arrange([...once.values()])) {
      if (!HEARD.has(object)) continue;
      if ((await sync(deps, { kind: object, id }, null)).changed) changed += 1;
    }
    return changed;
  }

  /** Lots, by when they start and end: `10000 until 2027-01-01`. */
  async function lots(account: bigint): Promise<string[]> {
    const { rows } = await pool.query<{
      granted: bigint;
      kind: number;
      expires: Date | null;
      starts: Date;
      pending: boolean;
    }>(
      `SELECT granted, kind, nullif(expires_at, 'infinity') AS expires, starts_at AS starts, starts_at > clock_timestamp() AS pending
         FROM lots WHERE account_id = $1 ORDER BY starts_at, expires_at, lot_id`,
      [account],
    );
    return rows.map(
      ({ granted, expires, starts, pending }) =>
        `${formatCredits(granted)}${pending ? ` from ${date(starts)}` : ''}${expires === null ? '' : ` until ${date(expires)}`}`,
    );
  }

  /** What the account holds in all, credits that start later too, less its debt. */
  async function held(account: bigint): Promise<string> {
    const { rows } = await pool.query<{ sum: bigint }>(
      'SELECT posted + dormant AS sum FROM wallets WHERE account_id = $1',
      [account],
    );
    return formatCredits(rows[0]!.sum);
  }

  /** What its subscriptions state now: `pro until 2027-01-01`. */
  async function stated(account: bigint): Promise<string[]> {
    const { rows } = await pool.query<{ value: string; until: Date }>(
      `SELECT value #>> '{}' AS value, valid_until AS until FROM entitlements_at($1, clock_timestamp())
         WHERE source = 'subscription' ORDER BY value, until`,
      [account],
    );
    return rows.map(({ value, until: end }) => `${value} until ${date(end)}`);
  }

  async function told(account: bigint, type: string): Promise<Record<string, unknown>[]> {
    const { rows } = await pool.query<{ data: Record<string, unknown> }>(
      'SELECT data FROM outbox WHERE account_id = $1 AND type = $2 ORDER BY event_id',
      [account, type],
    );
    return rows.map(({ data }) => data);
  }

  /** What customers, banks and the owner do at Stripe, outside of its API. */
  const act = <R>(does: (at: Sim) => R): R =>
    sim.as({ livemode: false, request: { id: null, idempotency_key: null } }, () => does(sim));

  /** Syncs an invoice; says whether that changed something. */
  const synced = async (invoice: string): Promise<boolean> =>
    (await sync(deps, { kind: 'invoice', id: invoice }, null)).changed;

  /** The payment intent that paid an invoice. */
  async function intentOf(invoice: string): Promise<string> {
    const { data } = await stripe.invoicePayments.list({ invoice });
    return data[0]!.payment.payment_intent as string;
  }

  return {
    ...database,
    deps,
    sim,
    stripe,
    until,
    subscriber,
    plan,
    pack,
    heard,
    lots,
    held,
    stated,
    told,
    act,
    synced,
    intentOf,
  };
}

/** The day of an instant, or of seconds. */
export function date(at: Date | number): string {
  return (typeof at === 'number' ? new Date(at * 1000) : at).toISOString().slice(0, 10);
}
