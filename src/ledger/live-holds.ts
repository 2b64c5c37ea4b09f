/**
 * The holds this process asked for, and what ends them, kept on disk where the database does not answer or refuses.
 *
 *   opened ──end answered, or refused without a trace──▶ forgotten
 *      └──end refused by the database──▶ refused: on disk for a person to look at, never released as stray
 *
 * Bound: no more are open than the journal has space for, so that each can be ended when the database is away.
 */
import type { Uuid } from '../lib/ids.ts';
import type { Logger } from '../observe/log.ts';
import type { Journal, Kept } from './journal/journal.ts';
import { type Ending, isBooked, isEnding } from './journal/record.ts';
import { releaseOf } from './operations.ts';
import type { Outcome } from './outcomes.ts';
import { NEVER, type Pending } from './pending.ts';

export class LiveHolds {
  readonly #journal: Journal | null;
  readonly #log: Logger;
  readonly #open = new Set<Uuid>();
  readonly #refused = new Set<Uuid>();
  /** This process ends: nobody looks for strays in its name any more. */
  #ending = false;

  constructor(journal: Journal | null, log: Logger) {
    this.#journal = journal;
    this.#log = log;
  }

  /** Whether the journal has no space for another one. */
  get areFull(): boolean {
    return this.#journal !== null && this.#open.size >= this.#journal.capacity;
  }

  /** Whether this process still works on it, or must not touch it: then it is not stray. */
  has(id: Uuid): boolean {
    return this.#open.has(id) || this.#refused.has(id);
  }

  open(id: Uuid): void {
    this.#open.add(id);
  }

  forget(id: Uuid): void {
    this.#open.delete(id);
  }

  /** Keeps what ends a hold on disk. `null`: it is a stray's, that has no space; it is found again in the database. */
  keep(operation: Ending): Promise<Kept> | null {
    return this.#ending || this.#open.has(operation.id) ? (this.#journal?.append(operation) ?? null) : null;
  }

  /**
   * This process ends with these unanswered: what would leave a hold open is kept on disk, where it is not yet, and from now on
   * the releases of strays are. A hold that is in flight may still be committed: it is released by whoever replays the journal.
   */
  async keepLast(left: readonly Pending[]): Promise<void> {
    this.#ending = true;
    for (const pending of left) {
      const last = pending.operation.verb === 'hold' ? releaseOf(pending.operation) : pending.operation;
      if (isEnding(last) && pending.deadline < NEVER) pending.kept ??= this.keep(last);
    }
    await Promise.all(left.map((pending) => pending.kept));
  }

  /** What was kept is answered. Nobody else hears the answer, so what it does not book goes to a person. */
  async concludeKept(operation: Ending, outcome: Outcome, kept: Promise<Kept> | null): Promise<void> {
    this.forget(operation.id);
    if (!isBooked(operation, outcome)) {
      this.#log.error({ hold: operation.id, verb: operation.verb, outcome }, 'the ledger refused to end a hold');
      await this.#journal?.refuse(operation);
    }
    (await kept)?.forget();
  }

  /** The database refused what ends a hold: it is kept for a person. */
  async refuse(operation: Ending, kept: Promise<Kept> | null): Promise<void> {
    if (this.#open.delete(operation.id)) this.#refused.add(operation.id);
    await this.#journal?.refuse(operation);
    (await kept)?.forget();
  }
}
