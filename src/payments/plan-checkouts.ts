/** Of the checkouts of a plan that an account has open, one can be paid: two would be two subscriptions. */
import type Stripe from 'stripe';
import type { Db } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import type { SellingDeps } from './deps.ts';
import { outcomeOf } from './faults.ts';

const ASK = { timeout: 10_000, maxNetworkRetries: 2 };
/** Sessions last a day; an account has at most 20 open ones. */
const MOST = 20;

/**
 * Ends the account's open checkouts of the plan, at Stripe and, by `note`, here. Throws `conflict` where one was paid meanwhile, and what Stripe's
 * library throws.
 */
export async function endOthers(
  { pool, stripe }: SellingDeps,
  account: bigint,
  plan: string,
  note: (db: Db, session: Stripe.Checkout.Session) => Promise<boolean>,
): Promise<void> {
  const { rows } = await pool.query<{ session_id: string }>(
    `SELECT session_id FROM checkouts WHERE account_id = $1 AND kind = 'plan' AND name = $2 AND status = 'open'
       AND session_id IS NOT NULL AND created_at > clock_timestamp() - interval '24 hours' LIMIT $3`,
    [account, plan, MOST],
  );
  const { sessions } = stripe.client.checkout;
  for (const { session_id: id } of rows) {
    const session = await sessions.expire(id, {}, ASK).catch((error: unknown) => {
      if (outcomeOf(error) !== 'refused') throw error;
      // It is not open any more: it was paid, or ran out.
      return sessions.retrieve(id, {}, ASK);
    });
    await note(pool, session);
    if (session.status === 'complete') throw alreadySubscribed();
  }
}

/** The error for who subscribes to the plan already. */
export function alreadySubscribed(): TollgateError {
  return new TollgateError('conflict', {
    param: 'plan',
    message: 'This account subscribes to this plan already. POST /account/v1/portal leads to where it is changed.',
  });
}
