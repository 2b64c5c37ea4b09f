/**
 * The order of a request's steps, and its one exit. Each step is a file of its number; what it fills is in context.ts.
 *
 *   authenticate ─▶ parse ─▶ entitle ─▶ rate limits (─▶ claim an idempotency key ─▶ check what is stored) ─▶ hold ─▶ forward + relay ─▶ settle | release ─▶ last bytes ─▶ log line
 */
import type { Principal } from '../accounts/principals.ts';
import { TollgateError } from '../errors.ts';
import type { Result } from '../ledger/outcomes.ts';
import { publicId } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import { likelyInput } from '../metering/bounds.ts';
import { responseHeaders } from '../upstream/headers.ts';
import { accept } from './1-authenticate.ts';
import { mayBeTooLong, parse, refuseTooLong, type Sent } from './2-parse.ts';
import { entitle, entitleAfresh } from './3-entitle.ts';
import { type HoldDeps, hold } from './4-hold.ts';
import { type ForwardDeps, forward, isClientFault } from './5-forward.ts';
import { charged, release, type SettleDeps, settle } from './7-settle.ts';
import { errorOf } from './8-fail.ts';
import { type BackgroundDeps, closeBackground, handOver, openBackground, sendRunning } from './background/open.ts';
import { type Context, need } from './context.ts';
import type { Answer } from './idempotency/seal.ts';
import { type ClaimDeps, claimKey } from './idempotency/step.ts';
import { type MeterDeps, meterBody, meterCut, meterStream } from './meter.ts';
import { type CheckDeps, checkOwned } from './owned/check.ts';
import { type NoteDeps, noteMade } from './owned/note.ts';
import { endLimits, type LimitDeps, takeLimits } from './rate-limits.ts';
import { loggableCause, redactedBody } from './redact.ts';
import type { Failed, Relayed } from './relayed.ts';
import { chargeHeaders, sendBody, sendError, toTollgateError } from './respond.ts';
import type { Spool } from './spool.ts';
import { Upload } from './upload.ts';

const NO_BODY = Buffer.alloc(0);

export interface GatewayDeps
  extends HoldDeps,
    ForwardDeps,
    SettleDeps,
    MeterDeps,
    ClaimDeps,
    LimitDeps,
    CheckDeps,
    NoteDeps,
    BackgroundDeps {
  /** Where forms are kept while they are served. */
  spool: Spool;
  maxBodyBytes: number;
  /** Set while the process drains: no new request is taken. */
  draining: { value: boolean };
}

/** Serves one request whose principal is known and whose body has been read. Never throws; answers exactly once. */
export async function serve(context: Context, sent: Sent, deps: GatewayDeps): Promise<void> {
  deps.inFlight.opened(context);
  try {
    if (await admit(context, sent, deps)) await conclude(context, await forward(context, deps), deps);
  } catch (error) {
    await fail(context, error, deps);
    await endFaulted(context, deps);
  } finally {
    endLimits(context, {});
    await context.claim?.drop();
    if (sent instanceof Upload) await sent.close();
    if (context.request?.background === true) await closeBackground(context, deps);
    deps.inFlight.closed(context);
    record(context, deps);
  }
}

/** Steps 2 to 4. False when the request was refused, or answered as before: then no hold is open. */
async function admit(context: Context, sent: Sent, deps: GatewayDeps): Promise<boolean> {
  try {
    if (deps.draining.value) throw new TollgateError('shutting_down');
    const reading = parse(context, sent);
    if (reading !== null) await reading;
    try {
      entitle(context, deps.catalogs);
    } catch {
      await entitleAfresh(context, deps.catalogs, deps.principals);
    }
    const waiting = takeLimits(context, deps);
    if (waiting !== null) await waiting;
    if (!(await claimKey(context, deps))) return false;
    const checking = checkOwned(context, deps);
    if (checking !== null) await checking;
    if (mayBeTooLong(context)) await refuseTooLong(context, deps.tokens);
    if (need(context, 'request').background === true) await openBackground(context, deps);
    await hold(context, deps);
  } catch (error) {
    await fail(context, await precedingRefusal(context, error, deps), deps);
    await endFaulted(context, deps);
    return false;
  }
  const isStale = context.claim?.isFresh === false;
  if (!context.clientGone && !isStale) return true;
  await release(context, deps);
  if (isStale) await fail(context, new TollgateError('overloaded', { cause: 'the hold came too late' }), deps);
  return false;
}

/**
 * Errors are decided key first, then suspension, then body: before a body is called wrong, the key is looked at again,
 * since it was found in the cache. Returns the error that comes first.
 */
async function precedingRefusal(context: Context, error: unknown, deps: GatewayDeps): Promise<unknown> {
  if (context.request !== null || !(error instanceof TollgateError) || error.status !== 400) return error;
  try {
    accept(await deps.principals.reload(need(context, 'principal')), 'inference', context.caller);
    return error;
  } catch (refusal) {
    return refusal;
  }
}

/** Steps 7 and 8: what was served is charged, what was not is released; then the last bytes leave. */
async function conclude(context: Context, relayed: Relayed, deps: GatewayDeps): Promise<void> {
  const { response } = context;
  if (need(context, 'request').background === true && (await handOver(context, relayed, deps))) {
    return sendRunning(context, relayed, (answer) => keepAndSend(context, answer));
  }
  switch (relayed.kind) {
    case 'whole': {
      context.status = relayed.status;
      const metering = await meterBody(context, deps, relayed);
      const noting = noteMade(context, deps, metering?.failed === true ? null : metering);
      const result = await (metering === null ? release(context, deps) : settle(context, deps, metering));
      if (noting !== null) await noting;
      // An error in the form of a success, or a redirect, is no answer to repeat.
      const failed = metering === null || metering.failed === true;
      if (failed || relayed.status >= 300) await context.claim?.drop();
      if (relayed.rest !== null) {
        await context.claim?.keep(relayed.rest);
        if (!response.destroyed) response.end(relayed.rest);
      } else {
        const body = relayed.body ?? NO_BODY;
        const headers = { ...responseHeaders(relayed.headers), ...chargeHeaders(context, result) };
        await keepAndSend(context, { status: relayed.status, headers, body: failed ? redactedBody(body) : body });
      }
      return;
    }
    case 'streamed':
      return concludeStream(context, relayed, deps);
    case 'exhausted': {
      context.status = relayed.status;
      context.policy = 'when_short: clamp';
      const metering = charged(context, deps, await meterCut(context, deps, relayed));
      await settle(context, deps, metering);
      // What its provider made of it in the end is not known.
      await noteMade(context, deps, null);
      const usage = need(context, 'request').includeUsage ? metering.usage : null;
      const rest = Buffer.from(context.endpoint.ends.exhausted!(relayed.unsent, usage, relayed.reader));
      await context.claim?.keep(rest);
      if (!response.destroyed) response.end(rest);
      return;
    }
    case 'abandoned':
      context.disconnect = 'aborted';
      if (context.clientGone) decideByDisconnect(context);
      if (relayed.sent) await settle(context, deps, await meterCut(context, deps, relayed));
      else await release(context, deps);
      await noteMade(context, deps, null);
      response.destroy();
      return;
    default:
      await concludeFailure(context, relayed, deps);
  }
}

async function concludeStream(
  context: Context,
  { status, reader, rest, failed }: Extract<Relayed, { kind: 'streamed' }>,
  deps: GatewayDeps,
): Promise<void> {
  const { response } = context;
  context.status = status;
  if (context.clientGone) {
    context.disconnect = 'drained';
    decideByDisconnect(context);
  }
  const metering = await meterStream(context, deps, reader);
  const noting = noteMade(context, deps, failed ? null : metering);
  await settle(context, deps, metering);
  if (noting !== null) await noting;
  // One that failed is no answer to repeat.
  await (failed ? context.claim?.drop() : context.claim?.keep(rest));
  if (!response.destroyed) response.end(rest);
}

function decideByDisconnect(context: Context): void {
  context.policy = `on_disconnect: ${need(context, 'model').onDisconnect}`;
}

async function concludeFailure(context: Context, relayed: Failed, deps: GatewayDeps): Promise<void> {
  const { response } = context;
  if (relayed.kind === 'refused' && relayed.body !== null && isClientFault(relayed.status)) {
    context.status = relayed.status;
    const result = await release(context, deps);
    const headers = { 'content-type': 'application/json', ...chargeHeaders(context, result) };
    await keepAndSend(context, { status: relayed.status, headers, body: redactedBody(relayed.body) });
    return;
  }
  const error = errorOf(relayed);
  const cause = loggableCause(error.cause);
  deps.log.warn({ req: context.publicId, attempts: context.attempts, cause }, 'no route answered');
  await endFailed(context, relayed, deps);
  context.status = error.status;
  await context.claim?.drop();
  if (!response.headersSent) {
    sendError(response, context.publicId, error);
    return;
  }
  // Something was sent, so the connection is cut; a stream first says why, unless the provider did.
  const told = relayed.kind === 'cut_short' && relayed.errorSent;
  if (relayed.kind !== 'refused' && 'reader' in relayed && relayed.reader !== null && !told) {
    response.write(context.endpoint.ends.error(error, relayed.reader), () => response.destroy());
  } else response.destroy();
}

/** Sends an answer at hand as a whole, which a repeat of the request with the same idempotency key gets again. */
async function keepAndSend(context: Context, answer: Answer): Promise<void> {
  await context.claim?.keepWhole(answer);
  sendBody(context.response, answer.status, answer.body, answer.headers);
}

/** Charges a failed request for what it got, or for nothing. */
function endFailed(context: Context, relayed: Failed, deps: GatewayDeps): Promise<Result | null> {
  if (relayed.kind === 'refused') return release(context, deps);
  const timedOut = relayed.kind === 'failed' && relayed.failure.kind === 'timeout' && relayed.failure.sent;
  const { onUpstreamTimeout } = need(context, 'model');
  if (timedOut && !relayed.reached) context.policy = `on_upstream_timeout: ${onUpstreamTimeout}`;
  // It would have been drained to its end.
  else if (relayed.reached && context.clientGone && relayed.reader !== null) {
    context.disconnect = 'drained';
    decideByDisconnect(context);
  }
  const billable = relayed.reached || (timedOut && onUpstreamTimeout === 'estimate');
  if (!billable) return release(context, deps);
  return meterCut(context, deps, relayed).then(async (metering) => {
    const result = await settle(context, deps, metering);
    await noteMade(context, deps, null);
    return result;
  });
}

/** A fault of ours after the hold: it must not stay open. What was served is not known, so it costs what a death would. */
async function endFaulted(context: Context, deps: GatewayDeps): Promise<void> {
  if (context.held === null || context.charged !== null) return;
  const usage = likelyInput(need(context, 'request'), need(context, 'model'));
  await settle(context, deps, { usage, source: 'estimated' });
}

async function fail(context: Context, thrown: unknown, deps: GatewayDeps): Promise<void> {
  const error = toTollgateError(thrown);
  await context.claim?.drop();
  context.status = error.status;
  if (error.code === 'internal_error')
    deps.log.error({ req: context.publicId, err: error.cause ?? error }, 'request failed');
  sendError(context.response, context.publicId, error);
}

/** The one line in the log, and the metrics: ids, model, status, charge and time; never a prompt, a key or a query. */
function record(context: Context, deps: GatewayDeps): void {
  const ms = deps.clock.now() - context.startedAt;
  deps.metrics.request(context.model?.name ?? null, context.status ?? 499, ms, context.charged);
  const ids = context.principal === null ? null : publicIdsOf(context.principal);
  deps.log.info({
    req: context.publicId,
    acct: ids?.acct,
    key: ids?.key,
    model: context.model?.name,
    status: context.status ?? 499,
    charged: context.charged === null ? undefined : formatCredits(context.charged),
    source: context.usageSource,
    stream: context.request?.stream,
    disconnect: context.disconnect ?? undefined,
    policy: context.policy ?? undefined,
    ms,
  });
}

const PUBLIC_IDS = new WeakMap<Principal, { acct: string; key: string }>();

/** The public ids of a principal; it serves many requests, so they are written once. */
function publicIdsOf(principal: Principal): { acct: string; key: string } {
  let ids = PUBLIC_IDS.get(principal);
  if (ids === undefined) {
    ids = { acct: publicId('acct', principal.account), key: publicId('key', principal.key) };
    PUBLIC_IDS.set(principal, ids);
  }
  return ids;
}
