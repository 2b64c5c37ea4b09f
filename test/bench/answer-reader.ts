/**
 * Reads answers off a connection and judges each: status 200, every byte of the payload there, `[DONE]` at the end of a
 * stream. It knows no more HTTP than that takes, because it runs for every request on cores that the contenders need.
 *
 *   head ──content-length──▶ body ───────────────all bytes──▶ head of the next
 *     └───chunked──▶ size ⇄ data ──the chunk of size 0──▶ last line ──▶ head of the next
 */
import type { Mode } from './workload.ts';

type State = 'head' | 'body' | 'size' | 'data' | 'chunk-end' | 'last-line';

const LENGTH = /\r\ncontent-length: *(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding: *chunked/i;
const HEAD_END = Buffer.from('\r\n\r\n');
const DONE = Buffer.from('[DONE]');
/** The framing after `[DONE]` is shorter. */
const TAIL_BYTES = 32;
const LF = 10;
const CR = 13;
const NOTHING = Buffer.alloc(0);

export class AnswerReader {
  readonly #mode: Mode;
  readonly #expectedBytes: number;
  #state: State = 'head';
  /** Of the head until it is whole, then the end of what was read before. */
  #kept: Buffer = NOTHING;
  #left = 0;
  #payloadBytes = 0;

  constructor(mode: Mode, expectedBytes: number) {
    this.#mode = mode;
    this.#expectedBytes = expectedBytes;
  }

  /** Takes what was read; the bytes are not kept. True when an answer ends with it. Throws, saying why, on a bad one. */
  push(bytes: Buffer): boolean {
    let piece = bytes;
    if (this.#state === 'head') {
      piece = this.#kept.length === 0 ? bytes : Buffer.concat([this.#kept, bytes]);
      const end = piece.indexOf(HEAD_END);
      if (end < 0) {
        this.#kept = Buffer.from(piece);
        return false;
      }
      this.#head(piece.toString('latin1', 0, end));
      this.#kept = NOTHING;
      piece = piece.subarray(end + HEAD_END.length);
    }
    const used = this.#state === 'body' ? this.#body(piece) : this.#chunks(piece);
    if (used < 0) {
      this.#kept = Buffer.concat([this.#kept, piece]).subarray(-TAIL_BYTES);
      return false;
    }
    if (used !== piece.length) throw new Error(`${piece.length - used} bytes follow the answer`);
    this.#judge(piece);
    return true;
  }

  #head(head: string): void {
    const status = head.slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length);
    if (status !== '200') throw new Error(`status ${status}`);
    const length = LENGTH.exec(head)?.[1];
    if (length === undefined && !CHUNKED.test(head)) throw new Error('neither content-length nor chunked');
    this.#state = length === undefined ? 'size' : 'body';
    this.#left = Number(length ?? 0);
    this.#payloadBytes = 0;
  }

  /** How much of the piece belongs to the answer; -1: all of it, and more must come. So does `#chunks`. */
  #body(piece: Buffer): number {
    const take = Math.min(piece.length, this.#left);
    this.#left -= take;
    this.#payloadBytes += take;
    return this.#left === 0 ? take : -1;
  }

  #chunks(piece: Buffer): number {
    let at = 0;
    while (at < piece.length) {
      if (this.#state === 'data') {
        const take = Math.min(piece.length - at, this.#left);
        at += take;
        this.#left -= take;
        this.#payloadBytes += take;
        if (this.#left === 0) this.#state = 'chunk-end';
        continue;
      }
      const byte = piece[at++]!;
      if (byte === CR) continue;
      if (byte !== LF) this.#left = this.#left * 16 + hexDigit(byte);
      else if (this.#state === 'last-line') return at;
      else if (this.#state === 'chunk-end') this.#state = 'size';
      else this.#state = this.#left === 0 ? 'last-line' : 'data';
    }
    return -1;
  }

  #judge(piece: Buffer): void {
    this.#state = 'head';
    if (this.#payloadBytes !== this.#expectedBytes) {
      throw new Error(`${this.#payloadBytes} bytes of payload instead of ${this.#expectedBytes}`);
    }
    if (this.#mode === 'sse') {
      const tail = Buffer.concat([this.#kept, piece.subarray(-TAIL_BYTES)]);
      if (!tail.includes(DONE)) throw new Error('the stream has no [DONE]');
    }
    this.#kept = NOTHING;
  }
}

function hexDigit(byte: number): number {
  const digit = byte <= 0x39 ? byte - 0x30 : (byte | 0x20) - 0x57;
  if (digit < 0 || digit > 15) throw new Error('broken chunk framing');
  return digit;
}
