/**
 * JSON without its bulk: what an answer of many megabytes says beside its pictures, its sound or its vectors, in a few
 * kilobytes. Long strings become empty ones, and so do lists that lie deep; all else stands as it came. It is made while the
 * bytes pass, so that nobody has to keep them.
 *
 *   copying ──"──▶ in a string ──"──▶ copying          (kept as it is read; emptied once it is too long)
 *      └──[ that lies deep──▶ in a list ──its ]──▶ copying      (strings in it are read, so that their brackets count for nothing)
 *
 * Bound: what is kept, 1 MiB; of more there is no skeleton.
 */
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** A longer string is nothing that a bill depends on. */
const MOST_STRING_BYTES = 256;
/** A list in so many others, or objects, such as a vector in an item of the data: counted from the outermost, which is 1. */
const DEEP = 4;
const MOST_BYTES = 1024 * 1024;

export class JsonSkeleton {
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #depth = 0;
  /** The depth of the list that is left out; 0: none is. */
  #leftOut = 0;
  #inString = false;
  /** The next byte of the string is escaped. */
  #escaped = false;
  /** Of the string, as long as it is short. */
  #string: Buffer[] = [];
  #stringBytes = 0;

  /** Takes the next bytes. What it keeps of them is a copy. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) at = this.#inString ? this.#readString(chunk, at) : this.#readPlain(chunk, at);
  }

  /** What is left of all that was taken; `null`: too much. */
  read(): Buffer | null {
    return this.#keptBytes > MOST_BYTES ? null : Buffer.concat(this.#kept);
  }

  /** Reads up to the next string. Returns where it is. */
  #readPlain(chunk: Buffer, start: number): number {
    let from = start;
    for (let at = start; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (byte === QUOTE) {
        const end = shortEnd(chunk, at + 1);
        if (end > 0) {
          at = end;
          continue;
        }
        this.#keep(chunk.subarray(from, at));
        this.#inString = true;
        return at + 1;
      }
      if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        this.#depth++;
        if (byte === OPEN_LIST && this.#leftOut === 0 && this.#depth >= DEEP) {
          this.#keep(chunk.subarray(from, at + 1));
          this.#leftOut = this.#depth;
        }
      } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
        if (this.#leftOut === this.#depth) {
          this.#leftOut = 0;
          from = at;
        }
        this.#depth--;
      }
    }
    this.#keep(chunk.subarray(from));
    return chunk.length;
  }

  /** Reads on in a string. Returns where it ends, or the chunk. */
  #readString(chunk: Buffer, start: number): number {
    let at = start;
    if (this.#escaped) {
      this.#escaped = false;
      at++;
    }
    let quote = -1;
    while (at < chunk.length) {
      if (quote < at) quote = chunk.indexOf(QUOTE, at);
      const end = quote < 0 ? chunk.length : quote;
      const backslash = chunk.subarray(at, end).indexOf(BACKSLASH);
      if (backslash < 0) {
        this.#keepOfString(chunk.subarray(start, end));
        if (quote < 0) return chunk.length;
        this.#endString();
        return quote + 1;
      }
      at += backslash + 2;
    }
    // The chunk ends with what is escaped, or before it.
    this.#escaped = at > chunk.length;
    this.#keepOfString(chunk.subarray(start));
    return chunk.length;
  }

  #keepOfString(bytes: Buffer): void {
    this.#stringBytes += bytes.length;
    if (this.#stringBytes > MOST_STRING_BYTES) this.#string = [];
    else this.#string.push(Buffer.from(bytes));
  }

  #endString(): void {
    const quoted = [QUOTES, ...(this.#stringBytes > MOST_STRING_BYTES ? [] : this.#string), QUOTES];
    this.#keep(Buffer.concat(quoted));
    this.#inString = false;
    this.#string = [];
    this.#stringBytes = 0;
  }

  #keep(bytes: Buffer): void {
    if (this.#leftOut > 0 || bytes.length === 0) return;
    this.#keptBytes += bytes.length;
    if (this.#keptBytes > MOST_BYTES) this.#kept = [];
    else this.#kept.push(Buffer.from(bytes));
  }
}

/** Where a short string ends, if it does so in this chunk and nothing in it is escaped; else -1. */
function shortEnd(chunk: Buffer, start: number): number {
  const length = chunk.subarray(start, start + MOST_STRING_BYTES + 1).indexOf(QUOTE);
  if (length < 0) return -1;
  return chunk.subarray(start, start + length).includes(BACKSLASH) ? -1 : start + length;
}

const QUOTES = Buffer.from('"');
