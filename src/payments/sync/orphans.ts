/**
 * Money that was received and granted nothing, because it is not known whose it is or what it bought. It is listed for a person to
 * decide; a later sync that finds out grants it, and then it is resolved.
 */
import type { Db } from '../../db/pool.ts';

/**
 * no_account: its price is known, whose it is is not · no_price: the other way round · unrelated: neither, as of another business on the
 * same Stripe account · account_erased: its account is nobody's any more · amount_differs, currency_differs: not what the checkout or the
 * recharge asked · too_much: more credits than a lot may have
 */
export type OrphanReason =
  | 'no_account'
  | 'no_price'
  | 'unrelated'
  | 'account_erased'
  | 'amount_differs'
  | 'currency_differs'
  | 'too_much';

export interface Orphan {
  /** The key that its payment would have. */
  id: string;
  /** As Stripe's `object` names it. */
  kind: string;
  customer: string | null;
  currency: string | null;
  /** What was received, in minor units. */
  amountMinor: bigint | null;
  reason: OrphanReason;
}

/** Lists a payment as nobody's, once; the reason is that of the last sync. Says whether that is news. */
export async function noteOrphan(db: Db, orphan: Orphan): Promise<boolean> {
  const { id, kind, customer, currency, amountMinor, reason } = orphan;
  const { rowCount } = await db.query(
    `INSERT INTO orphan_payments AS o (object_id, kind, customer_id, currency, amount_minor, reason) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (object_id) DO UPDATE SET reason = excluded.reason, customer_id = excluded.customer_id, resolved_at = NULL
       WHERE (o.reason, o.customer_id, o.resolved_at) IS DISTINCT FROM (excluded.reason, excluded.customer_id, NULL::timestamptz)`,
    [id, kind, customer, currency, amountMinor, reason],
  );
  return rowCount === 1;
}

/** Nothing is left to decide: its money went back, for one. Says whether it was listed. */
export async function resolveOrphan(db: Db, id: string): Promise<boolean> {
  const { rowCount } = await db.query(
    'UPDATE orphan_payments SET resolved_at = clock_timestamp() WHERE object_id = $1 AND resolved_at IS NULL',
    [id],
  );
  return rowCount === 1;
}
