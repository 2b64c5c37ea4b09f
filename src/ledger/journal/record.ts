/**
 * What the journal keeps of an operation that ends a hold, the same in a slot and in a file of its own: a line of JSON, and
 * then the receipt as it is.
 */
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
 * The most bytes a receipt may have: with all else at its longest it still fits a slot. A plain one has 200. The longest that
 * the catalog's bounds on prices and names allow fits with its last attempt; those before it are left out first.
 */
export const MAX_RECEIPT_BYTES = 3_900;
const VERSION = 2;
const NEWLINE = 0x0a;

interface Packed {
  v: number;
  verb: Ending['verb'];
  account: string;
  id: string;
  amount: string;
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
  };
  return Buffer.concat([Buffer.from(`${JSON.stringify(packed)}\n`), operation.receipt]);
}

/** The operation of a record. Throws on one that this release did not write. */
export function decodeRecord(record: Buffer): Ending {
  const end = record.indexOf(NEWLINE);
  const packed = JSON.parse(record.toString('utf8', 0, end < 0 ? record.length : end)) as Packed;
  const { v, verb, id } = packed;
  if (v !== VERSION || (verb !== 'settle' && verb !== 'release')) {
    throw new Error(`a journal record of version ${v}, verb ${verb}, cannot be read by this release`);
  }
  // A copy: the record may be a part of the chunk that many slots were read in.
  const common = { account: BigInt(packed.account), id, receipt: Buffer.from(record.subarray(end + 1)) };
  return verb === 'settle' ? { verb, ...common, amount: BigInt(packed.amount) } : { verb, ...common };
}
