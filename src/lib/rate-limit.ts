/**
 * A limit of calls, per key of any kind, in a fixed window, in this process.
 *
 *   absent ──first call──▶ counting ──the window ends, the next call──▶ counting anew
 *             └── at most `MOST_KEYS` are remembered: the one remembered longest makes room
 */
import type { Clock } from './clock.ts';

const MOST_KEYS = 20_000;

export class RateLimit<K> {
  readonly #calls: number;
  readonly #windowMs: number;
  readonly #clock: Clock;
  readonly #windows = new Map<K, { endsAt: number; left: number }>();

  /** `calls` per key in each `windowMs`, which begins with a key's first call. */
  constructor(calls: number, windowMs: number, clock: Clock) {
    this.#calls = calls;
    this.#windowMs = windowMs;
    this.#clock = clock;
  }

  /** Takes one call of a key: 0, or the milliseconds to wait when none is left. */
  take(key: K): number {
    const now = this.#clock.now();
    let window = this.#windows.get(key);
    if (window === undefined || window.endsAt <= now) {
      this.#windows.delete(key);
      if (this.#windows.size >= MOST_KEYS) this.#windows.delete(this.#windows.keys().next().value!);
      window = { endsAt: now + this.#windowMs, left: this.#calls };
      this.#windows.set(key, window);
    }
    if (window.left === 0) return window.endsAt - now;
    window.left--;
    return 0;
  }
}
