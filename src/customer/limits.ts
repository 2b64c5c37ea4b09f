/** How the rate limits of an account, its key and its models stand: what the gateway takes from, for the host application to see. */
import { z } from 'zod';
import type { CatalogCache } from '../catalog/cache.ts';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { KINDS, type Kind, type Level, type Limiter, type Subject } from '../entitlements/limits/limiter.ts';
import { type Standing, tightestOf } from '../entitlements/limits/refusal.ts';
import { modelSubjects, type NamedSubject, ownSubjects } from '../entitlements/limits/subjects.ts';
import { accessOf } from '../entitlements/resolve.ts';
import type { Clock } from '../lib/clock.ts';
import { count, time } from '../openapi/shapes.ts';
import { type Asked, type Call, reading } from './calls.ts';

const standing = z.strictObject({ limit: count.nullable(), remaining: count.nullable(), reset: time.nullable() });
const standings = { requests: standing, tokens: standing, concurrency: standing };
const shown = z.strictObject({
  ...standings,
  subjects: z.array(z.strictObject({ kind: z.enum(['account', 'key', 'models']), id: z.string(), ...standings })),
});

export interface LimitDeps {
  limits: Limiter;
  catalogs: CatalogCache;
  clock: Clock;
}

export function limitCalls({ limits, catalogs, clock }: LimitDeps): Call[] {
  const show = async ({ principal }: Asked) => {
    const access = accessOf(await catalogFor(catalogs, principal), principal);
    const own = ownSubjects(access, principal);
    const ofModels = access.models().flatMap(({ name }) => modelSubjects(access, principal, name));
    const subjects = [...own, ...mergedByKey(ofModels)];
    const levels = await limits.levels(subjects);
    const now = clock.now();
    return {
      ...present(own, levels, now),
      subjects: subjects.map((subject, i) => ({
        kind: subject.kind,
        id: subject.id,
        ...present([subject], levels.slice(i, i + 1), now),
      })),
    };
  };
  return [
    reading('/limits', { summary: 'Shows how rate limits stand, and takes nothing of them.', answer: shown }, show),
  ];
}

/** Models share a group; of its kinds, those that bind any of them. */
function mergedByKey(subjects: readonly NamedSubject[]): NamedSubject[] {
  const merged = new Map<string, NamedSubject>();
  for (const subject of subjects) {
    const known = merged.get(subject.key) ?? subject;
    const limits = Object.fromEntries(KINDS.map((kind) => [kind, known.limits[kind] ?? subject.limits[kind]]));
    merged.set(subject.key, { ...subject, limits: limits as Subject['limits'] });
  }
  return [...merged.values()];
}

/** Of several subjects the one that has the fewest left of each kind: that is what binds. */
function present(subjects: readonly Subject[], levels: readonly Level[], now: number) {
  const of = (kind: Kind) => presentStanding(tightestOf(subjects, levels, kind), kind, now);
  return { requests: of('requests'), tokens: of('tokens'), concurrency: of('concurrency') };
}

/** `reset`: when all of it is left again; `null` of slots, which are free when a request ends, and where nothing is used. */
function presentStanding(standing: Standing | null, kind: Kind, now: number) {
  if (standing === null) return { limit: null, remaining: null, reset: null };
  const { limit, remaining, resetMs } = standing;
  const hasReset = kind !== 'concurrency' && resetMs > 0;
  return { limit, remaining, reset: hasReset ? new Date(now + resetMs).toISOString() : null };
}
