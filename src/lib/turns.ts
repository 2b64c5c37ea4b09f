/**
 * Lets so many at a time at something that is scarce, such as the connections of a pool; the others wait in their order.
 *
 *   asked ──a turn is free──▶ running ──ends──▶ gone
 *     └─none is──▶ waiting ──one ends──▶ running
 *     └─too many wait──▶ refused
 */
export class Turns {
  readonly #most: number;
  readonly #mostWaiting: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(most: number, mostWaiting: number) {
    this.#most = most;
    this.#mostWaiting = mostWaiting;
  }

  /** What `work` gives, once it had its turn; `null` when so many wait already that it is not even begun. */
  async run<T>(work: () => Promise<T>): Promise<T | null> {
    if (this.#running === this.#most) {
      if (this.#waiting.length === this.#mostWaiting) return null;
      // Whoever ends hands its turn on: it is never free in between.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
