/** What a chat completion says beside its usage, and whole answers. */
import { describe, expect, it } from 'vitest';
import { FrameSplitter } from '../../../src/lib/sse.ts';
import { ChatStreamReader, normalise, readChatJson } from '../../../src/metering/readers/chat.ts';
import { type Chunk, content, DONE, finish, reported, sse, usage } from './chat-rig.ts';

describe('a stream says what it is priced by', () => {
  const terms = (chunks: Chunk[]) => {
    const reader = new ChatStreamReader();
    new FrameSplitter(1 << 20).push(Buffer.from(sse(chunks)), (frame) => reader.frame(frame));
    return reader.terms();
  };

  it.each<[string, Chunk[], object]>([
    ['with its usage', [content('a'), { choices: [], usage, service_tier: 'flex' }], { serviceTier: 'flex' }],
    ['in its usage', [finish({ usage: { ...usage, service_tier: 'batch' } })], { serviceTier: 'batch' }],
    ['on its content, where no usage comes', [content('a', { service_tier: 'priority' })], { serviceTier: 'priority' }],
    ['nowhere, or null', [content('a', { service_tier: null }), finish({ usage })], {}],
  ])('%s', (_, chunks, said) => {
    expect(terms(chunks)).toEqual(said);
  });
});

describe('reasoning beside the output that no total shows', () => {
  const reasoned = (reasoning_tokens: number, more: Chunk = { market_cost: 0.1 }) => ({
    ...usage,
    completion_tokens_details: { reasoning_tokens },
    ...more,
  });
  const sum = (usageObject: Chunk) => {
    const { reported: read, beside } = readChatJson(Buffer.from(JSON.stringify({ choices: [], usage: usageObject })));
    const billed = normalise(read!);
    return {
      output: (billed.output ?? 0) + (beside.output ?? 0),
      reasoning: (billed.reasoning ?? 0) + (beside.reasoning ?? 0),
    };
  };

  it.each([0, 2, 3, 25])('is billed beside it by the gateway that is known to do so: %i', (reasoning) => {
    expect(sum(reasoned(reasoning))).toEqual({ output: 3, reasoning });
  });

  it('lies inside it elsewhere', () => {
    expect(sum(reasoned(2, { cost: 0.1 }))).toEqual({ output: 1, reasoning: 2 });
  });

  it('in a stream too', () => {
    const reader = new ChatStreamReader();
    reader.frame(Buffer.from(sse([finish({ usage: reasoned(2) })])));
    expect(reader.beside()).toEqual({ output: 2 });
  });
});

describe('a JSON answer', () => {
  const answer = (body: unknown) => readChatJson(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));

  it('has its usage read, and then its text is of no use', () => {
    expect(answer({ choices: [{ message: { content: 'a' } }], usage })).toMatchObject({
      reported,
      terms: {},
      beside: {},
      generatedText: [],
      isError: false,
    });
  });

  it('may be a stream that says it is JSON', () => {
    const stream = sse([content('ab', { service_tier: 'flex' }), { choices: [], usage, service_tier: 'flex' }, DONE]);
    expect(answer(stream)).toMatchObject({ reported, terms: { serviceTier: 'flex' }, isError: false });
    expect(answer(sse([content('ab'), finish()]))).toMatchObject({ reported: null, generatedText: ['ab'] });
    expect(answer(sse([content('ab'), { error: { message: 'no' } }]))).toMatchObject({ reported: null, isError: true });
  });

  it.each([
    ['an error with a good status', { error: { message: 'no' } }, true],
    ['an error in an envelope', { base_resp: { status_code: 1004 }, choices: null }, true],
    ['a good envelope', { base_resp: { status_code: 0 }, choices: [] }, false],
    ['an error that is null', { error: null, choices: [] }, false],
    ['half a body', '{"choices":[{"message', false],
    ['no object', '[1]', false],
  ])('may be %s', (_, body, isError) => {
    expect(answer(body)).toMatchObject({ reported: null, terms: {}, beside: {}, generatedText: [], isError });
  });
});
