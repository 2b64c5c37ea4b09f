/** Lines are found however the network cuts them, bounded, and never copied where one came whole. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { JsonLineSplitter } from '../../src/lib/json-lines.ts';
import { FrameTooLargeError } from '../../src/lib/sse.ts';

function linesOf(pieces: readonly Buffer[], max = 1 << 20) {
  const splitter = new JsonLineSplitter(max);
  const lines: string[] = [];
  for (const piece of pieces) splitter.push(piece, (line) => lines.push(line.toString()));
  return { lines, rest: splitter.rest().toString(), atBoundary: splitter.atBoundary };
}

it('any split gives the same lines', () => {
  const text = fc.array(fc.constantFrom('{"a":1}', '\n', '\r\n', '\n', 'é', ''), { maxLength: 30 });
  fc.assert(
    fc.property(text, fc.array(fc.nat(200), { maxLength: 8 }), (parts, cuts) => {
      const bytes = Buffer.from(parts.join(''));
      const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
      const pieces = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
      const found = linesOf(pieces);
      expect(found).toEqual(linesOf([bytes]));
      expect(found.lines.join('') + found.rest).toBe(bytes.toString());
      expect(found.atBoundary).toBe(found.rest === '');
      for (const line of found.lines) expect(line.indexOf('\n')).toBe(line.length - 1);
    }),
    { numRuns: 500 },
  );
});

it('a line that came whole is a view of its chunk', () => {
  const chunk = Buffer.from('{}\n{}\n');
  new JsonLineSplitter(9).push(chunk, (line) => expect(line.buffer).toBe(chunk.buffer));
});

it('a line may have 10 MB in a thousand pieces, and no more than the limit', () => {
  const pieces = Array.from({ length: 1000 }, () => Buffer.alloc(10_000, 0x78));
  expect(linesOf([...pieces, Buffer.from('\n')], 10_000_001).lines[0]).toHaveLength(10_000_001);
  expect(() => linesOf([...pieces, Buffer.from('\n')], 10_000_000)).toThrow(FrameTooLargeError);
  expect(() => linesOf([Buffer.alloc(11, 0x78)], 10)).toThrow(FrameTooLargeError);
  expect(() => linesOf([Buffer.from('0123456789\n')], 10)).toThrow(FrameTooLargeError);
});
