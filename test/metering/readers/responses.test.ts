/** Responses: usage of every way to end, and the hosted tools that stand beside it. */
import { describe, expect, it } from 'vitest';
import { billed, events, streamed, whole } from './rig.ts';

const usage = {
  input_tokens: 75,
  input_tokens_details: { cached_tokens: 20, cache_write_tokens: 30 },
  output_tokens: 23,
  output_tokens_details: { reasoning_tokens: 8 },
  total_tokens: 98,
};
const reported = {
  input_tokens: 75,
  cached_read_tokens: 20,
  cache_write_tokens: 30,
  output_tokens: 23,
  reasoning_tokens: 8,
  total_tokens: 98,
};
const tokens = { input: 25, cached_input: 20, cache_write: 30, output: 15, reasoning: 8 };

const created = { type: 'response.created', response: { usage: null, error: null, output: [], service_tier: 'auto' } };
const delta = { type: 'response.output_text.delta', delta: 'Hello' };
const search = { type: 'web_search_call', action: { type: 'search' } };

describe('a stream of responses', () => {
  it.each(['completed', 'incomplete', 'cancelled'])('that is %s is done, with its usage', (how) => {
    const last = { type: `response.${how}`, response: { usage, error: null, output: [], service_tier: 'priority' } };
    expect(streamed('responses', events(created, delta, last))).toMatchObject({
      kinds: ['content', 'content', 'done'],
      reported,
      terms: { serviceTier: 'priority' },
      beside: {},
      finished: true,
      text: 'Hello',
    });
  });

  it('that failed says so, and its usage is known all the same', () => {
    const error = { type: 'error', error: { code: 'server_error' } };
    const failed = { type: 'response.failed', response: { usage, error: { code: 'server_error' } } };
    expect(streamed('responses', events(created, error, failed))).toMatchObject({
      kinds: ['content', 'failed', 'failed'],
      reported,
    });
    const flat = { type: 'error', code: 'server_error', message: 'no' };
    expect(streamed('responses', events(created, flat)).kinds).toEqual(['content', 'failed']);
  });

  it('that ends without usage, or without its end, has its text counted', () => {
    const last = { type: 'response.incomplete', response: { usage: null, output: [] } };
    expect(streamed('responses', events(created, delta, last))).toMatchObject({ reported: null, finished: true });
    expect(streamed('responses', events(created, delta, delta))).toMatchObject({
      reported: null,
      finished: false,
      text: 'HelloHello',
      estimate: 3,
    });
  });

  it('that reports zeros reports them', () => {
    const zero = { input_tokens: 0, output_tokens: 0, total_tokens: 0 };
    const last = { type: 'response.incomplete', response: { usage: zero } };
    expect(streamed('responses', events(created, last)).reported).toEqual(zero);
  });

  it('that is cut has the calls of tools so far', () => {
    const done = { type: 'response.output_item.done', item: search };
    expect(streamed('responses', events(created, done, done)).beside).toEqual({ 'tool:web_search': 2 });
  });

  it('whose end leaves its items out has those that came', () => {
    const done = { type: 'response.output_item.done', item: search };
    const last = { type: 'response.completed', response: { usage, output: [] } };
    expect(streamed('responses', events(created, done, last)).beside).toEqual({ 'tool:web_search': 1 });
  });

  it('whose end repeats its items has them once', () => {
    const done = { type: 'response.output_item.done', item: search };
    const last = { type: 'response.completed', response: { usage, output: [search] } };
    expect(streamed('responses', events(created, done, last)).beside).toEqual({ 'tool:web_search': 1 });
  });
});

describe('a whole response', () => {
  it('has disjoint dimensions', () => {
    expect(billed('responses', { usage, output: [] })).toEqual({ usage: tokens, beside: {} });
  });

  it.each<[string, object, object]>([
    [
      'searches, as the provider counts them',
      { tool_usage: { web_search: { num_requests: 2 } }, output: [search] },
      { 'tool:web_search': 2 },
    ],
    ['no search, though there are items', { tool_usage: { web_search: { num_requests: 0 } }, output: [search] }, {}],
    [
      'searches by their items, opening pages left out',
      { output: [search, { type: 'web_search_call', action: { type: 'open_page' } }, { type: 'web_search_call' }] },
      { 'tool:web_search': 2 },
    ],
    [
      'searches of files, pictures',
      { output: [{ type: 'file_search_call' }, { type: 'image_generation_call' }] },
      { 'tool:file_search': 1, image: 1 },
    ],
    [
      'containers, each once',
      { output: ['a', 'b', 'a'].map((container_id) => ({ type: 'code_interpreter_call', container_id })) },
      { 'tool:code_interpreter': 2 },
    ],
    [
      'tokens of drawing',
      {
        tool_usage: {
          image_gen: {
            input_tokens: 9,
            input_tokens_details: { image_tokens: 4, text_tokens: 5 },
            output_tokens: 100,
            total_tokens: 109,
          },
        },
        output: [],
      },
      { input: 5, input_image: 4, output_image: 100 },
    ],
    ['no tokens of drawing', { tool_usage: { image_gen: { input_tokens: 0, output_tokens: 0, total_tokens: 0 } } }, {}],
  ])('uses beside its tokens: %s', (_, more, beside) => {
    expect(billed('responses', { usage, ...more })).toEqual({ usage: tokens, beside });
  });

  it('whose usage counts its tools has them from there alone', () => {
    const counted = { ...usage, server_side_tool_usage_details: { web_search_calls: 2, x_search_calls: 0 } };
    expect(billed('responses', { usage: counted, output: [search] })).toEqual({
      usage: { ...tokens, 'tool:web_search': 2 },
      beside: {},
    });
  });

  it('without usage has its text counted: messages, refusals, reasoning, calls', () => {
    const output = [
      { type: 'reasoning', summary: [{ text: 'hm' }] },
      {
        type: 'message',
        content: [
          { type: 'output_text', text: 'a' },
          { type: 'refusal', refusal: 'no' },
        ],
      },
      { type: 'function_call', name: 'f', arguments: '{}' },
    ];
    expect(whole('responses', { output }).generatedText.join(' ')).toBe('hm a no f {}');
    expect(whole('responses', { output, usage }).generatedText).toEqual([]);
  });

  it('may be an error, or no response at all', () => {
    expect(whole('responses', { error: { message: 'no' } })).toMatchObject({ reported: null, isError: true });
    expect(whole('responses', '<html>')).toMatchObject({ reported: null, isError: false });
  });
});
