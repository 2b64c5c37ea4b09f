/** The requests this process works on: what a drain waits for, and whose cost so far the heartbeat notes. */
import type { Metered } from '../ledger/owners.ts';
import type { Clock } from '../lib/clock.ts';
import type { Relay } from './6-relay.ts';
import type { Context } from './context.ts';

/** Only streams older than this are worth a write of what they have metered so far. */
const LONG_STREAM_MS = 10_000;

export class InFlight {
  readonly #relays = new Map<Context, Relay>();
  readonly #open = new Set<Context>();
  readonly #clock: Clock;
  readonly #costSoFar: (context: Context, relay: Relay) => bigint;
  #idle: (() => void) | null = null;

  /** `costSoFar` rates what a relay has seen, in nano-credits. */
  constructor(clock: Clock, costSoFar: (context: Context, relay: Relay) => bigint) {
    this.#clock = clock;
    this.#costSoFar = costSoFar;
  }

  /** How many requests are open. */
  get size(): number {
    return this.#open.size;
  }

  /** A request was taken. */
  opened(context: Context): void {
    this.#open.add(context);
  }

  /** A request was answered and its hold, if any, has ended or is being ended. */
  closed(context: Context): void {
    this.#open.delete(context);
    if (this.#open.size === 0) this.#idle?.();
  }

  /** A request is on its way to a provider: from now on it can be given up. */
  forwarding(context: Context, relay: Relay): void {
    this.#relays.set(context, relay);
  }

  /** The provider's answer has ended, one way or another. */
  ended(context: Context): void {
    this.#relays.delete(context);
  }

  /** Tells the relay of a request that its client has left; nothing where none is forwarding. */
  clientGone(context: Context): void {
    this.#relays.get(context)?.clientGone();
  }

  /** What long streams have used so far, for the heartbeat. */
  metered(): Metered[] {
    const oldest = this.#clock.now() - LONG_STREAM_MS;
    const long: Metered[] = [];
    for (const [context, relay] of this.#relays) {
      if (context.startedAt > oldest || relay.reader === null) continue;
      long.push({
        account: context.principal!.account,
        id: context.id,
        amount: this.#costSoFar(context, relay),
      });
    }
    return long;
  }

  /** Waits until nothing runs, at most `limitMs`; then gives up what still runs, which settles it by estimate. */
  async drain(limitMs: number): Promise<void> {
    if (this.#open.size === 0) return;
    const idle = new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
    const limit = setTimeout(() => {
      for (const relay of this.#relays.values()) relay.abandon();
    }, limitMs);
    await idle;
    clearTimeout(limit);
  }
}
