/**
 * Server-sent events as bytes: frames are found, not decoded, so that they can be passed on as they came. A frame ends
 * with a blank line; lines end with LF, CR or CRLF. Chunks may split a frame anywhere.
 *
 *   between frames ──bytes without an end──▶ carrying (kept as they came) ──end found──▶ between frames (copied once)
 */

const LF = 0x0a;
const CR = 0x0d;

/** A frame grew past the limit: the stream is not what it claims to be. */
export class FrameTooLargeError extends Error {
  constructor(maxFrameBytes: number) {
    super(`a frame of the stream is larger than ${maxFrameBytes} bytes`);
    this.name = 'FrameTooLargeError';
  }
}

/** The bytes of a stream are not framed as it claims: no frame can be found in what follows. */
export class BadFrameError extends Error {
  constructor(why: string) {
    super(`the stream is not framed as it says: ${why}`);
    this.name = 'BadFrameError';
  }
}

/** Cuts a stream into frames. One within a chunk is a view of it; one that chunks split is copied once. */
export class FrameSplitter {
  readonly #maxFrameBytes: number;
  /** The beginning of a frame whose end has not come. */
  #carried: Buffer[] = [];
  #carriedBytes = 0;
  /** The last bytes of what is carried, enough to see a blank line that was split. */
  #tail = Buffer.alloc(0);

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Whether the next chunk begins with a new frame. */
  get atBoundary(): boolean {
    return this.#carriedBytes === 0;
  }

  /** Takes a chunk and hands on each frame that is whole, with its blank line. Throws `FrameTooLargeError`. */
  push(chunk: Buffer, onFrame: (frame: Buffer) => void): void {
    let start = 0;
    if (this.#carriedBytes > 0) {
      start = this.#finishCarried(chunk, onFrame);
      if (start < 0) return;
    }
    const find = frameFinder(chunk);
    for (;;) {
      const end = find(chunk, start);
      if (end < 0) break;
      if (end - start > this.#maxFrameBytes) throw new FrameTooLargeError(this.#maxFrameBytes);
      onFrame(chunk.subarray(start, end));
      start = end;
    }
    if (start < chunk.length) this.#carry(chunk.subarray(start));
  }

  /** What came after the last whole frame. */
  rest(): Buffer {
    return Buffer.concat(this.#carried);
  }

  /** Looks for the end of the carried frame in a chunk; returns where the next frame begins, or −1. */
  #finishCarried(chunk: Buffer, onFrame: (frame: Buffer) => void): number {
    // A CR that ended the last chunk may be a line end of its own or half of a CRLF: the seam is looked at with it.
    const seam = Buffer.concat([this.#tail, chunk.subarray(0, 4)]);
    let end = endOfFrame(seam, 0);
    if (end >= 0) end -= this.#tail.length;
    if (end < 0 || end > Math.min(4, chunk.length)) end = endOfFrame(chunk, 0);
    if (end < 0) {
      this.#carry(chunk);
      return -1;
    }
    this.#carried.push(chunk.subarray(0, end));
    const frame = Buffer.concat(this.#carried);
    if (frame.length > this.#maxFrameBytes) throw new FrameTooLargeError(this.#maxFrameBytes);
    this.#reset();
    onFrame(frame);
    return end;
  }

  #carry(bytes: Buffer): void {
    this.#carriedBytes += bytes.length;
    if (this.#carriedBytes > this.#maxFrameBytes) {
      throw new FrameTooLargeError(this.#maxFrameBytes);
    }
    this.#carried.push(bytes);
    this.#tail = Buffer.concat([this.#tail, bytes.subarray(-3)]).subarray(-3);
  }

  #reset(): void {
    this.#carried = [];
    this.#carriedBytes = 0;
    this.#tail = Buffer.alloc(0);
  }
}

/** Finds where the frame ends that begins at `start` of those bytes: after its blank line; −1 when that has not come. */
export function frameFinder(bytes: Buffer): (bytes: Buffer, start: number) => number {
  // Nearly all streams end lines with LF alone: then the native search finds the blank line in one go.
  return bytes.includes(CR) ? endOfFrame : endOfLfFrame;
}

const BLANK_LF = Buffer.from('\n\n');

/** The same where no CR is in the bytes. */
function endOfLfFrame(bytes: Buffer, start: number): number {
  const at = bytes.indexOf(BLANK_LF, start);
  return at < 0 ? -1 : at + 2;
}

/**
 * Where the frame that begins at `start` ends: after its blank line; −1 when that has not come. A CR at the very end
 * is left undecided, since its LF may follow.
 */
function endOfFrame(bytes: Buffer, start: number): number {
  let lf = bytes.indexOf(LF, start);
  let cr = bytes.indexOf(CR, start);
  while (lf >= 0 || cr >= 0) {
    const first = lf >= 0 && (cr < 0 || lf < cr) ? lf : cr;
    const second = lineEnd(bytes, first);
    if (second < 0 || second >= bytes.length) return -1;
    const next = bytes[second];
    if (next === LF || next === CR) {
      return lineEnd(bytes, second);
    }
    lf = lf >= 0 && lf < second ? bytes.indexOf(LF, second) : lf;
    cr = cr >= 0 && cr < second ? bytes.indexOf(CR, second) : cr;
  }
  return -1;
}

/** The offset after the line end at `at`: one byte, two for CRLF; −1 when a CR is the last byte. */
function lineEnd(bytes: Buffer, at: number): number {
  if (bytes[at] === LF) return at + 1;
  if (at + 1 >= bytes.length) return -1;
  return bytes[at + 1] === LF ? at + 2 : at + 1;
}

const DATA = Buffer.from('data:');
const LINE_FEED = Buffer.from('\n');

/** The data of a frame: its `data` fields, joined by LF; `null` when it has none (a comment, a bare event). */
export function frameData(frame: Buffer): Buffer | null {
  const start = frame.subarray(0, 3).equals(BOM) ? 3 : 0;
  // The usual frame is one data line and a blank one.
  if (startsData(frame, start) && frame.indexOf(LF, start) === frame.length - 2 && !frame.includes(CR, start)) {
    return frame.subarray(valueStart(frame, start + DATA.length), frame.length - 2);
  }
  const lines: Buffer[] = [];
  let at = start;
  while (at < frame.length) {
    let end = at;
    while (end < frame.length && frame[end] !== LF && frame[end] !== CR) end++;
    if (startsData(frame, at)) lines.push(frame.subarray(valueStart(frame, at + DATA.length), end), LINE_FEED);
    else if (frame.toString('latin1', at, end) === 'data') lines.push(LINE_FEED);
    at = end + (frame[end] === CR && frame[end + 1] === LF ? 2 : 1);
  }
  if (lines.length === 0) return null;
  return lines.length === 2 ? lines[0]! : Buffer.concat(lines.slice(0, -1));
}

const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

function valueStart(frame: Buffer, at: number): number {
  return frame[at] === 0x20 ? at + 1 : at;
}

function startsData(frame: Buffer, at: number): boolean {
  for (let i = 0; i < DATA.length; i++) if (frame[at + i] !== DATA[i]) return false;
  return true;
}
