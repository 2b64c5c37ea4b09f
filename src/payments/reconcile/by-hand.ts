/** What no sync would change, since no object of Stripe's says it: credits that somebody granted beside a payment, or to another account. */

import { publicId, publicUuid, type Uuid } from '../../lib/ids.ts';
import { formatCredits } from '../../lib/money.ts';
import type { PaymentDeps } from '../deps.ts';
import type { Difference } from './differences.ts';
import type { Window } from './walk.ts';

/** A difference, and what mends it. */
export interface ByHand {
  difference: Difference;
  mend(): Promise<void>;
}

/** What is looked for at a time; there is more after it is mended. */
const MOST = 1_000;

export async function foundByHand(deps: PaymentDeps, window: Window): Promise<ByHand[]> {
  return [
    ...(await doubleGrants(deps, window)),
    ...(await wrongAccounts(deps, window)),
    ...(await stuckRecharges(deps)),
  ];
}

/** Lots whose reference names a payment that was posted, and that are none of its own: it was granted by hand as well. */
async function doubleGrants({ pool }: PaymentDeps, { from }: Window): Promise<ByHand[]> {
  const { rows } = await pool.query<{ key: string; account: bigint; lot: Uuid; granted: bigint; reference: string }>(
    `SELECT p.payment_key AS key, l.account_id AS account, l.lot_id AS lot, l.granted, l.reference
     FROM lots l JOIN payments p ON p.payment_key = payment_named(l.reference)
     WHERE payment_named(l.reference) IS NOT NULL AND l.created_at >= to_timestamp($1)
       AND NOT EXISTS (SELECT FROM payment_grants g WHERE g.payment_key = p.payment_key AND g.lot_id = l.lot_id)
       AND NOT EXISTS (SELECT FROM adjustments a WHERE a.account_id = l.account_id AND a.payment = 'double:' || l.lot_id)
     ORDER BY l.created_at LIMIT $2`,
    [from, MOST],
  );
  return rows.map(({ key, account, lot, granted, reference }) => ({
    difference: {
      kind: 'double_grant',
      account,
      object: key,
      expected: 'granted once',
      found: `${formatCredits(granted)} credits more, ${publicUuid('lot', lot)} with the reference ${JSON.stringify(reference)}`,
      advice: null,
    },
    mend: async () => {
      await pool.query('SELECT payment_take_back($1, $2, $3)', [account, lot, key]);
    },
  }));
}

/** Payments of a customer who is another account's than the one that has the credits. */
async function wrongAccounts({ pool }: PaymentDeps, { from }: Window): Promise<ByHand[]> {
  const { rows } = await pool.query<{ key: string; account: bigint; right: bigint }>(
    `SELECT p.payment_key AS key, p.account_id AS account, a.account_id AS right
     FROM payments p JOIN accounts a ON a.stripe_customer_id = p.customer_id AND a.account_id <> p.account_id AND a.erased_at IS NULL
     WHERE p.paid_at >= to_timestamp($1) ORDER BY p.payment_key LIMIT $2`,
    [from, MOST],
  );
  return rows.map(({ key, account, right }) => ({
    difference: {
      kind: 'wrong_account',
      account,
      object: key,
      expected: publicId('acct', right),
      found: publicId('acct', account),
      advice: null,
    },
    mend: async () => {
      await pool.query('SELECT payment_move($1, $2)', [key, right]);
    },
  }));
}

/** Purchases that have not ended after all the time in which they are tried and looked up. */
const RECHARGE_HOURS = 26;

async function stuckRecharges({ pool }: PaymentDeps): Promise<ByHand[]> {
  const { rows } = await pool.query<{ id: bigint; account: bigint; status: string }>(
    `SELECT recharge_id AS id, account_id AS account, status FROM recharges
     WHERE ended_at IS NULL AND payment_intent IS NULL AND created_at < clock_timestamp() - make_interval(hours => $1)
     ORDER BY recharge_id LIMIT $2`,
    [RECHARGE_HOURS, MOST],
  );
  return rows.map(({ id, account, status }) => ({
    difference: {
      kind: 'stuck_intent',
      account,
      object: publicId('rch', id),
      expected: 'ended',
      found: status,
      advice: null,
    },
    // Its job looks it up at Stripe: it is made due.
    mend: async () => {
      await pool.query('UPDATE recharges SET due_at = clock_timestamp() WHERE recharge_id = $1 AND ended_at IS NULL', [
        id,
      ]);
    },
  }));
}
