/** Charges are exact: one rounding, up, per request; checked against plain fractions. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { boundCharge, charge, type PriceTable, rate } from '../../src/catalog/rating.ts';
import { isOutput, UNITS, type Unit, type Usage } from '../../src/catalog/units.ts';
import { parseCredits, parseDecimal } from '../../src/lib/money.ts';

const TOKEN_UNITS = UNITS.filter((unit) => unit !== 'request');
const atto = (usd: string): bigint => parseDecimal(usd, 18)!;
/** In credits, as people write them. */
const credits = (text: string): bigint => parseCredits(text)!;

/** Up to 10⁶ USD with 18 decimals: a price of 12 decimals times a markup of 6. Zero is drawn often, since it is a price. */
const somePrice = fc.oneof(fc.constant(0n), fc.bigInt(0n, 10n ** 24n), fc.bigInt(0n, 10n ** 13n));
const someCount = fc.oneof(fc.constant(0), fc.nat(20), fc.nat(2_000_000));
const somePrices: fc.Arbitrary<PriceTable> = fc.dictionary(fc.constantFrom(...UNITS), somePrice);
const someUsage: fc.Arbitrary<Usage> = fc.dictionary(fc.constantFrom(...TOKEN_UNITS), someCount);
const somePerUsd = fc.bigInt(1n, 10_000n);

/** Written down from the contract, apart from the code: a unit without a price costs what these do. */
const CONTRACT_FALLBACKS: Partial<Record<Unit, Unit[]>> = {
  cached_input: ['input'],
  cache_write: ['input'],
  cache_write_1h: ['cache_write', 'input'],
  input_audio: ['input'],
  cached_input_audio: ['input_audio', 'input'],
  input_image: ['input'],
  cached_input_image: ['input_image', 'input'],
  reasoning: ['output'],
  output_audio: ['output'],
  output_image: ['output'],
};

/** Σ quantity × price as a fraction with a common denominator, then the least whole number that is not below it. */
function naive(usage: Usage, price: PriceTable, perUsd: bigint): bigint {
  let [top, bottom] = [0n, 1n];
  const add = (quantity: bigint, unitPrice: bigint, per: bigint): void => {
    top = top * per * 10n ** 18n + quantity * unitPrice * perUsd * 10n ** 9n * bottom;
    bottom *= per * 10n ** 18n;
  };
  for (const unit of TOKEN_UNITS) {
    const priced = [unit, ...(CONTRACT_FALLBACKS[unit] ?? [])].find((name) => price[name] !== undefined);
    add(BigInt(usage[unit] ?? 0), priced === undefined ? 0n : price[priced]!, 1_000_000n);
  }
  add(1n, price.request ?? 0n, 1n);
  return (top + bottom - 1n) / bottom;
}

test('a charge is what fractions say, rounded up once', () => {
  fc.assert(
    fc.property(someUsage, somePrices, somePerUsd, (usage, price, perUsd) => {
      expect(charge(usage, price, perUsd)).toBe(naive(usage, price, perUsd));
    }),
    { numRuns: 2000 },
  );
});

test('the lines of a receipt add up to the charge, and none is negative', () => {
  fc.assert(
    fc.property(someUsage, somePrices, somePerUsd, (usage, price, perUsd) => {
      const rated = rate(usage, price, perUsd);
      expect(rated.charge).toBe(charge(usage, price, perUsd));
      const amounts = rated.lines.map((line) => parseDecimal(line.credits, 9)!);
      expect(amounts.reduce((sum, amount) => sum + amount, 0n)).toBe(rated.charge);
      expect(amounts.every((amount) => amount >= 0n)).toBe(true);
    }),
  );
});

test('more usage never costs less', () => {
  fc.assert(
    fc.property(someUsage, somePrices, fc.constantFrom(...TOKEN_UNITS), someCount, (usage, price, unit, more) => {
      const larger = { ...usage, [unit]: (usage[unit] ?? 0) + more };
      expect(charge(larger, price, 1000n)).toBeGreaterThanOrEqual(charge(usage, price, 1000n));
    }),
  );
});

test('a bound covers every way to split the tokens into dimensions', () => {
  fc.assert(
    fc.property(someUsage, somePrices, somePerUsd, (usage, price, perUsd) => {
      const count = (side: boolean): number =>
        TOKEN_UNITS.filter((unit) => isOutput(unit) === side).reduce((sum, unit) => sum + (usage[unit] ?? 0), 0);
      const bound = boundCharge(count(false), count(true), price, perUsd);
      expect(bound).toBeGreaterThanOrEqual(charge(usage, price, perUsd));
    }),
    { numRuns: 1000 },
  );
});

test.each<[string, Usage, Record<string, string>, string]>([
  ['nothing', {}, { input: '0.15' }, '0'],
  ['a million tokens', { input: 1_000_000 }, { input: '0.15' }, '150'],
  ['input and output', { input: 9, output: 3 }, { input: '0.15', output: '0.6' }, '0.00315'],
  ['the least price of one token, rounded up', { input: 1 }, { input: '0.000000000001' }, '0.000000001'],
  [
    'two roundings that would be one too many',
    { input: 1, output: 1 },
    { input: '0.0000005', output: '0.0000005' },
    '0.000000001',
  ],
  ['a free model', { input: 5, output: 5 }, { input: '0', output: '0' }, '0'],
  ['a price per request beside prices per token', { input: 10 }, { input: '1', request: '0.001' }, '1.01'],
  ['a request alone, whatever the usage says of it', { request: 7 }, { request: '0.001' }, '1'],
  ['reasoning at the price of output', { reasoning: 10 }, { input: '1', output: '2' }, '0.02'],
  ['cached input at the price of input', { cached_input: 10 }, { input: '1', output: '2' }, '0.01'],
  ['cached input at a price of its own, also 0', { cached_input: 10 }, { input: '1', cached_input: '0' }, '0'],
  [
    'an hour of cache at the price of five minutes',
    { cache_write_1h: 10 },
    { input: '1', cache_write: '1.25' },
    '0.0125',
  ],
  ['audio without a price at the price of text', { output_audio: 10 }, { input: '1', output: '2' }, '0.02'],
])('%s', (_name, usage, prices, expected) => {
  const price = Object.fromEntries(Object.entries(prices).map(([unit, usd]) => [unit, atto(usd)]));
  expect(charge(usage, price, 1000n)).toBe(credits(expected));
});

test('lines name the unit, the quantity, the price and what it is per, as the receipt shows them', () => {
  const price = { input: atto('0.15'), output: atto('0.6'), request: atto('0.001') };
  expect(rate({ output: 3, input: 9, reasoning: 1, cached_input: 0 }, price, 1000n)).toEqual({
    charge: credits('1.00375'),
    lines: [
      { unit: 'input', quantity: 9, unit_price_usd: '0.15', per: 1_000_000, credits: '0.00135' },
      { unit: 'output', quantity: 3, unit_price_usd: '0.6', per: 1_000_000, credits: '0.0018' },
      { unit: 'reasoning', quantity: 1, unit_price_usd: '0.6', per: 1_000_000, credits: '0.0006' },
      { unit: 'request', quantity: 1, unit_price_usd: '0.001', per: 1, credits: '1' },
    ],
  });
});
