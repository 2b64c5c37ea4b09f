/**
 * Step 4: the most the request can cost → a durable hold, committed before a byte is forwarded. It freezes the price,
 * and verifies what steps 1 and 3 read from caches. Where the balance is short and the model allows it, less output is
 * held for, and the limit sent upstream is lowered to it.
 *
 *   bound ≤ ⅛ of what was available last, or it may not be cut ──▶ want = the whole bound
 *   else, a stream that shows all it generates ──────────────────▶ want = the input and a slice of the output (slices.ts)
 *   granted all of `want` ──▶ held
 *   else, if that could help: the prompt's tokens are counted, and less is wanted ──granted all──▶ held
 *   granted less, at least `least` ──▶ clamped, and ended where it does not keep to that          else ──▶ refused
 */
import { creditRefusal, type RefusalDeps } from '../accounts/credit-refusals.ts';
import type { Principal } from '../accounts/principals.ts';
import { boundCharge, charge } from '../catalog/rating.ts';
import { TollgateError } from '../errors.ts';
import type { Hold } from '../ledger/operations.ts';
import type { Result } from '../ledger/outcomes.ts';
import type { LedgerWriter } from '../ledger/writer.ts';
import { MAX_NANO } from '../lib/money.ts';
import { likelyInput, requestBounds } from '../metering/bounds.ts';
import { exactInputBound, fewestGenerated, generatedBound, leastExactBound } from '../metering/exact-bound.ts';
import { encodeFrozen } from '../metering/receipt.ts';
import type { TokenCounter } from '../metering/tokens/counter.ts';
import { BACKGROUND_HOLD_SECONDS } from './background/rows.ts';
import { type Context, need } from './context.ts';
import { FIRST_SLICE_TOKENS, mostCovered, Slices } from './slices.ts';

/** A clamp below this many output tokens would be of no use to anybody: the request is refused instead. */
const LEAST_OUTPUT_TOKENS = 16;
/** A bound is small that fits so many times into the balance. */
const SMALL_SHARE = 8n;
/** Policy may change again while it is read again, but not for ever. */
const STALE_RETRIES = 10;

/** What a hold answers when there is too little for it. */
const SHORT: ReadonlySet<Result['outcome']> = new Set([
  ...(['insufficient_credits', 'credits_held', 'account_budget_exceeded', 'key_budget_exceeded'] as const),
]);

export interface HoldDeps extends RefusalDeps {
  writer: LedgerWriter;
  tokens: TokenCounter;
  creditsPerUsd: bigint;
  /** Whether this gateway's lease is good: others would end its holds under it. */
  isLeased: () => boolean;
  /** Reads policy again, entitles again, and takes its limits where they are others: throws when that now denies. */
  admitAfresh: (context: Context) => Promise<void>;
}

/** Fills `hold`, `held` and `clampedTo`. Throws when nothing can be held; then no hold exists. */
export async function hold(context: Context, deps: HoldDeps): Promise<void> {
  if (!deps.isLeased()) throw new TollgateError('ledger_unavailable');
  let counted: number | null = null;
  // Less than all is taken only once the prompt is counted: it may need no more.
  let mayCount = leastInput(context) !== null;
  for (let tries = 0; ; ) {
    const bounds = boundsOf(context, deps.creditsPerUsd, counted);
    const asked = holdFor(context, bounds, deps.creditsPerUsd);
    const result = await deps.writer.hold(mayCount ? { ...asked, least: asked.want } : asked);
    if (need(context, 'request').stream) AVAILABLE.set(need(context, 'principal'), result.available);
    if (result.outcome === 'stale_policy' && tries++ < STALE_RETRIES) {
      await deps.admitAfresh(context);
      mayCount &&= leastInput(context) !== null;
    } else if (mayCount && SHORT.has(result.outcome)) {
      mayCount = false;
      counted = await closerBound(context, deps, result.available);
    } else if (result.outcome !== 'done' && result.outcome !== 'repeated') {
      throw await creditRefusal(result, asked, deps);
    } else {
      context.hold = asked;
      context.held = result.amount;
      context.clampedTo =
        result.amount < asked.want ? affordable(context, bounds, result.amount) : unheldLimit(context);
      if (result.amount < asked.want) context.policy = 'when_short: clamp';
      context.slices = slicesFor(context, bounds, asked, deps);
      return;
    }
  }
}

/** The fewest input tokens that a count could find; `null`: it would find no less than the bytes say. */
function leastInput(context: Context): number | null {
  // Of a form, its text is the least.
  if (context.body === null) return null;
  return leastExactBound(need(context, 'request'), need(context, 'model'));
}

/** A bound of the input by a count, where even its best would be of use with so much available; `null`: none. */
async function closerBound(context: Context, deps: HoldDeps, available: bigint): Promise<number | null> {
  const [request, model] = [need(context, 'request'), need(context, 'model')];
  const best = boundsOf(context, deps.creditsPerUsd, leastInput(context));
  if (holdFor(context, best, deps.creditsPerUsd).least > available) return null;
  return exactInputBound(request, need(context, 'body'), model, deps.tokens);
}

/** What a request can use and cost at most. */
interface Bounds {
  /** Input tokens. */
  input: number;
  /** Output tokens of all choices. */
  output: number;
  /** As many of them as are to be held for at first. */
  held: number;
  /** What it costs at most with so many output tokens, in nano-credits. */
  costOf: (output: number) => bigint;
}

/** `counted`: the most input tokens there are, by a count. */
function boundsOf(context: Context, creditsPerUsd: bigint, counted: number | null): Bounds {
  const request = need(context, 'request');
  const model = need(context, 'model');
  const most = requestBounds(request, model, counted);
  const { output } = most;
  const costOf = (tokens: number): bigint => {
    const bound = boundCharge({ ...most, output: tokens }, model.price, creditsPerUsd);
    return bound > MAX_NANO ? MAX_NANO : bound;
  };
  const held = maySlice(context) && isLarge(context, costOf(output)) ? Math.min(output, FIRST_SLICE_TOKENS) : output;
  return { input: most.input, output, held, costOf };
}

/** Whether less output may be had than was asked for: what is structured is of no use when it is cut. */
function mayCut(context: Context): boolean {
  const { mustBeWhole, n } = need(context, 'request');
  const { limitFields } = context.endpoint.requests;
  return need(context, 'model').whenShort === 'clamp' && !mustBeWhole && n > 0 && limitFields.length > 0;
}

/**
 * Whether a slice will do: of a stream that may be cut, and that shows what it generates. What a model thinks is not shown, nor
 * what is billed of sound and drafts; of several choices each would need an end of its own.
 */
function maySlice(context: Context): boolean {
  const request = need(context, 'request');
  const { onDisconnect, reasons } = need(context, 'model');
  const { dialect, ends } = context.endpoint;
  const hidesOutput =
    reasons || request.hidesOutput || dialect.mostTokens === undefined || ends.exhausted === undefined;
  return (
    request.stream &&
    request.background !== true &&
    request.n === 1 &&
    !hidesOutput &&
    onDisconnect !== 'drain' &&
    mayCut(context)
  );
}

/** What was available to a principal when its last stream was held for: a hint for the next, never relied on. */
const AVAILABLE = new WeakMap<Principal, bigint>();

/** Whether so much would take a large part of the balance from others, as far as is known. */
function isLarge(context: Context, bound: bigint): boolean {
  const available = AVAILABLE.get(need(context, 'principal'));
  return available === undefined || bound * SMALL_SHARE > available;
}

/** What watches the output of a stream that has less than all of it held for; `null`: nothing need, or can. */
function slicesFor(context: Context, bounds: Bounds, asked: Hold, deps: HoldDeps): Slices | null {
  if (need(context, 'held') === asked.want) return bounds.held < bounds.output ? slicesOf(context, bounds, deps) : null;
  return maySlice(context) ? limitOf(context, need(context, 'clampedTo'), deps) : null;
}

/**
 * Ends a clamped stream whose provider does not keep to the limit it was sent: past that by a quarter and some, since the count
 * may be of another tokeniser. It is charged no more than is held; one that keeps to its limit never comes so far.
 */
function limitOf(context: Context, limit: number, { tokens }: HoldDeps): Slices {
  const model = need(context, 'model');
  const held = Math.ceil(limit * 1.25) + 64;
  const count = async (texts: readonly string[]): Promise<number> =>
    (await generatedBound(texts, model, tokens)) ?? fewestGenerated(texts);
  return new Slices({ held: BigInt(held), bound: held + 1, costOf: BigInt, extend: async () => null, count });
}

function slicesOf(context: Context, { output, costOf }: Bounds, { writer, tokens }: HoldDeps): Slices {
  const { account } = need(context, 'principal');
  const model = need(context, 'model');
  const ask = async (want: bigint, least: bigint): Promise<bigint | null> => {
    // A ledger that does not answer is one that grants nothing.
    const result = await writer.apply({ verb: 'extend', account, id: context.id, want, least }).catch(() => null);
    if (result === null || (result.outcome !== 'done' && result.outcome !== 'repeated')) return null;
    context.held = result.amount;
    return result.amount;
  };
  const count = (texts: readonly string[]): Promise<number | null> => generatedBound(texts, model, tokens);
  const extend = (want: bigint, least: bigint): Promise<bigint | null> => {
    const answer = ask(want, least);
    context.extending = answer;
    return answer;
  };
  return new Slices({ held: need(context, 'held'), bound: output, costOf, extend, count });
}

function holdFor(context: Context, { input, output, held, costOf }: Bounds, creditsPerUsd: bigint): Hold {
  const request = need(context, 'request');
  const model = need(context, 'model');
  const principal = need(context, 'principal');
  const want = costOf(held);
  const likely = likelyInput(request, model);
  const least = costOf(Math.min(output, LEAST_OUTPUT_TOKENS * request.n));
  return {
    verb: 'hold',
    account: principal.account,
    id: context.id,
    key: principal.key,
    want,
    least: mayCut(context) ? least : want,
    floor: charge({ ...likely, input: Math.min(input, likely.input!) }, model.price, creditsPerUsd),
    policyVersion: principal.policyVersion,
    catalogVersion: need(context, 'catalog').version,
    onOrphan: model.onOrphan,
    ttlSeconds: request.background === true ? BACKGROUND_HOLD_SECONDS : null,
    frozen: encodeFrozen({
      endpoint: context.endpoint.name,
      model: model.name,
      priceVersion: model.priceVersion,
      price: model.price,
      priceSource: model.priceSource,
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
  const { outputLimit, fixedOutput, n } = need(context, 'request');
  if (n === 0 || fixedOutput !== null || context.endpoint.requests.limitFields.length === 0) return null;
  const { maxOutputTokens, statesMaxOutput } = need(context, 'model');
  if (outputLimit === null) return statesMaxOutput ? null : maxOutputTokens;
  return outputLimit > maxOutputTokens ? maxOutputTokens : null;
}

/** The output limit, per choice, whose bound fits into what was granted. */
function affordable(context: Context, { output, costOf }: Bounds, granted: bigint): number {
  const { n } = need(context, 'request');
  return mostCovered(granted, Math.floor(output / n), (each) => costOf(each * n));
}
