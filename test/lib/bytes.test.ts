/** Bytes are gathered as they came, and not tied to what they came in. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ByteLog } from '../../src/lib/bytes.ts';

it('what is taken is what was appended since it was last taken, however large the pieces are', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 20 });
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 4 }), (rounds) => {
      const log = new ByteLog();
      for (const round of rounds) {
        for (const piece of round) {
          const bytes = Buffer.from(piece);
          log.append(bytes);
          // Whose they were may use them again.
          bytes.fill(0xee);
        }
        const all = Buffer.concat(round);
        expect(log.length).toBe(all.length);
        expect(log.take().equals(all)).toBe(true);
        expect(log.length).toBe(0);
      }
    }),
  );
});

it('its memory is used again, and is no more than twice the bytes', () => {
  const log = new ByteLog();
  for (let i = 0; i < 80; i++) log.append(Buffer.alloc(100, i));
  const memory = log.take().buffer;
  expect(memory.byteLength).toBeLessThanOrEqual(2 * 80 * 100);
  log.append(Buffer.alloc(8_000));
  expect(log.take().buffer).toBe(memory);
});
