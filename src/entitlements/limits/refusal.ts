/** What a client is told of limits: the error of one that is reached, and OpenAI's headers. Pure. */
import { TollgateError } from '../../errors.ts';
import type { Level, Refusal, Subject } from './limiter.ts';

const NAMES = {
  requests: 'requests per min (RPM)',
  tokens: 'tokens per min (TPM)',
  concurrency: 'concurrent requests',
};

/** The 429. `what` was asked for: the name of a model, or of an API. */
export function rateLimited({ subject, kind, limit, used, asked, waitMs }: Refusal, what: string): TollgateError {
  const on = `${what} by ${subject.whose} on ${NAMES[kind]}`;
  if (waitMs === null) {
    const hint = kind === 'tokens' ? ' Shorten the input, or lower max_completion_tokens.' : '';
    return new TollgateError('rate_limit_exceeded', {
      isFinal: true,
      message: `Request too large for ${on}: Limit ${limit}, Requested ${asked}. It can never fit into this limit.${hint}`,
    });
  }
  const requested = kind === 'tokens' ? `, Requested ${asked}` : '';
  return new TollgateError('rate_limit_exceeded', {
    retryAfterMs: waitMs,
    message: `Rate limit reached for ${on}: Limit ${limit}, Used ${used}${requested}. Please try again in ${duration(waitMs)}.`,
  });
}

/** `x-ratelimit-*`: of requests and of tokens, those of the subject that has the fewest left. */
export function rateLimitHeaders(subjects: readonly Subject[], levels: readonly Level[]): [string, string][] {
  return (['requests', 'tokens'] as const).flatMap((kind): [string, string][] => {
    const tightest = tightestOf(subjects, levels, kind);
    if (tightest === null) return [];
    const { limit, remaining, resetMs } = tightest;
    return [
      [`x-ratelimit-limit-${kind}`, String(limit)],
      [`x-ratelimit-remaining-${kind}`, String(remaining)],
      [`x-ratelimit-reset-${kind}`, duration(resetMs)],
    ];
  });
}

/** How a limit stands that is set. */
export interface Standing {
  limit: number;
  remaining: number;
  resetMs: number;
}

/** Of several subjects, the one that has the fewest left of a kind; `null`: none is limited in it. */
export function tightestOf(
  subjects: readonly Subject[],
  levels: readonly Level[],
  kind: keyof Subject['limits'],
): Standing | null {
  let tightest: Standing | null = null;
  for (const [i, { limits }] of subjects.entries()) {
    const limit = limits[kind];
    const level = levels[i]!;
    if (limit === null) continue;
    // An estimate may have been too low, and a limit may have been lowered.
    const remaining = Math.max(0, limit - level[kind]);
    if (tightest === null || remaining < tightest.remaining) tightest = { limit, remaining, resetMs: level.resetMs };
  }
  return tightest;
}

/** Milliseconds as OpenAI writes them: `12ms`, `1s`, `1.25s`, `6m0s`. */
export function duration(ms: number): string {
  if (ms > 0 && ms < 1_000) return `${ms}ms`;
  const minutes = Math.floor(ms / 60_000);
  return `${minutes === 0 ? '' : `${minutes}m`}${(ms % 60_000) / 1_000}s`;
}
