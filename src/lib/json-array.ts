/**
 * A JSON array of objects as a stream, as bytes: each frame is one object with what stands before it, `[` or a comma and
 * white space; the last frame is the `]`. Frames are found, not decoded, so that they can be passed on as they came.
 * Chunks may split one anywhere.
 *
 *   between objects ──{──▶ inside (depth, and whether in a string) ──its last }──▶ between objects
 *          └── ] ──▶ a frame of its own       └── any other byte but [ , and white space ──▶ refused
 */
import { BadFrameError, FrameTooLargeError } from './sse.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
/** What may stand between objects; a byte order mark may begin the stream. */
const BETWEEN: ReadonlySet<number> = new Set([...Buffer.from('[, \t\r\n'), 0xef, 0xbb, 0xbf]);

export class JsonArraySplitter {
  readonly #maxFrameBytes: number;
  #carried: Buffer[] = [];
  #carriedBytes = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Whether the next chunk begins with a new frame. */
  get atBoundary(): boolean {
    return this.#carriedBytes === 0;
  }

  /** Takes a chunk and hands on each frame that is whole. Throws `FrameTooLargeError`, and `BadFrameError` at what is no array. */
  push(chunk: Buffer, onFrame: (frame: Buffer) => void): void {
    let start = 0;
    for (let at = 0; at < chunk.length; at++) {
      if (!this.#ends(chunk[at]!)) continue;
      this.#check(at + 1 - start);
      const last = chunk.subarray(start, at + 1);
      const frame = this.#carriedBytes === 0 ? last : Buffer.concat([...this.#carried, last]);
      this.#carried = [];
      this.#carriedBytes = 0;
      start = at + 1;
      onFrame(frame);
    }
    if (start === chunk.length) return;
    this.#check(chunk.length - start);
    this.#carried.push(chunk.subarray(start));
    this.#carriedBytes += chunk.length - start;
  }

  /** What came after the last whole frame. */
  rest(): Buffer {
    return Buffer.concat(this.#carried);
  }

  /** Steps over a byte; whether it is the last of a frame. Brackets of both kinds count alike: the parser tells them apart. */
  #ends(byte: number): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) this.#inString = false;
      return false;
    }
    if (this.#depth === 0) {
      if (byte === OPEN_BRACE) this.#depth = 1;
      else if (byte !== CLOSE_BRACKET && !BETWEEN.has(byte)) throw new BadFrameError('it is no JSON array of objects');
      return byte === CLOSE_BRACKET;
    }
    if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) this.#depth++;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) return --this.#depth === 0;
    return false;
  }

  #check(more: number): void {
    if (this.#carriedBytes + more > this.#maxFrameBytes) throw new FrameTooLargeError(this.#maxFrameBytes);
  }
}
