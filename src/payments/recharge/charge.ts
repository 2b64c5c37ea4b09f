/**
 * Charges what was begun. Its states are drawn in `db/migrations/0023-recharge.sql`; `recharge_claim` there says what is to be done with
 * a purchase that is due. What comes of it is read from Stripe by `sync`, as if a webhook had told of it.
 *
 *   send ──▶ an answer with an intent ──▶ sync        refused, and no intent is found ──▶ failed
 *     └──▶ no answer, 5xx, a fault of ours ──▶ unknown: the same call with the same key again, each time later
 *   look_up ──▶ found ──▶ sync     not found ──▶ canceled, and free to be wanted again
 *   cancel ──▶ sync
 */
import Stripe from 'stripe';
import { publicId } from '../../lib/ids.ts';
import type { PaymentDeps } from '../deps.ts';
import { sync } from '../sync/sync.ts';
import type { StopReason } from './declines.ts';
import { syncMethods } from './methods.ts';
import { noteStatus } from './note.ts';

const AT_ONCE = 4;
/** Whoever claimed it died: longer than a call with its tries again takes. */
const LEASE = '2 minutes';
/** A call that was claimed longer ago is not sent any more: the process slept, and somebody else may have ended it. */
const FRESH_MS = 120_000;
/** What is not known for so long is told as an error, so that somebody looks. */
const ALARM_MS = 86_400_000;
/** One try more by the library, under the same key; what still has no answer then is tried by the row. */
const ASK = { timeout: 20_000, maxNetworkRetries: 1 };
const LATER_MS = { first: 60_000, most: 3_600_000 };
/** A customer's intents of the hours in question: more than that is somebody else's doing, and no proof of absence. */
const MOST_LOOKED_AT = 1_000;
/** Stripe's clock and the database's may differ by as much. */
const SKEW_S = 3_600;

interface Purchase {
  todo: 'send' | 'look_up' | 'sync' | 'cancel';
  recharge_id: bigint;
  account_id: bigint;
  amount_minor: bigint;
  currency: string;
  customer: string;
  payment_method: string | null;
  payment_intent: string | null;
  attempts: number;
  created_at: Date;
}

/** Does what is due. True: there was some, and there may be more. */
export async function chargeDue(deps: PaymentDeps, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false;
  const claimedAt = deps.clock.now();
  const { rows } = await deps.pool.query<Purchase>(`SELECT todo, (recharge).* FROM recharge_claim($1, '${LEASE}')`, [
    AT_ONCE,
  ]);
  await Promise.all(rows.map((purchase) => chargeOrLater(deps, purchase, claimedAt)));
  return rows.length > 0;
}

/** What fails here is due again once its claim is over. */
async function chargeOrLater(deps: PaymentDeps, purchase: Purchase, claimedAt: number): Promise<void> {
  try {
    await charge(deps, purchase, () => deps.clock.now() - claimedAt < FRESH_MS);
  } catch (error) {
    const level = deps.clock.now() - purchase.created_at.getTime() > ALARM_MS ? 'error' : 'warn';
    deps.log[level]({ ...named(purchase), cause: causeOf(error) }, 'a recharge could not be brought on');
  }
}

async function charge(deps: PaymentDeps, purchase: Purchase, isFresh: () => boolean): Promise<void> {
  const { todo, payment_intent: intent } = purchase;
  if (todo === 'cancel') await cancel(deps, intent!, purchase);
  if (intent !== null) return follow(deps, purchase, intent);
  // An answer that was lost is found more surely than it is repeated: Stripe repeats its failures too.
  const known = todo === 'look_up' || purchase.attempts > 1 ? await lookUp(deps, purchase) : null;
  if (known !== null) return follow(deps, purchase, known);
  if (todo === 'send') return isFresh() ? send(deps, purchase) : undefined;
  await noteStatus(deps.pool, purchase.recharge_id, {
    intent: null,
    status: 'canceled',
    code: 'not_found',
    stop: null,
  });
  deps.log.warn(named(purchase), 'a recharge whose answer was lost had not charged anything');
}

/** The call that charges; the same, to the byte, each time. */
async function send(deps: PaymentDeps, purchase: Purchase): Promise<void> {
  const id = publicId('rch', purchase.recharge_id);
  const params: Stripe.PaymentIntentCreateParams = {
    // As a number for the library alone: it has at most eight digits (recharge_buys_something).
    amount: Number(purchase.amount_minor),
    currency: purchase.currency,
    customer: purchase.customer,
    payment_method: purchase.payment_method!,
    allowed_payment_method_types: ['card'],
    confirm: true,
    off_session: true,
    error_on_requires_action: false,
    metadata: { tollgate_account: publicId('acct', purchase.account_id), tollgate_recharge: id },
  };
  try {
    const intent = await deps.stripe.client.paymentIntents.create(params, { ...ASK, idempotencyKey: `recharge:${id}` });
    await follow(deps, purchase, intent.id);
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeError)) throw error;
    await refused(deps, purchase, error);
  }
}

/** A decline comes with its intent. Of what else was refused nothing is believed before it was looked for. */
async function refused(deps: PaymentDeps, purchase: Purchase, error: Stripe.errors.StripeError): Promise<void> {
  if (error.payment_intent) return follow(deps, purchase, error.payment_intent.id);
  const isOurs =
    error instanceof Stripe.errors.StripeCardError || error instanceof Stripe.errors.StripeInvalidRequestError;
  if (!isOurs) return unknown(deps, purchase, error);
  const known = await lookUp(deps, purchase);
  if (known !== null) return follow(deps, purchase, known);
  const stop = await stopAfterRefusal(deps, purchase, error);
  const note = { intent: null, status: 'failed', code: error.decline_code ?? error.code ?? error.type, stop } as const;
  await noteStatus(deps.pool, purchase.recharge_id, note);
  deps.log.warn({ ...named(purchase), code: note.code, stop }, 'Stripe refused a recharge');
  // What we know of the card is late: another that is there by now is tried.
  await syncMethods(deps, { kind: 'customer', id: purchase.customer }, null);
}

/** It is the request that is wrong, and it would be again: mostly for a card that is not there any more. */
async function stopAfterRefusal(
  { stripe }: PaymentDeps,
  { customer, payment_method: id }: Purchase,
  { code, param }: Stripe.errors.StripeError,
): Promise<StopReason> {
  if (code === 'resource_missing' && param === 'customer') return 'customer_deleted';
  try {
    const method = await stripe.client.paymentMethods.retrieve(id!);
    return method.customer === customer ? 'refused' : 'payment_method_gone';
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError) return 'payment_method_gone';
    throw error;
  }
}

/** Whether it charged is not known: it blocks others, and is asked again later, each time twice as late. */
async function unknown(
  { pool, log }: PaymentDeps,
  purchase: Purchase,
  error: Stripe.errors.StripeError,
): Promise<void> {
  const laterMs = Math.min(LATER_MS.most, LATER_MS.first * 2 ** Math.min(purchase.attempts - 1, 16));
  await pool.query(
    `UPDATE recharges SET status = 'unknown', error = $2, due_at = clock_timestamp() + $3 * interval '1 millisecond'
     WHERE recharge_id = $1 AND status = 'charging'`,
    [purchase.recharge_id, error.code ?? error.type, laterMs],
  );
  log.warn(
    { ...named(purchase), type: error.type, laterMs },
    'it is not known whether a recharge charged: asked again later',
  );
}

/** Notes which intent it is, and brings that in line. Should that fail, the next turn does it. */
async function follow(deps: PaymentDeps, purchase: Purchase, intent: string): Promise<void> {
  await deps.pool.query(
    'UPDATE recharges SET payment_intent = $2 WHERE recharge_id = $1 AND payment_intent IS NULL AND status <> $3',
    [purchase.recharge_id, intent, 'canceled'],
  );
  await sync(deps, { kind: 'payment_intent', id: intent }, null);
}

/** The customer had its time. An intent that has ended meanwhile is left as it is. */
async function cancel({ stripe }: PaymentDeps, intent: string, { recharge_id: id }: Purchase): Promise<void> {
  try {
    const idempotencyKey = `recharge:${publicId('rch', id)}:cancel`;
    await stripe.client.paymentIntents.cancel(intent, {}, { ...ASK, idempotencyKey });
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) throw error;
  }
}

/** The intent that the call made, if it did: by what we wrote on it. Throws when there are too many to be sure that there is none. */
async function lookUp({ stripe }: PaymentDeps, purchase: Purchase): Promise<string | null> {
  const id = publicId('rch', purchase.recharge_id);
  const since = Math.floor(purchase.created_at.getTime() / 1000) - SKEW_S;
  let looked = 0;
  const made = stripe.client.paymentIntents.list({ customer: purchase.customer, created: { gte: since }, limit: 100 });
  for await (const intent of made) {
    if (intent.metadata.tollgate_recharge === id) return intent.id;
    looked += 1;
    if (looked >= MOST_LOOKED_AT) throw new Error(`more than ${MOST_LOOKED_AT} payment intents of one customer`);
  }
  return null;
}

/** Stripe's words may repeat what is a person's: of its errors the kind is told. */
function causeOf(error: unknown): string {
  return error instanceof Stripe.errors.StripeError ? error.type : (error as Error).message;
}

function named({ recharge_id: id, account_id: account }: Purchase): { recharge: string; account: string } {
  return { recharge: publicId('rch', id), account: publicId('acct', account) };
}
