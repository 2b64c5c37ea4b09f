/**
 * The end of step 3: what a request needs of the limits of its account, its key and its models is taken, all or nothing.
 *
 *   none set ──▶ not limited
 *   taken ──settled, released, refused later, answered as before, fault──▶ ended: its slots are free, its tokens what it used
 *     └── policy was read again, and its limits are others ──▶ given back, and taken anew
 *   refused ──policy is read again──▶ taken, or refused for good: 429
 */
import type { Principals } from '../accounts/principals.ts';
import type { CatalogCache } from '../catalog/cache.ts';
import { isInput, isOutput, type Unit, type Usage } from '../catalog/units.ts';
import { type Answer, type Ask, type Limiter, refusalOf, type Subject } from '../entitlements/limits/limiter.ts';
import { rateLimited, rateLimitHeaders } from '../entitlements/limits/refusal.ts';
import { subjectsOf } from '../entitlements/limits/subjects.ts';
import { accessOf } from '../entitlements/resolve.ts';
import { inputEstimate, likelyOutput } from '../metering/bounds.ts';
import type { Metrics } from '../observe/metrics.ts';
import { entitleAfresh } from './3-entitle.ts';
import { type Context, need } from './context.ts';

export interface LimitDeps {
  limits: Limiter;
  principals: Principals;
  catalogs: CatalogCache;
  metrics: Metrics;
}

/**
 * Fills `limited`. `null`: it is done, and there was nothing to wait for. Throws `rate_limit_exceeded`, and what entitling again
 * throws: a refusal by what was cached is confirmed first.
 */
export function takeLimits(context: Context, deps: LimitDeps): Promise<void> | null {
  const ask = askOf(context);
  if (ask.subjects.length === 0) return null;
  const answer = deps.limits.take(ask);
  if (answer instanceof Promise)
    return answer.then((late) => (fill(context, ask, late) ? undefined : admitAfresh(context, deps)));
  return fill(context, ask, answer) ? null : admitAfresh(context, deps);
}

/** Entitles again, by policy read now, and takes its limits, unless those that were taken stand. Throws as `takeLimits` does. */
export async function admitAfresh(context: Context, deps: LimitDeps): Promise<void> {
  await entitleAfresh(context, deps.catalogs, deps.principals);
  const ask = askOf(context);
  if (areSame(ask.subjects, context.limited?.subjects ?? [])) return;
  context.limited?.taken.undo();
  context.limited = null;
  const answer = await deps.limits.take(ask);
  if (fill(context, ask, answer)) return;
  const refusal = refusalOf(ask, answer.levels);
  if (refusal === null) throw new Error('a limiter refused what fits');
  deps.metrics.rateLimited(refusal.kind);
  throw rateLimited(refusal, need(context, 'model').name);
}

/** Its tokens are an estimate: a bound by bytes would refuse what likely fits. */
function askOf(context: Context): Ask {
  const [principal, request, model] = [need(context, 'principal'), need(context, 'request'), need(context, 'model')];
  const subjects = subjectsOf(accessOf(need(context, 'catalog'), principal), principal, model.name);
  const tokens = subjects.length === 0 ? 0 : inputEstimate(request, model) + likelyOutput(request, model);
  return { request: context.publicId, tokens, subjects };
}

/** Notes an answer, and tells it to the client with whatever it is answered. Whether it was taken. */
function fill(context: Context, { subjects }: Ask, { taken, levels }: Answer): boolean {
  if (!context.response.headersSent) {
    for (const [name, value] of rateLimitHeaders(subjects, levels)) context.response.setHeader(name, value);
  }
  if (taken === null) return false;
  context.limited = { subjects, taken };
  return true;
}

function areSame(subjects: readonly Subject[], others: readonly Subject[]): boolean {
  return subjects === others || JSON.stringify(subjects) === JSON.stringify(others);
}

/** Gives back what a request did not use of its tokens, and its slots. Does nothing where that was done. */
export function endLimits({ limited }: Context, usage: Usage): void {
  if (limited === null) return;
  let tokens = 0;
  for (const unit in usage) if (isInput(unit as Unit) || isOutput(unit as Unit)) tokens += usage[unit as Unit]!;
  limited.taken.end(tokens);
}
