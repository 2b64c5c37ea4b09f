/**
 * The binary event stream of AWS (`application/vnd.amazon.eventstream`) as bytes. A message is
 *
 *   length of all (4) · length of the headers (4) · CRC of these (4) · headers · payload · CRC of all before it (4)
 *
 * in big-endian order. Messages are found, not decoded, so that they can be passed on as they came. Chunks may split one
 * anywhere.
 *
 *   between messages ──part of one──▶ carrying (kept as it came) ──its last byte──▶ between messages (copied once)
 *          └── a message that is not what it says ──▶ refused: what follows cannot be found
 */
import { crc32 } from 'node:zlib';
import { BadFrameError, FrameTooLargeError } from './sse.ts';

const PRELUDE_BYTES = 12;
const CRC_BYTES = 4;
const LEAST_BYTES = PRELUDE_BYTES + CRC_BYTES;

export class EventStreamSplitter {
  readonly #maxFrameBytes: number;
  #carried: Buffer[] = [];
  #carriedBytes = 0;
  /** Of the message that is carried; 0: its prelude has not come whole. */
  #messageBytes = 0;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Whether the next chunk begins with a new message. */
  get atBoundary(): boolean {
    return this.#carriedBytes === 0;
  }

  /**
   * Takes a chunk and hands on each message that is whole. Throws `FrameTooLargeError` as soon as the length is known, and
   * `BadFrameError` where lengths or checksums do not fit.
   */
  push(chunk: Buffer, onFrame: (frame: Buffer) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#messageBytes === 0) {
        const missing = PRELUDE_BYTES - this.#carriedBytes;
        if (chunk.length - at < missing) break;
        this.#messageBytes = this.#lengthOf(Buffer.concat([...this.#carried, chunk.subarray(at, at + missing)]));
      }
      const end = at + this.#messageBytes - this.#carriedBytes;
      if (end > chunk.length) break;
      const last = chunk.subarray(at, end);
      const message = this.#carriedBytes === 0 ? last : Buffer.concat([...this.#carried, last]);
      this.#reset();
      at = end;
      check(message);
      onFrame(message);
    }
    if (at === chunk.length) return;
    this.#carried.push(chunk.subarray(at));
    this.#carriedBytes += chunk.length - at;
  }

  /** What came after the last whole message. */
  rest(): Buffer {
    return Buffer.concat(this.#carried);
  }

  #lengthOf(prelude: Buffer): number {
    const length = prelude.readUInt32BE(0);
    const headers = prelude.readUInt32BE(4);
    if (crc32(prelude.subarray(0, 8)) !== prelude.readUInt32BE(8))
      throw new BadFrameError('the CRC of a prelude differs');
    if (headers > length - LEAST_BYTES) throw new BadFrameError('its lengths do not fit');
    if (length > this.#maxFrameBytes) throw new FrameTooLargeError(this.#maxFrameBytes);
    return length;
  }

  #reset(): void {
    this.#carried = [];
    this.#carriedBytes = 0;
    this.#messageBytes = 0;
  }
}

function check(message: Buffer): void {
  const end = message.length - CRC_BYTES;
  if (crc32(message.subarray(0, end)) !== message.readUInt32BE(end))
    throw new BadFrameError('the CRC of a message differs');
}

export interface EventMessage {
  /** Those that are strings, such as `:event-type`. */
  headers: ReadonlyMap<string, string>;
  payload: Buffer;
}

/** How many bytes the value of a header of each type has; those of types 6 and 7 say their length themselves. */
const VALUE_BYTES: readonly (number | null)[] = [0, 0, 1, 2, 4, 8, null, null, 8, 16];
const STRING = 7;

/** Decodes a whole message; `null` where its headers are not what they say. */
export function readMessage(message: Buffer): EventMessage | null {
  if (message.length < LEAST_BYTES) return null;
  const headersEnd = PRELUDE_BYTES + message.readUInt32BE(4);
  const payloadEnd = message.length - CRC_BYTES;
  if (headersEnd > payloadEnd) return null;
  const headers = new Map<string, string>();
  let at = PRELUDE_BYTES;
  while (at < headersEnd) {
    const nameEnd = at + 1 + message[at]!;
    if (nameEnd + 1 > headersEnd) return null;
    const type = message[nameEnd]!;
    const fixed = VALUE_BYTES[type];
    if (fixed === undefined || (fixed === null && nameEnd + 3 > headersEnd)) return null;
    const valueStart = nameEnd + (fixed === null ? 3 : 1);
    const valueEnd = valueStart + (fixed ?? message.readUInt16BE(nameEnd + 1));
    if (valueEnd > headersEnd) return null;
    if (type === STRING)
      headers.set(message.toString('utf8', at + 1, nameEnd), message.toString('utf8', valueStart, valueEnd));
    at = valueEnd;
  }
  return { headers, payload: message.subarray(headersEnd, payloadEnd) };
}
