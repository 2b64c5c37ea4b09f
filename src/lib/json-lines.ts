/**
 * JSON lines as bytes: each frame is a line with its end, LF or CRLF; JSON itself has no line end inside. Chunks may split
 * a line anywhere.
 *
 *   between lines ──bytes without an end──▶ carrying (kept as they came) ──end found──▶ between lines (copied once)
 */
import { FrameTooLargeError } from './sse.ts';

const LF = 0x0a;

export class JsonLineSplitter {
  readonly #maxFrameBytes: number;
  #carried: Buffer[] = [];
  #carriedBytes = 0;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Whether the next chunk begins with a new line. */
  get atBoundary(): boolean {
    return this.#carriedBytes === 0;
  }

  /** Takes a chunk and hands on each line that is whole. Throws `FrameTooLargeError`. */
  push(chunk: Buffer, onFrame: (frame: Buffer) => void): void {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(LF, start) + 1;
      if (end === 0) break;
      this.#check(end - start);
      const line = chunk.subarray(start, end);
      start = end;
      if (this.#carriedBytes === 0) onFrame(line);
      else {
        this.#carried.push(line);
        const frame = this.rest();
        this.#carried = [];
        this.#carriedBytes = 0;
        onFrame(frame);
      }
    }
    if (start === chunk.length) return;
    this.#check(chunk.length - start);
    this.#carried.push(chunk.subarray(start));
    this.#carriedBytes += chunk.length - start;
  }

  /** What came after the last whole line: a line too, where the stream ends without a line end. */
  rest(): Buffer {
    return Buffer.concat(this.#carried);
  }

  #check(more: number): void {
    if (this.#carriedBytes + more > this.#maxFrameBytes) throw new FrameTooLargeError(this.#maxFrameBytes);
  }
}
