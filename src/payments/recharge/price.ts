/** What a pack costs in US cents: recharges are charged in US dollars, as their monthly cap is. */
import Stripe from 'stripe';
import type { Pack } from '../../catalog/types.ts';
import type { PaymentDeps } from '../deps.ts';

/** `null`: it is not sold in US dollars, so it cannot be bought by itself. Throws when Stripe, which knows some prices, is away. */
export async function usdOf({ stripe }: PaymentDeps, pack: Pack): Promise<bigint | null> {
  const { amounts, stripePrice, credits, bonusCredits } = pack;
  if (credits + bonusCredits <= 0n) return null;
  if (amounts.size > 0) return amounts.get('usd') ?? null;
  if (stripePrice === null) return null;
  try {
    const { active, type, currency, unit_amount: cents } = await stripe.client.prices.retrieve(stripePrice);
    return active && type === 'one_time' && currency === 'usd' && cents !== null && cents > 0 ? BigInt(cents) : null;
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError) return null;
    throw error;
  }
}
