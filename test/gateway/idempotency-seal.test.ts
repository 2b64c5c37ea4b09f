/** What is kept of an answer opens with the API key and in its place, as it was, and in no other way. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { macOf, openAnswer, sealAnswer } from '../../src/gateway/idempotency/seal.ts';

const bytes = fc.uint8Array({ maxLength: 2_000 }).map((array) => Buffer.from(array));
const answers = fc.record({
  status: fc.integer({ min: 200, max: 499 }),
  headers: fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.array(fc.string())), { noNullPrototype: true }),
  body: bytes,
});
/** Salt and tag, which the first piece has. */
const HEAD_BYTES = 48;
const PLACE = Buffer.from('a place');

describe('a sealed answer', () => {
  it('opens as it was, with the key and the place it was sealed with, however it is cut behind the tag', async () => {
    await fc.assert(
      fc.asyncProperty(answers, fc.string({ minLength: 1 }), bytes, fc.nat(), async (answer, key, place, cut) => {
        const sealed = sealAnswer(key, place, answer);
        const at = HEAD_BYTES + (cut % (sealed.length - HEAD_BYTES));
        expect(await openAnswer(key, place, [sealed.subarray(0, at), sealed.subarray(at)])).toEqual(answer);
      }),
    );
  });

  it('does not open with another key, in another place, or when any of its bits was turned or its end is missing', async () => {
    await fc.assert(
      fc.asyncProperty(answers, fc.nat(), fc.nat({ max: 7 }), async (answer, at, bit) => {
        const sealed = sealAnswer('key', PLACE, answer);
        await expect(openAnswer('kez', PLACE, [sealed])).rejects.toThrow();
        await expect(openAnswer('key', Buffer.from('b place'), [sealed])).rejects.toThrow();
        await expect(openAnswer('key', PLACE, [sealed.subarray(0, -1)])).rejects.toThrow();
        sealed[at % sealed.length]! ^= 1 << bit;
        await expect(openAnswer('key', PLACE, [sealed])).rejects.toThrow();
      }),
    );
  });

  it('never looks the same twice', () => {
    const answer = { status: 200, headers: {}, body: Buffer.from('the same') };
    expect(sealAnswer('key', PLACE, answer).equals(sealAnswer('key', PLACE, answer))).toBe(false);
  });
});

describe('a MAC', () => {
  it('differs where the parts are cut elsewhere, or the key is another', () => {
    expect(macOf('key', 'ab', 'c').equals(macOf('key', 'a', 'bc'))).toBe(false);
    expect(macOf('key', 'ab', 'c').equals(macOf('kez', 'ab', 'c'))).toBe(false);
    expect(macOf('key', 'ab', Buffer.from('c')).equals(macOf('key', 'ab', 'c'))).toBe(true);
  });
});
