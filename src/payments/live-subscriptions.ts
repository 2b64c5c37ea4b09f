/** Subscriptions that go on charging an account. */
import type { Db } from '../db/pool.ts';

/** The ids at Stripe of those of an account that have not ended, as they were read last. */
export async function liveSubscriptions(db: Db, account: bigint): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    `SELECT subscription_id AS id FROM subscriptions
     WHERE account_id = $1 AND status NOT IN ('canceled', 'incomplete_expired') ORDER BY subscription_id LIMIT 10`,
    [account],
  );
  return rows.map(({ id }) => id);
}
