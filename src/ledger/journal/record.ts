/** What the journal keeps of an operation that ends a hold: one line of JSON, the same in a slot and in a file of its own. */
import type { Operation, Release, Settle } from '../operations.ts';
import type { Outcome } from '../outcomes.ts';

/** What ends a hold. */
export type Ending = Settle | Release;

/** Whether an operation ends a hold. */
export function isEnding(operation: Operation): operation is Ending {
  return operation.verb === 'settle' || operation.verb === 'release';
}

/** Whether an answer means that the ledger has what the operation says; if not, a person must look at it. */
export function isBooked(operation: Ending, outcome: Outcome): boolean {
  if (['done', 'repeated', 'late'].includes(outcome)) return true;
  // A hold that was never opened, or ended by itself, needs no release.
  return operation.verb === 'release' && ['hold_not_found', 'already_expired'].includes(outcome);
}

/**
 * The most bytes a receipt may have: in base64 and with all else at its longest it still fits a slot. A plain one has 200,
 * and without its attempts none has more than 2,400.
 */
export const MAX_RECEIPT_BYTES = 2_900;
const VERSION = 1;

interface Packed {
  v: number;
  verb: Ending['verb'];
  account: string;
  id: string;
  amount: string;
  receipt: string;
}

/** The record of an operation. Throws when its receipt is longer than `MAX_RECEIPT_BYTES`. */
export function encodeRecord(operation: Ending): Buffer {
  if (operation.receipt.length > MAX_RECEIPT_BYTES) {
    throw new RangeError(`a receipt of ${operation.receipt.length} bytes; at most ${MAX_RECEIPT_BYTES} can be kept`);
  }
  const packed: Packed = {
    v: VERSION,
    verb: operation.verb,
    account: operation.account.toString(),
    id: operation.id,
    amount: (operation.verb === 'settle' ? operation.amount : 0n).toString(),
    receipt: operation.receipt.toString('base64'),
  };
  return Buffer.from(JSON.stringify(packed));
}

/** The operation of a record. Throws on one that this release did not write. */
export function decodeRecord(record: Buffer): Ending {
  const packed = JSON.parse(record.toString()) as Packed;
  const { v, verb, id } = packed;
  if (v !== VERSION || (verb !== 'settle' && verb !== 'release')) {
    throw new Error(`a journal record of version ${v}, verb ${verb}, cannot be read by this release`);
  }
  const common = { account: BigInt(packed.account), id, receipt: Buffer.from(packed.receipt, 'base64') };
  return verb === 'settle' ? { verb, ...common, amount: BigInt(packed.amount) } : { verb, ...common };
}
