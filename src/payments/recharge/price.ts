/** What a pack costs in US cents: recharges are charged in US dollars, as their monthly cap is. */
import Stripe from 'stripe';
import type { Pack } from '../../catalog/types.ts';
import { parseDecimal } from '../../lib/money.ts';
import type { PaymentDeps } from '../deps.ts';

/** `null`: it is not sold in US dollars, so it cannot be bought by itself. Throws when Stripe, which knows some prices, is away. */
export async function usdOf({ stripe }: PaymentDeps, pack: Pack): Promise<bigint | null> {
  const { price, stripePrice, credits, bonusCredits } = pack;
  if (credits + bonusCredits <= 0n) return null;
  if (price?.usd !== undefined) return aboveZero(parseDecimal(price.usd, 2));
  if (price !== null || stripePrice === null) return null;
  try {
    const { active, type, currency, unit_amount: cents } = await stripe.client.prices.retrieve(stripePrice);
    return active && type === 'one_time' && currency === 'usd' && cents !== null ? aboveZero(BigInt(cents)) : null;
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError) return null;
    throw error;
  }
}

function aboveZero(cents: bigint | null): bigint | null {
  return cents !== null && cents > 0n ? cents : null;
}
