/** What went wrong when Stripe was asked, as far as it matters: whether it may have been done, and what our caller is told. */
import Stripe from 'stripe';
import { TollgateError } from '../errors.ts';
import type { Logger } from '../observe/log.ts';

/**
 * unknown: no answer came, it may have been done · busy: not now; it was not done, or is being done · failed: Stripe broke, and says so to
 * each repetition under the same key · other_fields: the key was used for something else · refused: it was not done, and will not be
 */
export type Outcome = 'unknown' | 'busy' | 'failed' | 'other_fields' | 'refused';

/** The outcome that an error of the library tells of. Throws the error itself when it is not of Stripe. */
export function outcomeOf(error: unknown): Outcome {
  if (!(error instanceof Stripe.errors.StripeError)) throw error;
  if (error instanceof Stripe.errors.StripeConnectionError) return 'unknown';
  if (error instanceof Stripe.errors.StripeRateLimitError) return 'busy';
  const status = error.statusCode ?? 0;
  if (status === 409 || status === 429) return 'busy';
  if (error instanceof Stripe.errors.StripeIdempotencyError) return 'other_fields';
  return status >= 500 || status === 0 ? 'failed' : 'refused';
}

/** Whether Stripe has no such customer, or has it no more. */
export function isMissingCustomer(error: unknown): boolean {
  if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) return false;
  return error.code === 'resource_missing' && error.param === 'customer';
}

/** The error for our caller. What Stripe said is told to the log by its codes alone: its words may repeat what is a person's. */
export function stripeFault(error: unknown, log: Logger): TollgateError {
  if (error instanceof TollgateError) return error;
  const outcome = outcomeOf(error);
  const { type, code, param, statusCode, requestId } = error as InstanceType<typeof Stripe.errors.StripeError>;
  log[outcome === 'refused' ? 'error' : 'warn'](
    { outcome, type, code, param, statusCode, requestId },
    'Stripe did not do as asked',
  );
  const isOver = outcome === 'refused' || outcome === 'other_fields';
  return new TollgateError(isOver ? 'stripe_refused' : 'stripe_unavailable', { cause: error });
}
