/** Charges are exact: one rounding, up, per request; checked against plain fractions. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  flatPrice,
  PRICE_DECIMALS,
  type Price,
  type PriceTable,
  readPrice,
  type Terms,
  type WrittenPrice,
  writePrice,
} from '../../src/catalog/price.ts';
import { boundCharge, charge, rate } from '../../src/catalog/rating.ts';
import { isInput, isOutput, UNITS, type Unit, type Usage } from '../../src/catalog/units.ts';
import { formatDecimal, parseCredits, parseDecimal } from '../../src/lib/money.ts';

const TOKEN_UNITS = UNITS.filter((unit) => isInput(unit) || isOutput(unit));
const yocto = (usd: string): bigint => parseDecimal(usd, PRICE_DECIMALS)!;
/** In credits, as people write them. */
const credits = (text: string): bigint => parseCredits(text)!;

/** Up to 10⁶ USD with 24 decimals: a price of 12 decimals times a markup and a service tier of 6 each. Zero is drawn often, since it is a price. */
const somePrice = fc.oneof(fc.constant(0n), fc.bigInt(0n, 10n ** 30n), fc.bigInt(0n, 10n ** 19n));
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
    top = top * per * 10n ** 24n + quantity * unitPrice * perUsd * 10n ** 9n * bottom;
    bottom *= per * 10n ** 24n;
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
      expect(charge(usage, flatPrice(price), perUsd)).toBe(naive(usage, price, perUsd));
    }),
    { numRuns: 2000 },
  );
});

test('the lines of a receipt add up to the charge, and none is negative', () => {
  fc.assert(
    fc.property(someUsage, somePrices, somePerUsd, (usage, price, perUsd) => {
      const rated = rate(usage, flatPrice(price), perUsd);
      expect(rated.charge).toBe(charge(usage, flatPrice(price), perUsd));
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
      expect(charge(larger, flatPrice(price), 1000n)).toBeGreaterThanOrEqual(charge(usage, flatPrice(price), 1000n));
    }),
  );
});

test('a bound covers every way to split the tokens into dimensions', () => {
  fc.assert(
    fc.property(someUsage, somePrices, somePerUsd, (usage, price, perUsd) => {
      const count = (side: boolean): number =>
        TOKEN_UNITS.filter((unit) => isOutput(unit) === side).reduce((sum, unit) => sum + (usage[unit] ?? 0), 0);
      const bound = boundCharge({ input: count(false), output: count(true) }, flatPrice(price), perUsd);
      expect(bound).toBeGreaterThanOrEqual(charge(usage, flatPrice(price), perUsd));
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
  const price = Object.fromEntries(Object.entries(prices).map(([unit, usd]) => [unit, yocto(usd)]));
  expect(charge(usage, flatPrice(price), 1000n)).toBe(credits(expected));
});

test('lines name the unit, the quantity, the price and what it is per, as the receipt shows them', () => {
  const price = { input: yocto('0.15'), output: yocto('0.6'), request: yocto('0.001') };
  expect(rate({ output: 3, input: 9, reasoning: 1, cached_input: 0 }, flatPrice(price), 1000n)).toEqual({
    charge: credits('1.00375'),
    lines: [
      { unit: 'input', quantity: 9, unit_price_usd: '0.15', per: 1_000_000, credits: '0.00135' },
      { unit: 'output', quantity: 3, unit_price_usd: '0.6', per: 1_000_000, credits: '0.0018' },
      { unit: 'reasoning', quantity: 1, unit_price_usd: '0.6', per: 1_000_000, credits: '0.0006' },
      { unit: 'request', quantity: 1, unit_price_usd: '0.001', per: 1, credits: '1' },
    ],
  });
});

const LONG: WrittenPrice = {
  ...{ input: '1.25', cached_input: '0.125', output: '10', 'tool:web_search': '0.01', request: '0.001' },
  tiers: [{ above_input_tokens: 200_000, input: '2.5', output: '15' }],
  service_tiers: { flex: '0.5', priority: '2' },
};
const PICTURES: WrittenPrice = {
  image: { '1024x1024': { low: '0.011', high: '0.167' }, '512x512': '0.018', default: { low: '0.02', default: '0.2' } },
};

test.each<[string, Usage, WrittenPrice, Terms, string]>([
  ['input at the bound of a tier', { input: 150_000, cached_input: 50_000 }, LONG, {}, '194.75'],
  ['one token more reprices the whole request', { input: 150_001, cached_input: 50_000 }, LONG, {}, '382.2525'],
  ['a tier of output', { input: 200_001, output: 1_000 }, LONG, {}, '516.0025'],
  [
    'a service tier: half of all tokens, but not of the fee',
    { input: 1_000, output: 100 },
    LONG,
    { serviceTier: 'flex' },
    '2.125',
  ],
  [
    'a service tier that has no price costs what the plain one does',
    { input: 1_000 },
    LONG,
    { serviceTier: 'default' },
    '2.25',
  ],
  ['a name that all objects have is no service tier', { input: 1_000 }, LONG, { serviceTier: 'constructor' }, '2.25'],
  [
    'calls of a tool cost the same in each service tier',
    { 'tool:web_search': 2 },
    LONG,
    { serviceTier: 'priority' },
    '21',
  ],
  ['pictures by size and quality', { image: 3 }, PICTURES, { imageSize: '1024x1024', imageQuality: 'low' }, '33'],
  [
    'pictures of one price for each quality',
    { image: 1 },
    PICTURES,
    { imageSize: '512x512', imageQuality: 'high' },
    '18',
  ],
  ['a size that is not named', { image: 1 }, PICTURES, { imageSize: '9x9', imageQuality: 'low' }, '20'],
  ['a quality that is not named, at its default', { image: 1 }, PICTURES, { imageQuality: 'ultra' }, '200'],
  [
    'a quality that is not named, without a default, at the dearest',
    { image: 1 },
    PICTURES,
    { imageSize: '1024x1024' },
    '167',
  ],
  ['seconds, and parts of them', { second_input: 3.47 }, { second_input: '0.0001' }, {}, '0.347'],
  ['characters', { character: 12 }, { character: '15' }, {}, '0.18'],
])('%s', (_name, usage, price, terms, expected) => {
  expect(charge(usage, readPrice(price), 1000n, terms)).toBe(credits(expected));
  const { charge: whole, lines } = rate(usage, readPrice(price), 1000n, terms);
  expect(lines.reduce((sum, line) => sum + credits(line.credits), 0n)).toBe(whole);
});

/** Prices as the catalog's schema lets them pass: 12 decimals, multiples of 6. */
const someUsd = fc.bigInt(0n, 10n ** 15n).map((pico) => formatDecimal(pico, 12));
const someUnits = fc.dictionary(fc.constantFrom(...UNITS), someUsd);
const somePriceWithTiers: fc.Arbitrary<Price> = fc
  .record({
    units: someUnits,
    tiers: fc.uniqueArray(fc.record({ above: fc.integer({ min: 1, max: 3_000_000 }), units: someUnits }), {
      selector: ({ above }) => above,
      maxLength: 3,
    }),
    service_tiers: fc.dictionary(fc.constantFrom('flex', 'priority'), fc.constantFrom('0.5', '1.75', '2')),
    markup: fc.bigInt(1n, 5_000_000n),
  })
  .map(({ units, tiers, service_tiers, markup }) =>
    readPrice(
      {
        ...units,
        service_tiers,
        tiers: tiers.map((tier) => ({ ...tier.units, above_input_tokens: tier.above })),
      } as WrittenPrice,
      markup,
    ),
  );

test('a price is what it was, after it was written', () => {
  fc.assert(
    fc.property(somePriceWithTiers, (price) => {
      expect(readPrice(writePrice(price))).toEqual(price);
    }),
  );
});

test('a bound is by the tiers that the request can come to, and by sound where it may have some', () => {
  const price = readPrice({
    ...{ input: '1', input_audio: '32', output: '2', output_audio: '64' },
    tiers: [{ above_input_tokens: 100, input: '3' }],
    service_tiers: { flex: '0.5', priority: '2' },
  });
  const bound = (more: object, input = 100) => boundCharge({ input, output: 10, ...more }, price, 1_000_000n);
  const silent = { hears: false, speaks: false };
  // The same price, again and again: what one request comes to is no other's bound.
  const cases: [more: object, input: number, expected: string][] = [
    [{ ...silent, serviceTier: 'flex' }, 100, '120'],
    [{ ...silent, serviceTier: 'priority' }, 100, '240'],
    [silent, 100, '120'],
    [silent, 101, '323'],
    [{ ...silent, hears: true }, 100, '3220'],
    [{ ...silent, speaks: true }, 100, '740'],
    [{}, 100, '3840'],
  ];
  for (const [more, input, expected] of cases) expect(bound(more, input)).toBe(credits(expected));
});

test('a bound covers whatever tier the request comes to, and the service tier asked for or the plain one', () => {
  const tier = fc.constantFrom('flex', 'priority', undefined);
  fc.assert(
    fc.property(
      someUsage,
      somePriceWithTiers,
      tier,
      fc.boolean(),
      fc.nat(9),
      (usage, price, serviceTier, given, more) => {
        const count = (side: (unit: Unit) => boolean): number =>
          TOKEN_UNITS.filter(side).reduce((sum, unit) => sum + (usage[unit] ?? 0), 0);
        const bounds = { input: count(isInput) + more, output: count(isOutput) + more, serviceTier };
        const charged = charge(usage, price, 1000n, given ? { serviceTier } : {});
        expect(boundCharge(bounds, price, 1000n)).toBeGreaterThanOrEqual(charged);
      },
    ),
    { numRuns: 1000 },
  );
});
