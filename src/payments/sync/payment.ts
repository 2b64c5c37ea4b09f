/**
 * A payment of its own: of a checkout, of a recharge, or made outside of Tollgate. It grants what was sold once its money is ours, and
 * claws back as much of that as goes back of the money.
 *
 *   not received ──▶ received ──whose and for what is known──▶ posted ◀──▶ reversed, in part or in full
 *                        └──else──▶ orphan ──a later sync finds out──▶ posted
 */
import type { PoolClient } from 'pg';
import type Stripe from 'stripe';
import { publicId } from '../../lib/ids.ts';
import { type Checkout, checkoutOf, noteCheckout } from '../checkout.ts';
import type { PaymentDeps } from '../deps.ts';
import { noteRecharge, rechargeOf } from '../recharge/note.ts';
import { findPayer } from './accounts.ts';
import { itemLines, soldLines } from './bought.ts';
import { converge } from './converge.ts';
import { noteOrphan, type OrphanReason, resolveOrphan } from './orphans.ts';
import { findPosted, type GrantLine, lockWallet, lockWalletsOf, type Posting, postPayment } from './post.ts';
import { type Fetched, packsOf, readPayment, readSession } from './read.ts';
import { reversedMinor } from './reversed.ts';
import type { SyncResult } from './types.ts';

/**
 * Brings the payment of a payment intent in line. `session`: the checkout session that it is of, where that is known already.
 * Throws what `converge` throws.
 */
export async function syncPayment(
  deps: PaymentDeps,
  intent: string,
  event: string | null,
  session: string | null = null,
): Promise<SyncResult> {
  const read = () => readPayment(deps, intent, session);
  return converge(deps, intent, event, read, (db, fetched) => post(deps, db, fetched));
}

/** Brings a session without a payment intent in line: it is open, ran out, or nothing was due. Throws what `converge` throws. */
export async function syncSession(deps: PaymentDeps, session: string, event: string | null): Promise<SyncResult> {
  const read = () => readSession(deps, session);
  return converge(deps, session, event, read, (db, fetched) => post(deps, db, fetched));
}

/** Our own rows behind a payment. */
interface Own {
  checkout: Checkout | null;
  recharge: Awaited<ReturnType<typeof rechargeOf>>;
}

async function post(deps: PaymentDeps, db: PoolClient, fetched: Fetched): Promise<SyncResult> {
  await lockWalletsOf(db, fetched.key);
  const own: Own = {
    checkout: fetched.session === null ? null : await checkoutOf(db, fetched.session),
    recharge: fetched.intent === null ? null : await rechargeOf(db, fetched.intent),
  };
  const result = await postOf(deps, db, fetched, own);
  const noted = await note(db, fetched, own);
  return { ...result, changed: result.changed || noted };
}

async function postOf(deps: PaymentDeps, db: PoolClient, fetched: Fetched, own: Own): Promise<SyncResult> {
  const posted = await findPosted(db, fetched.key);
  const account = posted?.account ?? (await payerOf(db, fetched, own));
  if (account !== null) await lockWallet(db, account);
  const known = own.checkout !== null || own.recharge !== null;
  if (!fetched.received) return { changed: false, ours: known || account !== null };
  if (posted !== null) {
    // What it granted is settled for good, whatever the catalog says since.
    const changed = await postPayment(db, { ...posting(deps, fetched, own), ...posted, reference: null, grants: [] });
    return { changed, ours: true };
  }
  const bought = whatWasBought(deps, fetched, own);
  if (typeof bought === 'string') {
    const reason = account === null && bought === 'no_price' ? 'unrelated' : bought;
    return { changed: await listed(db, fetched, reason), ours: known };
  }
  if (account === null) return { changed: await listed(db, fetched, 'no_account'), ours: known };
  if (await isErased(db, account)) return { changed: await listed(db, fetched, 'account_erased'), ours: known };
  return { changed: await postPayment(db, { ...posting(deps, fetched, own), account, ...bought }), ours: true };
}

function payerOf(db: PoolClient, { customer, session }: Fetched, { checkout, recharge }: Own): Promise<bigint | null> {
  return findPayer(db, {
    customer,
    clientReference: session?.client_reference_id ?? null,
    checkout,
    // One that is found agrees with the intent in its customer.
    recharge: recharge === null ? null : { ...recharge, customer },
  });
}

/** Writes down in our own rows what became of them, and tells of money that will not come after all. */
async function note(db: PoolClient, { intent, session }: Fetched, { checkout, recharge }: Own): Promise<boolean> {
  const notes = [
    session !== null && (await noteCheckout(db, session)),
    intent !== null && recharge !== null && (await noteRecharge(db, intent)),
  ];
  if (intent !== null && session !== null && checkout !== null) await tellFailed(db, checkout, session, intent);
  return notes.includes(true);
}

/**
 * Whoever pays by card sees that it was declined. A bank that says so days after the order was placed speaks to nobody: that is told,
 * once for each charge.
 */
async function tellFailed(
  db: PoolClient,
  checkout: Checkout,
  session: Stripe.Checkout.Session,
  intent: Stripe.PaymentIntent,
): Promise<void> {
  const failed = intent.status === 'requires_payment_method' || intent.status === 'canceled';
  if (session.status !== 'complete' || !failed) return;
  const charge = typeof intent.latest_charge === 'string' ? intent.latest_charge : intent.latest_charge?.id;
  const data = {
    checkout: publicId('chk', checkout.id),
    payment_intent: intent.id,
    reason: intent.last_payment_error?.code ?? intent.cancellation_reason ?? null,
  };
  await db.query("SELECT outbox_tell($1, 'payment.failed', $2, $3)", [
    checkout.account,
    `${intent.id}:${charge}`,
    data,
  ]);
}

interface Bought {
  reference: string | null;
  grants: readonly GrantLine[];
}

/** What was sold by our own rows, as they were made; else what the catalog has at the prices of the session's items. */
function whatWasBought(deps: PaymentDeps, fetched: Fetched, { checkout, recharge }: Own): Bought | OrphanReason {
  const { session, paid, paidAt } = fetched;
  if (recharge !== null) {
    const grants = soldLines({ ...recharge, name: 'auto-recharge' }, paid, paidAt);
    return { reference: publicId('rch', recharge.id), grants };
  }
  if (session === null) return 'no_price';
  const differs = howItDiffers(fetched, session, checkout);
  if (differs !== null) return differs;
  if (checkout !== null) {
    if (checkout.kind !== 'pack') return 'no_price';
    return { reference: publicId('chk', checkout.id), grants: soldLines(checkout, paid, paidAt) };
  }
  const bought = itemLines(fetched.items, packsOf(deps.catalogs), paidAt);
  return typeof bought === 'string' ? bought : { reference: bought.reference, grants: bought.lines };
}

/**
 * Whether it is another amount than was asked. Nobody who pays can do that: only whoever holds the key of the Stripe account, by
 * capturing a part, or by changing what a session of ours sells. What that person meant to sell is theirs to say.
 */
function howItDiffers(
  { paid, currency }: Fetched,
  session: Stripe.Checkout.Session,
  checkout: Checkout | null,
): OrphanReason | null {
  // Amounts that were shown in another currency are told in that which was asked, beside it.
  const asked = session.currency_conversion ?? session;
  const askedIn = session.currency_conversion?.source_currency ?? session.currency;
  if (session.currency === currency && paid < BigInt(session.amount_total ?? 0)) return 'amount_differs';
  if (checkout === null || checkout.amountMinor === null) return null;
  if (askedIn !== checkout.currency) return 'currency_differs';
  return BigInt(asked.amount_subtotal ?? 0) < checkout.amountMinor ? 'amount_differs' : null;
}

async function isErased(db: PoolClient, account: bigint): Promise<boolean> {
  const { rows } = await db.query<{ erased: boolean }>(
    'SELECT erased_at IS NOT NULL AS erased FROM accounts WHERE account_id = $1',
    [account],
  );
  return rows[0]?.erased === true;
}

/** Lists it for a person to decide, unless its money went back already. */
async function listed(db: PoolClient, fetched: Fetched, reason: OrphanReason): Promise<boolean> {
  const { key, intent, paid, currency, customer, reversals } = fetched;
  if (paid > 0n && reversedMinor(reversals, paid, currency) === paid) return resolveOrphan(db, key);
  const kind = intent === null ? 'checkout.session' : 'payment_intent';
  return noteOrphan(db, { id: key, kind, customer, currency, amountMinor: paid, reason });
}

function posting(deps: PaymentDeps, fetched: Fetched, own: Own): Omit<Posting, 'account' | 'reference' | 'grants'> {
  const { key, intent, session, customer, currency, paid, paidAt, reversals } = fetched;
  return {
    key,
    kind: own.recharge === null ? 'topup' : 'recharge',
    customer,
    paymentIntent: intent?.id ?? null,
    session: session?.id ?? null,
    invoice: null,
    subscription: null,
    livemode: deps.stripe.livemode,
    currency,
    paid,
    reversed: reversedMinor(reversals, paid, currency),
    paidAt,
  };
}
