/** Pieces as one: without a copy where they follow one another in memory, as the frames of one chunk do. */
export function joined(pieces: readonly Buffer[]): Buffer {
  const first = pieces[0]!;
  let end = first.byteOffset;
  for (const piece of pieces) {
    if (piece.buffer !== first.buffer || piece.byteOffset !== end) return Buffer.concat(pieces);
    end += piece.length;
  }
  return Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset);
}

const LEAST_BYTES = 512;

/**
 * Bytes that are gathered one piece after the other, in a piece of memory of their own: what they are copied from need not live as
 * long, and of many small buffers each takes several times its bytes. Whoever appends bounds it.
 */
export class ByteLog {
  #memory = Buffer.alloc(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(bytes: Buffer): void {
    const length = this.#length + bytes.length;
    if (length > this.#memory.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(LEAST_BYTES, 2 * this.#memory.length, length));
      this.#memory.copy(larger, 0, 0, this.#length);
      this.#memory = larger;
    }
    bytes.copy(this.#memory, this.#length);
    this.#length = length;
  }

  /** What was gathered since it was last taken, as a view that the next `append` overwrites. */
  take(): Buffer {
    const taken = this.#memory.subarray(0, this.#length);
    this.#length = 0;
    return taken;
  }
}
