/**
 * Corrections by the owner: credits added or taken, once per reference, and the charge of a request given back, once. What
 * was booked stays as it is: each correction is an entry of its own.
 */
import { TollgateError } from '../errors.ts';
import { invalidField } from '../errors-input.ts';
import type { Result } from '../ledger/outcomes.ts';
import { type Entry, readAdjustment, readEntry } from '../ledger/read.ts';
import { type Uuid, uuidv7 } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import { type LedgerDeps, scaleDiffers, withinLimit } from './credits.ts';

export interface NewAdjustment {
  /** Nano-credits, signed, not 0. */
  amount: bigint;
  reference: string;
  reason: string;
}

export interface NewRefund {
  /** Nano-credits, above 0; `null`: all that was charged. */
  amount: bigint | null;
  reason: string;
}

/** The entry of a correction; `created` is false where it had been made before. */
export interface Correction {
  entry: Entry;
  created: boolean;
}

/**
 * Adds credits to an account, or takes them: what its lots lack becomes debt. The same reference again answers the same
 * entry; with another field it throws `reference_reused` naming it. Also throws `not_found` (no such account),
 * `invalid_request` (a balance beyond 10⁹ credits) and `conflict` (credits were granted at another `credits.per_usd`).
 */
export async function adjustCredits(deps: LedgerDeps, account: bigint, given: NewAdjustment): Promise<Correction> {
  const { creditsPerUsd } = deps;
  const operation = {
    verb: 'adjust',
    account,
    id: uuidv7(deps.clock),
    ...given,
    book: 'adjustment',
    creditsPerUsd,
  } as const;
  const { outcome } = await withinLimit(deps.writer.apply(operation));
  switch (outcome) {
    case 'done':
    case 'repeated':
      break;
    case 'exists_with_different_amount':
      throw reused('credits');
    case 'exists_with_different_book':
      throw reused('reference');
    case 'account_not_found':
      throw new TollgateError('not_found');
    case 'credit_scale_differs':
      throw scaleDiffers();
    default:
      throw new TollgateError('internal_error', { cause: `an adjustment answered ${outcome}` });
  }
  const entry = (await readAdjustment(deps.pool, account, given.reference))!;
  if (entry.reason !== given.reason) throw reused('reason');
  return { entry, created: outcome === 'done' };
}

function reused(field: 'credits' | 'reference' | 'reason'): TollgateError {
  return new TollgateError('reference_reused', {
    param: field,
    message:
      field === 'reference'
        ? 'This reference names a correction of another kind. Use a new reference.'
        : `This reference adjusted credits before, with another value for '${field}'. Repeat the first request exactly, or use a new reference.`,
  });
}

/**
 * Gives back what a request was charged, or part of it, to the lots that paid; debt is repaid first. The same again
 * answers the same entry. Throws `not_found` (no such request), `conflict` (it still runs, or was refunded before with
 * another amount or reason) and `invalid_request` (more than it was charged).
 */
export async function refundRequest(
  deps: LedgerDeps,
  account: bigint,
  id: Uuid,
  given: NewRefund,
): Promise<Correction> {
  const result = await withinLimit(deps.writer.apply({ verb: 'reverse', account, id, ...given }));
  if (result.outcome !== 'done' && result.outcome !== 'repeated') throw refundRefusal(result);
  const entry = (await readEntry(deps.pool, account, { id, kind: 'reverse' }))!;
  if (entry.reason !== given.reason) throw refundedBefore('reason', entry.amount);
  return { entry, created: result.outcome === 'done' };
}

function refundRefusal({ outcome, amount }: Result): TollgateError {
  switch (outcome) {
    case 'account_not_found':
    case 'hold_not_found':
      return new TollgateError('not_found');
    case 'still_open':
      return new TollgateError('conflict', {
        message: 'This request still runs, so nothing is charged yet. Refund it when it has ended.',
      });
    case 'exists_with_different_amount':
      return refundedBefore('credits', amount);
    case 'exceeds_charge':
      return amount === 0n
        ? invalidField('credits', 'this request was charged nothing')
        : invalidField('credits', `must be at most what the request was charged, ${formatCredits(amount)}`);
    default:
      return new TollgateError('internal_error', { cause: `a refund answered ${outcome}` });
  }
}

function refundedBefore(field: 'credits' | 'reason', amount: bigint): TollgateError {
  return new TollgateError('conflict', {
    param: field,
    message:
      `This request was refunded ${formatCredits(amount)} credits before, with another value for '${field}'. ` +
      'A request is refunded once; correct it further with an adjustment.',
  });
}
