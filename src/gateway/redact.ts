/** What a provider says, without what names our account there, or would be taken for the state of the client's. */
import { TollgateError } from '../errors.ts';

/** A provider's account must not show: keys, organisations and projects are blotted out of what it says. */
const ACCOUNT_MARKS = /\b(?:sk-[\w-]{6,}|(?:org|proj|user)[-_][A-Za-z0-9]{6,})/g;

/**
 * What a provider says where our account there is out of money, or at its limits. A client would take it for its own: an agent
 * tells its user to see to the plan.
 */
const OUR_TROUBLE =
  /"(?:insufficient_quota|credit_balance_exhausted|billing_hard_limit_reached|billing_not_active|account_deactivated|invalid_api_key|rate_limit_exceeded|(?:organization|project)_(?:spend|usage)_limit_exceeded)"/g;
/** By what it is of: kinds of limits, in the field `type`. */
const KINDS_OF_LIMITS = /("type"\s*:\s*)"(?:tokens|requests|rate_limit_error)"/g;
/** A message, if it is no longer than such messages are. */
const MESSAGE = /("message"\s*:\s*)"(?:[^"\\]|\\.){0,4096}"/g;

/** The provider's own words of an error, without what names our account, and what is amiss with it said as ours. */
export function redactedBody(body: Buffer): Buffer {
  const text = body.toString('utf8');
  const clean = withoutOurTroubles(text.replace(ACCOUNT_MARKS, '***'));
  return clean === text ? body : Buffer.from(clean);
}

function withoutOurTroubles(text: string): string {
  if (text.search(OUR_TROUBLE) < 0) return text;
  const { code, type, message } = new TollgateError('upstream_rate_limited').body().error;
  return text
    .replace(/("type"\s*:\s*)"insufficient_quota"/g, `$1"${type}"`)
    .replace(KINDS_OF_LIMITS, `$1"${type}"`)
    .replace(OUR_TROUBLE, `"${code}"`)
    .replace(MESSAGE, (_, name: string) => name + JSON.stringify(message));
}

/** What may be logged of why an attempt failed: a parser's error carries bytes of the answer in its other fields. */
export function loggableCause(cause: unknown): { name: string; code: unknown; message: string } | undefined {
  if (!(cause instanceof Error)) return undefined;
  return { name: cause.name, code: (cause as NodeJS.ErrnoException).code, message: cause.message };
}
