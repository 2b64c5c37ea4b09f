/**
 * Limits that gateways share over Redis: one atomic round trip for all subjects of a request, by Redis's clock.
 *
 *   a slot:  free ──take──▶ leased ──end──▶ free
 *                            │  ▲ └── its gateway died: free when the lease is over
 *                            └──┘ renewed while its request runs
 *
 * Every command has an answer within `answerMs`, or fails: the connection is then given up, and with it all that waits on it, so
 * that nothing gathers before a Redis that does not answer. Whoever asks goes on without (limits.ts).
 */
import { Redis } from 'ioredis';
import type { Clock } from '../../lib/clock.ts';
import { type Answer, type Ask, type Level, type Limiter, type Subject, type Taken, WINDOW_MS } from './limiter.ts';
import { GIVE_BACK, RENEW, TAKE } from './script.ts';

const PREFIX = 'tollgate:limits:';
const WINDOWS = `${PREFIX}windows:`;
const SLOTS = `${PREFIX}slots:`;
const LEASE_MS = 30_000;
/** A Redis beside a gateway answers in less than a millisecond. */
const ANSWER_MS = 250;
const CONNECT_MS = 1_000;
const MOST_RETRY_MS = 500;
/** Numbers that the script returns of each subject. */
const NUMBERS = 5;

/** How ioredis offers a script: the number of its keys, the keys, then its arguments. */
type Script = (keys: number, ...args: (string | number)[]) => Promise<number[]>;
type Commands = Redis & Record<'tollgateTake' | 'tollgateGiveBack' | 'tollgateRenew', Script>;

export interface RedisOptions {
  url: string;
  /** How long a slot is taken without a sign of life of its gateway. */
  leaseMs?: number;
  /** How long an answer may take. */
  answerMs?: number;
  /** In the place of Redis's clock, for tests. */
  clock?: Clock;
}

export class RedisLimiter implements Limiter {
  readonly #redis: Commands;
  readonly #leaseMs: number;
  readonly #answerMs: number;
  readonly #clock: Clock | null;
  /** The keys of the slots of what runs, by request. */
  readonly #running = new Map<string, string[]>();
  readonly #heart: NodeJS.Timeout;
  /** What went wrong with the connection last. */
  #trouble: string | null = null;

  constructor({ url, leaseMs = LEASE_MS, answerMs = ANSWER_MS, clock }: RedisOptions) {
    this.#leaseMs = leaseMs;
    this.#answerMs = answerMs;
    this.#clock = clock ?? null;
    this.#redis = new Redis(url, {
      connectTimeout: CONNECT_MS,
      retryStrategy: (times) => Math.min(times * 100, MOST_RETRY_MS),
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectionName: 'tollgate-limits',
      scripts: { tollgateTake: { lua: TAKE }, tollgateGiveBack: { lua: GIVE_BACK }, tollgateRenew: { lua: RENEW } },
    }) as Commands;
    // What fails says so to whoever asked; this says why there is no connection.
    this.#redis.on('error', (error: NodeJS.ErrnoException) => {
      this.#trouble = error.message || String(error.code);
    });
    this.#heart = setInterval(() => this.#renew(), leaseMs / 3);
    this.#heart.unref();
  }

  /** Rejects when Redis does not answer. */
  async take(ask: Ask): Promise<Answer> {
    const { isTaken, levels, ends } = await this.#ask(ask);
    return { levels, taken: isTaken ? this.#taken(ask, ends) : null };
  }

  /** Rejects when Redis does not answer. */
  async levels(subjects: readonly Subject[]): Promise<Level[]> {
    return (await this.#ask({ subjects, tokens: 0, request: '' })).levels;
  }

  /** Resolves when Redis takes a write; rejects when it does not. */
  async probe(): Promise<void> {
    await this.#answered(this.#redis.set(`${PREFIX}probe`, '', 'PX', this.#answerMs));
  }

  async close(): Promise<void> {
    clearInterval(this.#heart);
    await this.#answered(this.#redis.quit()).catch(() => {});
    this.#redis.disconnect();
  }

  async #ask({ subjects, tokens, request }: Ask) {
    const limits = subjects.flatMap(({ limits }) => [limits.requests, limits.tokens, limits.concurrency]);
    const args = [...this.#now(), WINDOW_MS, request, tokens, ...limits.map((limit) => limit ?? '')];
    const [isTaken, ...numbers] = await this.#answered(this.#redis.tollgateTake(...keysOf(subjects), ...args));
    const of = subjects.map(
      (_, i) => numbers.slice(i * NUMBERS, (i + 1) * NUMBERS) as [number, number, number, number, number],
    );
    return {
      isTaken: isTaken === 1,
      levels: of.map(
        ([requests, tokens, concurrency, , resetMs]): Level => ({ requests, tokens, concurrency, resetMs }),
      ),
      ends: of.map(([, , , ends]) => ends),
    };
  }

  #taken({ request, tokens, subjects }: Ask, ends: readonly number[]): Taken {
    const slots = subjects.filter(({ limits }) => limits.concurrency !== null).map(({ key }) => SLOTS + key);
    if (slots.length > 0) this.#running.set(request, slots);
    let isOver = false;
    const giveBack = (requests: number, moreTokens: number): void => {
      if (isOver) return;
      isOver = true;
      this.#running.delete(request);
      // What Redis does not hear of ends by itself: a window in a minute, a slot with its lease.
      const args = [...this.#now(), request, requests, moreTokens, ...ends];
      this.#redis.tollgateGiveBack(...keysOf(subjects), ...args).catch(() => {});
    };
    return { end: (used) => giveBack(0, used - tokens), undo: () => giveBack(-1, -tokens) };
  }

  #renew(): void {
    for (const [request, slots] of this.#running) {
      this.#redis.tollgateRenew(slots.length, ...slots, ...this.#now(), request).catch(() => {});
    }
  }

  #now(): [string | number, number] {
    return [this.#clock?.now() ?? '', this.#leaseMs];
  }

  async #answered<T>(answer: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      // An answer that came while this process was busy is looked at first.
      timer = setTimeout(
        () => setImmediate(() => reject(new Error(`no answer within ${this.#answerMs} ms`))),
        this.#answerMs,
      );
    });
    try {
      return await Promise.race([answer, late]);
    } catch (error) {
      throw this.#redis.status === 'ready' || this.#trouble === null ? error : new Error(this.#trouble);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Gives the connection up, and all that waits on it. A new one is made at once. */
  reset(): void {
    this.#redis.disconnect(true);
  }
}

function keysOf(subjects: readonly Subject[]): [number, ...string[]] {
  return [subjects.length * 2, ...subjects.flatMap(({ key }) => [WINDOWS + key, SLOTS + key])];
}
