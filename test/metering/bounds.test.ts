/** A bound is never below what a request can use, whatever it says; an estimate is never above its bound. */

import fc from 'fast-check';
import { get_encoding } from 'tiktoken';
import { describe, expect, it } from 'vitest';
import { inputBound, inputEstimate, outputBound } from '../../src/metering/bounds.ts';
import { parseChatRequest } from '../../src/metering/chat-request.ts';

const model = { maxOutputTokens: 1000, contextWindow: 128_000 };

function bounds(request: object, limits: { maxOutputTokens: number; contextWindow: number | null } = model) {
  const body = Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...request }));
  const parsed = parseChatRequest(body);
  return {
    bytes: body.length,
    bound: inputBound(parsed, body.length, limits),
    estimate: inputEstimate(parsed, body.length, limits),
    output: outputBound(parsed, limits),
  };
}

const content = (...parts: object[]) => ({ messages: [{ role: 'user', content: parts }] });
const picture = { type: 'image_url', image_url: { url: 'https://example.com/a.png' } };

describe('the bound of the input', () => {
  it('is above the tokens of any text, with what is added to each message', () => {
    const encoding = get_encoding('o200k_base');
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('<|im_start|>', '漢字'),
    );
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 8 }), (texts) => {
        const messages = texts.map((content) => ({ role: 'user', content }));
        // OpenAI adds three tokens to each message and three to the whole.
        const tokens = texts.reduce((sum, t) => sum + encoding.encode_ordinary(t).length + 4, 3);
        const { bound, estimate } = bounds({ messages });
        expect(bound).toBeGreaterThanOrEqual(tokens);
        expect(estimate).toBeLessThanOrEqual(bound);
      }),
      { numRuns: 200 },
    );
    encoding.free();
  });

  it('is the bytes of the body, up to the context window', () => {
    const short = bounds({});
    expect(short.bound).toBe(short.bytes);
    expect(bounds({ user: 'x'.repeat(200_000) }).bound).toBe(128_000);
  });

  it('has a cap for each picture', () => {
    const two = bounds(content(picture, picture));
    expect(two.bound).toBe(two.bytes + 100_000);
  });

  it('is the context window for what cannot be known here', () => {
    expect(bounds(content({ type: 'file', file: { file_id: 'f' } })).bound).toBe(128_000);
    expect(bounds(content({ type: 'file', file: { file_id: 'f' } }), { ...model, contextWindow: null }).bound).toBe(
      2_000_000,
    );
  });
});

describe('the estimate of the input', () => {
  it('takes a picture for a picture, not for its base64', () => {
    const url = `data:image/png;base64,${'A'.repeat(400_000)}`;
    const { estimate } = bounds(content({ type: 'image_url', image_url: { url } }));
    expect(estimate).toBeGreaterThan(1000);
    expect(estimate).toBeLessThan(1100);
  });

  it('is a quarter of the bytes of text', () => {
    const { estimate, bytes } = bounds({});
    expect(estimate).toBe(Math.ceil(bytes / 4));
  });
});

describe('the bound of the output', () => {
  it.each([
    ['the most the model writes', {}, 1000],
    ['the limit of the client', { max_tokens: 7 }, 7],
    ['the larger of two limits', { max_tokens: 7, max_completion_tokens: 9 }, 9],
    ['never above the model', { max_tokens: 5000 }, 1000],
    ['for each choice', { n: 3, max_tokens: 7 }, 21],
  ])('is %s', (_, request, output) => {
    expect(bounds(request).output).toBe(output);
  });
});
