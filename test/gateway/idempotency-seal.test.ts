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
const PLACE = Buffer.from('a place');

describe('a sealed answer', () => {
  it('opens as it was, with the key and the place it was sealed with', () => {
    fc.assert(
      fc.property(answers, fc.string({ minLength: 1 }), bytes, (answer, key, place) => {
        expect(openAnswer(key, place, sealAnswer(key, place, answer))).toEqual(answer);
      }),
    );
  });

  it('does not open with another key, in another place, or when any of its bits was turned', () => {
    fc.assert(
      fc.property(answers, fc.nat(), fc.nat({ max: 7 }), (answer, at, bit) => {
        const sealed = sealAnswer('key', PLACE, answer);
        expect(() => openAnswer('kez', PLACE, sealed)).toThrow();
        expect(() => openAnswer('key', Buffer.from('b place'), sealed)).toThrow();
        sealed[at % sealed.length]! ^= 1 << bit;
        expect(() => openAnswer('key', PLACE, sealed)).toThrow();
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
