/**
 * Runs the jobs that it is handed, each in a loop of its own, so that one that takes long or fails holds none of the others up.
 *
 *   resting ──its time came, or it was woken──▶ running ──there may be more──▶ running
 *      ▲                                          │  └──nothing was left──▶ resting, for as long as it says
 *      │                                          └──it failed──▶ failing: rests longer each time, and is not woken
 *      └──stop──▶ ended
 */
import { describeError } from '../lib/describe-error.ts';
import type { Job } from '../lib/job.ts';
import type { Logger } from '../observe/log.ts';

/** A job that failed rests a second, then twice as long each time, up to this; never shorter than it rests anyway. */
const LONGEST_BACKOFF_MS = 60_000;
const FIRST_BACKOFF_MS = 1_000;
/** The same failure is logged so often at most, whatever jobs have it: the database may be away for hours. */
const WARN_EVERY_MS = 60_000;
const MOST_KINDS = 100;
/** What runs when the process stops has so long to end; what it leaves undone is the next process's. */
const END_MS = 5_000;

/** How a job fares. Times are milliseconds since the epoch; null: never. */
export interface Standing {
  runs: number;
  failures: number;
  lastSuccessMs: number | null;
}

interface Running {
  job: Job;
  standing: Standing;
  /** Ends its rest. */
  rouse: () => void;
  woken: boolean;
  ended: Promise<void>;
}

export class Workers {
  readonly #log: Logger;
  readonly #running = new Map<string, Running>();
  readonly #stop = new AbortController();
  readonly #warnedMs = new Map<string, number>();

  constructor({ log }: { log: Logger }) {
    this.#log = log;
  }

  /** Starts jobs. Each name once. */
  start(jobs: readonly Job[]): void {
    for (const job of jobs) {
      if (this.#running.has(job.name)) throw new Error(`there are two jobs ${job.name}`);
      const standing = { runs: 0, failures: 0, lastSuccessMs: null };
      const running: Running = { job, standing, rouse: () => {}, woken: false, ended: Promise.resolve() };
      this.#running.set(job.name, running);
      running.ended = this.#loop(running);
    }
  }

  /** Runs a job now, where it rests; once more where it runs. A name that nobody has is nobody's. */
  wake(name: string): void {
    const running = this.#running.get(name);
    if (running === undefined) return;
    running.woken = true;
    running.rouse();
  }

  /** Every job by its name, for metrics. */
  standings(): [string, Standing][] {
    return [...this.#running].map(([name, { standing }]) => [name, standing]);
  }

  /** Runs nothing more; resolves when nothing of it runs, or after five seconds. */
  async stop(): Promise<void> {
    this.#stop.abort();
    const all = [...this.#running.values()];
    for (const { rouse } of all) rouse();
    const ended = Promise.all(all.map(({ ended }) => ended)).then(() => true);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), END_MS);
    });
    if (!(await Promise.race([ended, late]))) this.#log.warn('jobs still run; what they leave is done later');
    clearTimeout(timer);
  }

  async #loop(running: Running): Promise<void> {
    const { job, standing } = running;
    const { signal } = this.#stop;
    let failed = 0;
    while (!signal.aborted) {
      running.woken = false;
      let more = false;
      try {
        more = await job.run(signal);
        failed = 0;
        standing.runs++;
        standing.lastSuccessMs = Date.now();
      } catch (error) {
        failed++;
        standing.failures++;
        if (!signal.aborted) this.#warn(job, error, failed);
      }
      if (!more) await rest(running, failed, signal);
    }
    await job.end?.().catch((error) => this.#warn(job, error, 1));
  }

  /** An error of a library may carry what was sent or answered: none of that is logged. */
  #warn({ name }: Job, error: unknown, failed: number): void {
    const cause = describeError(error);
    const now = performance.now();
    if (now - (this.#warnedMs.get(cause) ?? Number.NEGATIVE_INFINITY) < WARN_EVERY_MS) return;
    if (this.#warnedMs.size >= MOST_KINDS) this.#warnedMs.clear();
    this.#warnedMs.set(cause, now);
    this.#log.warn({ job: name, cause, failed }, 'a job failed; it is tried again');
  }
}

/** Until its time comes, it is woken, or all stop. A job that fails is not woken, or whoever wakes it would make it fail without rest. */
function rest(running: Running, failed: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || (running.woken && failed === 0)) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, failed === 0 ? running.job.everyMs : backoff(running.job.everyMs, failed));
    // Nothing but a job that rests is no reason for a process to live on.
    timer.unref();
    running.rouse = () => {
      if (failed === 0 || signal.aborted) done();
    };
    function done(): void {
      clearTimeout(timer);
      running.rouse = () => {};
      resolve();
    }
  });
}

/** Half of it by chance, so that processes that failed together do not try together. */
function backoff(everyMs: number, failed: number): number {
  const ms = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failed - 1, 16));
  return Math.max(everyMs, ms / 2 + (Math.random() * ms) / 2);
}
