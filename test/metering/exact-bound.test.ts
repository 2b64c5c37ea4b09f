/** A count of a prompt is a bound: whatever is asked, the model reads no more tokens. */
import fc from 'fast-check';
import { get_encoding } from 'tiktoken';
import { afterAll, describe, expect, it } from 'vitest';
import type { Model } from '../../src/catalog/types.ts';
import { inputBound } from '../../src/metering/bounds.ts';
import { exactInputBound, leastExactBound } from '../../src/metering/exact-bound.ts';
import { readChatRequest } from '../../src/metering/requests/chat.ts';
import { TokenCounter } from '../../src/metering/tokens/counter.ts';
import { publishedEncodingOf } from '../../src/metering/tokens/encodings.ts';
import { silentLogger } from '../../src/observe/log.ts';

const counter = new TokenCounter({ log: silentLogger });
const tokenizer = get_encoding('o200k_base');
afterAll(async () => {
  tokenizer.free();
  await counter.close();
});

/** What OpenAI adds to each message, and before the answer. */
const PER_MESSAGE = 4;
const PER_REQUEST = 3;
const modelOf = (...models: string[]): Model =>
  ({ contextWindow: 1_000_000, maxOutputTokens: 100, routes: models.map((model) => ({ model })) }) as unknown as Model;
const GPT = modelOf('gpt-4o');

const text = fc.oneof(
  fc.string({ maxLength: 400 }),
  fc.string({ unit: 'grapheme', maxLength: 400 }),
  fc.lorem({ maxCount: 200 }),
  fc
    .tuple(fc.constantFrom('a', ' ', '\n', '🦊', '漢字', '<|endoftext|>', 'ab1', '-='), fc.nat(700))
    .map(([s, n]) => s.repeat(n)),
);
const messages = fc.array(fc.record({ role: fc.constantFrom('user', 'system', 'assistant'), content: text }), {
  minLength: 1,
  maxLength: 6,
});

it('for any messages: at least the tokens of their texts and what is added to each, at most the bytes', async () => {
  await fc.assert(
    fc.asyncProperty(messages, fc.boolean(), async (said, spaced) => {
      const body = Buffer.from(JSON.stringify({ model: 'm', messages: said }, null, spaced ? 2 : 0));
      const request = readChatRequest(body);
      const bound = (await exactInputBound(request, body, GPT, counter))!;
      const read = said.reduce(
        (sum, { content }) => sum + tokenizer.encode_ordinary(content).length + PER_MESSAGE,
        PER_REQUEST,
      );
      expect(bound).toBeGreaterThanOrEqual(read);
    }),
    { numRuns: 300 },
  );
});

describe('a count', () => {
  const body = Buffer.from(
    JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'word '.repeat(2_000) }] }),
  );
  const request = readChatRequest(body);

  it('comes to a quarter of the bytes of English', async () => {
    const bound = (await exactInputBound(request, body, GPT, counter))!;
    expect(inputBound(request, GPT) / bound).toBeGreaterThan(4);
  });

  it('keeps the bytes of all that is no text: tools, names, schemas', async () => {
    const tools = [{ type: 'function', function: { name: 'f', description: 'x'.repeat(5_000) } }];
    const asked = Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], tools }));
    expect(await exactInputBound(readChatRequest(asked), asked, GPT, counter)).toBeGreaterThan(5_000);
  });

  it.each([
    ['gpt-4o', 'o200k_base'],
    ['openai/gpt-4o-mini', 'o200k_base'],
    ['gpt-5.1', 'o200k_base'],
    ['gpt-4', 'cl100k_base'],
    ['gpt-3.5-turbo', 'cl100k_base'],
    ['o3-mini', 'o200k_base'],
    ['claude-sonnet-4-5', null],
    ['llama-3.3-70b', null],
    ['my-deployment', null],
  ])('%s is in %s', (model, encoding) => expect(publishedEncodingOf(model)).toBe(encoding));

  it('is made only where all routes count alike', () => {
    expect(leastExactBound(request, GPT)).toBeLessThan(2_000);
    expect(leastExactBound(request, modelOf('gpt-4o', 'gpt-4'))).toBeNull();
    expect(leastExactBound(request, modelOf('gpt-4o', 'claude-sonnet-4-5'))).toBeNull();
  });

  it('is not made of what only the window bounds', () => {
    const file = { type: 'file', file: { file_data: 'f' } };
    const asked = Buffer.from(
      JSON.stringify({
        model: 'm',
        messages: [{ role: 'user', content: [file, { type: 'text', text: 'x'.repeat(2_000) }] }],
      }),
    );
    expect(leastExactBound(readChatRequest(asked), GPT)).toBeNull();
  });
});
