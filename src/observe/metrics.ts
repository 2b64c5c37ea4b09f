/** Prometheus metrics. They are rates and gauges to watch, not the books: money is in the ledger. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

export class Metrics {
  readonly registry = new Registry();
  readonly #requests: Counter<'model' | 'status'>;
  readonly #counters = new Map<string, Counter.Internal>();
  readonly #seconds: Histogram;
  readonly #charged: Counter;
  readonly #limited: Counter<'kind'>;

  /** `gauges` are read when the metrics are: queue depths and the like. */
  constructor(gauges: Record<string, { help: string; read: () => number }>) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.#requests = new Counter({
      name: 'tollgate_requests_total',
      help: 'Requests by model and status; model "" was refused before a model was known.',
      labelNames: ['model', 'status'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'tollgate_request_seconds',
      help: 'Time from the arrival of a request to its last byte.',
      buckets: SECONDS,
      registers,
    });
    this.#charged = new Counter({
      name: 'tollgate_charged_credits_total',
      help: 'Credits charged by this process since it started: a rate to watch, not a balance.',
      registers,
    });
    this.#limited = new Counter({
      name: 'tollgate_rate_limited_total',
      help: 'Requests refused by a rate limit, by what there was too little of: requests, tokens or concurrency.',
      labelNames: ['kind'],
      registers,
    });
    for (const [name, { help, read }] of Object.entries(gauges)) {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    }
  }

  /** One request: `charged` in nano-credits, `null` when it was refused. */
  request(model: string | null, status: number, ms: number, charged: bigint | null): void {
    this.#counterOf(model ?? '', status).inc();
    this.#seconds.observe(ms / 1000);
    if (charged !== null && charged > 0n) this.#charged.inc(Number(charged / 1000n) / 1e6);
  }

  /** One request that a rate limit refused: of requests, tokens or concurrency. */
  rateLimited(kind: string): void {
    this.#limited.inc({ kind });
  }

  /** A counter with its labels bound: looking the labels up costs more than counting. One a model and status. */
  #counterOf(model: string, status: number): Counter.Internal {
    const key = `${status} ${model}`;
    let counter = this.#counters.get(key);
    if (counter === undefined) {
      counter = this.#requests.labels(model, String(status));
      this.#counters.set(key, counter);
    }
    return counter;
  }
}
