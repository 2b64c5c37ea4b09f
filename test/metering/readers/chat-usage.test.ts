/** Each provider's way of reporting usage is read as it says it, and billed as it means it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Usage } from '../../../src/catalog/units.ts';
import { normalise, readUsage } from '../../../src/metering/readers/chat-usage.ts';
import type { Reported } from '../../../src/metering/readers/types.ts';

interface Row {
  name: string;
  usage: unknown;
  reported: Reported | null;
  billed?: Usage;
}

const counts = { prompt_tokens: 20, completion_tokens: 10, total_tokens: 30 };
const plain = { input_tokens: 20, output_tokens: 10, total_tokens: 30 };

const ROWS: Row[] = [
  { name: 'plain counts', usage: counts, reported: plain, billed: { input: 20, output: 10 } },
  {
    name: 'cached and written tokens lie inside the input',
    usage: { ...counts, prompt_tokens_details: { cached_tokens: 12, cache_write_tokens: 5 } },
    reported: { ...plain, cached_read_tokens: 12, cache_write_tokens: 5 },
    billed: { input: 3, cached_input: 12, cache_write: 5, output: 10 },
  },
  {
    name: 'as many written as cached, more than there are together, are the same tokens: what is left is plain',
    usage: { ...counts, prompt_tokens_details: { cached_tokens: 15, cache_write_tokens: 15 } },
    reported: { ...plain, cached_read_tokens: 15, cache_write_tokens: 15 },
    billed: { input: 5, cached_input: 15, output: 10 },
  },
  {
    name: 'as many written as cached, that are there, are others',
    usage: { ...counts, prompt_tokens_details: { cached_tokens: 10, cache_write_tokens: 10 } },
    reported: { ...plain, cached_read_tokens: 10, cache_write_tokens: 10 },
    billed: { input: 0, cached_input: 10, cache_write: 10, output: 10 },
  },
  {
    name: 'writes to the cache for an hour are part of all writes',
    usage: {
      ...counts,
      cache_creation_input_tokens: 9,
      cache_creation: { ephemeral_5m_input_tokens: 5, ephemeral_1h_input_tokens: 4 },
    },
    reported: { ...plain, cache_write_tokens: 9, cache_write_5m_tokens: 5, cache_write_1h_tokens: 4 },
    billed: { input: 11, cache_write: 5, cache_write_1h: 4, output: 10 },
  },
  {
    name: 'more cached than there was input is cut to the input',
    usage: { ...counts, prompt_tokens_details: { cached_tokens: 161 } },
    reported: { ...plain, cached_read_tokens: 161 },
    billed: { input: 0, cached_input: 20, output: 10 },
  },
  {
    name: 'reasoning lies inside the output',
    usage: { ...counts, completion_tokens_details: { reasoning_tokens: 7 } },
    reported: { ...plain, reasoning_tokens: 7 },
    billed: { input: 20, output: 3, reasoning: 7 },
  },
  {
    name: 'reasoning beside the output shows in the total',
    usage: { ...counts, total_tokens: 155, completion_tokens_details: { reasoning_tokens: 125 } },
    reported: { ...plain, total_tokens: 155, reasoning_tokens: 125 },
    billed: { input: 20, output: 10, reasoning: 125 },
  },
  {
    name: 'reasoning that only the total shows is output',
    usage: { ...counts, total_tokens: 92 },
    reported: { ...plain, total_tokens: 92 },
    billed: { input: 20, output: 72 },
  },
  {
    name: 'more reasoning than output, where the total knows of no more, is cut to the output',
    usage: { ...counts, completion_tokens_details: { reasoning_tokens: 19 } },
    reported: { ...plain, reasoning_tokens: 19 },
    billed: { input: 20, output: 0, reasoning: 10 },
  },
  {
    name: 'audio beside the input shows in the total',
    usage: { ...counts, total_tokens: 405, prompt_audio_seconds: 4, prompt_tokens_details: { audio_tokens: 375 } },
    reported: { ...plain, total_tokens: 405, seconds: 4, audio_input_tokens: 375 },
    billed: { input: 20, input_audio: 375, output: 10, second_input: 4 },
  },
  {
    name: 'audio and pictures lie inside the input and the output',
    usage: {
      ...counts,
      prompt_tokens_details: { audio_tokens: 4, image_tokens: 6, text_tokens: 10 },
      completion_tokens_details: { audio_tokens: 2, image_tokens: 3 },
    },
    reported: {
      ...plain,
      audio_input_tokens: 4,
      image_input_tokens: 6,
      text_input_tokens: 10,
      audio_output_tokens: 2,
      image_output_tokens: 3,
    },
    billed: { input: 10, input_audio: 4, input_image: 6, output: 5, output_audio: 2, output_image: 3 },
  },
  {
    name: 'rejected predictions are part of the output already',
    usage: { ...counts, completion_tokens_details: { accepted_prediction_tokens: 2, rejected_prediction_tokens: 6 } },
    reported: { ...plain, accepted_prediction_tokens: 2, rejected_prediction_tokens: 6 },
    billed: { input: 20, output: 10 },
  },
  {
    name: 'cached tokens stand beside the counts',
    usage: { ...counts, cached_tokens: 16 },
    reported: { ...plain, cached_read_tokens: 16 },
    billed: { input: 4, cached_input: 16, output: 10 },
  },
  {
    name: 'cached tokens are called hits',
    usage: { ...counts, prompt_cache_hit_tokens: 15, prompt_cache_miss_tokens: 5 },
    reported: { ...plain, prompt_cache_hit_tokens: 15, prompt_cache_miss_tokens: 5 },
    billed: { input: 5, cached_input: 15, output: 10 },
  },
  {
    name: 'cached tokens are said twice: once, the details stand',
    usage: { ...counts, cached_tokens: 1, cache_read_input_tokens: 2, prompt_tokens_details: { cached_tokens: 3 } },
    reported: { ...plain, cached_read_tokens: 3 },
    billed: { input: 17, cached_input: 3, output: 10 },
  },
  {
    name: 'the cost is a number, or has parts',
    usage: { ...counts, cost: { input_tokens_cost: 0.1, request_cost: 0.005, total_cost: 0.105 } },
    reported: { ...plain, cost: 0.105 },
    billed: { input: 20, output: 10 },
  },
  {
    name: 'the cost in ticks is far above any count of tokens',
    usage: { ...counts, cost_in_usd_ticks: 160_708_500_000 },
    reported: { ...plain, cost_in_usd_ticks: 160_708_500_000 },
    billed: { input: 20, output: 10 },
  },
  {
    name: 'details tell which cached tokens are audio and pictures',
    usage: {
      ...counts,
      input_token_details: {
        text_tokens: 6,
        audio_tokens: 9,
        image_tokens: 5,
        cached_tokens: 8,
        cached_tokens_details: { text_tokens: 1, audio_tokens: 4, image_tokens: 3 },
      },
    },
    reported: {
      ...plain,
      text_input_tokens: 6,
      audio_input_tokens: 9,
      image_input_tokens: 5,
      cached_read_tokens: 8,
      cached_text_input_tokens: 1,
      cached_audio_input_tokens: 4,
      cached_image_input_tokens: 3,
    },
    billed: {
      input: 5,
      cached_input: 1,
      cached_input_audio: 4,
      cached_input_image: 3,
      input_audio: 5,
      input_image: 2,
      output: 10,
    },
  },
  {
    name: 'tools that the provider ran are counted by their names',
    usage: {
      ...counts,
      num_sources_used: 3,
      server_side_tool_usage_details: { web_search_calls: 2, x_search_calls: 0, 'not a name': 4 },
    },
    reported: {
      ...plain,
      num_sources_used: 3,
      server_side_tool_usage: { web_search_calls: 2, 'not a name': 4 },
    },
    billed: { input: 20, output: 10, 'tool:web_search': 2, 'tool:search_source': 3 },
  },
  {
    name: 'searches are requests',
    usage: { ...counts, server_tool_use_details: { web_search_requests: 1 } },
    reported: { ...plain, web_search_requests: 1 },
    billed: { input: 20, output: 10, 'tool:web_search': 1 },
  },
  {
    name: 'only seconds are counted, and parts of them are',
    usage: { type: 'duration', seconds: 3.4 },
    reported: { seconds: 3.4, usage_type: 'duration' },
    billed: { input: 0, output: 0, second_input: 3.4 },
  },
  {
    name: 'counts are floats',
    usage: { prompt_tokens: 28.0, completion_tokens: 3.2, total_tokens: 31.2 },
    reported: { input_tokens: 28, output_tokens: 3.2, total_tokens: 31.2 },
    billed: { input: 28, output: 4 },
  },
  {
    name: 'zero is not missing',
    usage: { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 },
    reported: { input_tokens: 0, output_tokens: 0, total_tokens: 0 },
    billed: { input: 0, output: 0 },
  },
  {
    name: 'there is no output count, as for a request that stopped at once',
    usage: { prompt_tokens: 9, total_tokens: 9 },
    reported: { input_tokens: 9, total_tokens: 9 },
    billed: { input: 9, output: 0 },
  },
  {
    name: 'details are null, or hold null',
    usage: { ...counts, prompt_tokens_details: null, completion_tokens_details: { reasoning_tokens: null } },
    reported: plain,
    billed: { input: 20, output: 10 },
  },
  { name: 'null', usage: null, reported: null },
  { name: 'nothing', usage: undefined, reported: null },
  { name: 'an empty object', usage: {}, reported: null },
  { name: 'an object of nulls', usage: { prompt_tokens: null, completion_tokens: null }, reported: null },
  { name: 'no counts but a cost', usage: { cost: 0.1 }, reported: null },
  { name: 'text for numbers', usage: { prompt_tokens: '12' }, reported: null },
  { name: 'counts that cannot be', usage: { prompt_tokens: -1, completion_tokens: 1e300 }, reported: null },
  { name: 'an array', usage: [1, 2], reported: null },
];

describe('usage is read as reported', () => {
  it.each(ROWS)('$name', ({ usage, reported }) => {
    expect(readUsage(usage)).toEqual(reported);
  });
});

describe('usage is billed in dimensions that do not overlap', () => {
  it.each(ROWS.filter((row) => row.billed !== undefined))('$name', ({ reported, billed }) => {
    expect(normalise(reported!)).toEqual(billed);
  });

  it('whatever is reported: whole, not negative, and in sum what was used', () => {
    const tokens = fc.option(fc.nat(1000), { nil: undefined });
    const any = fc.record({
      input_tokens: tokens,
      output_tokens: tokens,
      total_tokens: tokens,
      cached_read_tokens: tokens,
      cache_write_tokens: tokens,
      cache_write_1h_tokens: tokens,
      audio_input_tokens: tokens,
      image_input_tokens: tokens,
      cached_audio_input_tokens: tokens,
      cached_image_input_tokens: tokens,
      reasoning_tokens: tokens,
      audio_output_tokens: tokens,
      image_output_tokens: tokens,
    });
    fc.assert(
      fc.property(any, fc.constantFrom('output', 'output_image', 'output_audio'), (raw, kind) => {
        const reported = Object.fromEntries(Object.entries(raw).filter(([, n]) => n !== undefined)) as Reported;
        const usage = normalise(reported, kind);
        const quantities = Object.values(usage) as number[];
        for (const quantity of quantities) expect(Number.isSafeInteger(quantity) && quantity >= 0).toBe(true);
        const { input_tokens = 0, output_tokens = 0, total_tokens = 0 } = reported;
        const used = Math.max(input_tokens + output_tokens, total_tokens);
        expect(quantities.reduce((sum, quantity) => sum + quantity, 0)).toBe(used);
      }),
      { numRuns: 1000 },
    );
  });
});
