/** Metrics of what Stripe tells us: what came, what was refused, how far behind we are. The books are elsewhere. */
import type { Pool } from 'pg';
import { Counter, Gauge, type Registry } from 'prom-client';
import { EVENT_TYPES } from './events.ts';

const KNOWN: ReadonlySet<string> = new Set(EVENT_TYPES);
/** Whoever reads the metrics waits no longer for the database; then these have no value. */
const READ_TIMEOUT_MS = 1_000;

/** Why a webhook was refused. */
export type Refusal = 'signature' | 'too_large' | 'not_json' | 'not_an_event' | 'wrong_mode' | 'not_stored';

/** How an event that was taken up came out of it. */
export type Outcome = 'processed' | 'ignored' | 'failed' | 'dead' | 'away' | 'limited';

export class PaymentMetrics {
  readonly #received: Counter<'type' | 'known'>;
  readonly #refused: Counter<'reason'>;
  readonly #attempts: Counter<'outcome'>;

  constructor(pool: Pool, registry: Registry) {
    const registers = [registry];
    this.#received = new Counter({
      name: 'tollgate_stripe_events_received_total',
      help: 'Events of Stripe that were stored, by type ("other": of no interest), and whether they were known already.',
      labelNames: ['type', 'known'],
      registers,
    });
    this.#refused = new Counter({
      name: 'tollgate_stripe_webhooks_refused_total',
      help: 'Webhooks that were refused, by reason: signature, too_large, not_json, not_an_event, wrong_mode, not_stored.',
      labelNames: ['reason'],
      registers,
    });
    this.#attempts = new Counter({
      name: 'tollgate_stripe_event_attempts_total',
      help: 'Times that events were taken up, by outcome: processed, ignored, failed, dead, away, limited.',
      labelNames: ['outcome'],
      registers,
    });
    const state = new InboxState(pool);
    const gauge = (name: string, help: string, read: (counts: InboxCounts) => number): void => {
      new Gauge({
        name,
        help,
        registers,
        async collect() {
          const counts = await state.read();
          if (counts === null) this.reset();
          else this.set(read(counts));
        },
      });
    };
    gauge('tollgate_stripe_inbox_waiting', 'Events of Stripe that wait.', ({ waiting }) => waiting);
    gauge('tollgate_stripe_inbox_lag_seconds', 'Age of the event that waits longest; 0: none does.', ({ lag }) => lag);
    gauge(
      'tollgate_stripe_inbox_dead',
      'Events that failed too often and need a person: alert on it.',
      ({ dead }) => dead,
    );
  }

  /** An event that was stored, or had been before. */
  received(type: string, isNew: boolean): void {
    this.#received.inc({ type: KNOWN.has(type) ? type : 'other', known: isNew ? 'no' : 'yes' });
  }

  refused(reason: Refusal): void {
    this.#refused.inc({ reason });
  }

  attempted(outcome: Outcome): void {
    this.#attempts.inc({ outcome });
  }
}

interface InboxCounts {
  waiting: number;
  dead: number;
  /** Seconds. */
  lag: number;
}

/** Read once for all gauges of one reading of the metrics. */
class InboxState {
  readonly #pool: Pool;
  #reading: Promise<InboxCounts | null> | null = null;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Null: the database does not answer. Never throws. */
  read(): Promise<InboxCounts | null> {
    this.#reading ??= this.#query().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  async #query(): Promise<InboxCounts | null> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), READ_TIMEOUT_MS);
    });
    const counts = this.#pool
      .query<InboxCounts>(
        `SELECT count(*) FILTER (WHERE state = 'waiting')::integer AS waiting, count(*) FILTER (WHERE state = 'dead')::integer AS dead,
            coalesce(extract(epoch FROM clock_timestamp() - min(received_at) FILTER (WHERE state = 'waiting')), 0)::float8 AS lag
           FROM stripe_events WHERE state IN ('waiting', 'dead')`,
      )
      .then(
        ({ rows }) => rows[0]!,
        () => null,
      );
    const read = await Promise.race([counts, late]);
    clearTimeout(timer);
    return read;
  }
}
