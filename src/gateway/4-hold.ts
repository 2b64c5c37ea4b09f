/**
 * Step 4: the most the request can cost → a durable hold, committed before a byte is forwarded. It freezes the price,
 * and verifies what steps 1 and 3 read from caches. Where the balance is short and the model allows it, less output is
 * held for, and the limit sent upstream is lowered to it.
 */
import { boundCharge, charge } from '../catalog/rating.ts';
import { TollgateError } from '../errors.ts';
import type { Hold } from '../ledger/operations.ts';
import type { Result } from '../ledger/outcomes.ts';
import type { LedgerWriter } from '../ledger/writer.ts';
import { formatCredits, MAX_NANO } from '../lib/money.ts';
import { inputBound, inputEstimate, outputBound } from '../metering/bounds.ts';
import { encodeFrozen } from '../metering/receipt.ts';
import { type Context, need } from './context.ts';

/** A clamp below this many output tokens would be of no use to anybody: the request is refused instead. */
const LEAST_OUTPUT_TOKENS = 16;
/** Policy may change again while it is read again, but not for ever. */
const STALE_RETRIES = 3;

export interface HoldDeps {
  writer: LedgerWriter;
  creditsPerUsd: bigint;
  insufficientStatus: number;
  /** Whether this gateway's lease is good: others would end its holds under it. */
  isLeased: () => boolean;
  /** Reads policy and catalog again, and entitles again: throws when that now denies. */
  entitleAfresh: (context: Context) => Promise<void>;
}

/** Fills `hold`, `held` and `clampedTo`. Throws when nothing can be held; then no hold exists. */
export async function hold(context: Context, deps: HoldDeps): Promise<void> {
  if (!deps.isLeased()) throw new TollgateError('ledger_unavailable');
  for (let tries = 0; ; tries++) {
    const asked = holdFor(context, deps.creditsPerUsd);
    const result = await deps.writer.hold(asked);
    if (result.outcome === 'stale_policy' && tries < STALE_RETRIES) {
      await deps.entitleAfresh(context);
      continue;
    }
    if (result.outcome !== 'done' && result.outcome !== 'repeated')
      throw denial(result, asked, deps.insufficientStatus);
    context.hold = asked;
    context.held = result.amount;
    context.clampedTo =
      result.amount < asked.want ? affordable(context, result.amount, deps.creditsPerUsd) : unheldLimit(context);
    return;
  }
}

function holdFor(context: Context, creditsPerUsd: bigint): Hold {
  const request = need(context, 'request');
  const model = need(context, 'model');
  const principal = need(context, 'principal');
  const body = need(context, 'body');
  const input = inputBound(request, body.length, model);
  const output = outputBound(request, model);
  const bound = boundCharge(input, output, model.price, creditsPerUsd);
  const want = bound > MAX_NANO ? MAX_NANO : bound;
  const mayClamp = model.whenShort === 'clamp' && !request.structuredOutput;
  const leastOutput = Math.min(output, LEAST_OUTPUT_TOKENS * request.n);
  const least = boundCharge(input, leastOutput, model.price, creditsPerUsd);
  return {
    verb: 'hold',
    account: principal.account,
    id: context.id,
    key: principal.key,
    want,
    least: mayClamp && least < want ? least : want,
    floor: charge({ input: inputEstimate(request, body.length, model) }, model.price, creditsPerUsd),
    policyVersion: principal.policyVersion,
    catalogVersion: need(context, 'catalog').version,
    onOrphan: model.onOrphan,
    frozen: encodeFrozen({
      endpoint: context.endpoint,
      model: model.name,
      priceVersion: model.priceVersion,
      price: model.price,
      stream: request.stream,
      createdAt: context.startedAt,
    }),
  };
}

/**
 * The limit that must be sent upstream so that no more is generated than is held for: where the client asked for more than
 * the model gives, or where neither it nor the catalog says how much that is. `null`: none.
 */
function unheldLimit(context: Context): number | null {
  const { outputLimit } = need(context, 'request');
  const { maxOutputTokens, statesMaxOutput } = need(context, 'model');
  if (outputLimit === null) return statesMaxOutput ? null : maxOutputTokens;
  return outputLimit > maxOutputTokens ? maxOutputTokens : null;
}

/** The output limit, per choice, whose bound fits into what was granted. */
function affordable(context: Context, granted: bigint, creditsPerUsd: bigint): number {
  const request = need(context, 'request');
  const model = need(context, 'model');
  const input = inputBound(request, need(context, 'body').length, model);
  let fits = 0;
  let tooMuch = Math.floor(outputBound(request, model) / request.n) + 1;
  while (tooMuch - fits > 1) {
    const middle = Math.floor((fits + tooMuch) / 2);
    if (boundCharge(input, middle * request.n, model.price, creditsPerUsd) <= granted) fits = middle;
    else tooMuch = middle;
  }
  return fits;
}

function denial(result: Result, asked: Hold, insufficientStatus: number): TollgateError {
  const { available, held } = result;
  switch (result.outcome) {
    case 'insufficient_credits':
      return new TollgateError('insufficient_quota', {
        status: insufficientStatus,
        message:
          'You exceeded your current quota, please check your plan and billing details. This request needs up to ' +
          `${formatCredits(asked.want)} credits (at least ${formatCredits(asked.least)}), available are ` +
          `${formatCredits(available)}, held by running requests ${formatCredits(held)}.`,
      });
    case 'credits_held':
      return new TollgateError('credits_held', {
        message:
          `This request needs up to ${formatCredits(asked.want)} credits. Available are ${formatCredits(available)}, and ` +
          `${formatCredits(held)} are held by requests that are still running. Try again when some have ended.`,
      });
    case 'account_suspended':
      return new TollgateError('account_suspended');
    case 'key_inactive':
    case 'account_not_found':
      return new TollgateError('invalid_api_key');
    case 'stale_policy':
      return new TollgateError('overloaded', { cause: 'the policy changed with every attempt to read it' });
    default:
      return new TollgateError('internal_error', { cause: `a new hold answered ${result.outcome}` });
  }
}
