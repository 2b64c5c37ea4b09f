/**
 * Invoices: what their lines grant once they are paid, and what is taken back of it.
 *
 *   draft ──▶ open ──▶ paid: its lines grant, once each; what was refunded, disputed or credited is taken back in proportion
 *               ├──an attempt fails──▶ open: the customer is told, once for each attempt; nothing is taken
 *               └──▶ void, uncollectible: grants nothing, but may still be paid
 */
import { isDeepStrictEqual } from 'node:util';
import type { PoolClient } from 'pg';
import { MAX_NANO } from '../../lib/money.ts';
import type { PaymentDeps } from '../deps.ts';
import { converge } from './converge.ts';
import { reversedOf } from './given-back.ts';
import { type FetchedInvoice, fetchInvoice } from './invoice-facts.ts';
import { subscriptionOf } from './invoice-reads.ts';
import { grantsOf, type InvoiceGrant, type Once } from './lines.ts';
import { noteOrphan, type OrphanReason, resolveOrphan } from './orphans.ts';
import { accountOf, fetchSubscriber, type Subscriber } from './payer.ts';
import { findPosted, LOT_KIND, lockWallet, type Posting, postPayment } from './post.ts';
import { idOf, NOT_OURS, type SyncResult } from './types.ts';

interface Fetched extends FetchedInvoice {
  subscriber: Subscriber;
  grants: readonly InvoiceGrant[];
  isKnown: boolean;
}

/** Brings what an invoice granted in line with Stripe. Throws what `converge` throws. */
export async function convergeInvoice(deps: PaymentDeps, id: string, event: string | null): Promise<SyncResult> {
  return converge(deps, id, event, () => fetchAll(deps, id), postInvoice);
}

async function fetchAll(deps: PaymentDeps, id: string): Promise<Fetched> {
  const soldOf = (price: string) => deps.catalogs.current.sold.get(price);
  const fetched = await fetchInvoice(deps, id, soldOf);
  const { invoice, prices } = fetched;
  const subscriber = await fetchSubscriber(deps, idOf(invoice.customer), subscriptionOf(invoice));
  return { ...fetched, ...grantsOf(fetched, soldOf, prices), subscriber };
}

async function postInvoice(db: PoolClient, fetched: Fetched): Promise<SyncResult> {
  const { invoice } = fetched;
  const posted = await findPosted(db, invoice.id);
  const payer = posted === null ? await accountOf(db, fetched.subscriber) : { id: posted.account, isErased: false };
  if (invoice.status !== 'paid') {
    if (payer === null || payer.isErased) return NOT_OURS;
    return { changed: await tellOfFailure(db, payer.id, fetched), ours: true };
  }
  // Such are receipts of sessions for which nothing was due, too: those grant by themselves.
  if (posted === null && fetched.standing.paid === 0n && subscriptionOf(invoice) === null) return NOT_OURS;
  const reason = posted === null ? orphanReason(fetched, payer) : null;
  if (reason !== null) return listOrphan(db, fetched, reason);
  // Nothing was due, and nothing of it is sold here.
  if (payer === null || payer.isErased || (posted === null && !fetched.isKnown)) return NOT_OURS;
  await lockWallet(db, payer.id);
  // What it granted is settled for good, whatever the catalog says since.
  const grants = posted === null ? await notCameBefore(db, payer.id, fetched) : [];
  const isNew = posted === null && (await postPayment(db, posting(fetched, payer.id, grants, 0n)));
  const reversed = reversedOf(fetched.standing, fetched.lines, await grantedLines(db, invoice.id, payer.id));
  const isReversed = await postPayment(db, posting(fetched, payer.id, [], reversed));
  return { changed: isNew || isReversed, ours: true };
}

/** Nano-credits that lines of an invoice granted to an account. Such as were over when they came to light granted none. */
async function grantedLines(db: PoolClient, invoice: string, account: bigint): Promise<Map<string, bigint>> {
  const { rows } = await db.query<{ line: string; credits: bigint }>(
    `SELECT substring(line FROM '^[^:@]*') AS line, total(credits) AS credits
       FROM payment_grants WHERE payment_key = $1 AND account_id = $2 GROUP BY 1`,
    [invoice, account],
  );
  return new Map(rows.map(({ line, credits }) => [line, credits]));
}

/** Why a paid invoice grants nothing though money was received; `null`: nothing stands in its way, or nothing was. */
function orphanReason(fetched: Fetched, payer: { isErased: boolean } | null): OrphanReason | null {
  if (fetched.standing.paid === 0n) return null;
  if (!fetched.isKnown) return payer === null ? 'unrelated' : 'no_price';
  if (payer === null) return 'no_account';
  if (payer.isErased) return 'account_erased';
  return fetched.grants.some(({ credits }) => credits > MAX_NANO) ? 'too_much' : null;
}

/** Lists it for a person to decide; once all of its money went back, nothing is left to. */
async function listOrphan(db: PoolClient, fetched: Fetched, reason: OrphanReason): Promise<SyncResult> {
  const { invoice, standing } = fetched;
  if (reversedOf(standing, fetched.lines, new Map()) === standing.paid)
    return { changed: await resolveOrphan(db, invoice.id), ours: false };
  const changed = await noteOrphan(db, {
    id: invoice.id,
    kind: invoice.object,
    customer: idOf(invoice.customer),
    currency: invoice.currency,
    amountMinor: standing.paid,
    reason,
  });
  return { changed, ours: false };
}

function posting(fetched: Fetched, account: bigint, grants: readonly InvoiceGrant[], reversed: bigint): Posting {
  const { invoice, standing, paidAt, paymentIntent, lines } = fetched;
  const subscription = subscriptionOf(invoice);
  const isSubscribed = subscription !== null || grants.some(({ kind }) => kind === LOT_KIND.subscription);
  return {
    key: invoice.id,
    account,
    kind: isSubscribed ? 'subscription' : 'topup',
    reference: lines.find(({ price }) => price !== null && fetched.prices.has(price))?.price ?? null,
    customer: idOf(invoice.customer),
    paymentIntent,
    session: null,
    invoice: invoice.id,
    subscription,
    livemode: invoice.livemode,
    currency: invoice.currency,
    paid: standing.paid,
    reversed,
    refunded: standing.refunded,
    paidAt,
    grants: grants.map(({ once: _, ...grant }) => grant),
  };
}

/** Without what comes once and has come before. Under the wallet's lock. */
async function notCameBefore(db: PoolClient, account: bigint, { grants, paidAt }: Fetched): Promise<InvoiceGrant[]> {
  const left: InvoiceGrant[] = [];
  for (const grant of grants) {
    const { once } = grant;
    // Lots of a year that cost nothing are one.
    const isTwice = once !== null && once.what !== 'free' && left.some((other) => isDeepStrictEqual(other.once, once));
    if (!isTwice && (once === null || !(await cameBefore(db, account, once, paidAt)))) left.push(grant);
  }
  return left;
}

async function cameBefore(db: PoolClient, account: bigint, once: Once, paidAt: Date): Promise<boolean> {
  const { plan, what } = once;
  const { rows } = await db.query<{ came: boolean }>(
    `SELECT EXISTS (SELECT FROM payments p JOIN payment_grants g USING (payment_key)
         WHERE p.account_id = $1 AND right(g.line, char_length($2)) = $2
           AND ($5::bigint IS NULL OR abs(extract(epoch FROM p.paid_at - $6::timestamptz)) * 1000 < $5))
       OR EXISTS (SELECT FROM plan_periods WHERE $3 = 'once' AND account_id = $1 AND plan = $4 AND ends_at = 'infinity') AS came`,
    [account, `:${what}:${plan}`, what, plan, once.what === 'free' ? Math.floor(once.withinMs) : null, paidAt],
  );
  return rows[0]!.came;
}

/** Tells the customer that an attempt to collect failed, or that it is overdue: once each. */
async function tellOfFailure(db: PoolClient, account: bigint, { invoice }: Fetched): Promise<boolean> {
  if (invoice.status !== 'open') return false;
  const isCharged = invoice.collection_method === 'charge_automatically';
  const { rows } = await db.query<{ told: boolean }>(
    `SELECT outbox_tell($1, 'payment.failed', $2, $3) IS NULL AS told
       WHERE ($4 OR to_timestamp($5) < clock_timestamp())
         AND NOT EXISTS (SELECT FROM outbox WHERE account_id = $1 AND type = 'payment.failed' AND key = $2)`,
    [
      account,
      `${invoice.id}:${isCharged ? invoice.attempt_count : 'overdue'}`,
      JSON.stringify({
        invoice: invoice.id,
        subscription: subscriptionOf(invoice),
        attempt: invoice.attempt_count,
        amount_minor: String(invoice.amount_remaining),
        currency: invoice.currency,
        next_attempt_at: invoice.next_payment_attempt === null ? null : new Date(invoice.next_payment_attempt * 1000),
        pay_url: invoice.hosted_invoice_url ?? null,
      }),
      isCharged && invoice.attempt_count > 0,
      isCharged ? null : invoice.due_date,
    ],
  );
  return rows.length > 0;
}
