/** Jobs run for as long as the process does, whatever one of them does; and not a moment longer. */
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import type { Job } from '../../src/lib/job.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { measureJobs } from '../../src/workers/metrics.ts';
import { Workers } from '../../src/workers/run.ts';

const NEVER_MS = 3_600_000;
let workers: Workers;
afterEach(() => workers.stop());

function started(...jobs: Job[]): Workers {
  workers = new Workers({ log: silentLogger });
  workers.start(jobs);
  return workers;
}

/** A job that runs what it is told to, and a way to wait for its nth run. */
function scripted(name: string, act: (run: number) => Promise<boolean> | boolean, everyMs = NEVER_MS) {
  let runs = 0;
  const waiting = new Map<number, () => void>();
  const job: Job = {
    name,
    everyMs,
    run: async () => {
      runs++;
      waiting.get(runs)?.();
      return act(runs);
    },
  };
  const reached = (run: number): Promise<void> =>
    runs >= run ? Promise.resolve() : new Promise((resolve) => waiting.set(run, resolve));
  return { job, reached, runs: () => runs };
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describe('a job', () => {
  it('runs at once, and again while there may be more', async () => {
    const { job, reached, runs } = scripted('a', (run) => run < 4);
    started(job);
    await reached(4);
    await settled();
    expect(runs()).toBe(4);
  });

  it('runs again when its rest is over', async () => {
    const { job, reached } = scripted('a', () => false, 1);
    started(job);
    await reached(3);
  });

  it('runs when it is woken', async () => {
    const { job, reached, runs } = scripted('a', () => false);
    started(job);
    await reached(1);
    await settled();
    workers.wake('a');
    await reached(2);
    await settled();
    expect(runs()).toBe(2);
  });

  it('runs once more when it was woken while it ran, since it may have looked already', async () => {
    const gate = Promise.withResolvers<void>();
    const { job, reached, runs } = scripted('a', async (run) => {
      if (run === 1) await gate.promise;
      return false;
    });
    started(job);
    await reached(1);
    workers.wake('a');
    workers.wake('a');
    gate.resolve();
    await reached(2);
    await settled();
    expect(runs()).toBe(2);
  });

  it('that fails is tried again, by itself', async () => {
    const { job, reached } = scripted('a', (run) => (run === 1 ? Promise.reject(new Error('no')) : false), 1);
    started(job);
    await reached(2);
    await settled();
    expect(workers.standings()).toMatchObject([['a', { failures: 1 }]]);
    expect(workers.standings()[0]![1].runs).toBeGreaterThan(0);
  });

  it('that fails is not woken out of its rest: it would fail without one', async () => {
    const { job, reached, runs } = scripted('a', () => Promise.reject(new Error('no')));
    started(job);
    await reached(1);
    await settled();
    for (let i = 0; i < 10; i++) workers.wake('a');
    await settled();
    expect(runs()).toBe(1);
  });

  it('that hangs or fails holds none of the others up', async () => {
    const hung = Promise.withResolvers<boolean>();
    const a = scripted('a', () => hung.promise);
    const b = scripted('b', () => Promise.reject(new Error('no')));
    const c = scripted('c', (run) => run < 3);
    started(a.job, b.job, c.job);
    await c.reached(3);
    hung.resolve(false);
  });
});

it('what several jobs fail of is logged once a minute, without what an error carries', async () => {
  const logged: string[] = [];
  const log = Object.create(silentLogger) as typeof silentLogger;
  log.warn = (...args: unknown[]) => void logged.push(JSON.stringify(args));
  workers = new Workers({ log });
  const error = Object.assign(new Error('No such customer of planted@example.com with sk_live_planted'), {
    raw: { email: 'planted@example.com' },
  });
  const [a, b] = ['a', 'b'].map((name) => scripted(name, () => Promise.reject(error)));
  workers.start([a!.job, b!.job]);
  await Promise.all([a!.reached(1), b!.reached(1)]);
  await settled();
  expect(logged).toHaveLength(1);
  expect(logged[0]).toContain('No such customer');
  expect(logged[0]).not.toContain('planted');
});

it('how jobs fare is in the metrics', async () => {
  const registry = new Registry();
  const a = scripted('a', () => false);
  const b = scripted('b', () => Promise.reject(new Error('no')));
  measureJobs(started(a.job, b.job), registry);
  await Promise.all([a.reached(1), b.reached(1)]);
  await settled();
  const text = await registry.metrics();
  expect(text).toContain('tollgate_job_failures_total{job="a"} 0');
  expect(text).toContain('tollgate_job_failures_total{job="b"} 1');
  expect(text).toMatch(/tollgate_job_last_success_timestamp_seconds\{job="a"\} \d{10}/);
  expect(text).not.toContain('timestamp_seconds{job="b"}');
});

describe('stopping', () => {
  it('waits for what runs, tells it so, and starts nothing more', async () => {
    const gate = Promise.withResolvers<void>();
    let told = false;
    let ended = false;
    const running = Promise.withResolvers<void>();
    started({
      name: 'a',
      everyMs: 0,
      run: async (signal) => {
        signal.addEventListener('abort', () => {
          told = true;
        });
        running.resolve();
        await gate.promise;
        return true;
      },
      end: async () => {
        ended = true;
      },
    });
    await running.promise;
    let stopped = false;
    const stopping = workers.stop().then(() => {
      stopped = true;
    });
    await settled();
    expect({ told, ended, stopped }).toEqual({ told: true, ended: false, stopped: false });
    gate.resolve();
    await stopping;
    expect(ended).toBe(true);
  });

  it('ends jobs that rest at once', async () => {
    const { job, reached } = scripted('a', () => false);
    started(job);
    await reached(1);
    await workers.stop();
  });

  it('refuses two jobs of one name', () => {
    const { job } = scripted('a', () => false);
    expect(() => started(job, job)).toThrow('two jobs a');
  });
});
