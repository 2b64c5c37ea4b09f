/** Why the ledger refused to hold or to charge, said to whoever asked: what is needed, what there is, and what would help. */
import { TollgateError } from '../errors.ts';
import type { Result } from '../ledger/outcomes.ts';
import type { Budget } from '../ledger/wallets.ts';
import { formatCredits } from '../lib/money.ts';

/** What was asked for: as much as `want`, or at least `least`, in nano-credits. */
export interface AskedCredits {
  account: bigint;
  key: bigint;
  want: bigint;
  least: bigint;
}

export interface RefusalDeps {
  insufficientStatus: number;
  /** The budgets of an account and of one of its keys, as they stand. */
  readBudgets: (account: bigint, key: bigint) => Promise<Budget[]>;
}

/** The error for the outcome of a hold, or of what is judged like one, that was not granted. */
export async function creditRefusal(result: Result, asked: AskedCredits, deps: RefusalDeps): Promise<TollgateError> {
  const { available, held } = result;
  switch (result.outcome) {
    case 'key_budget_exceeded':
      return overBudget(asked, asked.key, deps);
    case 'account_budget_exceeded':
      return overBudget(asked, null, deps);
    case 'insufficient_credits':
      return new TollgateError('insufficient_quota', {
        status: deps.insufficientStatus,
        message:
          `You exceeded your current quota, please check your plan and billing details. ${needOf(asked)}, available are ` +
          `${formatCredits(available)}, held by running requests ${formatCredits(held)}.`,
      });
    case 'credits_held':
      return new TollgateError('credits_held', {
        message:
          `${needOf(asked)}. Available are ${formatCredits(available)}, and ${formatCredits(held)} are held by requests ` +
          'that are still running. Try again when some have ended.',
      });
    case 'account_suspended':
      return new TollgateError('account_suspended');
    case 'key_inactive':
    case 'account_not_found':
      return new TollgateError('invalid_api_key');
    case 'stale_policy':
      return new TollgateError('overloaded', { cause: 'the policy changed with every attempt to read it' });
    default:
      return new TollgateError('internal_error', { cause: `what asks for credits answered ${result.outcome}` });
  }
}

function needOf({ want, least }: AskedCredits): string {
  if (want === least) return `This request needs ${formatCredits(want)} credits`;
  return `This request needs up to ${formatCredits(want)} credits (at least ${formatCredits(least)})`;
}

/** Says whose budget is used up: the key's, or that of its account (`null`). Read for it, since a denial is rare. */
async function overBudget(asked: AskedCredits, key: bigint | null, deps: RefusalDeps): Promise<TollgateError> {
  const status = deps.insufficientStatus;
  // It is decided, whether or not it can be explained: a read that fails, or a budget that has just gone, changes nothing.
  const budgets = await deps.readBudgets(asked.account, asked.key).catch(() => []);
  const budget = budgets.find((one) => one.key === key);
  if (budget === undefined) return new TollgateError('budget_exceeded', { status });
  const { limit, period, spent, held, resetsAt } = budget;
  const every = { day: ' a day', month: ' a month', total: ' in total' }[period];
  return new TollgateError('budget_exceeded', {
    status,
    message:
      `The budget of ${key === null ? 'this account' : 'this API key'} is ${formatCredits(limit)} credits${every}, of which ` +
      `${formatCredits(spent)} are used and ${formatCredits(held)} held by running requests. ${needOf(asked)}. ` +
      (resetsAt === null ? 'This budget does not reset.' : `The budget resets at ${resetsAt.toISOString()}.`),
  });
}
