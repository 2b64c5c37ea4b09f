/** Decisions as both APIs show them. */
import type { Answer } from './check.ts';
import type { Access, Decision } from './types.ts';

/** A decision as JSON. */
export function presentDecision({ allowed, reason, source, value, validUntil }: Decision) {
  return { allowed, reason, source, value, valid_until: validUntil?.toISOString() ?? null };
}

/** The answer to a check as JSON. */
export function presentAnswer({ limits, ...decision }: Answer) {
  const { allowed, reason, source, value, valid_until } = presentDecision(decision);
  return { allowed, reason, source, value, limits, valid_until };
}

/** A position in the list of what is decided: a key. */
export function spokenCursor(position: string): string | null {
  return /^(model|feature|limit|config):./s.test(position) ? position : null;
}

/** All that is decided of an account, sorted by key, from behind the key `after` on. */
export function presentSpoken(access: Access, after: string | null) {
  return access
    .spoken()
    .filter(({ key }) => after === null || key > after)
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ key, decision }) => ({ key, ...presentDecision(decision) }));
}
