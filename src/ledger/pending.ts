/** An operation that the writer has not answered yet, and how a batch is made of such. */
import type { Uuid } from '../lib/ids.ts';
import type { Kept } from './journal/journal.ts';
import type { Operation } from './operations.ts';
import type { Result } from './outcomes.ts';

/** Operations in one call: enough to share a commit, few enough to keep locks short. */
const MAX_BATCH = 200;
/** The deadline of what nobody hears of: it is replayed from a journal, and its record is there. */
export const NEVER = Number.POSITIVE_INFINITY;

export interface Pending {
  operation: Operation;
  /** When the caller is told that no answer came, in milliseconds since the epoch; `NEVER`: nobody is. */
  deadline: number;
  /** Set when a batch with it was refused: it goes by itself, so that it harms no other. */
  alone: boolean;
  /** Set once it was sent: from then on it may have been committed. */
  sent: boolean;
  abandoned: boolean;
  /** Its record on the disk, where it has one. */
  kept: Promise<Kept> | null;
  resolve: (result: Result) => void;
  reject: (error: Error) => void;
}

/** Whether it asks for credits: that is dropped once nobody waits for it, where all else is tried on. */
export function isAsking({ operation: { verb } }: Pick<Pending, 'operation'>): boolean {
  return verb === 'hold' || verb === 'consume' || verb === 'reserve';
}

/** What the owner asks for: it may take its time. */
export const PATIENT: ReadonlySet<Operation['verb']> = new Set(['grant', 'adjust', 'reverse'] as const);

/** Accounts that somebody has locked for long, and when one operation of each may try again, alone. */
export type Stuck = Map<bigint, number>;

/**
 * Takes the next batch out of the queues, the first queue first: no id twice, an operation that must go alone by itself,
 * and nothing of an account that is stuck until its time has come.
 */
export function takeBatch(queues: readonly Pending[][], stuck: Stuck, now: number): Pending[] {
  const isReady = ({ operation }: Pending): boolean => (stuck.get(operation.account) ?? 0) <= now;
  for (const queue of queues) {
    const i = queue.findIndex((pending) => (pending.alone || stuck.has(pending.operation.account)) && isReady(pending));
    if (i !== -1) return queue.splice(i, 1);
  }
  const ids = new Set<Uuid>();
  const batch: Pending[] = [];
  for (const queue of queues) {
    let waiting = 0;
    for (const pending of queue) {
      if (batch.length >= MAX_BATCH || pending.alone || ids.has(pending.operation.id) || !isReady(pending)) {
        queue[waiting++] = pending;
        continue;
      }
      ids.add(pending.operation.id);
      batch.push(pending);
    }
    queue.length = waiting;
  }
  return batch;
}
