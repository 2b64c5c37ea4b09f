/**
 * Checkouts: what an account asked to buy. The row is written before Stripe is asked, so that whatever Stripe tells of finds it.
 *
 *   open ──its session is complete──▶ complete      (paid or not: a payment says that)
 *     ├──its session ran out────────▶ expired
 *     └──Stripe would not make it, or nobody learnt of it──▶ expired, and its Idempotency-Key is free again
 */
import { isDeepStrictEqual } from 'node:util';
import type { ClientBase } from 'pg';
import type Stripe from 'stripe';
import { type Db, transaction } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { mintId, parsePublicId, publicId } from '../lib/ids.ts';
import { withCustomer } from './customers.ts';
import type { SellingDeps } from './deps.ts';
import { outcomeOf, stripeFault } from './faults.ts';
import type { CheckoutForm, Order } from './order.ts';
import { alreadySubscribed, endOthers } from './plan-checkouts.ts';
import { savesCards } from './recharge/settings.ts';
import { sessionRequest, type Ways } from './session-request.ts';

/** Sessions last a day. */
const OPEN_HOURS = 24;
const MOST_OPEN = 20;
/** Stripe forgets a key after a day: before that it is not relied on any more. */
const KEY_HOURS = 23;
const ASK = { timeout: 10_000, maxNetworkRetries: 2 };

/** A checkout as it was made: price and credits are those of then. */
export interface Checkout extends Order {
  id: bigint;
  account: bigint;
  /** Whom its session was made for, at Stripe. */
  customer: string | null;
  session: string | null;
  status: 'open' | 'complete' | 'expired';
  createdAt: Date;
}

interface Row {
  checkout_id: bigint;
  account_id: bigint;
  kind: Order['kind'];
  name: string;
  version: number;
  credits: bigint;
  bonus_credits: bigint;
  expires_days: number | null;
  currency: string | null;
  amount_minor: bigint | null;
  stripe_price: string | null;
  quantity: number;
  customer_id: string | null;
  session_id: string | null;
  status: Checkout['status'];
  created_at: Date;
  once: string | null;
  asked: object;
  request: Stripe.Checkout.SessionCreateParams;
  old: boolean;
}

const COLUMNS = `checkout_id, account_id, kind, name, version, credits, bonus_credits, expires_days, currency, amount_minor,
  stripe_price, quantity, customer_id, session_id, status, created_at, once, asked, request,
  created_at < clock_timestamp() - make_interval(hours => ${KEY_HOURS}) AS old`;

function toCheckout(row: Row): Checkout {
  return {
    id: row.checkout_id,
    account: row.account_id,
    kind: row.kind,
    name: row.name,
    version: row.version,
    credits: row.credits,
    bonusCredits: row.bonus_credits,
    expiresDays: row.expires_days,
    currency: row.currency,
    amountMinor: row.amount_minor,
    stripePrice: row.stripe_price,
    quantity: row.quantity,
    customer: row.customer_id,
    session: row.session_id,
    status: row.status,
    createdAt: row.created_at,
  };
}

/** What of a session says whose it is. */
type Named = Pick<Stripe.Checkout.Session, 'id' | 'metadata' | 'customer' | 'client_reference_id'>;

/**
 * The checkout that a session is of; `null`: of none. It is the one that names the session. One that does not know its session yet is
 * found by the session's metadata, where customer and reference agree: metadata alone says nothing.
 */
export async function checkoutOf(db: Db | ClientBase, session: Named): Promise<Checkout | null> {
  const own = await db.query<Row>(`SELECT ${COLUMNS} FROM checkouts WHERE session_id = $1`, [session.id]);
  if (own.rows[0] !== undefined) return toCheckout(own.rows[0]);
  const id = parsePublicId('chk', session.metadata?.tollgate_checkout ?? '');
  const account = parsePublicId('acct', session.client_reference_id ?? '');
  const customer = typeof session.customer === 'string' ? session.customer : (session.customer?.id ?? null);
  if (id === null || account === null || customer === null) return null;
  const { rows } = await db.query<Row>(
    `SELECT ${COLUMNS} FROM checkouts
     WHERE checkout_id = $1 AND account_id = $2 AND customer_id = $3 AND session_id IS NULL`,
    [id, account, customer],
  );
  return rows[0] === undefined ? null : toCheckout(rows[0]);
}

/** A checkout by its id; `null`: there is none. */
export async function findCheckout(db: Db, id: bigint): Promise<(Checkout & { asked: Partial<CheckoutForm> }) | null> {
  const { rows } = await db.query<Row>(`SELECT ${COLUMNS} FROM checkouts WHERE checkout_id = $1`, [id]);
  return rows[0] === undefined ? null : { ...toCheckout(rows[0]), asked: rows[0].asked };
}

/** Notes in its checkout what became of a session. Says whether that is news; a session that is none of ours is left alone. */
export async function noteCheckout(
  db: Db | ClientBase,
  session: Named & Pick<Stripe.Checkout.Session, 'status'>,
): Promise<boolean> {
  const checkout = await checkoutOf(db, session);
  if (checkout === null) return false;
  const { rowCount } = await db.query(
    `UPDATE checkouts SET session_id = $2, status = CASE WHEN $3 = 'open' OR status = 'complete' THEN status ELSE $3 END
     WHERE checkout_id = $1 AND (session_id IS NULL OR (status <> $3 AND $3 <> 'open' AND status <> 'complete'))`,
    [checkout.id, session.id, session.status ?? 'open'],
  );
  return rowCount === 1;
}

/** An order, and who makes it. */
export interface Asked {
  account: bigint;
  form: CheckoutForm;
  order: Order;
  /** The caller's Idempotency-Key; `null`: it has none. */
  once: string | null;
  reachedAt: string;
}

/**
 * Begins a checkout, and answers the URL to pay at: of the same checkout again for the same key. Throws `conflict`,
 * `idempotency_key_reused`, `stripe_unavailable` where it is not known whether it was made, `stripe_refused`.
 */
export async function createCheckout(deps: SellingDeps, asked: Asked): Promise<string> {
  try {
    const before = await findAsked(deps, asked);
    if (before !== null) return await resume(deps, before);
    const { account, order } = asked;
    if (order.kind === 'plan') await endOthers(deps, account, order.name, noteCheckout);
    return await withCustomer(deps, account, async (customer) => resume(deps, await insert(deps, asked, customer)));
  } catch (error) {
    throw stripeFault(error, deps.log);
  }
}

/** The checkout that was begun with this key. Throws `idempotency_key_reused` when it was for something else. */
async function findAsked({ pool }: SellingDeps, { account, once, form }: Asked): Promise<Row | null> {
  if (once === null) return null;
  const { rows } = await pool.query<Row>(`SELECT ${COLUMNS} FROM checkouts WHERE account_id = $1 AND once = $2`, [
    account,
    once,
  ]);
  const [row] = rows;
  if (row !== undefined && !isDeepStrictEqual(row.asked, plain(form)))
    throw new TollgateError('idempotency_key_reused');
  return row ?? null;
}

/** As JSON keeps it. */
function plain(form: CheckoutForm): object {
  return JSON.parse(JSON.stringify(form)) as object;
}

/** Writes the checkout down. One of the same key that came first is answered instead. */
async function insert(deps: SellingDeps, asked: Asked, customer: string): Promise<Row> {
  const { account, form, order, once } = asked;
  const id = mintId(deps.clock);
  const ways: Ways = {
    successUrl: form.success_url ?? null,
    cancelUrl: form.cancel_url ?? null,
    publicUrl: deps.publicUrl,
    reachedAt: asked.reachedAt,
  };
  const options = { automaticTax: deps.automaticTax, savesCard: await savesCards(deps.pool, account) };
  const request = sessionRequest({ id, account, customer }, order, ways, options);
  const inserted = await transaction(deps.pool, async (db) => {
    // Of one account one at a time, so that they are counted right.
    await db.query('SELECT FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE', [account]);
    const { rows } = await db.query<Row>(
      `INSERT INTO checkouts (checkout_id, account_id, kind, name, version, credits, bonus_credits, expires_days, currency,
         amount_minor, stripe_price, quantity, customer_id, once, asked, request)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
       ON CONFLICT ON CONSTRAINT checkout_is_asked_once DO NOTHING RETURNING ${COLUMNS}`,
      [
        id,
        account,
        order.kind,
        order.name,
        order.version,
        order.credits,
        order.bonusCredits,
        order.expiresDays,
        order.currency,
        order.amountMinor,
        order.stripePrice,
        order.quantity,
        customer,
        once,
        JSON.stringify(form),
        JSON.stringify(request),
      ],
    );
    if (rows[0] !== undefined) await refuseMore(db, account, order);
    return rows[0] ?? null;
  });
  const row = inserted ?? (await findAsked(deps, asked));
  // The one that came first was given up meanwhile.
  if (row === null) throw new TollgateError('idempotency_key_in_use');
  return row;
}

/** Throws `conflict` where the account has enough of them, this one counted, or subscribes to the plan already. */
async function refuseMore(db: ClientBase, account: bigint, order: Order): Promise<void> {
  const { rows } = await db.query<{ open: number; subscribed: boolean }>(
    `SELECT (SELECT count(*)::integer FROM checkouts WHERE account_id = $1 AND status = 'open'
          AND created_at > clock_timestamp() - make_interval(hours => $2)) AS open,
        EXISTS (SELECT FROM subscriptions WHERE account_id = $1 AND plan = $3 AND ended_at IS NULL
          AND status NOT IN ('canceled', 'incomplete', 'incomplete_expired')) AS subscribed`,
    [account, OPEN_HOURS, order.name],
  );
  const { open, subscribed } = rows[0]!;
  if (order.kind === 'plan' && subscribed) {
    throw alreadySubscribed();
  }
  if (open > MOST_OPEN) {
    throw new TollgateError('conflict', {
      message: `This account has ${MOST_OPEN} open checkouts, the most it may have. They end when they are paid, or after a day.`,
    });
  }
}

/** The URL to pay at: of the session that there is, or of the one that Stripe is asked for, by the same key each time. */
async function resume(deps: SellingDeps, row: Row): Promise<string> {
  if (row.session_id === null && (row.old || row.status !== 'open')) throw isOver();
  const session =
    row.session_id === null
      ? await create(deps, row)
      : await deps.stripe.client.checkout.sessions.retrieve(row.session_id, {}, ASK);
  if (row.session_id === null) await noteCheckout(deps.pool, session);
  if (session.status !== 'open' || session.url === null) throw isOver();
  return session.url;
}

function isOver(): TollgateError {
  return new TollgateError('conflict', {
    message: 'The checkout of this Idempotency-Key is over: it was paid, or ran out. Send a new key for another one.',
  });
}

async function create(deps: SellingDeps, row: Row): Promise<Stripe.Checkout.Session> {
  const key = `checkout:${publicId('chk', row.checkout_id)}`;
  try {
    return await deps.stripe.client.checkout.sessions.create(row.request, { idempotencyKey: key, ...ASK });
  } catch (error) {
    const outcome = outcomeOf(error);
    // Whoever has the key may ask again. Else nobody can learn of the session, if there is one: so nobody pays it.
    const mayAskAgain = row.once !== null && (outcome === 'unknown' || outcome === 'busy');
    if (!mayAskAgain) await abandon(deps, row.checkout_id);
    throw error;
  }
}

async function abandon({ pool }: SellingDeps, id: bigint): Promise<void> {
  await pool.query(
    `UPDATE checkouts SET status = 'expired', once = NULL WHERE checkout_id = $1 AND session_id IS NULL AND status = 'open'`,
    [id],
  );
}
