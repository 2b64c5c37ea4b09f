/**
 * The one writer of a process: it gathers operations while a call runs and sends them as one batch, so that the cost of
 * a round trip, a commit and a lock is shared. No timer holds anything back: a lone operation leaves at once.
 *
 *             enqueue                    batch                      answer
 *   (caller) ─────────▶ queued ──────────────────────▶ in flight ─────────▶ answered
 *                         │ ▲                             │
 *                deadline │ └── connection lost, deadlock, timeout: every operation is idempotent, so it goes again ──┘
 *                         ▼         refused by the database, or a lock that lasts: each of the batch goes again alone;
 *                                   alone and refused → failed; alone and stuck → its account waits, all others go on
 *                     abandoned     a hold: released once its fate is known; what asks by a name: given up, whoever named it asks
 *                                   again; the others: tried on as long as the process lives, an end from the journal also after it
 *
 * Order within a batch: all but what asks for credits, then that, each in the order of arrival. Bounds: `maxQueued` operations in
 * all, `MAX_BATCH` a call; what asks and what has a name waits `holdTimeoutMs`, an end `journalAfterMs`, the others `settleTimeoutMs`.
 */
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { TollgateError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Uuid } from '../lib/ids.ts';
import type { Logger } from '../observe/log.ts';
import { isPoison, isStuck, type WriterConnection } from './connection.ts';
import type { Journal } from './journal/journal.ts';
import { type Ending, isEnding } from './journal/record.ts';
import { LiveHolds } from './live-holds.ts';
import { type Hold, type Operation, type Release, releaseOf, type Settle } from './operations.ts';
import type { Result } from './outcomes.ts';
import { isAsking, NEVER, PATIENT, type Pending, type Stuck, takeBatch } from './pending.ts';

const DEADLINE_CHECK_MS = 100;
const RETRY_FIRST_MS = 20;
const RETRY_MOST_MS = 500;
/** How long an account that is locked waits until one operation of it tries again, for at most `lock_timeout`. */
const STUCK_MS = 1_000;
/** How often is looked for such an account when nothing else waits. */
const IDLE_MS = 50;

export interface WriterOptions {
  connection: WriterConnection;
  clock: Clock;
  log: Logger;
  /** Operations waiting before new ones are refused as `overloaded`; what ends a hold is always taken. */
  maxQueued?: number;
  holdTimeoutMs?: number;
  settleTimeoutMs?: number;
  /** Where what ends a hold is kept while the database is away. Without one it waits `settleTimeoutMs`, in memory. */
  journal?: Journal;
  /** How long what ends a hold waits for its answer before it is kept there: a client waits for it, too. */
  journalAfterMs?: number;
}

export class LedgerWriter {
  readonly #connection: WriterConnection;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #maxQueued: number;
  readonly #holdTimeoutMs: number;
  readonly #settleTimeoutMs: number;
  readonly #endTimeoutMs: number;
  #urgent: Pending[] = [];
  #holds: Pending[] = [];
  #inFlight: Pending[] = [];
  #busy = false;
  #closed = false;
  #ended = false;
  #retryMs = RETRY_FIRST_MS;
  #deadlines: NodeJS.Timeout | null = null;
  readonly #live: LiveHolds;
  readonly #stuck: Stuck = new Map();

  constructor(options: WriterOptions) {
    this.#connection = options.connection;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#maxQueued = options.maxQueued ?? 10_000;
    this.#holdTimeoutMs = options.holdTimeoutMs ?? 1_800;
    this.#settleTimeoutMs = options.settleTimeoutMs ?? 30_000;
    this.#endTimeoutMs = options.journal === undefined ? this.#settleTimeoutMs : (options.journalAfterMs ?? 1_000);
    this.#live = new LiveHolds(options.journal ?? null, options.log);
  }

  /** Operations that wait or are in flight. */
  get depth(): number {
    return this.#urgent.length + this.#holds.length + this.#inFlight.length;
  }

  /** Whether this process still works on that hold. */
  readonly isLive = (id: Uuid): boolean => this.#live.has(id);
  /** This process ends that hold no more: it belongs to no gateway, and whoever knows it ends it. */
  readonly handOver = (id: Uuid): void => this.#live.forget(id);

  /**
   * Asks for a hold. Throws `overloaded` when too much waits, `ledger_unavailable` when no answer came in time: then
   * the hold may exist for a moment, and is released by itself.
   */
  hold(operation: Hold): Promise<Result> {
    if (this.#closed) return Promise.reject(new TollgateError('shutting_down'));
    if (this.#live.areFull || this.depth >= this.#maxQueued) return Promise.reject(new TollgateError('overloaded'));
    this.#live.open(operation.id);
    return this.#enqueue(this.#holds, operation, this.#holdTimeoutMs).then((result) => {
      if (result.outcome !== 'done' && result.outcome !== 'repeated') this.#live.forget(operation.id);
      return result;
    });
  }

  /**
   * Charges for a hold. Throws `ledger_unavailable` when no answer came in time and the journal has it; it is tried on all
   * the same, as long as the process lives. Throws `internal_error` when the database refused it; then it is kept, too.
   */
  settle(operation: Settle): Promise<Result> {
    return this.#end(operation);
  }

  /**
   * Ends a hold without a charge. Retried like a settle. A hold that others took for orphaned meanwhile, and charged, is
   * given back: the answer is that of a settle of 0.
   */
  release(operation: Release): Promise<Result> {
    return this.#end(operation);
  }

  /** Applies what a journal has kept. Never gives up; throws `internal_error` when the database refuses it. */
  replay(operation: Ending): Promise<Result> {
    return this.#enqueue(this.#urgent, operation, NEVER);
  }

  /**
   * Extends a hold, grants, corrects, or does what an app named. Throws `overloaded` when too much waits, `ledger_unavailable` when
   * no answer came in time; it may be done all the same, and what asks for no credits is tried on as long as the process lives.
   */
  apply(operation: Exclude<Operation, Hold | Settle | Release>): Promise<Result> {
    if (this.depth >= this.#maxQueued) return Promise.reject(new TollgateError('overloaded'));
    const timeoutMs = PATIENT.has(operation.verb) ? this.#settleTimeoutMs : this.#holdTimeoutMs;
    return this.#enqueue(isAsking({ operation }) ? this.#holds : this.#urgent, operation, timeoutMs);
  }

  /** Ends a hold that an app named, and whose end it repeats until it is answered: no journal keeps it. Throws as `apply` does. */
  endNamed(operation: Ending): Promise<Result> {
    return this.#enqueue(this.#urgent, operation, this.#holdTimeoutMs);
  }

  /**
   * Takes no more holds, and waits until all that was taken is answered or on the disk. Then nothing is tried any more. The
   * owner closes the connection and the journal afterwards.
   */
  async close(): Promise<void> {
    this.#closed = true;
    const given = (pending: Pending): boolean => pending.abandoned || pending.deadline === NEVER;
    while (this.depth > 0 && !(this.#inFlight.every(given) && this.#urgent.every(given))) await sleep(10);
    const left = [...this.#inFlight, ...this.#urgent];
    this.#ended = true;
    this.#urgent = [];
    await this.#live.keepLast(left);
    if (left.length > 0) this.#log.error({ operations: left.length }, 'the database is away: these are not applied');
  }

  /** A hold whose end was never answered stays live: released as stray, it would have been free. */
  #end(operation: Ending): Promise<Result> {
    return this.#enqueue(this.#urgent, operation, this.#endTimeoutMs).then((result) => {
      this.#live.forget(operation.id);
      return result;
    });
  }

  #enqueue(queue: Pending[], operation: Operation, timeoutMs: number): Promise<Result> {
    return new Promise((resolve, reject) => {
      const deadline = this.#clock.now() + timeoutMs;
      queue.push({ operation, deadline, alone: false, sent: false, abandoned: false, kept: null, resolve, reject });
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
    while (call !== null || this.depth > 0) {
      if (call === null) {
        // All that waits is of accounts that are locked.
        await sleep(IDLE_MS);
        call = this.#send();
        continue;
      }
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
    const batch = takeBatch([this.#urgent, this.#holds], this.#stuck, this.#stuck.size === 0 ? 0 : this.#clock.now());
    this.#inFlight = batch;
    if (batch.length === 0) return null;
    for (const pending of batch) pending.sent = true;
    return { batch, answer: this.#connection.apply(batch.map((pending) => pending.operation)) };
  }

  #answerAll(batch: Pending[], results: Result[]): void {
    this.#retryMs = RETRY_FIRST_MS;
    if (batch.length === 1) this.#stuck.delete(batch[0]!.operation.account);
    for (let i = 0; i < batch.length; i++) this.#answer(batch[i]!, results[i]!);
  }

  #answer(pending: Pending, result: Result): void {
    const { operation } = pending;
    if (operation.verb === 'release' && result.outcome === 'already_settled') {
      // Its record stays as it is: a release that is replayed comes here again.
      pending.operation = { ...operation, verb: 'settle', amount: 0n };
      this.#urgent.push(pending);
      return;
    }
    pending.resolve(result);
    if (!pending.abandoned) return;
    this.#releaseStray(operation);
    if (isEnding(operation)) void this.#live.concludeKept(operation, result.outcome, pending.kept);
  }

  /** A hold nobody waits for any more: it may have been committed, so it is released; unknown is a fine answer too. */
  #releaseStray(operation: Operation): void {
    if (operation.verb !== 'hold') return;
    this.release(releaseOf(operation)).catch((error) =>
      this.#log.warn({ err: error }, 'a hold that timed out is not released yet'),
    );
  }

  /** What ends a hold is kept for a person to look at; a replayed one is, by whoever replays it. */
  async #refused(pending: Pending, error: unknown): Promise<null> {
    const { operation } = pending;
    this.#log.error({ err: error, verb: operation.verb }, 'the database refused an operation');
    if (operation.verb === 'hold') this.#live.forget(operation.id);
    if (isEnding(operation) && pending.deadline < NEVER) await this.#live.refuse(operation, pending.kept);
    pending.reject(new TollgateError('internal_error', { cause: error }));
    this.#inFlight = [];
    return null;
  }

  async #failed(batch: Pending[], error: unknown): Promise<null> {
    const poison = isPoison(error);
    if (poison && batch.length === 1) return this.#refused(batch[0]!, error);
    this.#inFlight = [];
    if (this.#ended) {
      await this.#live.keepLast(batch);
      for (const pending of batch) pending.reject(new TollgateError('ledger_unavailable'));
      return null;
    }
    // One account that is locked, or slow, must not hold up the others of its batch either.
    if (poison || isStuck(error)) for (const pending of batch) pending.alone = batch.length > 1;
    if (isStuck(error) && batch.length === 1)
      this.#stuck.set(batch[0]!.operation.account, this.#clock.now() + STUCK_MS);
    // An abandoned hold goes no further: a release in its place ends it, should it have been committed.
    const asking = batch.filter(isAsking);
    this.#urgent.unshift(...batch.filter((pending) => !isAsking(pending)));
    this.#holds.unshift(...asking.filter((pending) => !pending.abandoned));
    for (const pending of asking) if (pending.abandoned) this.#releaseStray(pending.operation);
    this.#log.warn({ err: error, operations: batch.length }, 'a ledger call failed and is retried');
    if (poison || isStuck(error)) return null;
    await sleep(this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MOST_MS);
    return null;
  }

  #checkDeadlines(): void {
    const now = this.#clock.now();
    for (const pending of this.#inFlight) if (pending.deadline <= now) this.#abandon(pending);
    const waiting = (pending: Pending): boolean => {
      if (pending.deadline > now) return true;
      this.#abandon(pending);
      // Nobody waits for the answer any more, but what was served is charged, and what was held ends, however late.
      if (!isAsking(pending)) return true;
      if (pending.sent) queueMicrotask(() => this.#releaseStray(pending.operation));
      else this.#live.forget(pending.operation.id);
      return false;
    };
    this.#urgent = this.#urgent.filter(waiting);
    this.#holds = this.#holds.filter(waiting);
  }

  #abandon(pending: Pending): void {
    if (pending.abandoned) return;
    pending.abandoned = true;
    const { operation } = pending;
    if (isEnding(operation)) pending.kept = this.#live.keep(operation);
    void Promise.resolve(pending.kept).then(() => pending.reject(new TollgateError('ledger_unavailable')));
  }
}
