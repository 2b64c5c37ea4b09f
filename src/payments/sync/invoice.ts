/**
 * Invoices: what their lines grant once they are paid, and what is taken back of it.
 *
 *   draft ──▶ open ──▶ paid: its lines grant, once each; what was refunded, disputed or credited is taken back in proportion
 *               ├──an attempt fails──▶ open: the customer is told, once for each attempt; nothing is taken
 *               └──▶ void, uncollectible: grants nothing, but may still be paid
 */
import type { PoolClient } from 'pg';
import { MAX_NANO } from '../../lib/money.ts';
import type { PaymentDeps } from '../deps.ts';
import { converge } from './converge.ts';
import { type FetchedInvoice, fetchInvoice, subscriptionOf } from './invoice-facts.ts';
import { grantsOf, type InvoiceGrant } from './lines.ts';
import { noteOrphan, type OrphanReason } from './orphans.ts';
import { accountOf, fetchSubscriber, type Subscriber } from './payer.ts';
import { findPosted, LOT_KIND, lockWallet, type Posting, postPayment } from './post.ts';
import { reversedMinor } from './reversed.ts';
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
  const reason = posted === null ? orphanReason(fetched, payer) : null;
  if (reason !== null) return listOrphan(db, fetched, reason);
  // Nothing was due, and nothing of it is sold here.
  if (payer === null || payer.isErased || !fetched.isKnown) return { changed: false, ours: posted !== null };
  await lockWallet(db, payer.id);
  const grants = await notGranted(db, payer.id, fetched);
  return { changed: await postPayment(db, posting(fetched, payer.id, grants)), ours: true };
}

/** Why a paid invoice grants nothing though money was received; `null`: nothing stands in its way, or nothing was. */
function orphanReason(fetched: Fetched, payer: { isErased: boolean } | null): OrphanReason | null {
  if (paidMinor(fetched) === 0n) return null;
  if (!fetched.isKnown) return payer === null ? 'unrelated' : 'no_price';
  if (payer === null) return 'no_account';
  if (payer.isErased) return 'account_erased';
  return fetched.grants.some(({ credits }) => credits > MAX_NANO) ? 'too_much' : null;
}

async function listOrphan(db: PoolClient, fetched: Fetched, reason: OrphanReason): Promise<SyncResult> {
  const { invoice } = fetched;
  const changed = await noteOrphan(db, {
    id: invoice.id,
    kind: invoice.object,
    customer: idOf(invoice.customer),
    currency: invoice.currency,
    amountMinor: paidMinor(fetched),
    reason,
  });
  return { changed, ours: false };
}

/**
 * What was received for it, in minor units: by its payments, out of band, out of the customer's balance, which was money before, or for
 * unused time of an invoice before, which is taken back there. Invoices that ask for nothing, or give back, come to 0.
 */
function paidMinor({ invoice: { total, pre_payment_credit_notes_amount: cut }, lines }: Fetched): bigint {
  const taken = lines.reduce((sum, { asked, isTakenThere }) => (isTakenThere ? sum - asked : sum), 0n);
  const paid = BigInt(total) - BigInt(cut) + taken;
  return paid > 0n ? paid : 0n;
}

function posting(fetched: Fetched, account: bigint, grants: readonly InvoiceGrant[]): Posting {
  const { invoice, reversals, credited, givenBack, paidAt, paymentIntent, lines } = fetched;
  const paid = paidMinor(fetched);
  const reversed = reversedMinor(reversals, paid, invoice.currency) + credited + givenBack;
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
    paid,
    reversed: reversed < paid ? reversed : paid,
    paidAt,
    grants: grants.map(({ of: _, once: __, ...grant }) => grant),
  };
}

/** Those that are still to be granted: a line that granted anything is done, and what comes once has not come before. Under the wallet's lock. */
async function notGranted(db: PoolClient, account: bigint, { invoice, grants }: Fetched): Promise<InvoiceGrant[]> {
  const { rows } = await db.query<{ of: string }>(
    `SELECT DISTINCT split_part(line, ':', 1) AS of FROM payment_grants WHERE payment_key = $1`,
    [invoice.id],
  );
  const done = new Set(rows.map(({ of }) => of));
  const left: InvoiceGrant[] = [];
  for (const grant of grants) {
    if (done.has(grant.of)) continue;
    if (grant.once !== null && (await cameBefore(db, account, grant.once))) continue;
    if (
      grant.once !== null &&
      left.some(({ once }) => once?.plan === grant.once?.plan && once?.what === grant.once?.what)
    )
      continue;
    left.push(grant);
  }
  return left;
}

async function cameBefore(
  db: PoolClient,
  account: bigint,
  { plan, what }: NonNullable<InvoiceGrant['once']>,
): Promise<boolean> {
  const { rows } = await db.query<{ came: boolean }>(
    `SELECT EXISTS (SELECT FROM payments p JOIN payment_grants g USING (payment_key)
         WHERE p.account_id = $1 AND right(g.line, char_length($2)) = $2)
       OR EXISTS (SELECT FROM plan_periods WHERE $3 = 'once' AND account_id = $1 AND plan = $4 AND ends_at = 'infinity') AS came`,
    [account, `:${what}:${plan}`, what, plan],
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
