/**
 * The limits of a gateway: shared over Redis where there is one, else its own.
 *
 *   unset: its own, always
 *   shared ──Redis does not answer──▶ alone, at once ──it answers a probe, two a second──▶ shared
 *
 * Alone, a gateway counts anew, by itself: no request fails or waits because of Redis. What was taken is given back where it was
 * taken. The state is in the log, in `/readyz` and in a gauge.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../observe/log.ts';
import type { Answer, Ask, Level, Limiter, Subject } from './limiter.ts';
import { MemoryLimiter } from './memory.ts';
import { RedisLimiter } from './redis.ts';

const PROBE_MS = 500;
/** A gateway that starts waits so long for Redis, so that its first requests count with those of others. */
const START_MS = 2_000;
const START_RETRY_MS = 50;

export interface LimitsOptions {
  /** `null`: no Redis. */
  redisUrl: string | null;
  clock: Clock;
  log: Logger;
}

export class Limits implements Limiter {
  readonly #own: MemoryLimiter;
  readonly #redis: RedisLimiter | null;
  readonly #log: Logger;
  #isShared = false;
  #probes: NodeJS.Timeout | null = null;
  #probing = false;

  constructor({ redisUrl, clock, log }: LimitsOptions) {
    this.#own = new MemoryLimiter(clock);
    this.#redis = redisUrl === null ? null : new RedisLimiter({ url: redisUrl });
    this.#log = log;
  }

  /** Asks Redis, and tells how it stands with it, for `/readyz`: nobody else may have asked it for long. Never throws. */
  async check(): Promise<'ok' | 'down' | 'unset'> {
    const redis = this.#redis;
    if (redis !== null && this.#isShared) await redis.probe().catch((error: unknown) => this.#lose(redis, error));
    return this.redis;
  }

  /** How it stood with Redis when it was asked last. */
  get redis(): 'ok' | 'down' | 'unset' {
    if (this.#redis === null) return 'unset';
    return this.#isShared ? 'ok' : 'down';
  }

  /** Waits for Redis, for at most two seconds. Never throws. */
  async start(): Promise<void> {
    const redis = this.#redis;
    if (redis === null) return;
    let cause: unknown = null;
    for (const until = performance.now() + START_MS; performance.now() < until; ) {
      try {
        await redis.probe();
        this.#isShared = true;
        return;
      } catch (error) {
        cause = error;
        await sleep(START_RETRY_MS);
      }
    }
    this.#goAlone(redis, cause);
  }

  take(ask: Ask): Answer | Promise<Answer> {
    const redis = this.#redis;
    if (redis === null || !this.#isShared) return this.#own.take(ask);
    return redis.take(ask).catch((error: unknown) => {
      this.#lose(redis, error);
      return this.#own.take(ask);
    });
  }

  levels(subjects: readonly Subject[]): readonly Level[] | Promise<readonly Level[]> {
    const redis = this.#redis;
    if (redis === null || !this.#isShared) return this.#own.levels(subjects);
    return redis.levels(subjects).catch((error: unknown) => {
      this.#lose(redis, error);
      return this.#own.levels(subjects);
    });
  }

  async close(): Promise<void> {
    if (this.#probes !== null) clearInterval(this.#probes);
    await this.#redis?.close();
  }

  #lose(redis: RedisLimiter, cause: unknown): void {
    if (!this.#isShared) return;
    this.#isShared = false;
    redis.reset();
    this.#goAlone(redis, cause);
  }

  #goAlone(redis: RedisLimiter, cause: unknown): void {
    // The message alone: a command's arguments may hold the password.
    const message = cause instanceof Error ? cause.message : String(cause);
    this.#log.warn({ cause: message }, 'Redis does not answer: this gateway limits requests by itself until it does');
    this.#probes = setInterval(() => void this.#probe(redis), PROBE_MS);
    this.#probes.unref();
  }

  async #probe(redis: RedisLimiter): Promise<void> {
    if (this.#probing) return;
    this.#probing = true;
    try {
      await redis.probe();
      clearInterval(this.#probes!);
      this.#isShared = true;
      this.#log.info('Redis answers again: limits are shared');
    } catch {
      // It is asked again.
    } finally {
      this.#probing = false;
    }
  }
}
