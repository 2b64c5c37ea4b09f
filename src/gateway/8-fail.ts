/**
 * Step 8: what became of a request that was not answered whole, decided by where it failed.
 *
 *   nothing sent upstream, or a definite error  → released; the client gets our error, or the provider's own words when
 *                                                 its request was wrong
 *   sent, never answered (timeout)              → by the model's on_upstream_timeout: an estimate of the input and of what had
 *                                                 come, or free
 *   broken after something reached the client   → what was metered is settled; an error frame, and the connection is cut:
 *                                                 it must not end as if it were whole
 *   the client left                             → what was metered is settled
 */
import { TollgateError } from '../errors.ts';
import type { Failed } from './relayed.ts';

/** The error a client gets for an attempt that failed before anything reached it: our provider's troubles, never theirs. */
export function errorOf(relayed: Failed): TollgateError {
  switch (relayed.kind) {
    case 'refused':
      if (relayed.status === 429) return new TollgateError('upstream_rate_limited');
      if (relayed.status === 408 || relayed.status === 504) return new TollgateError('upstream_timeout');
      return new TollgateError('upstream_error');
    case 'failed':
      if (relayed.failure.kind === 'busy') return new TollgateError('overloaded', { cause: relayed.failure.cause });
      if (relayed.failure.kind === 'timeout') {
        return new TollgateError('upstream_timeout', { cause: relayed.failure.cause });
      }
      return new TollgateError('upstream_error', { cause: relayed.failure.cause });
    case 'cut_short':
      return new TollgateError('upstream_error');
  }
}
