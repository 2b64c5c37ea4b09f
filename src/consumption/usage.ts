/**
 * What a host application reports that one of its accounts used: an operation of the catalog, an amount of credits, or a model's
 * usage. It is charged in one step, once for each `usage_id`, or refused and nothing is charged.
 */
import { promptly } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { type Fields, type NamedRow, readNamed } from '../ledger/named-operations.ts';
import type { Result } from '../ledger/outcomes.ts';
import { readBalance } from '../ledger/read.ts';
import { uuidv7 } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import { answered, type ConsumptionDeps, refused, reusedName } from './deps.ts';
import { type Consumed, fieldsOf, type UsageReport } from './forms.ts';
import { type Rated, rateConsumed, reportedReceipt } from './rating.ts';
import { type Asking, judged, type Standing } from './standing.ts';

/** The answer to a report. */
export interface UsageAnswer {
  usage_id: string;
  charged: string;
  available: string;
  /** It was booked before, and nothing was charged now. */
  replayed: boolean;
}

/**
 * Charges what was used. The same `usage_id` again answers as it did, whatever has become of prices and entitlements since; with
 * other fields it throws `reference_reused`. Throws what `rateConsumed` throws, `insufficient_quota`, `credits_held` or
 * `budget_exceeded` where it does not fit, and `ledger_unavailable` where it is not known whether it was booked.
 */
export async function consume(deps: ConsumptionDeps, asking: Asking, report: UsageReport): Promise<UsageAnswer> {
  const { name, consumed, alreadyDone } = report;
  if (alreadyDone && asking.principal.actsFor === null) throw onlyServices();
  const fields = fieldsOf(consumed);
  const judge = (standing: Standing): Rated => rateConsumed(consumed, standing, deps.creditsPerUsd);
  const book = async ({ amount, facts }: Rated, standing: Standing): Promise<UsageAnswer | 'stale'> => {
    const { account, key, policyVersion } = standing.principal;
    const result = await answered(
      deps.writer.apply({
        verb: 'consume',
        account,
        id: uuidv7(deps.clock),
        key,
        name,
        fields,
        amount,
        mayOwe: alreadyDone,
        policyVersion,
        catalogVersion: standing.catalog.version,
        receipt: reportedReceipt('usage', facts, { held: 0n, createdAt: deps.clock.now() }),
      }),
    );
    if (result.outcome === 'stale_policy') return 'stale';
    if (result.outcome === 'exists_with_different_fields') throw await otherFields(deps, account, name, fields);
    if (result.outcome === 'done' || result.outcome === 'repeated') return answerOf(name, result);
    throw await refused(result, standing.principal, amount, deps);
  };
  try {
    return await judged(deps, asking, judge, book);
  } catch (denial) {
    return bookedBefore(deps, asking, { name, consumed }, denial);
  }
}

function answerOf(name: string, { outcome, amount, available }: Result): UsageAnswer {
  return {
    usage_id: name,
    charged: formatCredits(amount),
    available: formatCredits(available),
    replayed: outcome === 'repeated',
  };
}

/** Denials that a price or an entitlement of today makes: what was booked under another one is not undone by them. */
const OF_TODAY: readonly string[] = [
  'not_found',
  'model_not_found',
  'model_not_entitled',
  'feature_not_entitled',
  'invalid_request',
];

/** The answer to what was booked before, though it would be denied now. Throws the denial where it was not. */
async function bookedBefore(
  { pool }: ConsumptionDeps,
  { principal: { account } }: Asking,
  { name, consumed }: { name: string; consumed: Consumed },
  denial: unknown,
): Promise<UsageAnswer> {
  if (!(denial instanceof TollgateError) || !OF_TODAY.includes(denial.code)) throw denial;
  const booked = await promptly(readNamed(pool, account, 'consume', name));
  if (booked === null) throw denial;
  const field = differing(booked, fieldsOf(consumed));
  if (field !== null) throw reusedName('usage_id', field);
  const balance = await promptly(readBalance(pool, account));
  return {
    usage_id: name,
    charged: formatCredits(booked.amount),
    available: formatCredits(balance?.available ?? 0n),
    replayed: true,
  };
}

async function otherFields(
  { pool }: ConsumptionDeps,
  account: bigint,
  name: string,
  fields: Fields,
): Promise<TollgateError> {
  const booked = await promptly(readNamed(pool, account, 'consume', name));
  return reusedName('usage_id', (booked === null ? null : differing(booked, fields)) ?? 'usage_id');
}

/** The first field whose value is another than what was booked; `null`: none. */
function differing({ fields: booked }: NamedRow, fields: Fields): string | null {
  const names = new Set([...Object.keys(fields), ...Object.keys(booked)]);
  return [...names].find((name) => canonical(fields[name]) !== canonical(booked[name])) ?? null;
}

/** The database keeps the names of usage in an order of its own. */
function canonical(value: Fields[string] | undefined): string {
  return (
    JSON.stringify(typeof value === 'object' ? Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)) : value) ?? ''
  );
}

function onlyServices(): TollgateError {
  return new TollgateError('scope_missing', {
    param: 'already_done',
    message:
      'Only a service key may report what is done already, because it books debt where credits are short. Leave already_done ' +
      'out, or use a service key.',
  });
}
