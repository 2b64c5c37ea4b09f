/** How a payment reaches the ledger: by the SQL function `payment_post` (0022), which decides what is still to be granted or clawed back. */
import type { PoolClient } from 'pg';

/** Kinds of lots, as in 0001. */
export const LOT_KIND = { topup: 10, subscription: 11, bonus: 12 } as const;

/** Credits that a payment grants, once for each line. */
export interface GrantLine {
  line: string;
  kind: (typeof LOT_KIND)[keyof typeof LOT_KIND];
  /** Nano-credits. */
  credits: bigint;
  /** What of the payment was paid for them, in minor units; `null`: they came with others. */
  paid: bigint | null;
  startsAt: Date | null;
  expiresAt: Date | null;
  reason: string;
}

/** A payment as it stands at Stripe, and what it grants. Amounts are minor units of its currency. */
export interface Posting {
  key: string;
  account: bigint;
  kind: 'topup' | 'recharge' | 'subscription';
  reference: string | null;
  customer: string | null;
  paymentIntent: string | null;
  session: string | null;
  invoice: string | null;
  subscription: string | null;
  livemode: boolean;
  currency: string;
  paid: bigint;
  reversed: bigint;
  /** Of a subscription: of that, what went back otherwise than by a change of its plan. Auto-recharge stops for it. */
  refunded?: bigint;
  paidAt: Date;
  grants: readonly GrantLine[];
}

/**
 * Locks the account's wallet until the transaction ends. Whoever posts does so first, before rows of checkouts and recharges: everybody
 * takes the wallet first, so nobody waits in a circle.
 */
export async function lockWallet(db: PoolClient, account: bigint): Promise<void> {
  await db.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [account]);
}

/**
 * Locks the wallets of what is known of a payment: its account's, and of a recharge that a repair moved away from the account that made
 * it, that one's too. In order, as everybody locks several.
 */
export async function lockWalletsOf(db: PoolClient, key: string): Promise<void> {
  await db.query(
    `SELECT FROM wallets WHERE account_id IN (SELECT account_id FROM payments WHERE payment_key = $1
       UNION ALL SELECT account_id FROM recharges WHERE payment_intent = $1) ORDER BY account_id FOR UPDATE`,
    [key],
  );
}

/** Grants what was not granted yet, and claws back, or gives back, the difference. Says whether credits moved. */
export async function postPayment(db: PoolClient, posting: Posting): Promise<boolean> {
  await lockWallet(db, posting.account);
  const { paymentIntent, paidAt, grants, ...rest } = posting;
  const payload = {
    ...rest,
    payment_intent: paymentIntent,
    paid_at: paidAt,
    grants: grants.map(({ startsAt, expiresAt, ...line }) => ({
      ...line,
      starts_at: startsAt,
      expires_at: expiresAt,
    })),
  };
  const { rows } = await db.query<{ granted: bigint; clawed: bigint }>('SELECT * FROM payment_post($1::jsonb)', [
    JSON.stringify(payload, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
  ]);
  return rows[0]!.granted !== 0n || rows[0]!.clawed !== 0n;
}

/** Whose account a payment was posted to; `null`: nothing was posted under this key. What it granted never changes. */
export async function findPosted(db: PoolClient, key: string): Promise<{ account: bigint } | null> {
  const { rows } = await db.query<{ account: bigint }>(
    'SELECT account_id AS account FROM payments WHERE payment_key = $1',
    [key],
  );
  return rows[0] ?? null;
}
