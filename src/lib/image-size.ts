/**
 * How large a picture is, from the header of its file: PNG, JPEG, GIF and WebP. Nothing is decoded; what is not understood
 * has no size. At most `HEADER_BYTES` are looked at, however large the file says its parts are.
 */

export interface ImageSize {
  width: number;
  height: number;
}

/** A JPEG has its size after its metadata: thumbnails and colour profiles are mostly shorter than this together. */
export const HEADER_BYTES = 64 * 1024;

const PNG = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
const [GIF, RIFF, WEBP, IHDR] = ['GIF8', 'RIFF', 'WEBP', 'IHDR'].map((text) => Buffer.from(text)) as [
  Buffer,
  Buffer,
  Buffer,
  Buffer,
];

/** The size in pixels that a file states, of which these are the first bytes; `null`: not told by them. */
export function imageSize(bytes: Buffer): ImageSize | null {
  const size = stated(bytes.subarray(0, HEADER_BYTES));
  return size !== null && size.width > 0 && size.height > 0 ? size : null;
}

/** The same of a `data:` URL in base64: only its beginning is read. `null` for any other URL. */
export function imageSizeOfDataUrl(url: string): ImageSize | null {
  const start = url.slice(0, 256).toLowerCase().indexOf(';base64,');
  if (start < 0 || !/^data:/i.test(url)) return null;
  const data = start + ';base64,'.length;
  return imageSize(Buffer.from(url.slice(data, data + Math.ceil((HEADER_BYTES * 4) / 3)), 'base64'));
}

function stated(bytes: Buffer): ImageSize | null {
  if (begins(bytes, 0, PNG) && begins(bytes, 12, IHDR))
    return at(bytes, 24, () => [bytes.readUInt32BE(16), bytes.readUInt32BE(20)]);
  if (begins(bytes, 0, GIF)) return at(bytes, 10, () => [bytes.readUInt16LE(6), bytes.readUInt16LE(8)]);
  if (begins(bytes, 0, RIFF) && begins(bytes, 8, WEBP)) return ofWebp(bytes);
  return bytes.length > 3 && bytes.readUInt16BE(0) === 0xffd8 ? ofJpeg(bytes) : null;
}

function begins(bytes: Buffer, offset: number, with_: Buffer): boolean {
  return bytes.subarray(offset, offset + with_.length).equals(with_);
}

/** The size that is read from the first `end` bytes, where there are so many. */
function at(bytes: Buffer, end: number, read: () => [width: number, height: number]): ImageSize | null {
  if (bytes.length < end) return null;
  const [width, height] = read();
  return { width, height };
}

/** By the kind of its first chunk: lossy, lossless, or extended, whose canvas is stated. */
function ofWebp(bytes: Buffer): ImageSize | null {
  switch (bytes.toString('latin1', 12, 16)) {
    case 'VP8 ':
      return at(bytes, 30, () => [bytes.readUInt16LE(26) & 0x3fff, bytes.readUInt16LE(28) & 0x3fff]);
    case 'VP8L':
      return at(bytes, 25, () => {
        const bits = bytes.readUInt32LE(21);
        return [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1];
      });
    case 'VP8X':
      return at(bytes, 30, () => [bytes.readUIntLE(24, 3) + 1, bytes.readUIntLE(27, 3) + 1]);
    default:
      return null;
  }
}

/** In the first frame header among the segments; each says how long it is. */
function ofJpeg(bytes: Buffer): ImageSize | null {
  for (let offset = 2; offset + 9 <= bytes.length; ) {
    if (bytes[offset] !== 0xff) return null;
    const marker = bytes[offset + 1]!;
    // Any number of 0xff may stand before a marker.
    if (marker === 0xff) {
      offset++;
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) return { height: bytes.readUInt16BE(offset + 5), width: bytes.readUInt16BE(offset + 7) };
    const length = bytes.readUInt16BE(offset + 2);
    if (length < 2) return null;
    offset += 2 + length;
  }
  return null;
}
