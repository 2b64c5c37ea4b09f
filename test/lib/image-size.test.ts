/** A picture's size is read from its header, or not at all: never guessed, never decoded, never far into the file. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HEADER_BYTES, imageSize, imageSizeOfDataUrl } from '../../src/lib/image-size.ts';

const u16 = (n: number) => [n >> 8, n & 0xff];
const le = (n: number, bytes: number) => Array.from({ length: bytes }, (_, i) => Math.floor(n / 256 ** i) % 256);
const u32 = (n: number) => le(n, 4).reverse();
const text = (ascii: string) => [...Buffer.from(ascii, 'latin1')];

const png = (w: number, h: number) =>
  Buffer.from([...text('\x89PNG\r\n\x1a\n'), ...u32(13), ...text('IHDR'), ...u32(w), ...u32(h), 8, 2, 0, 0, 0]);
const gif = (w: number, h: number) => Buffer.from([...text('GIF89a'), ...le(w, 2), ...le(h, 2), 0xf7, 0, 0]);
const jpeg = (w: number, h: number, metadata = 20, frame = 0xc0) => {
  const segment = [0xff, 0xe1, ...u16(metadata + 2), ...Array<number>(metadata).fill(0xff)];
  return Buffer.from([0xff, 0xd8, ...segment, 0xff, 0xff, frame, ...u16(17), 8, ...u16(h), ...u16(w), 3, 1, 0x22, 0]);
};
const riff = (kind: string, chunk: number[]) =>
  Buffer.from([...text('RIFF'), ...u32(0), ...text('WEBP'), ...text(kind), ...u32(0), ...chunk]);
const lossy = (w: number, h: number) => riff('VP8 ', [0, 0, 0, 0x9d, 0x01, 0x2a, ...le(w, 2), ...le(h, 2)]);
const lossless = (w: number, h: number) => riff('VP8L', [0x2f, ...le(w - 1 + (h - 1) * 2 ** 14, 4)]);
const extended = (w: number, h: number) => riff('VP8X', [0, 0, 0, 0, ...le(w - 1, 3), ...le(h - 1, 3)]);

const side = fc.integer({ min: 1, max: 16_383 });

describe.each([
  ['PNG', png],
  ['GIF', gif],
  ['JPEG', jpeg],
  ['progressive JPEG', (w: number, h: number) => jpeg(w, h, 20, 0xc2)],
  ['WebP, lossy', lossy],
  ['WebP, lossless', lossless],
  ['WebP, extended', extended],
])('%s', (_, make) => {
  it('has the size that its header states', () => {
    fc.assert(
      fc.property(side, side, (width, height) => {
        expect(imageSize(make(width, height))).toEqual({ width, height });
      }),
    );
  });

  it('has none where the header is cut anywhere', () => {
    const whole = make(640, 480);
    const least = Array.from({ length: whole.length + 1 }, (_, n) => n).find((n) => imageSize(whole.subarray(0, n)))!;
    for (let n = 0; n < least; n++) expect(imageSize(whole.subarray(0, n))).toBeNull();
    expect(least).toBeGreaterThan(9);
    expect(imageSize(whole.subarray(0, least))).toEqual({ width: 640, height: 480 });
  });

  it('is read the same from a data URL', () => {
    const data = make(640, 480).toString('base64');
    expect(imageSizeOfDataUrl(`data:image/x;base64,${data}${'A'.repeat(1000)}`)).toEqual({ width: 640, height: 480 });
    expect(imageSizeOfDataUrl(`https://example.com/;base64,${data}`)).toBeNull();
  });
});

describe('no size is told', () => {
  it.each([
    ['of nothing', Buffer.alloc(0)],
    ['of text', Buffer.from('hello hello hello hello hello hello')],
    ['of a picture without width', png(0, 5)],
    ['of a JPEG whose segment has no length', Buffer.from([0xff, 0xd8, 0xff, 0xe1, 0, 0, 0xff, 0xc0, 0, 0, 0, 0, 0])],
    [
      'of a JPEG whose metadata is too long',
      Buffer.concat([jpeg(640, 480, 65_000), Buffer.alloc(0)]).subarray(0, 50_000),
    ],
    ['of a WebP of another kind', riff('ICCP', Array<number>(40).fill(1))],
  ])('%s', (_, bytes) => {
    expect(imageSize(bytes)).toBeNull();
  });

  it('of any bytes that are no picture, without a fault', () => {
    const start = fc.constantFrom<number[]>([], [0xff, 0xd8, 0xff], text('RIFF\0\0\0\0WEBPVP8X'), text('GIF8'));
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 60 }), (head, tail) => {
        const size = imageSize(Buffer.from([...head, ...tail]));
        expect(size === null || (size.width > 0 && size.height > 0)).toBe(true);
      }),
    );
  });

  it('of what stands behind the first bytes of a file', () => {
    const segments = Buffer.concat([jpeg(1, 1, 60_000).subarray(0, 60_006), jpeg(640, 480, 60_000).subarray(2)]);
    expect(segments.length).toBeGreaterThan(HEADER_BYTES);
    expect(imageSize(segments)).toBeNull();
  });
});
