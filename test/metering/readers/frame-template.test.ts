/** What is read of a frame by its likeness to one before is what parsing it would find. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Json } from '../../../src/lib/json.ts';
import { ChatStreamReader } from '../../../src/metering/readers/chat-stream.ts';
import { FrameTemplate } from '../../../src/metering/readers/frame-template.ts';
import { frameObject } from '../../../src/metering/readers/frames.ts';
import { generatedIn } from '../../../src/metering/readers/generated.ts';
import { content, finish, sse } from './chat-rig.ts';

/** What a reader finds in a stream that comes in those pieces, and what parsing each of its frames finds. */
function bothOf(frames: readonly string[], together: number) {
  const reader = new ChatStreamReader();
  for (let i = 0; i < frames.length; i += together) {
    const chunk = Buffer.from(frames.slice(i, i + together).join(''));
    const plain = reader.content(chunk);
    if (plain < chunk.length) reader.frame(chunk.subarray(plain));
  }
  const parsed = frames.map((frame) => frameObject(Buffer.from(frame), 'sse')).filter((json) => json !== null);
  const tiers = parsed.map((json: Json) => json.service_tier).filter((tier) => typeof tier === 'string');
  return {
    read: { texts: reader.generatedText(), tier: reader.terms().serviceTier },
    parsed: { texts: parsed.flatMap(generatedIn), tier: tiers.at(-1) },
  };
}

/** Words that stand elsewhere in frames too, hide quotes, or are no ASCII. */
const word = fc.oneof(
  fc.constantFrom(
    '',
    'a',
    'stop',
    'content',
    'chatcmpl-1',
    'obfuscation',
    '"',
    '\\',
    '"obfuscation":"',
    '\n',
    '\u2028',
  ),
  fc.constantFrom('é', '😀', '\u0000', '\ufeff', '",', '"}', 'null', ' the', ' word', 'data: '),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
);
const chunk = fc.oneof(
  { weight: 8, arbitrary: word.map((text) => content(text)) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(word, word)
      .map(([text, padding]) => content(text, { usage: null, obfuscation: padding, service_tier: 'default' })),
  },
  { weight: 1, arbitrary: word.map((text) => content(text, { service_tier: 'flex' })) },
  { weight: 1, arbitrary: word.map((text) => content(text, { x: text })) },
  {
    weight: 1,
    arbitrary: word.map((text) => ({ choices: [{ delta: { tool_calls: [{ function: { arguments: text } }] } }] })),
  },
  {
    weight: 1,
    arbitrary: word.map((text) => ({ choices: [{ delta: { content: text } }, { delta: { content: text } }] })),
  },
  { weight: 1, arbitrary: fc.constant(finish()) },
);
/** The same bytes in other spellings: with escapes, with spaces, as nothing that can be parsed, in several lines. */
const frame = fc.oneof(
  { weight: 9, arbitrary: chunk.map((one) => sse([one])) },
  { weight: 1, arbitrary: chunk.map((one) => sse([one], '\r\n')) },
  {
    weight: 1,
    arbitrary: chunk.map((one) => sse([one]).replace(/[a-c]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`)),
  },
  { weight: 1, arbitrary: chunk.map((one) => `event: a\n${sse([one])}`) },
  { weight: 1, arbitrary: chunk.map((one) => sse([one]).replace('":', '": ')) },
  { weight: 1, arbitrary: chunk.map((one) => sse([one]).replace('}', '')) },
  // Raw where JSON has it escaped.
  { weight: 1, arbitrary: chunk.map((one) => sse([one]).replace('"content":"', '"content":"\t')) },
  { weight: 1, arbitrary: fc.constantFrom(': a\n\n', ': "a"\n\n', 'data: 1\n\n') },
);

it('texts and terms are those that parsing every frame finds', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 60 }), fc.integer({ min: 1, max: 5 }), (frames, together) => {
      const { read, parsed } = bothOf(frames, together);
      expect(read).toEqual(parsed);
    }),
    { numRuns: 1_000 },
  );
});

// The last is more at once than is kept.
it.each([1, 3, 200])('a whole answer of alike frames, padded, is read word for word, %i frames a chunk', (together) => {
  const words = Array.from({ length: 500 }, (_, i) => ` word${i}`);
  const frames = words.map((text, i) => sse([content(text, { obfuscation: 'x'.repeat(i % 17) })]));
  expect(bothOf(frames, together).read.texts).toEqual(words);
});

it('what another field says in the same words is no text', () => {
  const odd = (text: string, other: string): string =>
    `data: {"x":"${other}","choices":[{"delta":{"content":"${text}"}}]}\n\n`;
  for (const [text, other] of [
    ['a', 'a'],
    ['\\u0061', 'a'],
    ['a', '\\u0061'],
  ] as const) {
    expect(bothOf([odd(text, other), odd(text, 'b'), odd('b', other)], 1).read.texts).toEqual(['a', 'a', 'b']);
  }
});

it('a frame whose end has not come teaches nothing', () => {
  const whole = sse([content('a')]);
  expect(FrameTemplate.of(Buffer.from(whole), 'a')).not.toBeNull();
  expect(FrameTemplate.of(Buffer.from(whole.trimEnd()), 'a')).toBeNull();
});
