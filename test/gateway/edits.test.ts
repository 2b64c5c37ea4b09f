/** A request's body as a provider takes it: few bytes differ from what the client sent, and it is JSON as before. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { editedBody } from '../../src/gateway/edits.ts';
import { chatEnds } from '../../src/gateway/stream-ends.ts';
import { chatRequests, readChatRequest } from '../../src/metering/requests/chat.ts';

const USUAL = { outputLimitField: 'max_completion_tokens', tellsUsageUnasked: false } as const;
const UNASKED = { outputLimitField: 'max_tokens', tellsUsageUnasked: true } as const;

function edited(body: string, provider: typeof USUAL | typeof UNASKED, clampedTo: number | null = null): string {
  const bytes = Buffer.from(body);
  return editedBody(bytes, readChatRequest(bytes), chatRequests, { model: 'm', clampedTo, provider }).toString();
}

const MESSAGES = '"messages":[{"role":"user","content":"hi"}]';

test('a provider that tells usage unasked is not sent the wish for it, nor that of the client', () => {
  const plain = `{"model":"m",${MESSAGES},"stream":true}`;
  expect(edited(plain, USUAL)).toContain('"stream_options":{"include_usage":true}');
  expect(edited(plain, UNASKED)).toBe(plain);
  expect(edited(`{"model":"m",${MESSAGES},"stream":true , "stream_options" : {"include_usage":true}}`, UNASKED)).toBe(
    plain,
  );
  expect(edited(plain.replace('{', '{ "stream_options":null,\n'), UNASKED)).toBe(plain.replace('{', '{ '));
  expect(edited(plain, UNASKED, 50)).toBe(`${plain.slice(0, -1)},"max_tokens":50}`);
});

test('wherever they stand, the options are taken out, and all else stays', () => {
  const members = [
    '"model":"other"',
    MESSAGES,
    '"stream":true',
    '"stream_options":{"include_usage":false}',
    '"seed":1',
  ];
  const order = fc.shuffledSubarray(members, { minLength: members.length });
  fc.assert(
    fc.property(order, fc.constantFrom(',', ' , ', '\n,\t'), fc.boolean(), (shuffled, comma, clamped) => {
      const sent = JSON.parse(edited(`{${shuffled.join(comma)}}`, UNASKED, clamped ? 50 : null));
      const { stream_options: _, ...rest } = JSON.parse(`{${shuffled.join(',')}}`);
      expect(sent).toEqual({ ...rest, model: 'm', ...(clamped ? { max_tokens: 50 } : {}) });
    }),
  );
});

test('a stream is ended like the frame that it ends before, a byte order mark in it or not', () => {
  for (const mark of ['', '\ufeff']) {
    const [finish] = chatEnds.exhausted!(
      Buffer.from(`data: ${mark}{"id":"chatcmpl-1","model":"m"}\n\n`),
      null,
      null,
    ).split('\n\n');
    expect(JSON.parse(finish!.slice('data: '.length))).toMatchObject({
      id: 'chatcmpl-1',
      choices: [{ finish_reason: 'length' }],
    });
  }
});
