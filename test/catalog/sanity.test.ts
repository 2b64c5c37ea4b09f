/** A price that is off by a slip of the hand is asked about before it holds; a real one passes without a word. */
import { expect, test } from 'vitest';
import { type ModelEntry, modelEntry } from '../../src/catalog/file.ts';
import { questionPrice } from '../../src/catalog/sanity.ts';

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
  ['multiples', { input: '1', service_tiers: { flex: '0.001', priority: '500' } }],
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
