/**
 * A body that is not held in memory as a whole: what is small stays there, and beyond a limit all of it goes to a file. It is read
 * as often as it is needed, by ranges and as a stream, since a second route may have to be sent what the first one got.
 *
 *   in memory ──over 1 MiB──▶ in a file ──whole──▶ read, any number of times
 *        └────────────────whole──────────────▲                └── close() ──▶ gone, and the streams of it break
 */
import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { TollgateError } from '../errors.ts';
import type { Edit } from '../lib/json-scan.ts';
import type { StreamedBody } from '../upstream/types.ts';
import type { Spool } from './spool.ts';

/** What stays in memory of one body; of a larger one, what is written to its file at once. */
const MEMORY_BYTES = 1024 * 1024;
const FIRST_BYTES = 16 * 1024;
/** One read of a file. */
const PIECE_BYTES = 64 * 1024;

export class SpooledBody {
  readonly #spool: Spool;
  readonly #account: bigint;
  /** The bytes that are in no file yet, at its beginning: `#gathered` of them. */
  #memory: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #gathered = 0;
  #file: FileHandle | null = null;
  #length = 0;
  #closed = false;
  readonly #streams = new Set<Readable>();

  /** `account`: whose it is. */
  constructor(spool: Spool, account: bigint) {
    this.#spool = spool;
    this.#account = account;
  }

  get length(): number {
    return this.#length;
  }

  /** Whether it is in a file. */
  get isSpooled(): boolean {
    return this.#file !== null;
  }

  /** Adds bytes at the end; wait for one before you add more. Throws `overloaded` where there is no room for them. */
  async add(chunk: Buffer): Promise<void> {
    this.#spool.take(this.#account, chunk.length);
    this.#length += chunk.length;
    for (let at = 0; at < chunk.length; ) {
      if (this.#gathered === MEMORY_BYTES) await this.#spill();
      this.#grow(this.#gathered + chunk.length - at);
      const copied = chunk.copy(this.#memory, this.#gathered, at);
      this.#gathered += copied;
      at += copied;
    }
  }

  /** It is whole: from now on it is read. Throws `overloaded`. */
  async finish(): Promise<void> {
    if (this.#file === null) return;
    await this.#spill();
    this.#memory = Buffer.alloc(0);
  }

  /** However small the pieces are that it comes in, they are in one. */
  #grow(needed: number): void {
    if (needed <= this.#memory.length || this.#memory.length === MEMORY_BYTES) return;
    const larger = Buffer.allocUnsafe(Math.min(MEMORY_BYTES, Math.max(needed, 2 * this.#memory.length)));
    this.#memory.copy(larger, 0, 0, this.#gathered);
    this.#memory = larger;
  }

  async #spill(): Promise<void> {
    this.#file ??= await this.#spool.file();
    try {
      await writeAll(this.#file, this.#memory.subarray(0, this.#gathered));
    } catch (cause) {
      throw new TollgateError('overloaded', { cause });
    }
    this.#gathered = 0;
  }

  /** The bytes of a range, as far as there are any. */
  async read(start: number, end: number): Promise<Buffer> {
    const stop = Math.min(end, this.#length);
    if (stop <= start) return Buffer.alloc(0);
    if (this.#file === null) return this.#memory.subarray(start, stop);
    const bytes = Buffer.allocUnsafe(stop - start);
    for (let at = 0; at < bytes.length; ) {
      const { bytesRead } = await this.#file.read(bytes, at, bytes.length - at, start + at);
      if (bytesRead === 0) throw new Error('a body on the disk is shorter than it was');
      at += bytesRead;
    }
    return bytes;
  }

  /** The body as it is sent, with these edits, of which none overlap. Opened as often as it is sent. */
  edited(edits: readonly Edit[]): StreamedBody {
    const sorted = [...edits]
      .sort((a, b) => a.start - b.start)
      .map(({ start, end, replacement }) => ({ start, end, bytes: Buffer.from(replacement) }));
    const added = sorted.reduce((sum, { start, end, bytes }) => sum + bytes.length - (end - start), 0);
    return {
      length: this.#length + added,
      open: () => {
        const stream = Readable.from(this.#pieces(sorted), { objectMode: false, highWaterMark: PIECE_BYTES });
        this.#streams.add(stream);
        stream.once('close', () => this.#streams.delete(stream));
        // It may break when nobody listens any more: whoever sends it has heard of it by then.
        stream.on('error', () => {});
        return stream;
      },
    };
  }

  async *#pieces(edits: readonly { start: number; end: number; bytes: Buffer }[]): AsyncGenerator<Buffer> {
    let at = 0;
    for (const { start, end, bytes } of [
      ...edits,
      { start: this.#length, end: this.#length, bytes: Buffer.alloc(0) },
    ]) {
      for (; at < start; at += PIECE_BYTES) {
        if (this.#closed) throw new Error('the body is closed');
        yield await this.read(at, Math.min(at + PIECE_BYTES, start));
      }
      if (bytes.length > 0) yield bytes;
      at = end;
    }
  }

  /** Gives back its room; what still reads it breaks. Never throws. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#length > 0) this.#spool.give(this.#account, this.#length);
    this.#memory = Buffer.alloc(0);
    for (const stream of this.#streams) stream.destroy();
    await this.#file?.close().catch(() => {});
  }
}

/** Writes where the last write ended. */
async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, null);
    at += bytesWritten;
  }
}
