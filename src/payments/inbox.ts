/**
 * The worker of the inbox. The row of an event is its job:
 *
 *   due ──claimed for a minute──▶ its object synced ──▶ processed, in the transaction that posted; or ignored
 *    ▲                               │
 *    │                               ├──failed──▶ due later: 5 s, doubling to an hour ──15 times──▶ dead: an alarm; replay makes it due
 *    │                               └──Stripe is away, or asks us to slow down──▶ due later; it does not count
 *    └──whoever claimed it died: a minute later──┘
 *
 * A library of jobs (graphile-worker) would take up what a killed process had claimed after four hours: "paid but no credits" for so
 * long; and a row of its own beside each event would be the same state twice.
 */
import Stripe from 'stripe';
import { describeError } from '../lib/describe-error.ts';
import type { Job } from '../lib/job.ts';
import type { PaymentDeps } from './deps.ts';
import { type Claim, claimDue, endClaim, giveBack, objectKey, putOff } from './inbox-rows.ts';
import type { Outcome, PaymentMetrics } from './metrics.ts';
import type { StripeRef, SyncResult } from './sync/types.ts';

export const INBOX_JOB = 'stripe-inbox';

/** Objects that a process brings in line at once: a tenth of what Stripe answers in a sandbox, and each takes a connection only to post. */
const MOST_AT_ONCE = 8;
const POLL_MS = 1_000;
const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 3_600_000;
/** When Stripe asks us to slow down. */
const SLOW_DOWN_MS = 10_000;
/** When Stripe is away, or our key is not good. */
const AWAY_MS = 60_000;
/** When the process stops, syncs have so long to end; then they are the next process's. */
const END_MS = 4_000;
const WARN_EVERY_MS = 60_000;

export type Sync = (deps: PaymentDeps, ref: StripeRef, event: string | null) => Promise<SyncResult>;

export interface InboxOptions {
  deps: PaymentDeps;
  sync: Sync;
  metrics?: Pick<PaymentMetrics, 'attempted'>;
  /** Called when an object is done: there may be room for the next. */
  wake?: () => void;
}

export class Inbox implements Job {
  readonly name = INBOX_JOB;
  readonly everyMs = POLL_MS;
  readonly #options: InboxOptions;
  readonly #running = new Map<string, { claim: Claim; done: Promise<void> }>();
  #warnedMs = Number.NEGATIVE_INFINITY;

  constructor(options: InboxOptions) {
    this.#options = options;
  }

  /** Takes up as much as there is room for, and does not wait for it: a slow object holds no other up. */
  async run(): Promise<boolean> {
    const { deps, wake } = this.#options;
    const room = MOST_AT_ONCE - this.#running.size;
    if (room <= 0) return false;
    const { claims, dead, taken } = await claimDue(deps.pool, room, [...this.#running.keys()]);
    this.#alarm(dead);
    for (const claim of claims) {
      const key = objectKey(claim.kind, claim.id);
      const done = this.work(claim)
        .then(() => {})
        .catch((error) => this.#warn(claim, error))
        .finally(() => {
          this.#running.delete(key);
          wake?.();
        });
      this.#running.set(key, { claim, done });
    }
    return taken === room;
  }

  /** Waits for what runs; what takes longer is given back. */
  async end(limitMs = END_MS): Promise<void> {
    const all = [...this.#running.values()];
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, limitMs);
    });
    await Promise.race([Promise.all(all.map(({ done }) => done)), late]);
    clearTimeout(timer);
    const left = [...this.#running.values()].flatMap(({ claim }) => claim.events.map(({ id }) => id));
    if (left.length > 0) await giveBack(this.#options.deps.pool, left);
  }

  /** Brings the object of a claim in line, and notes how that went. Throws when the database does not take the note: its time will come again. */
  async work(claim: Claim): Promise<Outcome> {
    const outcome = await this.#attempt(claim);
    this.#options.metrics?.attempted(outcome);
    return outcome;
  }

  async #attempt(claim: Claim): Promise<Outcome> {
    const { deps, sync } = this.#options;
    try {
      const { id, kind } = claim;
      const { ours } = id === null ? { ours: false } : await sync(deps, { kind, id }, claim.events[0]!.id);
      const state = ours ? 'processed' : 'ignored';
      await endClaim(deps.pool, claim, state);
      return state;
    } catch (error) {
      const outcome = outcomeOf(error);
      const counts = outcome === 'failed';
      const afterMs = jittered(counts ? retryMs(claim.attempts) : outcome === 'away' ? AWAY_MS : SLOW_DOWN_MS);
      const dead = await putOff(deps.pool, claim, { error: describeError(error), afterMs, counts });
      this.#alarm(dead);
      if (dead.length > 0) return 'dead';
      if (outcome !== 'limited') this.#warn(claim, error);
      return outcome;
    }
  }

  #alarm(dead: readonly string[]): void {
    if (dead.length === 0) return;
    const { log } = this.#options.deps;
    log.error(
      { events: dead },
      'events of Stripe are dead: they failed too often; see GET /admin/v1/stripe/events?state=dead',
    );
  }

  /** Stripe or the database may be away for hours: once a minute will do. Each event keeps its own error. */
  #warn(claim: Claim, error: unknown): void {
    const { log } = this.#options.deps;
    if (performance.now() - this.#warnedMs < WARN_EVERY_MS) return;
    this.#warnedMs = performance.now();
    const { events, attempts } = claim;
    log.warn(
      { event: events[0], attempts, cause: describeError(error) },
      'an event of Stripe failed; it is tried again later',
    );
  }
}

/**
 * Whose fault it is. That Stripe cannot be reached, breaks, or does not take our key is none of the event's: it waits for as long as that
 * lasts, and is never dead of it; the age of what waits is what alarms.
 */
function outcomeOf(error: unknown): 'failed' | 'away' | 'limited' {
  if (!(error instanceof Stripe.errors.StripeError)) return 'failed';
  if (error instanceof Stripe.errors.StripeRateLimitError) return 'limited';
  const { StripeConnectionError, StripeAuthenticationError, StripePermissionError } = Stripe.errors;
  const isAway = [StripeConnectionError, StripeAuthenticationError, StripePermissionError].some(
    (one) => error instanceof one,
  );
  return isAway || (error.statusCode ?? 0) >= 500 ? 'away' : 'failed';
}

/** How long an event that failed so many times rests. */
export function retryMs(attempts: number): number {
  return Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(Math.max(attempts, 1) - 1, 20));
}

/** A quarter more or less, so that what failed together is not tried together. */
function jittered(ms: number): number {
  return Math.round(ms * (0.75 + Math.random() / 2));
}
