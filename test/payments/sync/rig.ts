/**
 * Payments for tests: a database, a simulator in this process that the real library talks to without sockets, accounts with customers,
 * and checkouts as `createCheckout` makes them, in few round trips.
 */
import Stripe from 'stripe';
import { createAccount } from '../../../src/accounts/accounts.ts';
import { applyCatalog } from '../../../src/catalog/apply.ts';
import { CatalogCache } from '../../../src/catalog/cache.ts';
import type { FileEntry } from '../../../src/catalog/file.ts';
import { loadCatalog } from '../../../src/catalog/store.ts';
import { stateCreditScale } from '../../../src/ledger/wallets.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { mintId, publicId } from '../../../src/lib/ids.ts';
import { NANO_PER_CREDIT } from '../../../src/lib/money.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import type { PaymentDeps } from '../../../src/payments/deps.ts';
import { sync } from '../../../src/payments/sync/sync.ts';
import type { SyncResult } from '../../../src/payments/sync/types.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import type { Control } from '../../support/stripe-sim/control.ts';
import { type Simulator, startSimulator } from '../../support/stripe-sim/simulator.ts';

const BUILT = { providers: new Set<string>(), markup: 1_000_000n };

export interface Payer {
  account: bigint;
  customer: string;
}

export interface CheckoutTerms {
  /** Whole credits. */
  credits: number;
  bonus?: number;
  amountMinor?: number;
  currency?: string;
  expiresDays?: number | null;
  /** Fields of the session. */
  session?: Partial<Stripe.Checkout.SessionCreateParams>;
}

export interface PayRig extends TestDatabase {
  deps: PaymentDeps;
  client: Stripe;
  simulator: Simulator;
  /** What customers, banks and the owner do at Stripe. Nothing is delivered by itself. */
  stripe: Control;
  /** An account whose customer has a card that is good. */
  payer(more?: { externalId?: string; customer?: string | null }): Promise<Payer>;
  /** A row in `checkouts`, and its session. */
  checkout(payer: Payer, terms: CheckoutTerms): Promise<Stripe.Checkout.Session>;
  applyCatalog(entries: FileEntry[]): Promise<void>;
  sync(kind: string, id: string): Promise<SyncResult>;
  close(): Promise<void>;
}

export async function createPayRig(seed?: number): Promise<PayRig> {
  const database = await createTestDatabase();
  const { pool } = database;
  const simulator = await startSimulator(seed === undefined ? {} : { seed });
  const client = directClient(simulator);
  await simulator.control.delivery({ when: 'manual' });
  await stateCreditScale(pool, 1000n);
  // Fixed by a first grant long ago: tests that never commit do not wait for one another's.
  await pool.query('UPDATE credit_scale SET fixed = true');
  const read = () => loadCatalog(pool, BUILT);
  const deps: PaymentDeps = {
    pool,
    stripe: { client, livemode: false },
    catalogs: new CatalogCache(await read(), read),
    clock: systemClock,
    log: silentLogger,
  };
  const rig: PayRig = {
    ...database,
    deps,
    client,
    simulator,
    stripe: simulator.control,
    async payer({ externalId = null, customer } = {}) {
      const made = customer === undefined ? (await client.customers.create({ name: 'Payer' })).id : customer;
      if (made !== null && customer === undefined)
        await client.paymentMethods.attach('pm_card_visa', { customer: made });
      const fields = {
        name: 'Payer',
        externalId,
        email: null,
        plan: null,
        planQuantity: 1,
        overdraft: 0n,
        budget: null,
      };
      const { account } = await createAccount(
        pool,
        systemClock,
        { ...fields, metadata: {}, stripeCustomerId: made },
        'test',
      );
      return { account: account.id, customer: made ?? '' };
    },
    checkout: (payer, terms) => openCheckout(rig, payer, terms),
    async applyCatalog(entries) {
      await applyCatalog(pool, entries, { force: true, prune: false });
    },
    sync: (kind, id) => sync(deps, { kind, id }, null),
    async close() {
      await simulator.close();
      await database.drop();
    },
  };
  return rig;
}

/** The real library, whose calls the simulator answers in this process. */
export function directClient({ api }: Simulator): Stripe {
  const answered = async (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const { pathname, search } = new URL(String(url));
    const headers = Object.fromEntries(new Headers(init?.headers));
    const answer = await api.answer({
      method: (init?.method ?? 'GET') as 'GET',
      path: pathname,
      query: search.slice(1),
      body: String(init?.body ?? ''),
      headers,
    });
    if (typeof answer.status !== 'number') throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
    return new Response(answer.body, { status: answer.status, headers: answer.headers });
  };
  const httpClient = Stripe.createFetchHttpClient(answered as typeof fetch);
  return new Stripe('sk_test_simulated', { httpClient, maxNetworkRetries: 0, telemetry: false });
}

async function openCheckout(rig: PayRig, payer: Payer, terms: CheckoutTerms): Promise<Stripe.Checkout.Session> {
  const id = mintId(systemClock);
  const { credits, bonus = 0, amountMinor = 1000, currency = 'usd', expiresDays = null } = terms;
  const metadata = { tollgate_account: publicId('acct', payer.account), tollgate_checkout: publicId('chk', id) };
  const product = { currency, unit_amount: amountMinor, product_data: { name: 'Credits' } };
  const session = await rig.client.checkout.sessions.create({
    mode: 'payment',
    customer: payer.customer,
    client_reference_id: metadata.tollgate_account,
    line_items: [{ price_data: product, quantity: 1 }],
    success_url: 'https://example.com/done',
    metadata,
    payment_intent_data: { metadata },
    allow_promotion_codes: true,
    ...terms.session,
  });
  const nano = (whole: number) => BigInt(whole) * NANO_PER_CREDIT;
  await rig.pool.query(
    `INSERT INTO checkouts (checkout_id, account_id, kind, name, version, credits, bonus_credits, expires_days, currency,
       amount_minor, customer_id, session_id) VALUES ($1, $2, 'pack', 'starter', 1, $3, $4, $5, $6, $7, $8, $9)`,
    [id, payer.account, nano(credits), nano(bonus), expiresDays, currency, amountMinor, payer.customer, session.id],
  );
  return session;
}

/** A payment that was made and granted: its intent and charge, and how to hear of it again. */
export async function paidCheckout(rig: PayRig, payer: Payer, terms: CheckoutTerms, method = 'card') {
  const { id } = await rig.checkout(payer, terms);
  const { payment_intent } = await rig.stripe.completeSession(id, { method });
  const intent = String(payment_intent);
  await rig.sync('payment_intent', intent);
  const charge = String((await rig.client.paymentIntents.retrieve(intent)).latest_charge);
  return { session: id, intent, charge };
}

/** In credits, what an account can spend, less what it owes. */
export async function balanceOf({ pool }: PayRig, account: bigint): Promise<number> {
  const { rows } = await pool.query<{ balance: bigint }>(
    'SELECT posted + dormant AS balance FROM wallets WHERE account_id = $1',
    [account],
  );
  return Number(rows[0]!.balance) / Number(NANO_PER_CREDIT);
}

export interface PaymentRow {
  account: bigint;
  kind: string;
  reference: string | null;
  paid: bigint;
  reversed: bigint;
  /** Whole nano-credits. */
  granted: bigint;
  clawed: bigint;
  paidAt: Date;
}

/** What stands of a payment; `null`: nothing. */
export async function paymentOf({ pool }: PayRig, key: string): Promise<PaymentRow | null> {
  const { rows } = await pool.query<PaymentRow>(
    `SELECT account_id AS account, kind, reference, paid_minor AS paid, reversed_minor AS reversed, granted, clawed,
       paid_at AS "paidAt" FROM payments WHERE payment_key = $1`,
    [key],
  );
  return rows[0] ?? null;
}

/** Why a payment is listed as nobody's; `null`: it is not, or it was resolved. */
export async function orphanOf({ pool }: PayRig, key: string): Promise<string | null> {
  const { rows } = await pool.query<{ reason: string }>(
    'SELECT reason FROM orphan_payments WHERE object_id = $1 AND resolved_at IS NULL',
    [key],
  );
  return rows[0]?.reason ?? null;
}

/** Of the account, oldest first. */
export async function toldOf({ pool }: PayRig, account: bigint, type: string): Promise<Array<Record<string, unknown>>> {
  const { rows } = await pool.query<{ data: Record<string, unknown> }>(
    'SELECT data FROM outbox WHERE account_id = $1 AND type = $2 ORDER BY event_id',
    [account, type],
  );
  return rows.map(({ data }) => data);
}
