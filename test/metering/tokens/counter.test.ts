/** Counting never throws, never waits for long, and never holds up the process. */
import { get_encoding } from 'tiktoken';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { TokenCounter } from '../../../src/metering/tokens/counter.ts';
import { silentLogger } from '../../../src/observe/log.ts';

let counter = new TokenCounter({ log: silentLogger });
afterEach(async () => {
  vi.useRealTimers();
  await counter.close();
  counter = new TokenCounter({ log: silentLogger });
});

describe('tokens are counted', () => {
  it.each([
    ['gpt-4o-mini', 'o200k_base'],
    ['a model nobody knows', 'o200k_base'],
    ['gpt-4-turbo', 'cl100k_base'],
    ['gpt-4', 'cl100k_base'],
    ['gpt-3.5-turbo', 'cl100k_base'],
    ['gpt-4.1', 'o200k_base'],
  ] as const)('of %s in %s', async (model, encoding) => {
    const text = 'Die Größe der Würfel: 漢字 😀 function f(x) { return x + 1; }';
    const tokenizer = get_encoding(encoding);
    expect(await counter.count([text.slice(0, 9), text.slice(9)], model)).toBe(tokenizer.encode_ordinary(text).length);
    tokenizer.free();
  });

  it('of long text as of short: cut at spaces, the count stays the same', async () => {
    const text = 'The quick brown fox jumps over the lazy dog. '.repeat(500);
    const tokenizer = get_encoding('o200k_base');
    expect(await counter.count([text], 'gpt-4o')).toBe(tokenizer.encode_ordinary(text).length);
    tokenizer.free();
  });

  it('of names of special tokens as of text', async () => {
    expect(await counter.count(['<|endoftext|>'], 'gpt-4o')).toBe(7);
  });

  it('of pairs of surrogates that a cut would split', async () => {
    // Each is one token; the cut after 1024 units of an odd offset falls inside of one.
    expect(await counter.count([`a${'😀'.repeat(1000)}`], 'gpt-4o')).toBe(1001);
  });

  it('of nothing at once', async () => {
    expect(await counter.count([], 'gpt-4o')).toBe(0);
    expect(await counter.count([''], 'gpt-4o')).toBe(0);
  });
});

describe('tokens are estimated by length', () => {
  it('where the text is too long to count', async () => {
    expect(await counter.count(['x'.repeat(1024 * 1024 + 1)], 'gpt-4o')).toBe(Math.ceil((1024 * 1024 + 1) / 4));
  });

  it('where too many wait', async () => {
    const texts = Array.from({ length: 100 }, () => 'a b c d e f g h');
    const counts = await Promise.all(texts.map((text) => counter.count([text], 'gpt-4o')));
    expect(counts.slice(0, 64)).toEqual(Array(64).fill(8));
    expect(counts.slice(64)).toEqual(Array(36).fill(4));
  });

  it('or not at all, of prompts where many wait: they leave room for what is running', async () => {
    const body = Buffer.from(JSON.stringify({ messages: [{ role: 'user', content: 'one two three' }] }));
    const prompts = Promise.all(Array.from({ length: 40 }, () => counter.countPrompt(body, 'o200k_base')));
    expect(await counter.count(['a b c d e f g h'], 'gpt-4o')).toBe(8);
    const counted = { tokens: 3, bytes: 13 };
    expect(await prompts).toEqual([...Array(32).fill(counted), ...Array(8).fill(null)]);
  });

  it('where the counter is closed while they wait', async () => {
    const waiting = counter.count(['one two three four five'], 'gpt-4o');
    await counter.close();
    expect(await waiting).toBe(Math.ceil(23 / 4));
  });
});

describe('who waits while the worker starts', () => {
  it('is counted even if that takes longer than a count may', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    const counted = counter.countText('one two three', 'o200k_base');
    vi.advanceTimersByTime(9_999);
    expect(await counted).toBe(3);
  });

  it('is not told once it takes too long, and who comes later waits for a count alone', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    const first = counter.countText('one two three', 'o200k_base');
    vi.advanceTimersByTime(10_000);
    expect(await first).toBeNull();
    vi.useRealTimers();
    expect(await counter.countText('one two three', 'o200k_base')).toBe(3);
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    const later = counter.countText('one two three', 'o200k_base');
    vi.advanceTimersByTime(2_000);
    expect(await later).toBeNull();
  });
});

describe('those who wait take turns', () => {
  it('a short text is counted while a megabyte of one letter still is', async () => {
    const order: string[] = [];
    const long = counter.count(['a'.repeat(1024 * 1024)], 'gpt-4o').then((tokens) => order.push(`long ${tokens}`));
    const short = counter.count(['one two three'], 'gpt-4o').then((tokens) => order.push(`short ${tokens}`));
    await Promise.all([long, short]);
    expect(order).toEqual(['short 3', 'long 131072']);
  });

  it('and no more of a prompt is counted than is asked', async () => {
    const content = 'word '.repeat(100_000);
    const body = Buffer.from(
      JSON.stringify({
        messages: [
          { role: 'user', content },
          { role: 'user', content: [{ type: 'text', text: '"\n"' }] },
        ],
      }),
    );
    const whole = await counter.countPrompt(body, 'o200k_base');
    const tokenizer = get_encoding('o200k_base');
    const tokens = [content, '"\n"'].reduce((sum, text) => sum + tokenizer.encode_ordinary(text).length, 0);
    tokenizer.free();
    expect(whole).toEqual({ tokens, bytes: content.length + 6 });
    const some = await counter.countPrompt(body, 'o200k_base', 1_000);
    expect(some!.tokens).toBeGreaterThan(1_000);
    expect(some!.tokens).toBeLessThan(1_200);
  });
});
