/** A sound file that is read by ranges, and the part of it that is at hand. */

/** Bytes of a file, wherever they are kept. */
export interface FileBytes {
  readonly length: number;
  /** Bytes of a range; fewer where the file ends before. */
  read(start: number, end: number): Promise<Buffer>;
}

const WINDOW_BYTES = 128 * 1024;

/** One window of a file, that moves: a walk from its beginning to its end reads each byte once. */
export class FileWindow {
  readonly #file: FileBytes;
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;

  constructor(file: FileBytes) {
    this.#file = file;
  }

  get length(): number {
    return this.#file.length;
  }

  /** So many bytes from an offset: at once where they are at hand. Fewer where the file ends before, or that many are no window. */
  at(offset: number, count: number): Buffer | Promise<Buffer> {
    const end = Math.min(offset + count, this.length);
    if (offset >= this.#start && end <= this.#start + this.#bytes.length) return this.#view(offset, end);
    return this.#move(offset, end);
  }

  async #move(offset: number, end: number): Promise<Buffer> {
    this.#bytes = await this.#file.read(offset, Math.min(offset + WINDOW_BYTES, this.length));
    this.#start = offset;
    return this.#view(offset, Math.min(end, offset + this.#bytes.length));
  }

  #view(offset: number, end: number): Buffer {
    return this.#bytes.subarray(offset - this.#start, Math.max(0, end - this.#start));
  }
}
