/**
 * A recharge as its payment intent says it is. Its states are drawn in `db/migrations/0023-recharge.sql`; what notes them is
 * `recharge_note` there, whoever hears of it first: the call that charged, a webhook, the poller.
 */
import type { PoolClient } from 'pg';
import type Stripe from 'stripe';
import { parsePublicId, publicId } from '../../lib/ids.ts';
import { stopAfter } from './declines.ts';

/** What a recharge buys. */
export interface Recharge {
  id: bigint;
  account: bigint;
  /** Nano-credits, of all its packs. */
  credits: bigint;
  bonusCredits: bigint;
  /** `null`: never. */
  expiresDays: number | null;
}

interface Row {
  recharge_id: bigint;
  account_id: bigint;
  credits: bigint;
  bonus_credits: bigint;
  expires_days: number | null;
}

/**
 * The recharge that a payment intent is: it has been noted so, or its metadata says so and customer, amount and currency agree.
 * `null`: it is none. Locks the account's wallet, and then the recharge, until the transaction of `db` ends.
 */
export async function rechargeOf(db: PoolClient, intent: Stripe.PaymentIntent): Promise<Recharge | null> {
  const { id, amount, currency, metadata } = intent;
  const named = parsePublicId('rch', metadata.tollgate_recharge ?? '');
  const { rows } = await db.query<Row>('SELECT * FROM recharge_find($1, $2, $3, $4, $5)', [
    id,
    named,
    customerOf(intent),
    amount,
    currency,
  ]);
  const row = rows[0];
  if (row === undefined) return null;
  return {
    id: row.recharge_id,
    account: row.account_id,
    credits: row.credits,
    bonusCredits: row.bonus_credits,
    expiresDays: row.expires_days,
  };
}

/**
 * Notes the state of the recharge that a payment intent is, and tells the account's app of what failed. Says whether that was news.
 * An intent that is none of a recharge changes nothing.
 */
export async function noteRecharge(db: PoolClient, intent: Stripe.PaymentIntent): Promise<boolean> {
  const recharge = await rechargeOf(db, intent);
  const status = statusOf(intent);
  if (recharge === null || status === null) return false;
  const { code = null, decline_code: declineCode = null } = (status === 'failed' && intent.last_payment_error) || {};
  return noteStatus(db, recharge.id, {
    intent: intent.id,
    status,
    code: declineCode ?? code,
    stop: status === 'failed' ? stopAfter(code, declineCode) : null,
  });
}

/** What is to be noted: in our words, with Stripe's code, and why nothing may follow. */
export interface Note {
  intent: string | null;
  status: 'processing' | 'requires_action' | 'succeeded' | 'failed' | 'canceled';
  code: string | null;
  stop: string | null;
}

/** Notes what became of a recharge. Says whether that was news. */
export async function noteStatus(
  db: Pick<PoolClient, 'query'>,
  id: bigint,
  { intent, status, code, stop }: Note,
): Promise<boolean> {
  const { rows } = await db.query<{ news: boolean }>('SELECT recharge_note($1, $2, $3, $4, $5, $6) AS news', [
    id,
    publicId('rch', id),
    intent,
    status,
    code,
    stop,
  ]);
  return rows[0]!.news;
}

function customerOf({ customer }: Stripe.PaymentIntent): string | null {
  return typeof customer === 'string' ? customer : (customer?.id ?? null);
}

/** `null`: it says nothing that ends or moves a recharge. */
function statusOf({ status, last_payment_error: error }: Stripe.PaymentIntent): Note['status'] | null {
  switch (status) {
    case 'succeeded':
      return 'succeeded';
    case 'processing':
    case 'requires_capture':
      return 'processing';
    case 'requires_action':
      return 'requires_action';
    case 'canceled':
      return 'canceled';
    case 'requires_payment_method':
      return error === null ? null : 'failed';
    default:
      return null;
  }
}
