/** Amounts of money as Stripe counts them: whole numbers of a currency's minor unit. Pure, and without floats. */
import { z } from 'zod';
import { parseDecimal } from '../lib/money.ts';

/** Those without a minor unit. */
const NO_DECIMALS = new Set('bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf'.split(' '));
/** Of a thousandth: card networks take no more than hundredths of them. */
const THREE_DECIMALS = new Set('bhd jod kwd omr tnd'.split(' '));
/** Counted in hundredths, and sold in whole units. */
const WHOLE = new Set('isk ugx'.split(' '));
/** Twelve digits: the most that Stripe takes of any currency. */
const MOST_MINOR = 999_999_999_999n;

/** How many decimals an amount of the currency has at Stripe. */
function decimalsOf(currency: string): number {
  return NO_DECIMALS.has(currency) ? 0 : THREE_DECIMALS.has(currency) ? 3 : 2;
}

/**
 * A decimal such as "9.50" in the minor units of a currency (lower case, three letters). `null`: it is no plain decimal, not above 0, more
 * than Stripe takes, or finer than the currency is sold: it is never rounded.
 */
export function minorUnits(currency: string, decimal: string): bigint | null {
  const minor = parseDecimal(decimal, decimalsOf(currency));
  if (minor === null || minor <= 0n || minor > MOST_MINOR) return null;
  const step = THREE_DECIMALS.has(currency) ? 10n : WHOLE.has(currency) ? 100n : 1n;
  return minor % step === 0n ? minor : null;
}

/** How many decimals a price in the currency may have. */
function decimalsSold(currency: string): number {
  return WHOLE.has(currency) ? 0 : Math.min(2, decimalsOf(currency));
}

const MOST_CURRENCIES = 150;
const money = z.string('must be a decimal such as 9.50').meta({
  format: 'money',
  description: 'An amount of the currency as decimal text, no finer than it is sold.',
  examples: ['9.50'],
});
/** Prices by currency, as an entry of the catalog has them. */
export const moneyByCurrency = z
  .record(z.string().regex(/^[a-z]{3}$/, 'must be a currency such as usd'), money)
  .superRefine((prices, context) => {
    for (const [currency, amount] of Object.entries(prices)) {
      if (minorUnits(currency, amount) !== null) continue;
      const message = `must be a decimal above 0, with at most ${decimalsSold(currency)} decimals for ${currency}`;
      context.addIssue({ code: 'custom', path: [currency], message });
    }
    const count = Object.keys(prices).length;
    if (count === 0 || count > MOST_CURRENCIES)
      context.addIssue({ code: 'custom', message: `must have 1 to ${MOST_CURRENCIES} currencies` });
  });
