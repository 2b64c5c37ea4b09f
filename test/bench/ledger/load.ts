/** The two loops of the load: closed (a client begins its next pair when the last has ended) and open (pairs begin by a timetable). */

/** One hold and the settle that ends it. Throws when either is refused. */
export type Pair = () => Promise<void>;

export interface LoadResult {
  pairs: number;
  seconds: number;
  /** Of each pair: from its begin in a closed loop, from its place in the timetable in an open one. */
  latenciesMs: number[];
}

/** What the loops know of time; replaced by a test. */
export interface Time {
  /** Milliseconds, never going back. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

const realTime: Time = {
  now: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

/** `clients` clients, each with one pair at a time, until `forMs` have passed. Throws what a pair throws, after all have ended. */
export async function closedLoop(pair: Pair, clients: number, forMs: number, time = realTime): Promise<LoadResult> {
  const latenciesMs: number[] = [];
  const beganAt = time.now();
  let endsAt = beganAt + forMs;
  const client = async (): Promise<void> => {
    for (let at = time.now(); at < endsAt; ) {
      await pair();
      const now = time.now();
      latenciesMs.push(now - at);
      at = now;
    }
  };
  const stopAll = (error: unknown): never => {
    endsAt = beganAt;
    throw error;
  };
  await allOf(Array.from({ length: clients }, () => client().catch(stopAll)));
  return { pairs: latenciesMs.length, seconds: (time.now() - beganAt) / 1000, latenciesMs };
}

/**
 * Begins a pair at each of `timetable` (milliseconds from now, ascending), however many still run: latencies count from
 * there, so that a stall delays every pair that should have begun meanwhile. Throws what a pair throws, after all have ended.
 */
export async function openLoop(pair: Pair, timetable: Iterable<number>, time = realTime): Promise<LoadResult> {
  const latenciesMs: number[] = [];
  const running: Promise<void>[] = [];
  const beganAt = time.now();
  for (const at of timetable) {
    // Timers are up to a few milliseconds late: what is due by then begins at once, and counts from when it was due.
    for (let wait = beganAt + at - time.now(); wait > 0; wait = beganAt + at - time.now()) await time.sleep(wait);
    running.push(pair().then(() => void latenciesMs.push(time.now() - beganAt - at)));
  }
  await allOf(running);
  return { pairs: latenciesMs.length, seconds: (time.now() - beganAt) / 1000, latenciesMs };
}

/** Instants in milliseconds below `forMs`, at random as requests of many strangers come: a Poisson process. */
export function* arrivals(perSecond: number, forMs: number, random: () => number = Math.random): Generator<number> {
  const gap = (): number => (-Math.log(1 - random()) * 1000) / perSecond;
  for (let at = gap(); at < forMs; at += gap()) yield at;
}

async function allOf(promises: Promise<void>[]): Promise<void> {
  const failure = (await Promise.allSettled(promises)).find((end) => end.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}
