/**
 * Counts tokens where a provider did not. In a worker thread, never on the event loop: tokenising can take seconds.
 *
 *   idle ──count──▶ working (one worker, started at the first count) ──answer──▶ idle
 *                     └── no answer within the deadline, or too much is asked ──▶ estimated by length
 */
import { Worker } from 'node:worker_threads';
import type { Logger } from '../../observe/log.ts';

const DEADLINE_MS = 2_000;
/** Texts that wait; beyond it, counts are estimated at once. */
const MOST_WAITING = 64;
/** Longer texts are estimated: counting them would hold up the others. */
const MOST_CHARS = 1024 * 1024;
const CHARS_PER_TOKEN = 4;

export interface CountRequest {
  id: number;
  texts: string[];
  model: string;
}

export interface CountAnswer {
  id: number;
  tokens: number;
}

export class TokenCounter {
  readonly #log: Logger;
  readonly #waiting = new Map<number, (tokens: number | null) => void>();
  #worker: Worker | null = null;
  #next = 0;

  constructor(options: { log: Logger }) {
    this.#log = options.log;
  }

  /** Tokens of the texts together, or an estimate from their length. Never throws. */
  async count(texts: string[], model: string): Promise<number> {
    let chars = 0;
    for (const text of texts) chars += text.length;
    const estimate = Math.ceil(chars / CHARS_PER_TOKEN);
    if (chars > MOST_CHARS || this.#waiting.size >= MOST_WAITING) return estimate;
    return (await this.#ask(texts, model)) ?? estimate;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #ask(texts: string[], model: string): Promise<number | null> {
    return new Promise((resolve) => {
      const id = this.#next++;
      const deadline = setTimeout(() => answer(null), DEADLINE_MS);
      const answer = (tokens: number | null): void => {
        clearTimeout(deadline);
        this.#waiting.delete(id);
        resolve(tokens);
      };
      this.#waiting.set(id, answer);
      this.#worker ??= this.#start();
      this.#worker.postMessage({ id, texts, model } satisfies CountRequest);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL('./worker.ts', import.meta.url));
    worker.on('message', ({ id, tokens }: CountAnswer) => this.#waiting.get(id)?.(tokens));
    worker.on('error', (error) => {
      this.#log.warn({ err: error }, 'the token counter failed; counts are estimated until it runs again');
      for (const answer of this.#waiting.values()) answer(null);
    });
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = null;
    });
    worker.unref();
    return worker;
  }
}
