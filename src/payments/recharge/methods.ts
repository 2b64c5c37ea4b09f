/**
 * The card that recharges are charged to, as Stripe has it: the customer's default payment method where that is a card, else the card
 * that was added last. Others than cards take days to say whether they paid, so they are left alone.
 */
import type { PoolClient } from 'pg';
import type Stripe from 'stripe';
import type { PaymentDeps } from '../deps.ts';
import { converge } from '../sync/converge.ts';
import { NOT_OURS, type StripeRef, type SyncResult } from '../sync/types.ts';

/** Of a customer more cards than that are not looked at. */
const MOST_CARDS = 100;

/** A card as far as it is kept. */
interface Card {
  id: string;
  fingerprint: string | null;
  brand: string;
  last4: string;
}

/** What a customer has to pay with; `deleted`: it is no customer any more. */
type Wallet = { deleted: true; card: null } | { deleted: false; card: Card | null };

/**
 * Brings the card of an account's recharges in line with its customer at Stripe: another card closes the breaker, none or a deleted
 * customer opens it. `ref`: a customer, a payment method, a setup intent, or a session that set one up. Throws what `converge` throws.
 */
export async function syncMethods(deps: PaymentDeps, ref: StripeRef, event: string | null): Promise<SyncResult> {
  const customer = await customerOf(deps, ref);
  if (customer === null) return NOT_OURS;
  return converge(
    deps,
    customer,
    event,
    () => readWallet(deps, customer),
    (db, wallet) => keepWallet(db, customer, wallet),
  );
}

/** `null`: it is nobody's. */
async function customerOf({ pool, stripe }: PaymentDeps, { kind, id }: StripeRef): Promise<string | null> {
  switch (kind) {
    case 'customer':
      return id;
    case 'setup_intent':
      return idOf((await stripe.client.setupIntents.retrieve(id)).customer);
    case 'checkout.session':
      return idOf((await stripe.client.checkout.sessions.retrieve(id)).customer);
    case 'payment_method': {
      // One that was detached has no customer any more: we know whose it was.
      const { rows } = await pool.query<{ customer: string | null }>(
        'SELECT customer FROM auto_recharge WHERE payment_method = $1 LIMIT 1',
        [id],
      );
      return rows[0]?.customer ?? idOf((await stripe.client.paymentMethods.retrieve(id)).customer);
    }
    default:
      return null;
  }
}

function idOf(reference: string | { id: string } | null): string | null {
  return typeof reference === 'string' ? reference : (reference?.id ?? null);
}

async function readWallet({ stripe }: PaymentDeps, id: string): Promise<Wallet> {
  const customer = await stripe.client.customers.retrieve(id);
  if (customer.deleted) return { deleted: true, card: null };
  const preferred = idOf(customer.invoice_settings.default_payment_method);
  const card = preferred === null ? null : cardOf(await stripe.client.paymentMethods.retrieve(preferred));
  if (card !== null) return { deleted: false, card };
  const { data } = await stripe.client.paymentMethods.list({ customer: id, type: 'card', limit: MOST_CARDS });
  const newest = data.toSorted((a, b) => b.created - a.created)[0];
  return { deleted: false, card: newest === undefined ? null : cardOf(newest) };
}

function cardOf({ id, card }: Stripe.PaymentMethod): Card | null {
  if (!card) return null;
  return { id, fingerprint: card.fingerprint ?? null, brand: card.brand, last4: card.last4 };
}

interface Kept {
  account_id: bigint;
  enabled: boolean;
  payment_method: string | null;
  fingerprint: string | null;
  stopped_reason: string | null;
  reopens: boolean;
}

async function keepWallet(db: PoolClient, customer: string, { deleted, card }: Wallet): Promise<SyncResult> {
  const account = await lockAccount(db, customer);
  if (account === null) return NOT_OURS;
  const { rows } = await db.query<Kept>(
    `SELECT account_id, enabled, payment_method, fingerprint, stopped_reason,
       stopped_at IS NOT NULL AND NOT recharge_stop_passes(stopped_reason)
         AND (stopped_fingerprint IS NULL OR stopped_fingerprint IS DISTINCT FROM $2) AS reopens
     FROM auto_recharge WHERE account_id = $1`,
    [account, card?.fingerprint ?? null],
  );
  const kept = rows[0];
  if (kept === undefined) return { changed: false, ours: true };
  await db.query(
    `UPDATE auto_recharge SET customer = $2, payment_method = $3, fingerprint = $4, brand = $5, last4 = $6,
       method_read_at = clock_timestamp() WHERE account_id = $1`,
    [account, customer, card?.id ?? null, card?.fingerprint ?? null, card?.brand ?? null, card?.last4 ?? null],
  );
  if (card !== null) {
    const other = card.fingerprint !== kept.fingerprint;
    if (kept.reopens || other) await welcomeCard(db, account, kept.reopens);
    return { changed: kept.reopens || other || card.id !== kept.payment_method, ours: true };
  }
  const stops = kept.enabled && kept.stopped_reason === null && (deleted || kept.payment_method !== null);
  if (stops) {
    const reason = deleted ? 'customer_deleted' : 'payment_method_gone';
    await db.query("SELECT recharge_stop($1, $2::text, $2::text || ':' || $3::text, '{}')", [
      account,
      reason,
      kept.payment_method ?? customer,
    ]);
  }
  return { changed: stops || kept.payment_method !== null, ours: true };
}

/** Another card has failed never yet; one that reopens is tried at once. */
async function welcomeCard(db: PoolClient, account: bigint, reopens: boolean): Promise<void> {
  await db.query(
    `UPDATE auto_recharge SET failures = 0, retry_at = CASE WHEN $2 OR stopped_at IS NULL THEN NULL ELSE retry_at END,
       stopped_at = CASE WHEN $2 THEN NULL ELSE stopped_at END, stopped_reason = CASE WHEN $2 THEN NULL ELSE stopped_reason END,
       stopped_fingerprint = CASE WHEN $2 THEN NULL ELSE stopped_fingerprint END
     WHERE account_id = $1`,
    [account, reopens],
  );
  await db.query('INSERT INTO recharge_wanted (account_id) VALUES ($1) ON CONFLICT DO NOTHING', [account]);
}

/** The account whose customer it is, its wallet locked. `null`: nobody's, or of somebody who was erased. */
async function lockAccount(db: PoolClient, customer: string): Promise<bigint | null> {
  const { rows } = await db.query<{ account_id: bigint }>(
    `SELECT account_id FROM wallets
     WHERE account_id = (SELECT account_id FROM accounts WHERE stripe_customer_id = $1 AND erased_at IS NULL) FOR UPDATE`,
    [customer],
  );
  return rows[0]?.account_id ?? null;
}
