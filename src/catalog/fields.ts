/** What the entries of the catalog are made of: money, names. */
import { z } from 'zod';
import { CREDITS, isStorable } from '../lib/http-json.ts';
import { parseCredits, parseDecimal } from '../lib/money.ts';

/** Prices have up to 12 decimals and markups 6, so that their product is exact at 18. */
const PRICE_INPUT_DECIMALS = 12;
const MOST_USD = 1_000_000n * 10n ** 12n;
/** Of a name as JSON, since each receipt repeats those of the model, the plan and the provider's model. */
export const MOST_NAME_BYTES = 200;

const usdMessage = `must be a decimal between 0 and 1000000 with at most ${PRICE_INPUT_DECIMALS} decimals`;
export const usd = z
  .string(usdMessage)
  .refine((text) => {
    const price = parseDecimal(text, PRICE_INPUT_DECIMALS);
    return price !== null && price >= 0n && price <= MOST_USD;
  }, usdMessage)
  .meta({ format: 'usd', description: 'US dollars as decimal text.', examples: ['0.15'] });

const creditsMessage = 'must be a decimal between 0 and 1000000000 with at most 9 decimals';
export const credits = z
  .string(creditsMessage)
  .refine((text) => (parseCredits(text) ?? -1n) >= 0n, creditsMessage)
  .meta(CREDITS);

export const text = z.string().min(1, 'must not be empty').refine(isStorable, 'must not hold NUL or broken surrogates');
export const fitsReceipt = (name: string): boolean => Buffer.byteLength(JSON.stringify(name)) - 2 <= MOST_NAME_BYTES;

/** The name of a provider, a feature, a price of Stripe. */
export const shortName = text.max(MOST_NAME_BYTES, `must have at most ${MOST_NAME_BYTES} characters`);
