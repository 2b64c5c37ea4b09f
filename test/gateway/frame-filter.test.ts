/** What of a stream goes to the client: all of it in its order, but for the end, which waits for the charge. */
import { expect, test } from 'vitest';
import { FrameFilter, streamFraming } from '../../src/gateway/frame-filter.ts';
import { Slices } from '../../src/gateway/slices.ts';
import { dialectOf } from '../../src/metering/readers/index.ts';
import type { Framing } from '../../src/metering/readers/types.ts';

const event = (json: object): string => `data: ${JSON.stringify(json)}\n\n`;
const DONE = 'data: [DONE]\n\n';
const text = (content: string): string => event({ choices: [{ index: 0, delta: { content } }] });
const USAGE = event({ choices: [], usage: { prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 } });

interface Told {
  passed: string;
  withheld: string | null;
  isWhole: boolean;
}

/** What becomes of a stream that comes in pieces of so many bytes, and ends. */
function filtered(
  style: string,
  stream: string,
  pieceBytes = stream.length,
  usageAsked = false,
  framing: Framing = 'sse',
) {
  const filter = new FrameFilter(framing, { dialect: dialectOf(style)!, usageAsked, slices: null });
  const bytes = Buffer.from(stream);
  let passed = '';
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    passed += filter.take(bytes.subarray(at, at + pieceBytes))?.toString() ?? '';
  }
  passed += filter.takeRest()?.toString() ?? '';
  const told: Told = { passed, withheld: filter.withheld?.toString() ?? null, isWhole: filter.isWhole };
  return { ...told, reader: filter.reader };
}

const partial = event({ type: 'image_generation.partial_image', b64_json: 'aaaa' });
const picture = (tokens: number): string =>
  event({
    type: 'image_generation.completed',
    usage: { input_tokens: 5, output_tokens: tokens, total_tokens: 5 + tokens },
  });
const completed = event({
  type: 'response.completed',
  response: { status: 'completed', usage: { input_tokens: 12, output_tokens: 3, total_tokens: 15 } },
});
const delta = event({ type: 'response.output_text.delta', delta: 'Hello' });

test.each([1, 7, 64, 1_000])(
  'in pieces of %i bytes, what ends a stream is withheld, in its order, and nothing else',
  (pieceBytes) => {
    const of = (style: string, stream: string): Told => {
      const { passed, withheld, isWhole } = filtered(style, stream, pieceBytes);
      return { passed, withheld, isWhole };
    };
    const hello = text('Hello');
    expect(of('chat', hello + DONE)).toEqual({ passed: hello, withheld: DONE, isWhole: true });
    // Two frames that end it: neither is lost.
    expect(of('responses', delta + completed + DONE)).toEqual({
      passed: delta,
      withheld: completed + DONE,
      isWhole: true,
    });
    // Each picture ends with one: the first is no end, since another follows.
    const first = partial + picture(7);
    expect(of('images', first + partial + picture(9))).toEqual({
      passed: first + partial,
      withheld: picture(9),
      isWhole: true,
    });
    expect(of('chat', hello)).toEqual({ passed: hello, withheld: null, isWhole: false });
  },
);

test('content that comes at once after an end, goes after it', () => {
  const { passed, withheld } = filtered('chat', text('a') + DONE + text('b') + text('c') + DONE);
  expect({ passed, withheld }).toEqual({ passed: text('a') + DONE + text('b') + text('c'), withheld: DONE });
});

test('usage goes to those who asked for it, and before the end even where it comes after it', () => {
  const streams = [text('a') + USAGE + DONE, text('a') + DONE + USAGE];
  for (const stream of streams) {
    expect(filtered('chat', stream).passed).toBe(text('a'));
    const asked = filtered('chat', stream, 9, true);
    expect(asked.passed).toBe(text('a') + USAGE);
    expect(asked.withheld).toBe(DONE);
    expect(asked.reader.usage()).toMatchObject({ input_tokens: 12, output_tokens: 3 });
  }
});

test('lines of JSON are read as such, the last one without its end too', () => {
  const lines = `{"response":"Hello","done":false}\n{"response":"","done":true,"eval_count":3}`;
  const { passed, withheld, isWhole, reader } = filtered('ollama-gen', lines, 5, false, 'json-lines');
  expect({ passed, withheld, isWhole }).toEqual({
    passed: '{"response":"Hello","done":false}\n',
    withheld: '{"response":"","done":true,"eval_count":3}\n',
    isWhole: true,
  });
  expect(reader.usage()).toEqual({ output_tokens: 3 });
});

test('an error is not passed before anything else was; after that it is, without what names our account', () => {
  const error = event({ error: { message: 'Project proj_abcdef123 is over its limit.' } });
  expect(filtered('chat', error + DONE)).toMatchObject({ passed: '', isWhole: false });
  const late = filtered('chat', text('a') + error + DONE);
  expect(late.passed).toContain('Project *** is over');
  expect(late.isWhole).toBe(false);
});

test('a frame that does not show how much it is, waits until all is held for', async () => {
  const answer = Promise.withResolvers<bigint | null>();
  const slices = new Slices({
    held: 1_000n,
    bound: 5_000,
    costOf: BigInt,
    extend: () => answer.promise,
    count: async () => null,
  });
  const filter = new FrameFilter('sse', { dialect: dialectOf('images')!, usageAsked: false, slices });
  const more: string[] = [];
  slices.open({
    onMore: (frames) => more.push(String(filter.takeHeld(frames))),
    onSpent: () => {},
    generated: () => [],
  });
  expect(filter.take(Buffer.from(delta))).toBeNull();
  answer.resolve(5_000n);
  await expect.poll(() => more).toEqual([delta]);
});

test('how an answer is framed is what it says, and what was asked for where it says nothing', () => {
  const of = (style: string, type: string | undefined, streamAsked = true) =>
    streamFraming(type, { dialect: dialectOf(style)!, streamAsked });
  expect(of('chat', 'Text/Event-Stream; charset=utf-8')).toBe('sse');
  expect(of('chat', 'application/json')).toBeNull();
  expect(of('chat', undefined)).toBe('sse');
  expect(of('chat', undefined, false)).toBeNull();
  expect(of('ollama-chat', 'application/x-ndjson')).toBe('json-lines');
  expect(of('gemini-stream', 'application/json')).toBe('json-array');
  expect(of('converse-stream', 'application/vnd.amazon.eventstream')).toBe('aws-event-stream');
});
