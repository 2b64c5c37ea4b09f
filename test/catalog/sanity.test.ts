/** A price that is off by a slip of the hand is asked about before it holds; a real one passes without a word. */
import { describe, expect, test } from 'vitest';
import { type ModelEntry, modelEntry, planEntry } from '../../src/catalog/file.ts';
import { questionPlan, questionPrice } from '../../src/catalog/sanity.ts';

const entry = (sections: { price?: object; cost?: object }): ModelEntry =>
  modelEntry.parse({ routes: [{ provider: 'p', model: 'm' }], ...sections });
const ask = (now: { price?: object; cost?: object }, before?: { price?: object; cost?: object }) =>
  questionPrice(entry(now), before === undefined ? null : entry(before));

test.each<[string, object]>([
  ['a large model', { input: '30', cached_input: '3', output: '180' }],
  ['the dearest there was', { input: '150', output: '600' }],
  ['the cheapest cache there is', { input: '0.14', cached_input: '0.0028', output: '0.28' }],
  ['an embedding', { input: '0.02', output: '0' }],
  ['speech by the character', { character: '15' }],
  ['a transcription by the second', { second_input: '0.00001111' }],
  ['film by the second', { second_output: '0.75' }],
  ['pictures', { image: { '1024x1024': { low: '0.011', high: '0.25' }, default: '0.25' } }],
  ['a search and a fee', { input: '1', 'tool:web_search': '0.035', request: '0.005' }],
  ['multiples', { input: '1', service_tiers: { flex: '0.01', priority: '100' } }],
])('%s is not questioned', (_what, cost) => {
  expect(ask({ cost })).toEqual({ questions: [], warnings: [] });
});

test.each<[string, object, string, string]>([
  [
    'a price per token',
    { input: '0.0000025' },
    'cost.input',
    'below 0.0005, less than any provider asks: prices are per million tokens',
  ],
  ['a price per thousand million', { input: '1', output: '10000' }, 'cost.output', 'above 2000'],
  [
    'a price per token in a tier',
    { input: '1', tiers: [{ above_input_tokens: 9, output: '0.00001' }] },
    'cost.tiers.0.output',
    'below 0.0005',
  ],
  ['a price per character', { character: '0.000015' }, 'cost.character', 'per million characters'],
  ['a picture for a thousand', { image: { default: { high: '167' } } }, 'cost.image.default.high', 'above 100'],
  [
    'a search for a thousand million',
    { input: '1', 'tool:web_search': '0.000000035' },
    'cost.tool:web_search',
    'below 0.00001',
  ],
  ['a second per million', { second_input: '100' }, 'cost.second_input', 'above 10'],
  [
    'a multiple in percent',
    { input: '1', service_tiers: { priority: '200' } },
    'cost.service_tiers.priority',
    '200 is above 100: it multiplies the price, and 1 leaves it as it is',
  ],
  ['a multiple of a thousandth', { input: '1', service_tiers: { flex: '0.0005' } }, 'cost.service_tiers.flex', '0.01'],
])('%s is questioned by itself', (_what, cost, param, message) => {
  expect(ask({ cost }).questions).toEqual([{ param, message: expect.stringContaining(message) }]);
});

test.each<[string, object, object, string[]]>([
  [
    '1,000 times more',
    { input: '2.5', output: '10000' },
    { input: '2.5', output: '10' },
    ['cost.output: 10000 is 1000 times what it was, 10'],
  ],
  ['a thousandth', { input: '0.0025' }, { input: '2.5' }, ['cost.input: 0.0025 is 1/1000 of what it was, 2.5']],
  [
    '1,000 times more, and a little less than before',
    { input: '1999' },
    { input: '2' },
    ['cost.input: 1999 is 999 times what it was, 2'],
  ],
  [
    'free, where it was not',
    { input: '0', output: '8' },
    { input: '2', output: '8' },
    ['cost.input: it was 2, and would be free'],
  ],
  [
    'a multiple',
    { input: '1', service_tiers: { flex: '50' } },
    { input: '1', service_tiers: { flex: '0.5' } },
    ['cost.service_tiers.flex: 50 is 100 times what it was, 0.5'],
  ],
  ['99 times more', { input: '198' }, { input: '2' }, []],
  ['priced, where it was free', { input: '2' }, { input: '0' }, []],
  ['usual for this model, though for no other', { input: '5000' }, { input: '4000' }, []],
])('compared with before: %s', (_what, cost, before, questions) => {
  expect(ask({ cost }, { cost: before }).questions.map(({ param, message }) => `${param}: ${message}`)).toEqual(
    questions,
  );
});

test('a first price of ours is compared with the cost that was asked until now', () => {
  expect(ask({ price: { input: '2500' } }, { cost: { input: '2.5' } }).questions).toMatchObject([
    { param: 'price.input', message: expect.stringContaining('1000 times what it was, 2.5') },
  ]);
});

test.each<[string, object, 'questions' | 'warnings', string]>([
  ['far below', { input: '0.0025', output: '12' }, 'questions', 'price.input: 0.0025 is 1/1000 of the cost, 2.5'],
  ['far above', { input: '1500', output: '12' }, 'questions', 'price.input: 1500 is 600 times the cost, 2.5'],
  ['free', { input: '0', output: '12' }, 'questions', 'price.input: it would be free, and costs us 2.5'],
  ['a little below', { input: '2.4', output: '12' }, 'warnings', 'price.input: 2.4 is below the cost, 2.5'],
])('compared with the cost: %s', (_what, price, kind, said) => {
  const doubts = ask({ price, cost: { input: '2.5', output: '10' } });
  const other = kind === 'questions' ? 'warnings' : 'questions';
  expect(doubts[kind].map(({ param, message }) => `${param}: ${message}`)).toEqual([said]);
  expect(doubts[other]).toEqual([]);
});

test('a route’s cost is compared with what it was, else with the model’s', () => {
  const routed = (cost: object | undefined) => {
    const routes = [
      { provider: 'p', model: 'm' },
      { provider: 'q', model: 'm', ...(cost && { cost }) },
    ];
    return modelEntry.parse({ routes, cost: { input: '2', output: '8' } });
  };
  const asked = (now: object, before?: object) => questionPrice(routed(now), before ? routed(before) : null).questions;
  expect(asked({ input: '1', output: '800' })).toEqual([
    { param: 'routes.1.cost.output', message: '800 is 100 times what it was, 8' },
  ]);
  expect(asked({ input: '0.02' }, { input: '0.04' })).toEqual([]);
  expect(asked({ input: '4' }, { input: '0.04' })).toMatchObject([{ param: 'routes.1.cost.input' }]);
  expect(asked({ request: '1000' }, { input: '2' })).toMatchObject([{ param: 'routes.1.cost.request' }]);
});

test('a price that is free because it costs us nothing is not questioned', () => {
  expect(ask({ price: { input: '0', output: '0' } })).toEqual({ questions: [], warnings: [] });
});

test('a cache that is dearer than input, or than output, is a warning and no more', () => {
  expect(ask({ cost: { input: '2', cached_input: '3', output: '2.5' } })).toEqual({
    questions: [],
    warnings: [
      { param: 'cost.cached_input', message: 'it is above the price of input' },
      { param: 'cost.cached_input', message: 'it is above the price of output' },
    ],
  });
});

describe('a price of a plan', () => {
  const models: Record<string, ModelEntry> = {
    big: entry({ price: { input: '2', output: '8' }, cost: { input: '1', output: '4' } }),
    'at-cost': entry({ cost: { input: '2', output: '8' } }),
  };
  const questions = (prices: object | undefined, before?: object) =>
    questionPlan(
      planEntry.parse({ prices }),
      before === undefined ? null : planEntry.parse({ prices: before }),
      (name) => (Object.hasOwn(models, name) ? models[name]! : null),
    ).map(({ param, message }) => `${param}: ${message}`);

  test.each<[string, object | undefined, object | undefined]>([
    ['none', undefined, { big: { multiple: '5' } }],
    ['multiples', { '*': { multiple: '0.01' }, big: { multiple: '100' } }, undefined],
    ['a discount', { big: { input: '1.5', output: '6' } }, undefined],
    ['a multiple in the place of a price', { big: { multiple: '0.5' } }, { big: { input: '1', output: '4' } }],
    ['an unusual one that was so before', { big: { multiple: '0.002' } }, { big: { multiple: '0.001' } }],
  ])('is not questioned: %s', (_what, prices, before) => {
    expect(questions(prices, before)).toEqual([]);
  });

  test.each<[string, object, object | undefined, string]>([
    ['a multiple of 1,000', { '*': { multiple: '1000' } }, undefined, 'prices.*.multiple: 1000 is above 100'],
    ['a thousandth', { 'gpt-*': { multiple: '0.001' } }, undefined, 'prices.gpt-*.multiple: 0.001 is below 0.01'],
    ['1/100 of before', { x: { multiple: '0.01' } }, { x: { multiple: '1' } }, '0.01 is 1/100 of what it was, 1'],
    ['off the model', { big: { input: '2', output: '8000' } }, undefined, 'prices.big.output: 8000 is 1000 times'],
    [
      'off its cost',
      { 'at-cost': { input: '0.002', output: '8' } },
      undefined,
      'prices.at-cost.input: 0.002 is 1/1000',
    ],
    ['free', { big: { input: '0', output: '8' } }, undefined, 'prices.big.input: it was 2, and would be free'],
    [
      'no model’s, and per token',
      { 'b*': { input: '0.000002' } },
      undefined,
      'prices.b*.input: 0.000002 is below 0.0005',
    ],
  ])('is questioned: %s', (_what, prices, before, question) => {
    expect(questions(prices, before)).toEqual([expect.stringContaining(question)]);
  });
});
