/** Granting credits to an account, once per reference: the rules that the admin API and the commands share. */
import type { Pool } from 'pg';
import { TollgateError } from '../errors.ts';
import type { LotKind, Outcome } from '../ledger/outcomes.ts';
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
}

export interface GrantDeps {
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
  deps: GrantDeps,
  account: bigint,
  grant: NewGrant,
): Promise<{ lot: Lot; created: boolean }> {
  const { creditsPerUsd } = deps;
  const { outcome } = await deps.writer
    .grant({ verb: 'grant', account, id: uuidv7(deps.clock), ...grant, creditsPerUsd })
    .catch((error) => {
      throw isBeyondLimit(error) ? beyondLimit() : error;
    });
  if (outcome !== 'done' && outcome !== 'repeated') throw refusal(outcome);
  const lot = (await readLot(deps.pool, account, grant.reference))!;
  if (lot.reason !== grant.reason) throw reused('reason');
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
      return new TollgateError('conflict', {
        message:
          'Credits were first granted at another credits.per_usd, which cannot change afterwards. Restore that setting.',
      });
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

/** The database itself refuses a balance that could overflow. */
function isBeyondLimit(error: unknown): boolean {
  const cause = error instanceof TollgateError ? (error.cause as { constraint?: unknown } | undefined) : undefined;
  return cause?.constraint === 'wallet_amounts_fit';
}

function beyondLimit(): TollgateError {
  return new TollgateError('invalid_request', {
    param: 'credits',
    message: "Invalid value for 'credits': the balance of the account would exceed 10⁹.",
  });
}
