/** Whatever a provider says, a reader neither throws nor tells of usage that is no amount: its answer can be charged. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readPrice } from '../../../src/catalog/price.ts';
import { charge } from '../../../src/catalog/rating.ts';
import type { Unit, Usage } from '../../../src/catalog/units.ts';
import { ChatStreamReader, mostTokens } from '../../../src/metering/readers/chat.ts';
import { sumOf } from '../../../src/metering/readers/events.ts';
import { dialectOf } from '../../../src/metering/readers/index.ts';
import type { Reported } from '../../../src/metering/readers/types.ts';
import { DONE, reported, sse, usage } from './chat-rig.ts';

const STYLES = [
  ...['chat', 'responses', 'embeddings', 'images', 'transcriptions', 'speech', 'ws', 'messages', 'gemini-gen'],
  ...['gemini-embed', 'gemini-interactions', 'converse', 'invoke', 'cohere-v1', 'cohere-v2', 'ollama-chat', 'rerank'],
];

/** Names that readers look for, at any depth. */
const NAMES = (
  'usage input_tokens output_tokens total_tokens prompt_tokens completion_tokens prompt_tokens_details cached_tokens ' +
  'cache_write_tokens audio_tokens image_tokens completion_tokens_details reasoning_tokens server_side_tool_usage_details ' +
  'web_search_calls tool_usage web_search num_requests image_gen market_cost seconds x_groq choices delta message content ' +
  'text thinking iterations cache_read_input_tokens cache_creation server_tool_use web_search_requests usageMetadata ' +
  'promptTokenCount candidatesTokenCount totalTokenCount promptTokensDetails modality tokenCount candidates metadata ' +
  'inputTokens outputTokens cacheDetails ttl meta billed_units search_units tokens prompt_eval_count eval_count interaction ' +
  'total_thought_tokens step arguments queries type response output data results response.done __proto__ constructor'
).split(' ');
const numbers = fc.constantFrom(0, 1, 7, 10.5, -3, 1e9, 1e10, 2 ** 53, 1e300, 1.7e308);
const leaves = fc.oneof(
  numbers,
  fc.constantFrom(null, true, '', '12', 'AUDIO', '1h', 'message_delta', 'google_search_call'),
);
const { json } = fc.letrec<{ json: unknown; object: object }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    leaves,
    tie('object'),
    fc.array(tie('json'), { maxLength: 3 }),
  ),
  object: fc.dictionary(fc.constantFrom(...NAMES), tie('json'), { maxKeys: 8, noNullPrototype: true }),
}));
const counts = fc.dictionary(fc.constantFrom(...NAMES), fc.oneof({ weight: 3, arbitrary: numbers }, json), {
  maxKeys: 20,
  noNullPrototype: true,
});
/** Where answers and events have their usage. */
const HOLDERS = ['usage', 'usageMetadata', 'meta', 'tool_usage', 'response', 'interaction', 'metadata', 'x_groq'];
const answers = fc
  .tuple(
    fc.dictionary(fc.constantFrom(...NAMES), json, { maxKeys: 4, noNullPrototype: true }),
    counts,
    fc.constantFrom(...HOLDERS),
  )
  .chain(([answer, usage, holder]) =>
    fc.constantFrom({ ...answer, [holder]: usage }, { ...answer, [holder]: { usage } }),
  );

const PRICE = readPrice({ input: '1', output: '2', second_input: '0.1', image: '0.2', 'tool:web_search': '0.01' });
/** The most that a count can be, times those that are added up. */
const MOST = 1e12;

function expectChargeable(style: string, found: Reported | null, beside: Usage): void {
  const used = found === null ? beside : sumOf([dialectOf(style)!.normalise(found), beside]);
  for (const unit in used) {
    expect(used[unit as Unit], unit).toBeGreaterThanOrEqual(0);
    expect(used[unit as Unit], unit).toBeLessThanOrEqual(MOST);
  }
  expect(charge(used, PRICE, 1_000n)).toBeGreaterThanOrEqual(0n);
}

function readBy(style: string, answer: object): [Reported | null, Usage] {
  const whole = dialectOf(style)!.readJson(Buffer.from(JSON.stringify(answer)), {});
  return [whole.reported ?? whole.inHeaders ?? null, whole.beside];
}

describe.each(STYLES)('of %s, any JSON', (style) => {
  it('as a whole answer or as an event can be charged', () => {
    fc.assert(
      fc.property(answers, (answer) => {
        expectChargeable(style, ...readBy(style, answer));
        const reader = dialectOf(style)!.stream('json-lines');
        reader.frame(Buffer.from(JSON.stringify(answer)));
        reader.outputEstimate();
        expectChargeable(style, reader.usage(), reader.beside());
      }),
    );
  });
});

describe('a provider that says absurd things', () => {
  it.each([1e300, 1.7e308, -1])('is not believed that it called a tool %d times', (calls) => {
    const read = (style: string, answer: object) => {
      const [found, beside] = readBy(style, answer);
      return { ...dialectOf(style)!.normalise(found!), ...beside };
    };
    const chat = { usage: { ...usage, server_side_tool_usage_details: { web_search_calls: calls } } };
    expect(read('chat', chat)).toEqual({ input: 12, output: 3 });
    const responses = {
      usage: { input_tokens: 12, output_tokens: 3 },
      tool_usage: { web_search: { num_requests: calls } },
    };
    expect(read('responses', responses)).toEqual({ input: 12, output: 3 });
  });

  it('counts in fractions: what stands beside its usage is whole too', () => {
    const details = { completion_tokens_details: { reasoning_tokens: 3.25 }, market_cost: '1' };
    const answer = { usage: { prompt_tokens: 1, completion_tokens: 10.5, ...details } };
    expectChargeable('chat', ...readBy('chat', answer));
  });

  it('names no more tools than a receipt has room for', () => {
    const named = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`tool_${i}_calls`, 1]));
    const [found] = readBy('chat', { usage: { ...usage, server_side_tool_usage_details: named } });
    expect(Object.keys(dialectOf('chat')!.normalise(found!)).length).toBeLessThan(40);
  });

  it('nests parts of text so deep that looking at them would exhaust the stack: it is none', () => {
    const deep = 100_000;
    const content = `${'[{"text":'.repeat(deep)}"x"${'}]'.repeat(deep)}`;
    const frame = Buffer.from(`data: {"choices":[{"delta":{"content":${content}}}]}\n\n`);
    const reader = new ChatStreamReader();
    expect(reader.frame(frame)).toBe('content');
    expect(reader.generatedText()).toEqual([]);
    expect(mostTokens(frame)).toBe(0);
  });

  it('searches for so much at once that it does not fit the stack', () => {
    const step = { type: 'google_search_call', arguments: { queries: Array(200_000).fill('q') } };
    const reader = dialectOf('gemini-interactions')!.stream('sse');
    expect(reader.frame(Buffer.from(sse([{ event_type: 'step.delta', step }])))).toBe('content');
    expect(reader.beside()).toEqual({ 'tool:web_search': 10_000 });
  });
});

describe('usage of chat completions is found however its member is written', () => {
  it.each([
    ['with a tab', '"usage":\t{'],
    ['with spaces', '"usage" : {'],
    ['over two lines of data', '"usage":\ndata: {'],
    ['over two lines that end with CRLF', '"usage":\r\ndata: {'],
  ])('%s', (_name, member) => {
    const body = JSON.stringify({ choices: [], usage }).replace('"usage":{', member);
    const reader = new ChatStreamReader();
    const stream = Buffer.from(`data: ${body}\n\n${DONE}\n\n`);
    const plain = reader.content(stream);
    expect(plain).toBe(0);
    expect(reader.frame(stream.subarray(0, stream.indexOf('data: [DONE]')))).toBe('usage-only');
    expect(reader.usage()).toEqual(reported);
  });

  it('and text that reads like it is content', () => {
    const reader = new ChatStreamReader();
    expect(reader.frame(Buffer.from(sse([{ choices: [{ delta: { content: 'usage' } }] }])))).toBe('content');
    expect(reader.generatedText()).toEqual(['usage']);
  });
});
