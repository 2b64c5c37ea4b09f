/** A row of the public price table is read exactly, or refused with the reason; never rounded, never charged twice. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { priceEntry } from '../../src/catalog/file.ts';
import { readRow } from '../../src/catalog/import-row.ts';
import type { WrittenPrice } from '../../src/catalog/price.ts';
import { parseJson } from '../../src/lib/http-json.ts';
import type { Json } from '../../src/lib/json.ts';
import { formatDecimal } from '../../src/lib/money.ts';

/** As the table is read: numbers that a float would change are their text. */
const row = (text: string): Json => parseJson(Buffer.from(`{${text}}`)) as Json;
const read = (text: string, sized = false) => readRow(row(text), { sized });
const TOKENS = '"input_cost_per_token": 1e-06, "output_cost_per_token": 4e-06';

test.each<[string, string, WrittenPrice]>([
  [
    'tokens, per million',
    '"input_cost_per_token": 1.25e-06, "output_cost_per_token": 0.00001',
    { input: '1.25', output: '10' },
  ],
  [
    'caches, for five minutes and for an hour',
    `${TOKENS}, "cache_read_input_token_cost": 3.625e-09, "cache_creation_input_token_cost": 1.25e-6, "cache_creation_input_token_cost_above_1hr": 2E-6`,
    { input: '1', output: '4', cached_input: '0.003625', cache_write: '1.25', cache_write_1h: '2' },
  ],
  [
    'a cache by its other name',
    `${TOKENS}, "input_cost_per_token_cache_hit": 2e-7`,
    { input: '1', output: '4', cached_input: '0.2' },
  ],
  [
    'audio and reasoning',
    `${TOKENS}, "input_cost_per_audio_token": 3.2e-05, "cache_read_input_audio_token_cost": 4e-7, "output_cost_per_audio_token": 6.4e-05, "output_cost_per_reasoning_token": 3e-06`,
    { input: '1', output: '4', input_audio: '32', cached_input_audio: '0.4', output_audio: '64', reasoning: '3' },
  ],
  [
    'pictures by their tokens',
    '"input_cost_per_token": 5e-06, "input_cost_per_image_token": 1e-05, "output_cost_per_image_token": 4e-05, "mode": "image_generation"',
    { input: '5', input_image: '10', output_image: '40' },
  ],
  ['pictures by the piece', '"input_cost_per_image": 0.04, "mode": "image_generation"', { image: '0.04' }],
  ['pictures by the piece, by the other name', '"output_cost_per_image": 0.039', { image: '0.039' }],
  ['seconds', '"input_cost_per_second": 3.083e-05', { second_input: '0.00003083' }],
  ['characters, per million', '"input_cost_per_character": 1.5e-05', { character: '15' }],
  [
    'a fee for the request',
    `${TOKENS}, "input_cost_per_request": 0.005`,
    { input: '1', output: '4', request: '0.005' },
  ],
  ['a query', '"input_cost_per_query": 0.005, "mode": "search"', { request: '0.005' }],
  ['a query of a ranker', '"input_cost_per_query": 0.002, "mode": "rerank"', { 'tool:search_unit': '0.002' }],
  [
    'a search of the web that costs the same whatever it reads',
    `${TOKENS}, "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 1e-2}`,
    { input: '1', output: '4', 'tool:web_search': '0.01' },
  ],
  [
    'tiers of long inputs, in their order, an hour of cache among them',
    `${TOKENS}, "input_cost_per_token_above_512k_tokens": 3e-6, "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05, "input_cost_per_token_above_200k_tokens": 2e-6`,
    {
      ...{ input: '1', output: '4' },
      tiers: [
        { above_input_tokens: 200_000, input: '2', cache_write_1h: '12' },
        { above_input_tokens: 512_000, input: '3' },
      ],
    },
  ],
  [
    'service tiers that are one multiple, of long inputs too',
    `${TOKENS}, "input_cost_per_token_flex": 5e-07, "output_cost_per_token_flex": 2e-06, "input_cost_per_token_priority": 1.75e-06, "output_cost_per_token_priority": 7e-06, "input_cost_per_token_above_200k_tokens": 2e-06, "input_cost_per_token_above_200k_tokens_priority": 3.5e-06`,
    {
      ...{ input: '1', output: '4', tiers: [{ above_input_tokens: 200_000, input: '2' }] },
      service_tiers: { flex: '0.5', priority: '1.75' },
    },
  ],
  [
    'a service tier that is silent about reasoning, which costs what output does',
    `${TOKENS}, "output_cost_per_reasoning_token": 4e-06, "input_cost_per_token_flex": 5e-07, "output_cost_per_token_flex": 2e-06`,
    { input: '1', output: '4', reasoning: '4', service_tiers: { flex: '0.5' } },
  ],
  [
    'output that costs nothing, where input does',
    '"input_cost_per_token": 2e-08, "output_cost_per_token": 0.0',
    { input: '0.02', output: '0' },
  ],
  [
    'what the gateway does not do is passed over',
    `${TOKENS}, "input_cost_per_token_batches": 5e-07, "max_tokens": 5`,
    { input: '1', output: '4' },
  ],
])('%s', (_what, text, price) => {
  expect(read(text)).toEqual({ price, refused: [] });
  expect(priceEntry.safeParse(price).success).toBe(true);
});

test.each<[string, string, string, string]>([
  [
    'a unit that the catalog lacks',
    '"output_cost_per_video_per_second": 0.1',
    'output_cost_per_video_per_second',
    'no unit',
  ],
  [
    'a price that a float spoilt',
    '"cache_read_input_token_cost": 2.9999900000000002e-06',
    'cache_read_input_token_cost',
    '12 decimals per million',
  ],
  ['a negative price', '"cache_read_input_token_cost": -1e-06', 'cache_read_input_token_cost', 'negative'],
  ['a price that is none', '"cache_read_input_token_cost": "free"', 'cache_read_input_token_cost', 'no number'],
  ['a price of an absurd size', '"cache_read_input_token_cost": 1e99', 'cache_read_input_token_cost', 'above 1000000'],
  [
    'a 0 that says nothing',
    '"cache_creation_input_token_cost": 0.0',
    'cache_creation_input_token_cost',
    'not billed apart',
  ],
  [
    'two fields that differ',
    '"cache_read_input_token_cost": 1e-7, "input_cost_per_token_cache_hit": 2e-7',
    'input_cost_per_token_cache_hit',
    'otherwise',
  ],
  [
    'a search that costs by what it reads',
    '"search_context_cost_per_query": {"search_context_size_low": 0.03, "search_context_size_high": 0.05}',
    'search_context_cost_per_query',
    'low 0.03, high 0.05',
  ],
  ['a search without a price', '"search_context_cost_per_query": {}', 'search_context_cost_per_query', 'empty'],
  ['pictures in a prompt', '"input_cost_per_image": 0.001, "mode": "chat"', 'input_cost_per_image', 'no unit'],
  [
    'pictures by the piece and by tokens',
    '"output_cost_per_image": 0.039, "output_cost_per_image_token": 3e-05',
    'output_cost_per_image',
    'tokens already',
  ],
  [
    'speech by the second and by tokens',
    '"output_cost_per_second": 0.00025, "output_cost_per_audio_token": 1.2e-05',
    'output_cost_per_second',
    'tokens already',
  ],
  [
    'both ends of a transcription',
    '"input_cost_per_second": 0.0001, "output_cost_per_second": 0.0001, "mode": "audio_transcription"',
    'output_cost_per_second',
    'seconds heard',
  ],
  [
    'multiples beside the prices',
    '"provider_specific_entry": {"fast": 2.0}',
    'provider_specific_entry',
    'by region or speed',
  ],
  [
    'a service tier of several multiples',
    '"input_cost_per_token_flex": 5e-07, "output_cost_per_token_flex": 1e-06',
    '*_flex',
    'input × 0.5, output × 0.25',
  ],
  [
    'a service tier that is silent about reasoning, which costs more than output',
    '"output_cost_per_reasoning_token": 5e-06, "input_cost_per_token_flex": 5e-07, "output_cost_per_token_flex": 2e-06',
    '*_flex',
    'no price for reasoning',
  ],
  ['a service tier without a price of output', '"input_cost_per_token_flex": 5e-07', '*_flex', 'no price for output'],
  [
    'a service tier that is no decimal multiple',
    '"input_cost_per_token_flex": 3.3333e-07, "output_cost_per_token_flex": 1.33332e-06, "cache_read_input_token_cost": 3e-07, "cache_read_input_token_cost_flex": 1e-07',
    '*_flex',
    'no multiple with 6 decimals',
  ],
  [
    'a service tier of what has no price outside of it',
    '"input_cost_per_audio_token_flex": 5e-07',
    '*_flex',
    'none outside',
  ],
  [
    'a service tier that differs for long inputs',
    '"input_cost_per_token_priority": 2e-06, "output_cost_per_token_priority": 8e-06, "input_cost_per_token_above_200k_tokens": 2e-06, "input_cost_per_token_above_200k_tokens_priority": 3e-06',
    '*_priority',
    'input above 200000 tokens × 1.5',
  ],
])('%s is refused, and all else stands', (_what, text, field, why) => {
  const { price, refused } = read(`${TOKENS}, ${text}`);
  expect(refused).toEqual([{ field, why: expect.stringContaining(why) }]);
  expect(price).toMatchObject({ input: '1', output: '4' });
  expect(price).not.toHaveProperty('service_tiers');
});

test.each([
  ['all of it is 0', '"input_cost_per_token": 0.0, "output_cost_per_token": 0'],
  ['there is none', '"max_tokens": 5'],
])('a row is not imported as a free model when %s', (_why, text) => {
  const { price, refused } = read(text);
  expect(price).toBeNull();
  expect(refused.at(-1)).toEqual({ field: 'the price', why: expect.stringContaining('not made free') });
});

test('pictures that other rows price by size and quality have no price for all', () => {
  expect(read('"input_cost_per_image": 0.04, "mode": "image_generation"', true)).toMatchObject({ price: null });
});

test('a price for one token is a million times that, to the last digit, however it is written', () => {
  const forms = fc.constantFrom('plain', 'exponent', 'shifted');
  fc.assert(
    fc.property(fc.bigInt(1n, 10n ** 15n), forms, fc.integer({ min: 0, max: 9 }), (pico, form, shift) => {
      // Pico-USD per million tokens are 10⁻¹⁸ USD for one.
      const plain = formatDecimal(pico, 18);
      const text =
        form === 'plain' ? plain : form === 'exponent' ? `${pico}e-18` : `${formatDecimal(pico, 18 - shift)}E-${shift}`;
      expect(read(`"input_cost_per_token": ${text}`).price).toEqual({ input: formatDecimal(pico, 12) });
    }),
  );
});
