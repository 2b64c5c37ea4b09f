/**
 * Limits of this process alone: exact within it, and gone with it, so that nothing has to be healed after a crash.
 *
 *   a window:  absent ──first request──▶ counting ──a minute later──▶ absent
 *                └── at most `MOST_WINDOWS` are remembered: the one that began first makes room
 *   a slot:    free ──take──▶ taken ──end──▶ free        (as many as requests run)
 */
import type { Clock } from '../../lib/clock.ts';
import {
  type Answer,
  type Ask,
  fits,
  hasWindow,
  type Level,
  type Limiter,
  type Subject,
  type Taken,
  WINDOW_MS,
} from './limiter.ts';

const MOST_WINDOWS = 100_000;

interface Window {
  endsAt: number;
  requests: number;
  tokens: number;
}

export class MemoryLimiter implements Limiter {
  readonly #clock: Clock;
  /** In the order in which they began, which is that in which they end. */
  readonly #windows = new Map<string, Window>();
  readonly #running = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  take(ask: Ask): Answer {
    const levels = this.levels(ask.subjects);
    if (!fits(ask, levels)) return { levels, taken: null };
    const windows = ask.subjects.map((subject, i) => this.#add(subject, ask.tokens, levels[i]!));
    return { levels, taken: this.#taken(ask, windows) };
  }

  levels(subjects: readonly Subject[]): Level[] {
    const now = this.#clock.now();
    this.#forgetEnded(now);
    return subjects.map((subject) => {
      const window = hasWindow(subject) ? this.#windows.get(subject.key) : undefined;
      return {
        requests: window?.requests ?? 0,
        tokens: window?.tokens ?? 0,
        concurrency: subject.limits.concurrency === null ? 0 : (this.#running.get(subject.key) ?? 0),
        resetMs: window === undefined ? 0 : window.endsAt - now,
      };
    });
  }

  /** Counts a request, in its level too; returns the window it counts in. */
  #add(subject: Subject, tokens: number, level: Level): Window | null {
    const { key, limits } = subject;
    if (limits.concurrency !== null) this.#running.set(key, ++level.concurrency);
    if (!hasWindow(subject)) return null;
    let window = this.#windows.get(key);
    if (window === undefined) {
      if (this.#windows.size >= MOST_WINDOWS) this.#windows.delete(this.#windows.keys().next().value!);
      window = { endsAt: this.#clock.now() + WINDOW_MS, requests: 0, tokens: 0 };
      this.#windows.set(key, window);
      level.resetMs = WINDOW_MS;
    }
    level.requests = ++window.requests;
    level.tokens = window.tokens += tokens;
    return window;
  }

  /** What is given back goes to the windows that it was taken from, which may be over. */
  #taken({ subjects, tokens }: Ask, windows: readonly (Window | null)[]): Taken {
    let isOver = false;
    const giveBack = (requests: number, moreTokens: number): void => {
      if (isOver) return;
      isOver = true;
      for (const window of windows) {
        if (window === null) continue;
        window.requests += requests;
        window.tokens += moreTokens;
      }
      for (const { key, limits } of subjects) if (limits.concurrency !== null) this.#free(key);
    };
    return { end: (used) => giveBack(0, used - tokens), undo: () => giveBack(-1, -tokens) };
  }

  #free(key: string): void {
    const running = this.#running.get(key)! - 1;
    if (running === 0) this.#running.delete(key);
    else this.#running.set(key, running);
  }

  /** A clock that was set back must not make a window longer. */
  #forgetEnded(now: number): void {
    for (const [key, { endsAt }] of this.#windows) {
      if (endsAt > now && endsAt - now <= WINDOW_MS) break;
      this.#windows.delete(key);
    }
  }
}
