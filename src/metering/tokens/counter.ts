/**
 * Counts tokens where a provider did not, or a balance is tight. In a worker thread, never on the event loop: tokenising can
 * take seconds.
 *
 *   none ──count──▶ starting ──first answer──▶ working ⇄ idle
 *                     ├── no answer by the deadline, or too much is asked ──▶ estimated by length, or not told
 *                     └── the worker dies ──▶ none: all that wait have no count; the next count starts another
 */
import { Worker } from 'node:worker_threads';
import type { TiktokenEncoding } from 'tiktoken';
import { systemClock } from '../../lib/clock.ts';
import type { Logger } from '../../observe/log.ts';
import { encodingOf } from './encodings.ts';

const DEADLINE_MS = 2_000;
/** The same while the worker starts and reads an encoding: half a second on an idle machine, several on a busy one. */
const STARTING_DEADLINE_MS = 10_000;
/** Texts that wait; beyond it, nothing is counted. */
const MOST_WAITING = 64;
/** With so many waiting no prompt is counted: what a running stream was sent, and is charged, still is. */
const MOST_BEFORE_PROMPT = 32;
/** Longer texts are not counted: they would hold up the others. */
const MOST_CHARS = 1024 * 1024;
/** The same of a request's body. */
const MOST_BYTES = 4 * 1024 * 1024;
/** English and code are about four bytes a token, other scripts about four bytes too: fewer letters, of more bytes. */
const BYTES_PER_TOKEN = 4;

export interface CountRequest {
  id: number;
  /** A text; or the body of a request, whose messages' texts are counted, each for itself. */
  source: string | Uint8Array;
  encoding: TiktokenEncoding;
  /** When nobody waits for the answer any more: milliseconds since the epoch. */
  deadline: number;
  /** No more need be counted once there are more than so many. */
  enough: number;
}

/** What was counted. */
export interface Counted {
  tokens: number;
  /** Bytes of a request's body that these texts are at least, as JSON has them. */
  bytes: number;
}

export interface CountAnswer {
  id: number;
  /** `null`: not counted by the deadline. */
  counted: Counted | null;
}

export class TokenCounter {
  readonly #log: Logger;
  readonly #waiting = new Map<number, (counted: Counted | null) => void>();
  #worker: Worker | null = null;
  /** Whether the worker has answered yet. */
  #started = false;
  #next = 0;

  constructor(options: { log: Logger }) {
    this.#log = options.log;
  }

  /** Tokens of the texts together, in the encoding of a model, or an estimate from their length. Never throws. */
  async count(texts: readonly string[], model: string): Promise<number> {
    const text = texts.join('');
    if (text === '') return 0;
    return (await this.countText(text, encodingOf(model))) ?? Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
  }

  /** Tokens of a text. `null`: too long, too many wait, or not counted in time. Never throws. */
  async countText(text: string, encoding: TiktokenEncoding): Promise<number | null> {
    if (text.length > MOST_CHARS) return null;
    return (await this.#ask(text, encoding, Number.POSITIVE_INFINITY))?.tokens ?? null;
  }

  /**
   * Tokens of the texts in the messages of a request, whose body `parseChatRequest` has accepted; once there are more than
   * `enough`, so many at least. `null`: too long, too many wait, or not counted in time. Never throws.
   */
  countPrompt(body: Buffer, encoding: TiktokenEncoding, enough = Number.POSITIVE_INFINITY): Promise<Counted | null> {
    if (body.length > MOST_BYTES || this.#waiting.size >= MOST_BEFORE_PROMPT) return Promise.resolve(null);
    return this.#ask(new Uint8Array(body), encoding, enough);
  }

  /** Stops the worker; what waits has no count. */
  async close(): Promise<void> {
    const worker = this.#worker;
    this.#giveUp();
    await worker?.terminate();
  }

  #ask(source: string | Uint8Array<ArrayBuffer>, encoding: TiktokenEncoding, enough: number): Promise<Counted | null> {
    if (this.#waiting.size >= MOST_WAITING) return Promise.resolve(null);
    return new Promise((resolve) => {
      const id = this.#next++;
      const within = this.#started ? DEADLINE_MS : STARTING_DEADLINE_MS;
      const timer = setTimeout(() => answer(null), within);
      const answer = (counted: Counted | null): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve(counted);
      };
      this.#waiting.set(id, answer);
      this.#worker ??= this.#start();
      const request: CountRequest = { id, source, encoding, deadline: systemClock.now() + within, enough };
      this.#worker.postMessage(request, typeof source === 'string' ? [] : [source.buffer]);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL('./worker.ts', import.meta.url));
    worker.on('message', ({ id, counted }: CountAnswer) => {
      this.#started = true;
      this.#waiting.get(id)?.(counted);
    });
    worker.on('error', (error) => {
      this.#log.warn(
        { err: error },
        'the token counter failed: what waited is estimated, the next count starts another',
      );
    });
    worker.on('exit', () => {
      if (this.#worker === worker) this.#giveUp();
    });
    worker.unref();
    return worker;
  }

  #giveUp(): void {
    this.#worker = null;
    this.#started = false;
    for (const answer of this.#waiting.values()) answer(null);
  }
}
