/** What consumption needs of the rest, and how it says that the ledger did not answer. */
import type { Pool } from 'pg';
import { creditRefusal, type RefusalDeps } from '../accounts/credit-refusals.ts';
import { withinLimit } from '../accounts/credits.ts';
import { TollgateError } from '../errors.ts';
import type { Result } from '../ledger/outcomes.ts';
import type { LedgerWriter } from '../ledger/writer.ts';
import type { Clock } from '../lib/clock.ts';
import type { StandingDeps } from './standing.ts';

export interface ConsumptionDeps extends StandingDeps, RefusalDeps {
  pool: Pool;
  writer: LedgerWriter;
  clock: Clock;
  creditsPerUsd: bigint;
}

/** The ledger's answer. Where none came it is not known whether it was booked: throws `ledger_unavailable` that says what to do. */
export async function answered(booking: Promise<Result>): Promise<Result> {
  try {
    return await withinLimit(booking);
  } catch (error) {
    if (!(error instanceof TollgateError) || error.code !== 'ledger_unavailable') throw error;
    throw new TollgateError('ledger_unavailable', {
      cause: error,
      message:
        'The ledger did not answer in time, so it is not known whether this was booked. Send the same again until it is ' +
        'answered: it is booked once.',
    });
  }
}

/** The error for an outcome that is a refusal. */
export function refused(
  result: Result,
  { account, key }: { account: bigint; key: bigint },
  amount: bigint,
  deps: RefusalDeps,
): Promise<TollgateError> {
  return creditRefusal(result, { account, key, want: amount, least: amount }, deps);
}

/** The error for a name that was used with another value in `field`. */
export function reusedName(name: 'usage_id' | 'id', field: string): TollgateError {
  return new TollgateError('reference_reused', {
    param: field,
    message: `This ${name} was used before, with another value for '${field}'. Repeat the first request exactly, or use a new ${name}.`,
  });
}
