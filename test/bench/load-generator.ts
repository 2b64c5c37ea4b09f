/**
 * The load generator: a closed loop over raw keep-alive connections. Requests are made beforehand, one for each account,
 * and taken in turn; answers are read into one buffer a connection and counted when they are whole and right.
 *
 *   each connection:  idle ──send──▶ waiting ──whole answer──▶ idle, until the time is up
 *                                       └──bad answer, closed──▶ broken: it sends no more, and voids the run
 */
import { connect, type Socket } from 'node:net';
import { AnswerReader } from './answer-reader.ts';
import { serveParent } from './child.ts';
import { quantile } from './statistics.ts';
import { answerBytes, MODES, type Mode, requestBytes } from './workload.ts';

/** Keys of the accounts, in the order of use. Comes once, before the first load. */
export interface Keys {
  keys: string[];
}

export interface Load {
  port: number;
  mode: Mode;
  connections: number;
  /** The first so many accounts are used, evenly. */
  accounts: number;
  warmUpMs: number;
  measuredMs: number;
}

export interface LoadResult {
  /** Whole answers, warm-up included. */
  answered: number;
  /** Those of the measured time alone, per second; and how long they took. */
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** Why connections broke; empty in a good run. */
  faults: string[];
}

const READ_BYTES = 64 * 1024;
const REQUESTS: Record<Mode, Buffer[]> = { json: [], sse: [] };
const EXPECTED_BYTES = { json: answerBytes('json'), sse: answerBytes('sse') };

class Run {
  readonly load: Load;
  readonly #requests: Buffer[];
  readonly #measureFrom: number;
  readonly #measureUntil: number;
  readonly #latencies: number[] = [];
  readonly #faults: string[] = [];
  #next = 0;
  #answered = 0;

  constructor(load: Load) {
    this.load = load;
    this.#requests = REQUESTS[load.mode];
    this.#measureFrom = performance.now() + load.warmUpMs;
    this.#measureUntil = this.#measureFrom + load.measuredMs;
  }

  async result(): Promise<LoadResult> {
    await Promise.all(Array.from({ length: this.load.connections }, () => this.#connection()));
    return {
      answered: this.#answered,
      perSecond: (this.#latencies.length / this.load.measuredMs) * 1000,
      p50Ms: quantile(this.#latencies, 0.5),
      p99Ms: quantile(this.#latencies, 0.99),
      faults: this.#faults,
    };
  }

  /** One connection from its opening to its last answer. */
  #connection(): Promise<void> {
    return new Promise((resolve) => {
      const reader = new AnswerReader(this.load.mode, EXPECTED_BYTES[this.load.mode]);
      let sentAt = 0;
      const send = (): void => {
        sentAt = performance.now();
        socket.write(this.#request());
      };
      const read = (length: number, buffer: Uint8Array): boolean => {
        try {
          if (!reader.push((buffer as Buffer).subarray(0, length))) return true;
          if (this.#count(sentAt)) send();
          else socket.destroy();
        } catch (error) {
          socket.destroy(error as Error);
        }
        return true;
      };
      const options = { port: this.load.port, host: '127.0.0.1', noDelay: true };
      const socket: Socket = connect(
        { ...options, onread: { buffer: Buffer.alloc(READ_BYTES), callback: read } },
        send,
      );
      socket.on('error', (error) => this.#faults.push(error.message));
      socket.on('end', () => this.#faults.push('the contender closed a connection'));
      socket.on('close', () => resolve());
    });
  }

  #request(): Buffer {
    return this.#requests[this.#next++ % this.load.accounts]!;
  }

  /** Counts an answer; false when the time is up. */
  #count(sentAt: number): boolean {
    const now = performance.now();
    this.#answered++;
    if (now >= this.#measureUntil) return false;
    if (now >= this.#measureFrom) this.#latencies.push(now - sentAt);
    return true;
  }
}

serveParent<Keys | Load>(null, (message) => {
  if (!('keys' in message)) return new Run(message).result();
  for (const mode of MODES) REQUESTS[mode] = message.keys.map((key) => requestBytes(mode, key));
  return null;
});
