/** An operation that the writer has not answered yet, and how a batch is made of such. */
import type { Uuid } from '../lib/ids.ts';
import type { Kept } from './journal/journal.ts';
import type { Operation } from './operations.ts';
import type { Result } from './outcomes.ts';

/** Operations in one call: enough to share a commit, few enough to keep locks short. */
const MAX_BATCH = 200;

export interface Pending {
  operation: Operation;
  /** When the caller is told that no answer came, in milliseconds since the epoch; `Infinity`: nobody is. */
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

/**
 * Takes the next batch out of the queues, the first queue first: no id twice, and an operation that must go alone by
 * itself, once it is the first of its queue.
 */
export function takeBatch(...queues: Pending[][]): Pending[] {
  const alone = queues.find((queue) => queue[0]?.alone);
  if (alone !== undefined) return alone.splice(0, 1);
  const ids = new Set<Uuid>();
  const batch: Pending[] = [];
  for (const queue of queues) {
    let waiting = 0;
    for (const pending of queue) {
      if (batch.length >= MAX_BATCH || pending.alone || ids.has(pending.operation.id)) {
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
