/**
 * The one writer of a process: it gathers operations while a call runs and sends them as one batch, so that the cost of
 * a round trip, a commit and a lock is shared. No timer holds anything back: a lone operation leaves at once.
 *
 *             enqueue                    batch                      answer
 *   (caller) ─────────▶ queued ──────────────────────▶ in flight ─────────▶ answered
 *                         │ ▲                             │
 *                deadline │ └── connection lost, deadlock, timeout: every operation is idempotent, so it goes again ──┘
 *                         ▼         refused by the database: each of the batch goes again alone; alone → failed
 *                     abandoned     a hold: released once its fate is known; the others: tried on as long as the process lives
 *
 * Order within a batch: settles, releases and grants, then holds in the order of arrival. Bounds: `maxQueued` operations
 * in all, `MAX_BATCH` a call; a hold waits `holdTimeoutMs`, the others `settleTimeoutMs`.
 */
import { setImmediate } from 'node:timers/promises';
import { TollgateError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Uuid } from '../lib/ids.ts';
import type { Logger } from '../observe/log.ts';
import type { WriterConnection } from './connection.ts';
import { isPoison, isStuck } from './connection.ts';
import type { Adjust, Grant, Hold, Operation, Release, Reverse, Settle } from './operations.ts';
import type { Result } from './outcomes.ts';

/** Operations in one call: enough to share a commit, few enough to keep locks short. */
const MAX_BATCH = 200;
const DEADLINE_CHECK_MS = 100;
const RETRY_FIRST_MS = 20;
const RETRY_MOST_MS = 500;

export interface WriterOptions {
  connection: WriterConnection;
  clock: Clock;
  log: Logger;
  /** Operations waiting before new holds are refused as `overloaded`; settles are always taken. */
  maxQueued?: number;
  holdTimeoutMs?: number;
  settleTimeoutMs?: number;
}

interface Pending {
  operation: Operation;
  deadline: number;
  /** Set when a batch with it was refused: it goes by itself, so that it harms no other. */
  alone: boolean;
  /** Set once it was sent: from then on it may have been committed. */
  sent: boolean;
  abandoned: boolean;
  resolve: (result: Result) => void;
  reject: (error: Error) => void;
}

export class LedgerWriter {
  readonly #connection: WriterConnection;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #maxQueued: number;
  readonly #holdTimeoutMs: number;
  readonly #settleTimeoutMs: number;
  #urgent: Pending[] = [];
  #holds: Pending[] = [];
  #inFlight: Pending[] = [];
  #busy = false;
  #closed = false;
  #retryMs = RETRY_FIRST_MS;
  #deadlines: NodeJS.Timeout | null = null;
  /** Holds this process asked for and has not ended: what the stray sweep must leave alone. */
  readonly #live = new Set<Uuid>();

  constructor(options: WriterOptions) {
    this.#connection = options.connection;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#maxQueued = options.maxQueued ?? 10_000;
    this.#holdTimeoutMs = options.holdTimeoutMs ?? 1_800;
    this.#settleTimeoutMs = options.settleTimeoutMs ?? 30_000;
  }

  /** Operations that wait or are in flight. */
  get depth(): number {
    return this.#urgent.length + this.#holds.length + this.#inFlight.length;
  }

  /** Whether this process still works on that hold. */
  isLive(id: Uuid): boolean {
    return this.#live.has(id);
  }

  /**
   * Asks for a hold. Throws `overloaded` when too much waits, `ledger_unavailable` when no answer came in time: then
   * the hold may exist for a moment, and is released by itself.
   */
  hold(operation: Hold): Promise<Result> {
    if (this.#closed) return Promise.reject(new TollgateError('shutting_down'));
    if (this.depth >= this.#maxQueued) return Promise.reject(new TollgateError('overloaded'));
    this.#live.add(operation.id);
    return this.#enqueue(this.#holds, operation, this.#holdTimeoutMs).then((result) => {
      if (result.outcome !== 'done' && result.outcome !== 'repeated') this.#live.delete(operation.id);
      return result;
    });
  }

  /**
   * Charges for a hold. Throws `ledger_unavailable` when no answer came within `settleTimeoutMs`; it is tried on all the
   * same, as long as the process lives.
   */
  settle(operation: Settle): Promise<Result> {
    return this.#end(operation);
  }

  /** Ends a hold without a charge. Retried like a settle. */
  release(operation: Release): Promise<Result> {
    return this.#end(operation);
  }

  /** Adds a lot. Retried like a settle. */
  grant(operation: Grant): Promise<Result> {
    return this.#enqueue(this.#urgent, operation, this.#settleTimeoutMs);
  }

  /** Adds or takes credits. Retried like a settle. */
  adjust(operation: Adjust): Promise<Result> {
    return this.#enqueue(this.#urgent, operation, this.#settleTimeoutMs);
  }

  /** Gives back what a request was charged. Retried like a settle. */
  reverse(operation: Reverse): Promise<Result> {
    return this.#enqueue(this.#urgent, operation, this.#settleTimeoutMs);
  }

  /** Takes no more holds, and waits until all that was taken is answered. The owner closes the connection afterwards. */
  async close(): Promise<void> {
    this.#closed = true;
    const given = (pending: Pending): boolean => pending.abandoned;
    while (this.depth > 0 && !(this.#inFlight.every(given) && this.#urgent.every(given))) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    if (this.depth > 0)
      this.#log.error({ operations: this.depth }, 'the database is away: holds are left to be recovered');
  }

  /** A hold whose end was never answered stays live: released as stray, it would have been free. */
  #end(operation: Settle | Release): Promise<Result> {
    return this.#enqueue(this.#urgent, operation, this.#settleTimeoutMs).then((result) => {
      this.#live.delete(operation.id);
      return result;
    });
  }

  #enqueue(queue: Pending[], operation: Operation, timeoutMs: number): Promise<Result> {
    return new Promise((resolve, reject) => {
      const deadline = this.#clock.now() + timeoutMs;
      queue.push({ operation, deadline, alone: false, sent: false, abandoned: false, resolve, reject });
      this.#deadlines ??= setInterval(() => this.#checkDeadlines(), DEADLINE_CHECK_MS);
      if (!this.#busy) {
        this.#busy = true;
        void this.#run();
      }
    });
  }

  /** Sends batches until nothing waits. One call at a time: `#busy` is true exactly while this runs. */
  async #run(): Promise<void> {
    // A turn of the event loop first, no timer: what other sockets have brought by then goes along.
    await setImmediate();
    let call = this.#send();
    while (call !== null) {
      const { batch, answer } = call;
      const results = await answer.catch((error: unknown) => this.#failed(batch, error));
      // What gathered meanwhile leaves before these answers are acted on: the database works while we do.
      call = this.#send();
      if (results !== null) this.#answerAll(batch, results);
      if (call === null) {
        await setImmediate();
        call = this.#send();
      }
    }
    this.#busy = false;
    if (this.#deadlines !== null) clearInterval(this.#deadlines);
    this.#deadlines = null;
  }

  /** Starts the next call, where anything waits. */
  #send(): { batch: Pending[]; answer: Promise<Result[]> } | null {
    const batch = this.#takeBatch();
    this.#inFlight = batch;
    if (batch.length === 0) return null;
    for (const pending of batch) pending.sent = true;
    return { batch, answer: this.#connection.apply(batch.map((pending) => pending.operation)) };
  }

  /** The next batch: no id twice, and an operation that must go alone by itself. */
  #takeBatch(): Pending[] {
    const alone = this.#urgent[0]?.alone ? this.#urgent : this.#holds[0]?.alone ? this.#holds : null;
    if (alone !== null) return alone.splice(0, 1);
    const ids = new Set<Uuid>();
    const batch: Pending[] = [];
    this.#urgent = this.#urgent.filter((pending) => !take(pending, ids, batch));
    this.#holds = this.#holds.filter((pending) => !take(pending, ids, batch));
    return batch;
  }

  #answerAll(batch: Pending[], results: Result[]): void {
    this.#retryMs = RETRY_FIRST_MS;
    for (let i = 0; i < batch.length; i++) this.#answer(batch[i]!, results[i]!);
  }

  #answer(pending: Pending, result: Result): void {
    if (!pending.abandoned) pending.resolve(result);
    else if (pending.operation.verb === 'hold') this.#releaseStray(pending.operation);
    else this.#live.delete(pending.operation.id);
  }

  /** A hold nobody waits for any more: it may have been committed, so it is released; unknown is a fine answer too. */
  #releaseStray(hold: Hold): void {
    this.release({ verb: 'release', account: hold.account, id: hold.id, receipt: hold.frozen }).catch((error) =>
      this.#log.warn({ err: error }, 'a hold that timed out is not released yet'),
    );
  }

  async #failed(batch: Pending[], error: unknown): Promise<null> {
    this.#inFlight = [];
    const poison = isPoison(error);
    if (poison && batch.length === 1) {
      this.#log.error({ err: error, verb: batch[0]!.operation.verb }, 'the database refused an operation');
      batch[0]!.reject(new TollgateError('internal_error', { cause: error }));
      if (batch[0]!.operation.verb === 'hold') this.#live.delete(batch[0]!.operation.id);
      return null;
    }
    // One account that is locked, or slow, must not hold up the others of its batch either.
    if (poison || isStuck(error)) for (const pending of batch) pending.alone = batch.length > 1;
    // An abandoned hold goes no further: a release in its place ends it, should it have been committed.
    const holds = batch.filter((pending) => pending.operation.verb === 'hold');
    this.#urgent.unshift(...batch.filter((pending) => pending.operation.verb !== 'hold'));
    this.#holds.unshift(...holds.filter((pending) => !pending.abandoned));
    for (const pending of holds) if (pending.abandoned) this.#releaseStray(pending.operation as Hold);
    if (poison) return null;
    this.#log.warn({ err: error, operations: batch.length }, 'a ledger call failed and is retried');
    await new Promise((resolve) => setTimeout(resolve, this.#retryMs));
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MOST_MS);
    return null;
  }

  #checkDeadlines(): void {
    const now = this.#clock.now();
    for (const pending of this.#inFlight) {
      if (pending.deadline <= now && !pending.abandoned) this.#abandon(pending);
    }
    const waiting = (pending: Pending): boolean => {
      if (pending.deadline > now) return true;
      this.#abandon(pending);
      // Nobody waits for the answer any more, but what was served is charged, and what was held ends, however late.
      if (pending.operation.verb !== 'hold') return true;
      if (pending.sent) queueMicrotask(() => this.#releaseStray(pending.operation as Hold));
      else this.#live.delete(pending.operation.id);
      return false;
    };
    this.#urgent = this.#urgent.filter(waiting);
    this.#holds = this.#holds.filter(waiting);
  }

  #abandon(pending: Pending): void {
    if (pending.abandoned) return;
    pending.abandoned = true;
    pending.reject(new TollgateError('ledger_unavailable'));
  }
}

/** Moves an operation into the batch unless it is full, or the id is in it already. */
function take(pending: Pending, ids: Set<Uuid>, batch: Pending[]): boolean {
  if (batch.length >= MAX_BATCH || pending.alone || ids.has(pending.operation.id)) return false;
  ids.add(pending.operation.id);
  batch.push(pending);
  return true;
}
