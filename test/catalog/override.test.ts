/** Prices that stand for a model's own: whose is the strongest, and what a multiple comes to. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { buildCatalog } from '../../src/catalog/build.ts';
import { priced, readOverride } from '../../src/catalog/override.ts';
import { readPrice, unitsFor, type WrittenPrice, writePrice } from '../../src/catalog/price.ts';
import { charge } from '../../src/catalog/rating.ts';
import type { Model, Override } from '../../src/catalog/types.ts';
import { pricedFor } from '../../src/entitlements/resolve.ts';

const PRICE: WrittenPrice = { input: '1', output: '2', reasoning: '3' };

function catalogOf(prices: object, price: WrittenPrice = PRICE) {
  const routes = [{ provider: 'on', model: 'x' }];
  const entries = [
    ...['gpt-4o', 'gpt-4o-mini', 'other'].map((name) => ({ kind: 'model', name, version: 4, body: { routes, price } })),
    { kind: 'plan', name: 'pro', version: 7, body: { default: true, models: ['*'], prices } },
  ];
  return buildCatalog(1n, entries, { providers: new Set(['on']), markup: 1_000_000n });
}

const account = (written: object): Override => readOverride(written, { kind: 'account', version: 2 })!;

/** What an account pays for a model: the price of its input, and whose it is. */
function paid(prices: object, model: string, own: Record<string, Override | null> = {}) {
  const { models, defaultPlan } = catalogOf(prices);
  const found = pricedFor({ model: models.get(model)!, plan: defaultPlan! }, new Map(Object.entries(own)));
  return found === null ? null : [writePrice(found.price).input, found.priceSource, found.priceVersion];
}

const plan = { kind: 'plan', plan: 'pro', version: 7 };
const globs = { '*': { multiple: '0.9' }, 'gpt-*': { multiple: '0.5' }, 'gpt-4o': { input: '0.3', output: '0.3' } };

describe('the strongest price that is there holds', () => {
  test.each([
    ['the model’s own, where nobody else has one', {}, 'gpt-4o', {}, ['1', null, 4]],
    ['a plan’s, by the model’s name before any glob', globs, 'gpt-4o', {}, ['0.3', plan, 4]],
    ['a plan’s, by the glob that says most', globs, 'gpt-4o-mini', {}, ['0.5', plan, 4]],
    ['a plan’s, by the glob that is left', globs, 'other', {}, ['0.9', plan, 4]],
    [
      'the account’s, over the plan’s',
      globs,
      'gpt-4o',
      { 'gpt-4o': account({ input: '9', output: '9' }) },
      ['9', { kind: 'account', version: 2 }, 4],
    ],
    [
      'the account’s, a multiple of the model’s and not of the plan’s',
      globs,
      'gpt-4o',
      { 'gpt-4o': account({ multiple: '0.8' }) },
      ['0.8', { kind: 'account', version: 2 }, 4],
    ],
    ['not the account’s for another model', globs, 'gpt-4o', { other: account({ multiple: '0.8' }) }, ['0.3', plan, 4]],
    ['none, where the account’s cannot be read', globs, 'gpt-4o', { 'gpt-4o': null }, null],
  ])('%s', (_, prices, model, own, expected) => {
    expect(paid(prices, model, own as Record<string, Override | null>)).toEqual(expected);
  });

  test('a whole price says all there is: what it leaves out has no price', () => {
    const { models } = catalogOf({});
    const model = priced(models.get('gpt-4o')!, account({ input: '1', output: '1' }));
    expect(model.price.units.reasoning).toBeUndefined();
    expect(model.reasons).toBe(true);
  });

  test('the same model at the same override is made once, so that what is kept by its price stays', () => {
    const { models } = catalogOf({});
    const [model, override] = [models.get('gpt-4o')!, account({ multiple: '0.8' })];
    expect(priced(model, override)).toBe(priced(model, override));
  });

  test.each([{ multiple: '0' }, { multiple: '1001' }, { multiple: '0.5', input: '1' }, {}, { video: '1' }, 'x', null])(
    'what this release cannot read is no override: %j',
    (written) => expect(readOverride(written, { kind: 'account', version: 1 })).toBeNull(),
  );
});

describe('a multiple', () => {
  const decimal = fc
    .tuple(fc.nat(5_000), fc.nat({ max: 999_999_999_999 }))
    .map(([whole, part]) => `${whole}.${String(part).padStart(12, '0')}`);
  const multiple = fc.integer({ min: 1, max: 1_000_000_000 });

  test('is of every price there is, never below the exact product and less than 10⁻¹⁸ USD above it', () => {
    const written = fc.record({ input: decimal, output: decimal, tier: decimal, small: decimal, other: decimal });
    fc.assert(
      fc.property(written, multiple, multiple, ({ input, output, tier, small, other }, millionths, markup) => {
        const whole: WrittenPrice = {
          ...{ input, output, image: { small: { low: small }, default: other } },
          ...{ tiers: [{ above_input_tokens: 10, input: tier }], service_tiers: { flex: '0.123456' } },
        };
        const before = readPrice(whole, BigInt(markup));
        const override = account({ multiple: (millionths / 1e6).toFixed(6) });
        const { price } = priced({ name: 'm', price: before } as Model, override);
        const terms = [{}, { imageSize: 'small', imageQuality: 'low' }];
        for (const [tokens, one] of [
          [1, terms[0]!],
          [20, terms[1]!],
        ] as const) {
          const [was, is] = [unitsFor(before, tokens, one), unitsFor(price, tokens, one)];
          for (const unit of ['input', 'output', 'image'] as const) {
            const over = is[unit]! * 1_000_000n - was[unit]! * BigInt(millionths);
            expect(over >= 0n && over < 10n ** 12n).toBe(true);
            expect(is[unit]! % 1_000_000n).toBe(0n);
          }
        }
        expect(price.serviceTiers).toEqual(before.serviceTiers);
      }),
    );
  });

  test('0.8 of a dollar is 80 cents, to the last nano-credit', () => {
    const { models } = catalogOf({});
    const model = priced(models.get('gpt-4o')!, account({ multiple: '0.8' }));
    expect(charge({ input: 1_000_000 }, model.price, 1000n)).toBe(800_000_000_000n);
  });
});
