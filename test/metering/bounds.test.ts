/** A bound is never below what a request can use, whatever it says; an estimate is never above its bound. */

import fc from 'fast-check';
import { get_encoding } from 'tiktoken';
import { describe, expect, it } from 'vitest';
import { readPrice } from '../../src/catalog/price.ts';
import { inputBound, inputEstimate, outputBound, requestBounds } from '../../src/metering/bounds.ts';
import { readChatRequest } from '../../src/metering/requests/chat.ts';
import { readResponsesRequest } from '../../src/metering/requests/responses.ts';

const model = {
  routes: [{ provider: 'p', model: 'gpt-4o-mini' }],
  maxOutputTokens: 1000,
  contextWindow: 128_000 as number | null,
  price: readPrice({ input: '1', output: '2' }),
};
type Limits = typeof model;

function bounds(request: object, limits: Limits = model) {
  const body = Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...request }));
  const parsed = readChatRequest(body);
  return {
    bytes: body.length,
    data: parsed.parts.dataBytes,
    all: requestBounds(parsed, limits),
    bound: inputBound(parsed, limits),
    estimate: inputEstimate(parsed, limits),
    output: outputBound(parsed, limits),
  };
}

const content = (...parts: object[]) => ({ messages: [{ role: 'user', content: parts }] });
const picture = { type: 'image_url', image_url: { url: 'https://example.com/a.png' } };
/** A picture in the body: the header of a GIF, and so many bytes after it. */
const drawn = (width: number, height: number, bytes: number, detail = 'high') => {
  const header = Buffer.from([...Buffer.from('GIF89a'), width & 255, width >> 8, height & 255, height >> 8]);
  const data = Buffer.concat([header, Buffer.alloc(bytes)]).toString('base64');
  return { type: 'image_url', image_url: { url: `data:image/gif;base64,${data}`, detail } };
};
const sound = (format: string, chars: number) => ({
  type: 'input_audio',
  input_audio: { format, data: 'A'.repeat(chars) },
});

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

  it('has room for what models are told of tools', () => {
    for (const field of ['tools', 'functions']) {
      const { bound, bytes } = bounds({ [field]: [{ type: 'function' }] });
      expect(bound).toBe(bytes + 512);
    }
  });

  it('has a cap for each picture that is elsewhere', () => {
    const two = bounds(content(picture, picture));
    expect(two.bound).toBe(two.bytes + 2 * 48_169);
  });

  it('takes a picture in the body by its size, not by its base64', () => {
    const one = bounds(content(drawn(1024, 1024, 600_000)));
    expect(one.bound).toBe(one.bytes - one.data + 2_833 + 4 * 5_667);
    const low = bounds(content(drawn(1024, 1024, 600_000, 'low')));
    expect(low.bound).toBe(low.bytes - low.data + 2_833);
  });

  it('takes sound by the least bytes that a token of its format can be', () => {
    const wav = bounds(content(sound('wav', 320_000)));
    expect(wav.bound).toBe(wav.bytes - 320_000 + 10_000);
    const flac = bounds(content(sound('flac', 10_000)));
    expect(flac.bound).toBe(flac.bytes);
  });

  it('is the context window for what cannot be known here', () => {
    expect(bounds(content({ type: 'file', file: { file_data: 'f' } })).bound).toBe(128_000);
    expect(bounds(content({ type: 'file', file: { file_data: 'f' } }), { ...model, contextWindow: null }).bound).toBe(
      2_000_000,
    );
    expect(bounds(content({ type: 'image_url', image_url: { url: 'data:application/pdf;base64,AAAA' } })).bound).toBe(
      128_000,
    );
    // No more pictures than are looked at.
    const many = Array.from({ length: 501 }, () => ({
      ...picture,
      image_url: { ...picture.image_url, detail: 'low' },
    }));
    const wide = { ...model, contextWindow: 1_500_000 };
    expect(bounds(content(...many), wide).bound).toBe(1_500_000);
    expect(bounds(content(...many.slice(1)), wide).bound).toBeLessThan(1_500_000);
    // What a search finds is read, too.
    expect(bounds({ web_search_options: {} }).bound).toBe(128_000);
    expect(bounds({ extra_body: { google: {} } }).bound).toBe(128_000);
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

describe('the bound of all else', () => {
  const price = readPrice({ input: '1', output: '2', service_tiers: { flex: '0.5', scale: '1.5', priority: '2' } });
  const tierOf = (request: object, limits: Limits) => bounds(request, limits).all.serviceTier;

  it.each([
    ['not said: the dearest, since the account of the provider decides', {}, 'priority'],
    ['auto: the same', { service_tier: 'auto' }, 'priority'],
    ['the one that is asked for', { service_tier: 'flex' }, 'flex'],
    ['the plain one', { service_tier: 'default' }, 'default'],
    ['one by the name that it is answered with', { service_tier: 'fast' }, 'priority'],
  ])('the tier: %s', (_, request, tier) => {
    expect(tierOf(request, { ...model, price })).toBe(tier);
  });

  it('the tier: none where only the plain one has a price', () => {
    expect(tierOf({}, model)).toBeUndefined();
  });

  it('is the calls of tools that are asked for', () => {
    const tools = [{ type: 'web_search', max_uses: 2 }, { type: 'web_search' }, { type: 'x_search' }];
    expect(bounds({ tools }).all.others).toEqual({ 'tool:web_search': 32, 'tool:x_search': 30 });
    expect(bounds({}).all.others).toBeUndefined();
  });

  it('has sound only where it may come', () => {
    const heard = (request: object) => [bounds(request).all.hears, bounds(request).all.speaks];
    expect(heard({})).toEqual([false, false]);
    expect(heard(content(sound('mp3', 40)))).toEqual([true, false]);
    expect(heard(content({ type: 'file', file: { file_data: 'f' } }))).toEqual([true, false]);
    expect(heard({ modalities: ['text', 'audio'], audio: {} })).toEqual([false, true]);
    // What was said before may have been sound.
    const step = readResponsesRequest(Buffer.from('{"model":"m","input":"hi","previous_response_id":"resp_1"}'));
    expect(requestBounds({ ...step, named: { most: 9, likely: 9, isCounted: true } }, model).hears).toBe(true);
  });
});
