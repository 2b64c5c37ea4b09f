/** Auto-recharge for tests: a database, a simulator of Stripe, accounts with a card, and time that is moved for both at once. */
import type Stripe from 'stripe';
import { createAccount } from '../../../src/accounts/accounts.ts';
import { adjustCredits } from '../../../src/accounts/corrections.ts';
import { applyCatalog } from '../../../src/catalog/apply.ts';
import { CatalogCache } from '../../../src/catalog/cache.ts';
import { loadCatalog } from '../../../src/catalog/store.ts';
import { WriterConnection } from '../../../src/ledger/connection.ts';
import { stateCreditScale } from '../../../src/ledger/wallets.ts';
import { LedgerWriter } from '../../../src/ledger/writer.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { uuidv7 } from '../../../src/lib/ids.ts';
import { formatCredits, parseCredits } from '../../../src/lib/money.ts';
import { silentLogger } from '../../../src/observe/log.ts';
import type { PaymentDeps } from '../../../src/payments/deps.ts';
import { beginWanted, sweepLow } from '../../../src/payments/recharge/begin.ts';
import { chargeDue } from '../../../src/payments/recharge/charge.ts';
import { keepRecharge } from '../../../src/payments/recharge/settings.ts';
import { sync } from '../../../src/payments/sync/sync.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startStripe, type TestStripe } from '../../support/stripe.ts';

const CREDITS_PER_USD = 1000n;
const MOST_TURNS = 60;
/** 10 USD buy 100 credits, and 10 more. */
export const STARTER = {
  kind: 'pack',
  name: 'starter',
  body: { price: { usd: '10.00' }, credits: '100', bonus_credits: '10' },
} as const;

export interface Buyer {
  account: bigint;
  customer: string;
}

export interface RechargeRig extends TestDatabase {
  deps: PaymentDeps;
  stripe: TestStripe;
  /** An account that recharges by itself; amounts in credits and US cents. */
  buyer(more?: { credits?: string; threshold?: string; cap?: bigint; card?: string | null }): Promise<Buyer>;
  attach(buyer: Buyer, card: string): Promise<Stripe.PaymentMethod>;
  /** Takes credits away; below 0: gives them. */
  spend(buyer: Buyer, credits: string): Promise<void>;
  /** What the jobs do, until they find nothing more. */
  work(): Promise<void>;
  sweep(): Promise<void>;
  /** Brings in line what an event would hint at. */
  hear(kind: string, id: string): Promise<void>;
  /** Hours go by, here and at Stripe. */
  pass(hours: number): Promise<void>;
  balance(buyer: Buyer): Promise<string>;
  rows(buyer: Buyer): Promise<RechargeRow[]>;
  standing(buyer: Buyer): Promise<Standing>;
  told(buyer: Buyer, type: string): Promise<Array<Record<string, unknown>>>;
  /** What the simulator charged, and what was granted for it: cents, cents, credits. */
  money(buyer: Buyer): Promise<{ charges: number; charged: number; paid: number; granted: string }>;
}

export interface RechargeRow {
  recharge_id: bigint;
  status: string;
  packs: number;
  amount_minor: bigint;
  payment_intent: string | null;
  error: string | null;
  attempts: number;
}

export interface Standing {
  stopped_reason: string | null;
  failures: number;
  payment_method: string | null;
  retry_at: Date | null;
}

export async function createRechargeRig(seed?: number): Promise<RechargeRig> {
  const database = await createTestDatabase();
  const { pool } = database;
  const stripe = await startStripe(seed === undefined ? {} : { seed });
  await stripe.sim.delivery({ when: 'manual' });
  await stateCreditScale(pool, CREDITS_PER_USD);
  await applyCatalog(pool, [STARTER], { force: true, prune: false });
  const read = () => loadCatalog(pool, { providers: new Set<string>(), markup: 1_000_000n });
  const catalogs = new CatalogCache(await read(), read);
  const api = { client: stripe.client, livemode: false };
  const deps: PaymentDeps = { pool, stripe: api, catalogs, clock: systemClock, log: silentLogger };
  const connection = new WriterConnection(database.url, 1n, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  const ledger = { pool, writer, clock: systemClock, creditsPerUsd: CREDITS_PER_USD };
  const calm = new AbortController().signal;
  const rig: RechargeRig = {
    ...database,
    deps,
    stripe,
    async buyer({ credits = '100', threshold = '20', cap = 10_000n, card = 'pm_card_visa' } = {}) {
      const buyer = await openAccount(rig);
      if (card !== null) await rig.attach(buyer, card);
      if (credits !== '0') await rig.spend(buyer, `-${credits}`);
      const settings = { enabled: true, threshold: parseCredits(threshold)!, pack: 'starter', monthlyCapMinor: cap };
      await keepRecharge(pool, buyer.account, settings);
      await rig.hear('customer', buyer.customer);
      await rig.work();
      return buyer;
    },
    attach: ({ customer }, card) => stripe.client.paymentMethods.attach(card, { customer }),
    async spend({ account }, credits) {
      await adjustCredits(ledger, account, {
        amount: -parseCredits(credits)!,
        reference: uuidv7(systemClock),
        reason: 'test',
      });
    },
    async work() {
      for (let turn = 0; (await beginWanted(deps, calm)) || (await chargeDue(deps, calm)); turn++) {
        if (turn === MOST_TURNS) throw new Error('the jobs find work again and again');
      }
    },
    async sweep() {
      await sweepLow(deps, calm);
      await rig.work();
    },
    async hear(kind, id) {
      await sync(deps, { kind, id }, null);
    },
    async pass(hours) {
      await stripe.sim.advance({ hours });
      const back = `- ${hours} * interval '1 hour'`;
      await pool.query(`UPDATE recharges SET created_at = created_at ${back}, sent_at = sent_at ${back}, due_at = due_at ${back},
        ended_at = ended_at ${back}`);
      await pool.query(`UPDATE auto_recharge SET retry_at = retry_at ${back}, stopped_at = stopped_at ${back},
        method_read_at = method_read_at ${back}`);
    },
    ...readers(database, stripe),
    async drop() {
      await connection.close();
      await stripe.close();
      await database.drop();
    },
  };
  return rig;
}

async function openAccount({ pool, stripe }: RechargeRig): Promise<Buyer> {
  const { id: customer } = await stripe.client.customers.create({ name: 'Buyer' });
  const fields = {
    name: 'Buyer',
    externalId: null,
    email: null,
    plan: null,
    planQuantity: 1,
    overdraft: 0n,
    budget: null,
  };
  const asked = { ...fields, metadata: {}, stripeCustomerId: customer };
  const { account } = await createAccount(pool, systemClock, asked, 'test');
  return { account: account.id, customer };
}

type Readers = Pick<RechargeRig, 'balance' | 'rows' | 'standing' | 'told' | 'money'>;

function readers({ pool }: TestDatabase, stripe: TestStripe): Readers {
  const one = async <T extends object>(sql: string, values: unknown[]): Promise<T> =>
    (await pool.query<T>(sql, values)).rows[0]!;
  return {
    async balance({ account }) {
      const { posted } = await one<{ posted: bigint }>('SELECT posted FROM wallets WHERE account_id = $1', [account]);
      return formatCredits(posted);
    },
    async rows({ account }) {
      const sql = 'SELECT * FROM recharges WHERE account_id = $1 ORDER BY created_at, recharge_id';
      return (await pool.query<RechargeRow>(sql, [account])).rows;
    },
    standing: ({ account }) => one<Standing>('SELECT * FROM auto_recharge WHERE account_id = $1', [account]),
    async told({ account }, type) {
      const sql = 'SELECT data FROM outbox WHERE account_id = $1 AND type = $2 ORDER BY event_id';
      return (await pool.query<{ data: Record<string, unknown> }>(sql, [account, type])).rows.map(({ data }) => data);
    },
    async money({ account, customer }) {
      const charged = (await stripe.sim.charges()).find((row) => row.customer === customer);
      const { paid, granted } = await one<{ paid: string; granted: string }>(
        'SELECT coalesce(sum(paid_minor), 0) AS paid, coalesce(sum(granted), 0) AS granted FROM payments WHERE account_id = $1',
        [account],
      );
      return {
        charges: charged?.charges ?? 0,
        charged: charged?.charged ?? 0,
        paid: Number(paid),
        granted: formatCredits(BigInt(granted)),
      };
    },
  };
}

/**
 * Of each customer at most one intent was under way at any instant, by Stripe's own events: one begins, and ends, before the next.
 */
export async function overlapping({ stripe }: RechargeRig): Promise<string[]> {
  const open = new Map<string, string>();
  const faults: string[] = [];
  for (const { type, data } of await stripe.sim.events()) {
    if (!type.startsWith('payment_intent.')) continue;
    const { id, customer } = data.object as unknown as { id: string; customer: string };
    const other = open.get(customer);
    if (type === 'payment_intent.created' && other !== undefined)
      faults.push(`${id} began while ${other} was under way`);
    if (type === 'payment_intent.created') open.set(customer, id);
    if (/succeeded|payment_failed|canceled/.test(type) && other === id) open.delete(customer);
  }
  return faults;
}
