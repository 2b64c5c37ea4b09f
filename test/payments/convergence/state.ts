/** What stands of an account: its ledger and its entitlements, without the way that led there. */
import type { PoolClient } from 'pg';

export interface State {
  /** All of it, as text: two states are the same when this is. */
  all: string;
  /** Credits that can be spent or will be, less debt. */
  balance: number;
  /** The payments that granted credits. */
  granted: readonly string[];
}

const STATE = `SELECT jsonb_build_object(
  'wallet', (SELECT jsonb_build_array(posted, dormant, debt) FROM wallets WHERE account_id = $1),
  'lots', (SELECT jsonb_agg(jsonb_build_array(reference, kind, granted, remaining, starts_at > clock_timestamp(), expires_at) ORDER BY reference)
    FROM lots WHERE account_id = $1),
  'payments', (SELECT jsonb_agg(jsonb_build_array(payment_key, kind, reference, currency, paid_minor, reversed_minor, granted, clawed, paid_at)
    ORDER BY payment_key) FROM payments WHERE account_id = $1),
  'orphans', (SELECT jsonb_agg(jsonb_build_array(object_id, reason, resolved_at IS NOT NULL) ORDER BY object_id) FROM orphan_payments),
  'checkouts', (SELECT jsonb_agg(jsonb_build_array(checkout_id, status) ORDER BY checkout_id) FROM checkouts WHERE account_id = $1),
  'recharges', (SELECT jsonb_agg(jsonb_build_array(recharge_id, status, payment_intent) ORDER BY recharge_id) FROM recharges
    WHERE account_id = $1),
  'subscriptions', (SELECT jsonb_agg(to_jsonb(s) - 'synced_at' ORDER BY subscription_id) FROM subscriptions s WHERE account_id = $1),
  'statements', (SELECT jsonb_agg(jsonb_build_array(key, reference, value, valid_until) ORDER BY key, reference) FROM (
    SELECT DISTINCT ON (source, key, reference) * FROM entitlements WHERE account_id = $1 ORDER BY source, key, reference, version DESC) e
    WHERE value IS NOT NULL AND valid_until > clock_timestamp())
) AS state`;

interface Row {
  state: {
    wallet: [posted: number, dormant: number, debt: number];
    payments: Array<[key: string, ...rest: unknown[]]> | null;
  };
}

export async function readState(db: PoolClient, account: bigint): Promise<State> {
  const { rows } = await db.query<Row>(STATE, [account]);
  const { state } = rows[0]!;
  const payments = state.payments ?? [];
  return {
    all: JSON.stringify(state),
    balance: (state.wallet[0] + state.wallet[1]) / 1e9,
    granted: payments.filter((payment) => payment[6] !== 0).map(([key]) => key),
  };
}
