/** How much of a payment's money went back: refunds, and disputes whose money was withdrawn. */
import type Stripe from 'stripe';
import type { PaymentDeps } from '../deps.ts';

/** Of one payment, newest first; what is more is not looked at, and no payment has as many. */
const MOST_LISTED = 1_000;

export interface RefundFacts {
  status: string | null;
  amount: number;
}
export interface DisputeFacts {
  amount: number;
  currency: string;
  balance_transactions: ReadonlyArray<{ amount: number; currency: string }>;
}
export interface Reversals {
  refunds: readonly RefundFacts[];
  disputes: readonly DisputeFacts[];
}

export const NOTHING_REVERSED: Reversals = { refunds: [], disputes: [] };

/** Then its money came back. One that is under way counts: its money has left us. */
const CAME_BACK: ReadonlySet<string | null> = new Set(['failed', 'canceled']);

/**
 * What of `paid` (minor units of `currency`) was reversed, between 0 and `paid`. A dispute counts while what it moved is out, whatever
 * its status says: an inquiry moves nothing, a reinstatement brings it back. How much it counts for is its own amount, since what it
 * moved is in the currency that we are paid out in; one in another currency than the payment counts in full. A refund and a dispute of
 * the same money count once, which is what the bound is for.
 */
export function reversedMinor({ refunds, disputes }: Reversals, paid: bigint, currency: string): bigint {
  let sum = 0n;
  for (const { status, amount } of refunds) if (!CAME_BACK.has(status)) sum += BigInt(amount);
  for (const dispute of disputes) {
    if (isOut(dispute)) sum += dispute.currency === currency ? BigInt(dispute.amount) : paid;
  }
  return sum < paid ? sum : paid;
}

/**
 * Whether more was withdrawn than came back. Where we are paid out in another currency the rate has changed in between, so that sums
 * say nothing, and it is counted how often money went either way.
 */
function isOut({ currency, balance_transactions: moved }: DisputeFacts): boolean {
  const isExact = moved.every((one) => one.currency === currency);
  return moved.reduce((all, { amount }) => all + BigInt(isExact ? amount : Math.sign(amount)), 0n) < 0n;
}

/** Asks Stripe for all refunds and disputes of a payment intent, or of a charge that has none. */
export async function fetchReversals(
  { stripe: { client } }: Pick<PaymentDeps, 'stripe'>,
  of: { payment_intent: string } | { charge: string },
): Promise<Reversals> {
  const asked: Stripe.RefundListParams & Stripe.DisputeListParams = { ...of, limit: 100 };
  const [refunds, disputes] = await Promise.all([
    client.refunds.list(asked).autoPagingToArray({ limit: MOST_LISTED }),
    client.disputes.list(asked).autoPagingToArray({ limit: MOST_LISTED }),
  ]);
  return { refunds, disputes };
}
