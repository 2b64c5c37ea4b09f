/** A limiter takes all or nothing, by windows and slots: in this process as a naive model does, and over Redis the same. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Kind, type Limiter, refusalOf, type Subject, type Taken } from '../../src/entitlements/limits/limiter.ts';
import { MemoryLimiter } from '../../src/entitlements/limits/memory.ts';
import { RedisLimiter } from '../../src/entitlements/limits/redis.ts';
import { duration, rateLimited, rateLimitHeaders } from '../../src/entitlements/limits/refusal.ts';
import { noRedis, startRedis, type TestRedis } from '../support/redis.ts';

type Limits = Partial<Record<Kind, number>>;

function subject(key: string, limits: Limits): Subject {
  return { key, whose: 'this account', limits: { requests: null, tokens: null, concurrency: null, ...limits } };
}

const limit = fc.option(fc.integer({ min: 0, max: 6 }), { nil: undefined });
const aSubject = fc
  .record({ key: fc.constantFrom('{a}', '{a}:k', '{b}'), requests: limit, tokens: limit, concurrency: limit })
  .map(({ key, ...limits }) => subject(key, JSON.parse(JSON.stringify(limits)) as Limits));
const aStep = fc.oneof(
  fc.record({
    do: fc.constant('take' as const),
    subjects: fc.uniqueArray(aSubject, { selector: ({ key }) => key, minLength: 1, maxLength: 3 }),
    tokens: fc.integer({ min: 0, max: 4 }),
  }),
  fc.record({ do: fc.constant('end' as const), of: fc.nat(5), used: fc.integer({ min: 0, max: 6 }) }),
  fc.record({ do: fc.constant('undo' as const), of: fc.nat(5) }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 20_000, 59_999, 60_000) }),
);
type Steps = (typeof aStep extends fc.Arbitrary<infer T> ? T : never)[];

/** What a limiter answers to a history, each step in words. */
async function play(steps: Steps, clock: { ms: number }, limiter: Limiter): Promise<unknown[]> {
  const taken: Taken[] = [];
  const said: unknown[] = [];
  let ids = 0;
  for (const step of steps) {
    if (step.do === 'wait') clock.ms += step.ms;
    else if (step.do === 'take') {
      const ask = { request: `r${ids++}`, tokens: step.tokens, subjects: step.subjects };
      const answer = await limiter.take(ask);
      if (answer.taken !== null) taken.push(answer.taken);
      // Where something was refused, it can be told what.
      else expect(refusalOf(ask, answer.levels)).not.toBeNull();
      said.push({ isTaken: answer.taken !== null, levels: answer.levels });
    } else if (taken.length > 0) {
      const one = taken[step.of % taken.length]!;
      if (step.do === 'end') one.end(step.used);
      else one.undo();
    }
  }
  return said;
}

/** Keeps every request there ever was, and counts them anew at each. */
class NaiveLimiter implements Limiter {
  readonly #clock: { ms: number };
  readonly #all: { subject: Subject; began: number; requests: number; tokens: number; runs: boolean }[] = [];

  constructor(clock: { ms: number }) {
    this.#clock = clock;
  }

  take({ subjects, tokens }: { subjects: readonly Subject[]; tokens: number }) {
    const before = this.levels(subjects);
    const isTaken = subjects.every(({ limits }, i) => {
      const { requests, tokens: used, concurrency } = before[i]!;
      const { requests: r = null, tokens: t = null, concurrency: c = null } = limits;
      return !(
        (r !== null && requests + 1 > r) ||
        (t !== null && used + tokens > t) ||
        (c !== null && concurrency + 1 > c)
      );
    });
    if (!isTaken) return { levels: before, taken: null };
    const made = subjects.map((of) => {
      const counts = of.limits.requests !== null || of.limits.tokens !== null;
      const began = counts ? (this.#window(of) ?? this.#clock.ms) : Number.NaN;
      return { subject: of, began, requests: 1, tokens, runs: of.limits.concurrency !== null };
    });
    this.#all.push(...made);
    let isOver = false;
    const over = (requests: number, used: number): void => {
      if (!isOver) for (const one of made) Object.assign(one, { requests, tokens: used, runs: false });
      isOver = true;
    };
    return { levels: this.levels(subjects), taken: { end: (used: number) => over(1, used), undo: () => over(0, 0) } };
  }

  levels(subjects: readonly Subject[]) {
    return subjects.map((of) => {
      const counts = of.limits.requests !== null || of.limits.tokens !== null;
      const began = counts ? this.#window(of) : undefined;
      const inWindow = this.#all.filter((one) => one.subject.key === of.key && one.began === began);
      const running = this.#all.filter(({ subject: { key }, runs }) => key === of.key && runs);
      return {
        requests: inWindow.reduce((sum, { requests }) => sum + requests, 0),
        tokens: inWindow.reduce((sum, { tokens }) => sum + tokens, 0),
        concurrency: of.limits.concurrency === null ? 0 : running.length,
        resetMs: began === undefined ? 0 : began + 60_000 - this.#clock.ms,
      };
    });
  }

  /** When the window that runs began. */
  #window({ key }: Subject): number | undefined {
    return this.#all.find((one) => one.subject.key === key && one.began + 60_000 > this.#clock.ms)?.began;
  }
}

/** Tokens that are given back when their window is over, and the next has begun. */
const LATE: Steps = [
  { do: 'take', subjects: [subject('{late}', { requests: 9, tokens: 9 })], tokens: 4 },
  { do: 'wait', ms: 60_000 },
  { do: 'take', subjects: [subject('{late}', { requests: 9, tokens: 9 })], tokens: 4 },
  { do: 'end', of: 0, used: 1 },
  { do: 'take', subjects: [subject('{late}', { requests: 9, tokens: 9 })], tokens: 4 },
];
const PARAMS = { numRuns: 300, seed: Number(process.env.SEED ?? 5_005) };

it('in this process: as a naive model that keeps everything', async () => {
  const history = fc.asyncProperty(fc.array(aStep, { maxLength: 40 }), async (steps) => {
    const [a, b] = [{ ms: 1_000 }, { ms: 1_000 }];
    const memory = new MemoryLimiter({ now: () => a.ms });
    expect(await play(steps, a, memory)).toEqual(await play(steps, b, new NaiveLimiter(b)));
  });
  await fc.assert(history, { ...PARAMS, examples: [[LATE]] });
});

describe.skipIf(noRedis).concurrent('over Redis', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());

  async function connected(limiter: RedisLimiter): Promise<RedisLimiter> {
    while (
      !(await limiter.probe().then(
        () => true,
        () => false,
      ))
    )
      await sleep(10);
    return limiter;
  }

  it('the same, by the clock of Redis', async () => {
    const clock = { ms: 1_000_000_000_000 };
    // A lease that no history outlives: in this process there are none.
    const shared = await connected(
      new RedisLimiter({ url: redis.url, leaseMs: 100_000_000, clock: { now: () => clock.ms } }),
    );
    let histories = 0;
    const history = fc.asyncProperty(fc.array(aStep, { maxLength: 40 }), async (steps) => {
      const own = { ms: clock.ms };
      const id = histories++;
      const renamed = steps.map((step) =>
        step.do !== 'take'
          ? step
          : { ...step, subjects: step.subjects.map((one) => ({ ...one, key: `${id}${one.key}` })) },
      );
      expect(await play(renamed, clock, shared)).toEqual(
        await play(renamed, own, new MemoryLimiter({ now: () => own.ms })),
      );
    });
    await fc.assert(history, { ...PARAMS, numRuns: 100, examples: [[LATE]] });
    await shared.close();
  });

  it('slots of a gateway that was killed are free once their lease is over, those of one that lives are not', async () => {
    const LEASE_MS = 450;
    const slots = [subject('{killed}', { concurrency: 2 })];
    const take = (limiter: Limiter, request: string) => limiter.take({ request, tokens: 0, subjects: slots });
    const program = `
      import { RedisLimiter } from ${JSON.stringify(join(import.meta.dirname, '../../src/entitlements/limits/redis.ts'))};
      const limiter = new RedisLimiter({ url: ${JSON.stringify(redis.url)}, leaseMs: ${LEASE_MS} });
      while (!(await limiter.probe().then(() => true, () => false))) await new Promise((go) => setTimeout(go, 10));
      await limiter.take({ request: 'theirs', tokens: 0, subjects: ${JSON.stringify(slots)} });
      console.log('taken');
      setInterval(() => {}, 1_000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const limiter = await connected(new RedisLimiter({ url: redis.url, leaseMs: LEASE_MS }));
    const ours = (await take(limiter, 'ours')).taken!;
    await sleep(LEASE_MS * 1.5);
    expect((await take(limiter, 'third')).taken).toBeNull();
    child.kill('SIGKILL');
    await once(child, 'exit');
    await sleep(LEASE_MS + 50);
    const { taken, levels } = await take(limiter, 'third');
    expect({ isTaken: taken !== null, levels }).toMatchObject({ isTaken: true, levels: [{ concurrency: 2 }] });
    expect((await take(limiter, 'fourth')).taken).toBeNull();
    ours.end(0);
    taken!.end(0);
    expect(await limiter.levels(slots)).toMatchObject([{ concurrency: 0 }]);
    await limiter.close();
  });

  it('all that is kept of a subject expires by itself', async () => {
    const limiter = await connected(new RedisLimiter({ url: redis.url }));
    await limiter.take({
      request: 'r',
      tokens: 5,
      subjects: [subject('{gone}', { requests: 9, tokens: 9, concurrency: 9 })],
    });
    const { Redis } = await import('ioredis');
    const raw = new Redis(redis.url);
    const keys = await raw.keys('*{gone}*');
    expect(keys.toSorted()).toEqual(['tollgate:limits:slots:{gone}', 'tollgate:limits:windows:{gone}']);
    for (const key of keys) expect(await raw.pttl(key)).toBeGreaterThan(0);
    raw.disconnect();
    await limiter.close();
  });
});

describe('what a client is told', () => {
  it('durations as OpenAI writes them', () => {
    expect([0, 12, 999, 1_000, 1_250, 59_999, 60_000, 360_000].map(duration)).toEqual([
      ...['0s', '12ms', '999ms', '1s', '1.25s', '59.999s', '1m0s', '6m0s'],
    ]);
  });

  it('of several limits that are reached, the one that keeps it waiting longest', () => {
    const subjects = [subject('{a}', { requests: 2 }), subject('{a}:k', { tokens: 100, concurrency: 1 })];
    const levels = [
      { requests: 2, tokens: 0, concurrency: 0, resetMs: 1_200 },
      { requests: 1, tokens: 90, concurrency: 1, resetMs: 30_000 },
    ];
    const ask = { request: 'r', tokens: 20, subjects };
    const error = rateLimited(refusalOf(ask, levels)!, 'plain');
    expect(error.message).toBe(
      'Rate limit reached for plain by this account on tokens per min (TPM): Limit 100, Used 90, Requested 20. Please try again in 30s.',
    );
    expect(error.headers()).toEqual({ 'retry-after': '30', 'retry-after-ms': '30000' });
    expect(rateLimitHeaders(subjects, levels)).toEqual([
      ['x-ratelimit-limit-requests', '2'],
      ['x-ratelimit-remaining-requests', '0'],
      ['x-ratelimit-reset-requests', '1.2s'],
      ['x-ratelimit-limit-tokens', '100'],
      ['x-ratelimit-remaining-tokens', '10'],
      ['x-ratelimit-reset-tokens', '30s'],
    ]);
  });

  it('of what can never fit, that it is of no use to try again', () => {
    const subjects = [subject('{a}', { tokens: 10 })];
    const level = { requests: 0, tokens: 0, concurrency: 0, resetMs: 0 };
    const error = rateLimited(refusalOf({ request: 'r', tokens: 20, subjects }, [level])!, 'plain');
    expect(error.message).toContain('Limit 10, Requested 20. It can never fit');
    expect(error.headers()).toMatchObject({ 'retry-after': '1', 'x-should-retry': 'false' });
  });
});
