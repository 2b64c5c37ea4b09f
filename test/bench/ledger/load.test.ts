/** The loops of the load: what they start and when, and from when a latency counts. */
import { expect, test } from 'vitest';
import { arrivals, closedLoop, openLoop, type Time } from './load.ts';

/** Time that passes only while somebody sleeps: the earliest sleeper wakes first. */
class VirtualTime implements Time {
  #now = 1_000;
  #sleepers: { at: number; wake: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((wake) => {
      this.#sleepers.push({ at: this.#now + ms, wake });
      // After everything that can run without the time passing.
      setImmediate(() => this.#wakeNext());
    });
  }

  #wakeNext(): void {
    this.#sleepers.sort((a, b) => a.at - b.at);
    const next = this.#sleepers.shift()!;
    this.#now = Math.max(this.#now, next.at);
    next.wake();
  }
}

test('an open loop begins each pair at its instant, and does not wait for those before it', async () => {
  const time = new VirtualTime();
  const began: number[] = [];
  const pair = (): Promise<void> => {
    began.push(time.now() - 1_000);
    return time.sleep(25);
  };
  const result = await openLoop(pair, [10, 20, 30], time);
  expect(began).toEqual([10, 20, 30]);
  expect(result).toEqual({ pairs: 3, seconds: 0.055, latenciesMs: [25, 25, 25] });
});

test('a stall counts for every pair that should have begun meanwhile', async () => {
  const time = new VirtualTime();
  // A timer that is 100 ms late, as when the process was busy.
  const late: Time = { now: () => time.now(), sleep: (ms) => time.sleep(ms < 20 ? 100 : ms) };
  const result = await openLoop(() => time.sleep(1), [10, 20, 30, 250], late);
  expect(result.latenciesMs).toEqual([91, 81, 71, 1]);
});

test('a closed loop has one pair a client in flight, and ends by the clock', async () => {
  const time = new VirtualTime();
  let running = 0;
  let most = 0;
  const pair = async (): Promise<void> => {
    most = Math.max(most, ++running);
    await time.sleep(10);
    running--;
  };
  expect(await closedLoop(pair, 3, 100, time)).toMatchObject({ pairs: 30, seconds: 0.1 });
  expect([most, running]).toEqual([3, 0]);
});

test('a pair that is refused ends the load with its reason, and no pair is left running', async () => {
  const time = new VirtualTime();
  let running = 0;
  let begun = 0;
  const pair = async (): Promise<void> => {
    running++;
    const refused = ++begun === 5;
    await time.sleep(10).finally(() => running--);
    if (refused) throw new Error('refused');
  };
  await expect(closedLoop(pair, 2, 1_000, time)).rejects.toThrow('refused');
  expect([running, begun]).toEqual([0, 6]);
  begun = 0;
  await expect(openLoop(pair, [1, 2, 3, 4, 5, 6], time)).rejects.toThrow('refused');
  expect(running).toBe(0);
});

test('arrivals are ascending, within their time, as many as asked, and not evenly spread', () => {
  let state = 1;
  const random = (): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  const instants = [...arrivals(1_000, 10_000, random)];
  expect(instants).toEqual(instants.toSorted((a, b) => a - b));
  expect(instants.at(-1)).toBeLessThan(10_000);
  expect(Math.abs(instants.length - 10_000)).toBeLessThan(300);
  const gaps = instants.map((at, i) => at - (instants[i - 1] ?? 0));
  // Of exponential gaps 37 in 100 are longer than the mean.
  expect(gaps.filter((gap) => gap > 1).length / gaps.length).toBeCloseTo(Math.exp(-1), 1);
});
