/** Granting credits to an account, once per reference: the rules that the admin API and the commands share. */
import type { Pool } from 'pg';
import { TollgateError } from '../errors.ts';
import type { LotKind, Outcome, Result } from '../ledger/outcomes.ts';
import { type Lot, readLot } from '../ledger/read.ts';
import type { LedgerWriter } from '../ledger/writer.ts';
import type { Clock } from '../lib/clock.ts';
import { uuidv7 } from '../lib/ids.ts';

export interface NewGrant {
  /** Nano-credits, above 0. */
  amount: bigint;
  kind: LotKind;
  reference: string;
  priority: number;
  /** `null`: at once. */
  startsAt: Date | null;
  /** `null`: never. */
  expiresAt: Date | null;
  reason: string | null;
  /** What was paid for it, in the currency's minor unit; `null`: nothing, or it is not known here. */
  paid: { minor: bigint; currency: string } | null;
}

export interface LedgerDeps {
  pool: Pool;
  writer: LedgerWriter;
  clock: Clock;
  creditsPerUsd: bigint;
}

/**
 * Grants a lot. The same reference again answers the lot it made, `created: false`; with another field it throws
 * `reference_reused` naming it. Also throws `not_found` (no such account), `invalid_request` (a lot that would never
 * live, or a balance beyond 10⁹ credits) and `conflict` (credits were granted at another `credits.per_usd`).
 */
export async function grantCredits(
  deps: LedgerDeps,
  account: bigint,
  grant: NewGrant,
): Promise<{ lot: Lot; created: boolean }> {
  const { creditsPerUsd } = deps;
  const granting = deps.writer.apply({ verb: 'grant', account, id: uuidv7(deps.clock), ...grant, creditsPerUsd });
  const { outcome } = await withinLimit(granting);
  if (outcome !== 'done' && outcome !== 'repeated') throw refusal(outcome);
  const lot = (await readLot(deps.pool, account, grant.reference))!;
  if (lot.reason !== grant.reason) throw reused('reason');
  if (lot.paid?.minor !== grant.paid?.minor || lot.paid?.currency !== grant.paid?.currency) throw reused('paid');
  return { lot, created: outcome === 'done' };
}

const FIELDS: Partial<Record<Outcome, string>> = {
  exists_with_different_amount: 'credits',
  exists_with_different_kind: 'kind',
  exists_with_different_expires_at: 'expires_at',
  exists_with_different_starts_at: 'starts_at',
  exists_with_different_priority: 'priority',
};

function refusal(outcome: Outcome): TollgateError {
  const field = FIELDS[outcome];
  if (field !== undefined) return reused(field);
  switch (outcome) {
    case 'account_not_found':
      return new TollgateError('not_found');
    case 'interval_empty':
      return new TollgateError('invalid_request', {
        param: 'expires_at',
        message: "Invalid value for 'expires_at': must be in the future and after starts_at.",
      });
    case 'credit_scale_differs':
      return scaleDiffers();
    default:
      return new TollgateError('internal_error', { cause: `a grant answered ${outcome}` });
  }
}

function reused(field: string): TollgateError {
  return new TollgateError('reference_reused', {
    param: field,
    message: `This reference granted credits before, with another value for '${field}'. Repeat the first request exactly, or use a new reference.`,
  });
}

/** The setting `credits.per_usd` is not what the first credits were given at. */
export function scaleDiffers(): TollgateError {
  return new TollgateError('conflict', {
    message:
      'Credits were first granted at another credits.per_usd, which cannot change afterwards. Restore that setting.',
  });
}

/** The answer to an operation that the database itself refuses where a balance could overflow: then `invalid_request`. */
export async function withinLimit(answer: Promise<Result>): Promise<Result> {
  try {
    return await answer;
  } catch (error) {
    const cause = error instanceof TollgateError ? (error.cause as { constraint?: unknown } | undefined) : undefined;
    if (cause?.constraint !== 'wallet_amounts_fit') throw error;
    throw new TollgateError('invalid_request', {
      param: 'credits',
      message: "Invalid value for 'credits': the balance of the account would exceed 10⁹.",
    });
  }
}
