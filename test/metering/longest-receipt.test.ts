/** The longest receipt there can be fits the journal, so that no charge is lost for being explained at length. */
import { describe, expect, it } from 'vitest';
import { entryName, modelEntry, priceOverride } from '../../src/catalog/file.ts';
import { overriddenPrice } from '../../src/catalog/override.ts';
import { type Price, readPrice, type WrittenPrice } from '../../src/catalog/price.ts';
import { UNITS, type Usage } from '../../src/catalog/units.ts';
import { encodeRecord, MAX_RECEIPT_BYTES } from '../../src/ledger/journal/record.ts';
import { normalise, readChatJson } from '../../src/metering/readers/chat.ts';
import { encodeReceipt, type ReceiptFacts } from '../../src/metering/receipt.ts';

/** As settings and overrides allow at most, and with the most decimals. */
const MOST = '999.999999';
const PRICE = '999999.999999999999';

const accepts = (price: object): boolean =>
  modelEntry.safeParse({ routes: [{ provider: 'p', model: 'm' }], price }).success;

/** The longest that is taken of a kind of price that can grow. */
function longest(make: (size: number) => object): WrittenPrice {
  let size = 1;
  while (accepts(make(size + 1))) size++;
  // It is a bound on the length that stops it, and not that there is no more to say.
  expect(accepts(make(size + 10_000))).toBe(false);
  return make(size) as WrittenPrice;
}

/** What a customer pays by that cost: times a markup, and times an override's multiple. */
const paid = (cost: WrittenPrice): Price =>
  overriddenPrice(readPrice(cost, 999_999_999n), { source: { kind: 'account', version: 1 }, multiple: 999_999_999n });

const units = (price: string): WrittenPrice => Object.fromEntries(UNITS.map((unit) => [unit, price]));
const pick = (price: string, count: number): object => Object.fromEntries(Object.entries(units(price)).slice(0, count));
const numbered = (count: number, made: (i: number) => [string, unknown]): object =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => made(i)));

const KINDS: Record<string, (size: number, price: string) => object> = {
  'units, then tools with long names': (size, price) => ({
    ...pick(price, size),
    ...numbered(Math.max(0, size - UNITS.length), (i) => [`tool:${'t'.repeat(35)}${i}`, price]),
  }),
  'tools with short names': (size, price) => numbered(size, (i) => [`tool:t${i}`, price]),
  'pictures by size': (size, price) => ({ image: numbered(size, (i) => [`${i}`, price]) }),
  'pictures by size and quality': (size, price) => ({
    image: { a: numbered(Math.ceil(size / 2), (i) => [`${i}`, price]), b: numbered(size, (i) => [`${i}`, price]) },
  }),
  'service tiers': (size, price) => ({
    input: price,
    service_tiers: numbered(size, (i) => [`${'s'.repeat(33)}${i}`, MOST]),
  }),
};

const tools = numbered(1_000, (i) => [`${'t'.repeat(36)}${i}_calls`, 1e9]);
const { reported } = readChatJson(
  Buffer.from(JSON.stringify({ usage: { prompt_tokens: 1, server_side_tool_usage_details: tools } })),
);
const usage: Usage = {
  ...normalise(reported!),
  ...Object.fromEntries(UNITS.map((unit) => [unit, 123_456_789_012])),
  ...{ second_input: 12_345.678901234567, second_output: 12_345.678901234567 },
  ...numbered(6, (i) => [`tool:web_search_${i}`, 1e9]),
};

const name = '\u0001'.repeat(33);
const facts: Omit<ReceiptFacts, 'price'> = {
  endpoint: 'audio-transcriptions-plus',
  model: name,
  priceVersion: 2 ** 31 - 1,
  priceSource: { kind: 'plan', plan: name, version: 2 ** 31 - 1 },
  stream: true,
  createdAt: 4e12,
  held: 2n ** 63n - 1n,
  usage,
  usageSource: 'provider',
  terms: { serviceTier: '\u0001'.repeat(99), imageSize: '"'.repeat(99), imageQuality: '語'.repeat(99) },
  clampedTo: 1e8,
  disconnect: 'aborted',
  policy: 'on_orphan: charge_metered',
  attempts: [
    { provider: 'p'.repeat(64), model: '語'.repeat(66), status: 200, outcome: 'first_byte_timeout', ms: 86_400_000 },
  ],
};

describe('the longest receipt that can be', () => {
  it('is of names that cannot be longer', () => {
    expect(entryName.safeParse(name).success).toBe(true);
    for (const long of [`${name}aaa`, '語'.repeat(67), 'a'.repeat(201)]) {
      expect(entryName.safeParse(long).success).toBe(false);
      const routes = [{ provider: 'p', model: long }];
      expect(modelEntry.safeParse({ routes, price: { input: '1' } }).error?.issues).toMatchObject([
        { path: ['routes', 0, 'model'] },
      ]);
    }
  });

  for (const [kind, make] of Object.entries(KINDS)) {
    it.each([PRICE, '1', '0.000000000001'])(`fits the journal: ${kind}, at %s`, (each) => {
      const price = paid(longest((size) => make(size, each)));
      const receipt = encodeReceipt({ ...facts, price });
      expect(receipt.length).toBeLessThanOrEqual(MAX_RECEIPT_BYTES);
      const record = {
        verb: 'settle' as const,
        account: 2n ** 63n - 1n,
        id: 'f'.repeat(36),
        amount: 10n ** 18n,
        receipt,
      };
      expect(() => encodeRecord(record)).not.toThrow();
    });
  }
});

describe('a price', () => {
  const many = { image: numbered(60, (i) => [`${i}`, { low: '0.01', medium: '0.02', high: '0.04' }]) };

  it('that is too long for a receipt is refused, and its field named', () => {
    const routes = [{ provider: 'p', model: 'm', cost: many }];
    const { error } = modelEntry.safeParse({ routes, price: many, cost: many });
    expect(error?.issues.map(({ path, message }) => [path.join('.'), message])).toEqual(
      ['routes.0.cost', 'price', 'cost'].map((path) => [path, expect.stringMatching(/too long.* 180 prices/)]),
    );
    expect(priceOverride.safeParse(many).error?.issues).toMatchObject([{ path: [], message: /./ }]);
  });

  it('has room for every unit, with a tier that reprices them, and for pictures in 8 sizes and 3 qualities', () => {
    const { image: _, ...tokens } = pick('12.50', 12) as WrittenPrice;
    expect(accepts({ ...units('12.50'), 'tool:web_search': '0.01', service_tiers: { flex: '0.5' } })).toBe(true);
    expect(accepts({ ...tokens, tiers: [{ above_input_tokens: 200_000, ...tokens }] })).toBe(true);
    const sizes = (i: number): [string, object] => [
      `${1024 + i}x1024`,
      { low: '0.011', medium: '0.042', high: '0.167' },
    ];
    expect(accepts({ image: numbered(8, sizes) })).toBe(true);
  });

  it.each(['"', '\\', '\u0001', '語', '?', 'x'.repeat(41)])('has no size or service tier called %j', (key) => {
    expect(accepts({ image: { [key]: '1' } })).toBe(false);
    expect(accepts({ image: { '1x1': { [key]: '1' } } })).toBe(false);
    expect(accepts({ input: '1', service_tiers: { [key]: '1' } })).toBe(false);
  });
});
