/** Messages: usage in two places of a stream, cached tokens beside the input, and passes that the top level leaves out. */
import { describe, expect, it } from 'vitest';
import { dialectOf } from '../../../src/metering/readers/index.ts';
import { billed, events, streamed, whole } from './rig.ts';

const usage = {
  input_tokens: 10,
  output_tokens: 20,
  cache_read_input_tokens: 300,
  cache_creation_input_tokens: 70,
  cache_creation: { ephemeral_5m_input_tokens: 30, ephemeral_1h_input_tokens: 40 },
  output_tokens_details: { thinking_tokens: 7 },
  server_tool_use: { web_search_requests: 2, web_fetch_requests: 1 },
  service_tier: 'priority',
};
const start = { type: 'message_start', message: { usage: { ...usage, input_tokens: 5, output_tokens: 1 } } };
const text = (said: string) => ({ type: 'content_block_delta', delta: { type: 'text_delta', text: said } });
const stop = { type: 'message_stop' };

describe('a message', () => {
  it('is billed for cached and written tokens beside its input, and for calls of tools', () => {
    expect(billed('messages', { type: 'message', usage })).toEqual({
      usage: {
        input: 10,
        cached_input: 300,
        cache_write: 30,
        cache_write_1h: 40,
        output: 13,
        reasoning: 7,
        'tool:web_search': 2,
        'tool:web_fetch': 1,
      },
      beside: {},
    });
    expect(whole('messages', { usage }).terms).toEqual({ serviceTier: 'priority' });
  });

  it('never writes more for an hour than it writes at all, and writes what only its parts tell of', () => {
    const { normalise } = dialectOf('messages')!;
    expect(normalise({ cache_write_tokens: 5, cache_write_1h_tokens: 9 })).toMatchObject({ cache_write_1h: 5 });
    const parts = normalise({ cache_write_5m_tokens: 4, cache_write_1h_tokens: 9 });
    expect(parts).toMatchObject({ cache_write: 4, cache_write_1h: 9 });
    expect(normalise({ output_tokens: 3, reasoning_tokens: 9 })).toEqual({ input: 0, output: 0, reasoning: 3 });
  });

  it('that is an error says so, and one without usage has its text counted', () => {
    expect(whole('messages', { type: 'error', error: { type: 'overloaded_error' } })).toMatchObject({
      reported: null,
      isError: true,
    });
    const content = [
      { type: 'thinking', thinking: 'Hm' },
      { type: 'text', text: 'Yes' },
      { type: 'tool_use', name: 'go', input: { a: 1 } },
    ];
    expect(whole('messages', { content }).generatedText).toEqual(['Hm', 'Yes', 'go', '{"a":1}']);
    expect(whole('messages', 'no JSON')).toMatchObject({ reported: null, isError: false });
  });
});

describe('passes that the top level leaves out', () => {
  const pass = (type: string, input_tokens: number, output_tokens: number, more = {}) => ({
    type,
    input_tokens,
    output_tokens,
    ...more,
  });

  it('are billed: a compaction, and an adviser of another model', () => {
    const iterations = [
      pass('compaction', 99_195, 81, {
        cache_read_input_tokens: 5,
        cache_creation_input_tokens: 10,
        cache_creation: { ephemeral_5m_input_tokens: 4, ephemeral_1h_input_tokens: 6 },
      }),
      pass('message', 100, 8),
      pass('advisor_message', 2518, 40, { model: 'another' }),
      pass('message', 62, 3),
    ];
    const { usage: top, beside } = billed('messages', { usage: { input_tokens: 162, output_tokens: 11, iterations } });
    expect(top).toEqual({ input: 162, output: 11 });
    expect(beside).toEqual({ input: 101_713, cached_input: 5, cache_write: 4, cache_write_1h: 6, output: 121 });
  });

  it('are not billed twice where the top level is that of a model that stepped in', () => {
    const iterations = [pass('message', 408, 0), pass('fallback_message', 412, 264)];
    const { beside } = billed('messages', { usage: { input_tokens: 412, output_tokens: 264, iterations } });
    expect(beside).toEqual({ input: 408 });
  });

  it('are not billed twice where thinking and the life of what is written are told of the top level alone', () => {
    const written = { cache_creation_input_tokens: 9 };
    const top = {
      ...written,
      input_tokens: 1,
      output_tokens: 50,
      cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 9 },
      output_tokens_details: { thinking_tokens: 45 },
    };
    const { beside } = billed('messages', { usage: { ...top, iterations: [pass('message', 1, 50, written)] } });
    expect(beside).toEqual({});
    const split = { ...written, cache_creation: top.cache_creation };
    const stale = { ...top, cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 } };
    expect(billed('messages', { usage: { ...stale, iterations: [pass('message', 1, 50, split)] } }).beside).toEqual({});
  });

  it('are never less than what the top level says', () => {
    const few = { input_tokens: 162, output_tokens: 11, iterations: [pass('message', 1, 1)] };
    expect(billed('messages', { usage: few })).toEqual({ usage: { input: 162, output: 11 }, beside: {} });
  });

  it('are told by a stream in its delta', () => {
    const iterations = [pass('compaction', 100, 83), pass('message', 181, 8)];
    const delta = { type: 'message_delta', delta: {}, usage: { input_tokens: 181, output_tokens: 8, iterations } };
    expect(streamed('messages', events(start, delta, stop)).beside).toEqual({ input: 100, output: 83 });
  });
});

describe('a stream of messages', () => {
  it('merges what it reports name by name: the later stands, also where it is less, or null', () => {
    const later = { input_tokens: 1, output_tokens: 93, cache_read_input_tokens: null };
    const delta = { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: later };
    expect(streamed('messages', events(start, text('Hello'), delta, stop))).toMatchObject({
      kinds: ['content', 'content', 'content', 'done'],
      reported: { input_tokens: 1, output_tokens: 93, cached_read_tokens: 300, cache_write_tokens: 70 },
      terms: { serviceTier: 'priority' },
      finished: true,
      text: 'Hello',
    });
  });

  it('that fails in its middle is an error, unfinished, with what was said so far', () => {
    const failed = { type: 'error', error: { type: 'overloaded_error' } };
    expect(streamed('messages', events(start, text('Hello'), text(' you'), failed))).toMatchObject({
      kinds: ['content', 'content', 'content', 'error'],
      reported: { input_tokens: 5, output_tokens: 1 },
      finished: false,
      text: 'Hello you',
      estimate: 3,
    });
  });

  it('is finished by the reason that it gives, and keeps thinking and calls of tools for counting', () => {
    const block = { type: 'content_block_start', content_block: { type: 'tool_use', name: 'go' } };
    const json = { type: 'content_block_delta', delta: { partial_json: '{"a":' } };
    const thinking = { type: 'content_block_delta', delta: { thinking: 'Hm' } };
    const last = { type: 'message_delta', delta: { stop_reason: 'tool_use' } };
    const cut = streamed('messages', events(thinking, block, json));
    expect(cut).toMatchObject({ finished: false, text: 'Hmgo{"a":', reported: null });
    expect(streamed('messages', events(thinking, block, json, last)).finished).toBe(true);
  });
});
