/** The objects of an array are found however the network cuts it, bounded, and what is no array is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonArraySplitter } from '../../src/lib/json-array.ts';
import { BadFrameError, FrameTooLargeError } from '../../src/lib/sse.ts';

function framesOf(pieces: readonly Buffer[], max = 1 << 20) {
  const splitter = new JsonArraySplitter(max);
  const frames: string[] = [];
  for (const piece of pieces) splitter.push(piece, (frame) => frames.push(frame.toString()));
  return { frames, rest: splitter.rest().toString(), atBoundary: splitter.atBoundary };
}

it('any split gives the same frames, one for each object and one for the end', () => {
  const text = fc.array(fc.constantFrom('"', '\\', '{', '}', '[', ']', ',', 'é', 'a'), { maxLength: 8 });
  const objects = fc.array(
    fc.dictionary(
      text.map((all) => all.join('')),
      fc.jsonValue({ maxDepth: 2 }),
    ),
    { maxLength: 5 },
  );
  fc.assert(
    fc.property(objects, fc.boolean(), fc.array(fc.nat(1000), { maxLength: 20 }), (list, pretty, cuts) => {
      const bytes = Buffer.from(JSON.stringify(list, null, pretty ? 2 : 0));
      const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
      const found = framesOf(at.slice(1).map((end, i) => bytes.subarray(at[i], end)));
      expect(found).toEqual(framesOf([bytes]));
      expect(found.frames.join('')).toBe(bytes.toString());
      expect(found.atBoundary).toBe(true);
      const values = found.frames.slice(0, -1).map((frame) => JSON.parse(frame.slice(frame.indexOf('{'))));
      expect(values).toEqual(JSON.parse(bytes.toString()));
    }),
    { numRuns: 300 },
  );
});

describe('an array', () => {
  it('that came whole is cut into views of its chunk', () => {
    const chunk = Buffer.from('[{"a":1},\n{"b":2}]');
    const frames: Buffer[] = [];
    new JsonArraySplitter(20).push(chunk, (frame) => frames.push(frame));
    expect(frames.map(String)).toEqual(['[{"a":1}', ',\n{"b":2}', ']']);
    for (const frame of frames) expect(frame.buffer).toBe(chunk.buffer);
  });

  it.each(['null', '[1]', '["a"]', 'event: x', '<html>', '[{}]}'])('that is %s is refused', (text) => {
    expect(() => framesOf([Buffer.from(text)])).toThrow(BadFrameError);
  });

  it('may have an object of 1 MB in a hundred pieces, and no more than the limit, nor white space without end', () => {
    const pieces = [
      Buffer.from('{"a":"'),
      ...Array.from({ length: 100 }, () => Buffer.alloc(10_000, 0x78)),
      Buffer.from('"}'),
    ];
    expect(framesOf(pieces, 1_000_008).frames[0]).toHaveLength(1_000_008);
    expect(() => framesOf(pieces, 1_000_007)).toThrow(FrameTooLargeError);
    expect(() => framesOf([Buffer.from('[           ')], 10)).toThrow(FrameTooLargeError);
  });
});
