/**
 * Counts tokens where a provider did not. In a worker thread, never on the event loop: tokenising can take seconds.
 *
 *   idle ──count──▶ working (one worker, started at the first count) ──answer──▶ idle
 *                     ├── no answer by the deadline, or too much is asked ──▶ estimated by length
 *                     └── the worker dies ──▶ all that wait are estimated; the next count starts another
 */
import { Worker } from 'node:worker_threads';
import { systemClock } from '../../lib/clock.ts';
import type { Logger } from '../../observe/log.ts';

const DEADLINE_MS = 2_000;
/** Texts that wait; beyond it, counts are estimated at once. */
const MOST_WAITING = 64;
/** Longer texts are estimated: counting them would hold up the others. */
const MOST_CHARS = 1024 * 1024;
/** English and code are about four bytes a token, other scripts about four bytes too: fewer letters, of more bytes. */
const BYTES_PER_TOKEN = 4;

export interface CountRequest {
  id: number;
  text: string;
  model: string;
  /** When nobody waits for the answer any more: milliseconds since the epoch. */
  deadline: number;
}

export interface CountAnswer {
  id: number;
  /** `null`: not counted by the deadline. */
  tokens: number | null;
}

export class TokenCounter {
  readonly #log: Logger;
  readonly #waiting = new Map<number, (tokens: number | null) => void>();
  #worker: Worker | null = null;
  #next = 0;

  constructor(options: { log: Logger }) {
    this.#log = options.log;
  }

  /** Tokens of the texts together, in the encoding of a model, or an estimate from their length. Never throws. */
  async count(texts: readonly string[], model: string): Promise<number> {
    const text = texts.join('');
    if (text === '') return 0;
    const worthCounting = text.length <= MOST_CHARS && this.#waiting.size < MOST_WAITING;
    const counted = worthCounting ? await this.#ask(text, model) : null;
    return counted ?? Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
  }

  /** Tokens of the texts, or of as much of them as is worth counting: so many at least. `null`: not counted in time. */
  async countAtLeast(texts: readonly string[], model: string): Promise<number | null> {
    if (this.#waiting.size >= MOST_WAITING) return null;
    return this.#ask(texts.join('').slice(0, MOST_CHARS), model);
  }

  /** Stops the worker; what waits is estimated. */
  async close(): Promise<void> {
    const worker = this.#worker;
    this.#giveUp();
    await worker?.terminate();
  }

  #ask(text: string, model: string): Promise<number | null> {
    return new Promise((resolve) => {
      const id = this.#next++;
      const timer = setTimeout(() => answer(null), DEADLINE_MS);
      const answer = (tokens: number | null): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve(tokens);
      };
      this.#waiting.set(id, answer);
      this.#worker ??= this.#start();
      this.#worker.postMessage({ id, text, model, deadline: systemClock.now() + DEADLINE_MS } satisfies CountRequest);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL('./worker.ts', import.meta.url));
    worker.on('message', ({ id, tokens }: CountAnswer) => this.#waiting.get(id)?.(tokens));
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
    for (const answer of this.#waiting.values()) answer(null);
  }
}
