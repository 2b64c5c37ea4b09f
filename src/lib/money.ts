/**
 * Money is `bigint` nano-credits: 10⁻⁹ credit. Prices are `bigint` atto-USD (10⁻¹⁸ USD) per unit or per million
 * units, so that a price (12 decimals) times a markup (6 decimals) stays exact. No float carries money anywhere.
 */

/** One credit in nano-credits. */
export const NANO_PER_CREDIT = 1_000_000_000n;
/** The largest single amount or balance: 10⁹ credits, in nano-credits. SQL repeats it as a named CHECK. */
export const MAX_NANO = 1_000_000_000n * NANO_PER_CREDIT;

const DECIMAL = /^(-?)(\d{1,30})(?:\.(\d{1,30}))?$/;

/**
 * Reads a plain decimal ("12", "-0.5") as an integer scaled by 10^`decimals`.
 * Returns `null` when the text is no plain decimal, or has more significant decimals than fit: never rounds.
 */
export function parseDecimal(text: string, decimals: number): bigint | null {
  const match = DECIMAL.exec(text);
  if (match === null) return null;
  const fraction = (match[3] ?? '').replace(/0+$/, '');
  if (fraction.length > decimals) return null;
  const scaled = BigInt(match[2] + fraction.padEnd(decimals, '0'));
  return match[1] === '-' ? -scaled : scaled;
}

/** Writes an integer scaled by 10^`decimals` as the shortest plain decimal: no exponent, no trailing zeros. */
export function formatDecimal(scaled: bigint, decimals: number): string {
  const sign = scaled < 0n ? '-' : '';
  const digits = (scaled < 0n ? -scaled : scaled).toString().padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals);
  const fraction = digits.slice(digits.length - decimals).replace(/0+$/, '');
  return sign + whole + (fraction === '' ? '' : `.${fraction}`);
}

/** Credits as written by people and JSON ("100", "0.000000001") → nano-credits; `null` when not exact or above the limit. */
export function parseCredits(text: string): bigint | null {
  const nano = parseDecimal(text, 9);
  return nano === null || nano > MAX_NANO || nano < -MAX_NANO ? null : nano;
}

/** Nano-credits → credits as a decimal string with up to 9 decimals, the form of every answer. */
export function formatCredits(nano: bigint): string {
  return formatDecimal(nano, 9);
}

/** Integer division rounded towards +∞. The one rounding rule of charges; `divisor` > 0. */
export function ceilDiv(dividend: bigint, divisor: bigint): bigint {
  const quotient = dividend / divisor;
  return dividend % divisor > 0n ? quotient + 1n : quotient;
}
