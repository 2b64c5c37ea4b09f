/** Bedrock: Converse, and what each model says under InvokeModel, beside what Bedrock counts itself. */
import { describe, expect, it } from 'vitest';
import { chunkOf, eventMessage, eventOf } from '../../support/event-stream.ts';
import { billed, streamed, whole } from './rig.ts';

const usage = {
  inputTokens: 12,
  outputTokens: 250,
  totalTokens: 1300,
  cacheReadInputTokens: 1028,
  cacheReadInputTokenCount: 1028,
  cacheWriteInputTokens: 10,
  cacheDetails: [
    { ttl: '1h', inputTokens: 7 },
    { ttl: '5m', inputTokens: 3 },
  ],
};
const metrics = { 'amazon-bedrock-invocationMetrics': { inputTokenCount: 392, outputTokenCount: 97 } };

describe('Converse', () => {
  const delta = eventOf('contentBlockDelta', { delta: { text: 'Hi' } });
  const call = eventOf('contentBlockStart', { start: { toolUse: { name: 'go' } } });
  const stop = eventOf('messageStop', { stopReason: 'end_turn' });
  const metadata = eventOf('metadata', { usage, serviceTier: { type: 'priority' } });

  it('bills cached and written tokens beside the input, once each, and what a total hides', () => {
    const dimensions = { input: 12, cached_input: 1028, cache_write: 3, cache_write_1h: 7, output: 250 };
    expect(billed('converse', { usage }).usage).toEqual(dimensions);
    expect(billed('converse', { usage: { ...usage, totalTokens: 1350 } }).usage.output).toBe(300);
    expect(billed('converse', { usage: { inputTokens: 0, outputTokens: 0, totalTokens: 0 } }).usage).toEqual({
      input: 0,
      output: 0,
    });
  });

  it('streams its usage after it has stopped', () => {
    const read = streamed('converse-stream', Buffer.concat([delta, call, stop, metadata]), 'aws-event-stream');
    expect(read).toMatchObject({
      kinds: ['content', 'content', 'content', 'done'],
      reported: { input_tokens: 12, output_tokens: 250, cache_write_1h_tokens: 7 },
      terms: { serviceTier: 'priority' },
      finished: true,
      text: 'Higo',
    });
    const cut = streamed('converse-stream', Buffer.concat([delta, call]), 'aws-event-stream');
    expect(cut).toMatchObject({ reported: null, finished: false, text: 'Higo' });
  });

  it('is the same in lines of JSON', () => {
    const lines = [{ contentBlockDelta: { delta: { text: 'Hi' } } }, { messageStop: {} }, { metadata: { usage } }];
    const read = streamed('converse-stream', lines.map((line) => `${JSON.stringify(line)}\n`).join(''), 'json-lines');
    expect(read).toMatchObject({ finished: true, text: 'Hi', reported: { input_tokens: 12 } });
    expect(streamed('converse-stream', '{"throttlingException":{}}\n', 'json-lines').kinds).toEqual(['error']);
  });

  it.each(['converse-stream', 'invoke-stream'])('an exception in the middle of a %s is an error', (style) => {
    const thrown = eventMessage(
      { ':message-type': 'exception', ':exception-type': 'throttlingException' },
      '{"message":"no"}',
    );
    expect(streamed(style, Buffer.concat([delta, thrown]), 'aws-event-stream').kinds).toEqual(['content', 'error']);
  });

  it('without usage has its text and calls counted', () => {
    const content = [
      { text: 'Hi' },
      { toolUse: { name: 'go', input: { a: 1 } } },
      { reasoningContent: { reasoningText: { text: 'Hm' } } },
    ];
    expect(whole('converse', { output: { message: { content } } }).generatedText).toEqual([
      'Hi',
      'go',
      '{"a":1}',
      'Hm',
    ]);
  });
});

describe('InvokeModel', () => {
  it.each([
    [
      'Claude',
      { type: 'message', usage: { input_tokens: 4, output_tokens: 5, cache_read_input_tokens: 9 } },
      { input: 4, cached_input: 9, output: 5 },
    ],
    [
      'Nova',
      { usage: { inputTokens: 4, outputTokens: 5, cacheReadInputTokenCount: 9 } },
      { input: 4, cached_input: 9, output: 5 },
    ],
    ['Llama', { prompt_token_count: 4, generation_token_count: 5 }, { input: 4, output: 5 }],
    ['Titan', { inputTextTokenCount: 4.0, results: [{ tokenCount: 2 }, { tokenCount: 3 }] }, { input: 4, output: 5 }],
    ['a Titan that counts in parts', { inputTextTokenCount: 3.2 }, { input: 4, output: 0 }],
    [
      'Cohere',
      { meta: { tokens: { input_tokens: 71 }, billed_units: { input_tokens: 4, output_tokens: 5 } } },
      { input: 4, output: 5 },
    ],
    [
      'one that speaks chat completions',
      {
        usage: {
          prompt_tokens: 13,
          completion_tokens: 5,
          total_tokens: 18,
          prompt_tokens_details: { cached_tokens: 9 },
        },
      },
      { input: 4, cached_input: 9, output: 5 },
    ],
  ])('bills %s as its own dialect has it', (_, body, dimensions) => {
    expect(billed('invoke', body).usage).toEqual(dimensions);
  });

  it('knows what its headers say, where the body says nothing', () => {
    const headers = { 'x-amzn-bedrock-input-token-count': '23', 'x-amzn-bedrock-output-token-count': '32' };
    const inHeaders = { input_tokens: 23, output_tokens: 32 };
    expect(whole('invoke', { completion: 'Hi' }, headers)).toMatchObject({
      reported: null,
      inHeaders,
      generatedText: [],
    });
    expect(whole('invoke', { completion: 'Hi' })).toMatchObject({ reported: null, generatedText: ['Hi'] });
    expect(whole('invoke', {}, { 'x-amzn-bedrock-input-token-count': '' }).inHeaders).toBeUndefined();
  });

  it.each([
    [
      'Claude',
      [
        { type: 'message_start', message: { usage: { input_tokens: 392, output_tokens: 8 } } },
        { type: 'content_block_delta', delta: { text: 'Hi' } },
        { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 133 } },
        { type: 'message_stop', ...metrics },
      ],
      { input_tokens: 392, output_tokens: 133 },
    ],
    [
      'Cohere',
      [
        { event_type: 'text-generation', text: 'Hi' },
        { event_type: 'stream-end', response: { meta: { billed_units: { input_tokens: 5 } } }, ...metrics },
      ],
      { billed_input_tokens: 5 },
    ],
    [
      'Nova',
      [
        { contentBlockDelta: { delta: { text: 'Hi' } } },
        { metadata: { usage: { inputTokens: 5, outputTokens: 10 } }, ...metrics },
      ],
      { input_tokens: 5, output_tokens: 10 },
    ],
    [
      'Llama',
      [
        { generation: 'H', prompt_token_count: 4, generation_token_count: 1 },
        { generation: 'i', prompt_token_count: null, generation_token_count: 2, stop_reason: 'stop', ...metrics },
      ],
      { input_tokens: 4, output_tokens: 2 },
    ],
    [
      'Mistral, who reports nothing',
      [{ outputs: [{ text: 'Hi' }] }, { outputs: [], ...metrics }],
      { input_tokens: 392, output_tokens: 97 },
    ],
  ])('streams the chunks of %s: its own report stands over the metrics', (_, chunks, reported) => {
    const read = streamed('invoke-stream', Buffer.concat(chunks.map(chunkOf)), 'aws-event-stream');
    expect(read).toMatchObject({ finished: true, text: 'Hi', terms: {}, beside: {} });
    expect(read.reported).toEqual(reported);
    expect(read.kinds.at(-1)).toBe('done');
    const cut = streamed('invoke-stream', Buffer.concat(chunks.slice(0, 1).map(chunkOf)), 'aws-event-stream');
    expect(cut.finished).toBe(false);
  });

  it('passes over a chunk that is garbage', () => {
    const bytes = Buffer.concat([
      eventOf('chunk', { bytes: '!!' }),
      eventOf('chunk', 'x'),
      chunkOf({ generation: 'Hi' }),
    ]);
    expect(streamed('invoke-stream', bytes, 'aws-event-stream')).toMatchObject({ text: 'Hi', reported: null });
  });
});
