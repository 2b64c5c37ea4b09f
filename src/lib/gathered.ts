/**
 * One call at a time of each key. Whoever comes while it runs waits for the next, which all of those share: each has an answer that
 * was begun after it asked, and a flood of them costs no more than one call after the other.
 *
 *   idle ──run──▶ running ──run──▶ running, another due ──it ends──▶ running
 *    ▲              │ ends: forgotten
 *    └──────────────┘
 */
interface Calls<T> {
  running: Promise<T>;
  due: Promise<T> | null;
}

export class Gathered<T> {
  readonly #calls = new Map<string, Calls<T>>();

  /** The answer of a call that begins now or later; callers that share one give equal calls. */
  run(key: string, call: () => Promise<T>): Promise<T> {
    const calls = this.#calls.get(key);
    if (calls === undefined) return this.#start(key, call);
    calls.due ??= calls.running.then(
      () => this.#start(key, call),
      () => this.#start(key, call),
    );
    return calls.due;
  }

  #start(key: string, call: () => Promise<T>): Promise<T> {
    const calls: Calls<T> = { running: call(), due: null };
    this.#calls.set(key, calls);
    const forget = (): void => {
      if (calls.due === null) this.#calls.delete(key);
    };
    calls.running.then(forget, forget);
    return calls.running;
  }
}
