/**
 * The one registry of errors: code → status, OpenAI type, public text. A surface throws `new TollgateError(code, …)`
 * and the surface's error handler turns it into `{"error":{message,type,param,code}}`. The public text says what to
 * do next and never holds a secret, a prompt or a provider's account id; what only operators may see goes into `cause`.
 *
 * `retry` says what a client's automatic retry would do: `never` adds `x-should-retry: false`, `soon` the opposite and a
 * short `retry-after-ms`, `later` a `retry-after`; `default` leaves the client its own rule for the status.
 */

export type ErrorType =
  | 'invalid_request_error'
  | 'permission_error'
  | 'rate_limit_error'
  | 'insufficient_quota'
  | 'idempotency_error'
  | 'api_error';

export type Retry = 'default' | 'never' | 'soon' | 'later';

interface Definition {
  status: number;
  type: ErrorType;
  message: string;
  retry: Retry;
}

function define(status: number, type: ErrorType, message: string, retry: Retry = 'default'): Definition {
  return { status, type, message, retry };
}

const invalid = 'invalid_request_error';

export const ERRORS = {
  invalid_api_key: define(
    401,
    invalid,
    'Incorrect API key provided. Send a valid key as "Authorization: Bearer sk-tg-…"; the owner of this gateway issues and revokes keys.',
  ),
  invalid_admin_key: define(
    401,
    invalid,
    'The admin API needs the admin key as "Authorization: Bearer …". On the embedded database it is in the file admin-key of the data folder.',
  ),
  admin_disabled: define(
    403,
    'permission_error',
    'The admin API is off. Set TOLLGATE_ADMIN_KEY and restart to switch it on.',
  ),
  account_suspended: define(
    403,
    'permission_error',
    'This account is suspended. Contact the owner of this gateway to have it reactivated.',
  ),
  scope_missing: define(
    403,
    'permission_error',
    'This API key lacks the scope that this call needs. Use a key with that scope.',
  ),
  model_not_entitled: define(403, 'permission_error', 'The plan of this account does not include this model.'),
  feature_not_entitled: define(403, 'permission_error', 'The plan of this account does not include this feature.'),
  ip_not_allowed: define(
    403,
    'permission_error',
    'This API key may not be used from this address. Use it from an address in its ranges, or ask the owner of this gateway to widen them.',
  ),
  invalid_json: define(
    400,
    invalid,
    'We could not parse the JSON body of your request. Send one JSON object in UTF-8, with nothing after it.',
  ),
  invalid_request: define(400, invalid, 'The request is not valid.'),
  invalid_signature: define(
    400,
    invalid,
    'The stripe-signature header is missing, too old, or not made with a webhook secret of this gateway (STRIPE_WEBHOOK_SECRET) over these very bytes.',
  ),
  context_length_exceeded: define(
    400,
    invalid,
    "The prompt is longer than the model's context window. Shorten the messages, or use a model with a larger one.",
  ),
  previous_response_not_found: define(400, invalid, 'There is no such response of this account.'),
  model_not_found: define(
    404,
    invalid,
    'The model does not exist or you do not have access to it. GET /v1/models lists the models this key may use.',
  ),
  unknown_url: define(
    404,
    invalid,
    'Unknown URL, or a method it does not take. Only metered endpoints are served: docs/endpoints.md lists them.',
  ),
  not_found: define(404, invalid, 'There is no such object.'),
  conflict: define(409, invalid, 'The request conflicts with the current state.'),
  reference_reused: define(
    422,
    invalid,
    'This reference was used before with other fields. Repeat the first request exactly, or use a new reference.',
  ),
  idempotency_key_in_use: define(
    409,
    'idempotency_error',
    'The first request with this Idempotency-Key is still running. Try again when it has been answered.',
    'soon',
  ),
  idempotency_key_reused: define(
    422,
    'idempotency_error',
    'This Idempotency-Key was used before with another request. Repeat that one exactly, or send a new key.',
  ),
  idempotency_result_lost: define(
    409,
    'idempotency_error',
    'The answer to the first request with this Idempotency-Key is lost. Its receipt says what it cost.',
    'never',
  ),
  idempotency_result_too_large: define(
    409,
    'idempotency_error',
    'The answer to the first request with this Idempotency-Key was too large to keep. Its receipt says what it cost.',
    'never',
  ),
  request_too_large: define(413, invalid, 'The request body is larger than this gateway accepts.'),
  headers_too_large: define(431, invalid, 'The request headers are larger than this gateway accepts.'),
  request_timeout: define(408, invalid, 'The request arrived too slowly. Send it again.'),
  unsupported_encoding: define(
    415,
    invalid,
    'This content-encoding is not supported. Send the body plain, or in gzip, deflate, br or zstd.',
  ),
  insufficient_quota: define(
    429,
    'insufficient_quota',
    'You exceeded your current quota: the account has too few credits. Please check your plan and billing details.',
    'never',
  ),
  budget_exceeded: define(
    429,
    'insufficient_quota',
    'A budget of this API key or its account is used up. The owner of this gateway sets budgets.',
    'never',
  ),
  credits_held: define(
    429,
    'rate_limit_error',
    'The credits of this account are held by requests that are still running. Try again when some have ended.',
    'soon',
  ),
  rate_limit_exceeded: define(
    429,
    'rate_limit_error',
    'You sent too many requests. Wait as long as the retry-after header says, then try again.',
    'later',
  ),
  ledger_unavailable: define(
    503,
    'api_error',
    'The ledger is not reachable, so nothing can be charged and nothing was forwarded. Try again shortly.',
    'later',
  ),
  overloaded: define(503, 'api_error', 'The gateway is overloaded. Nothing was forwarded. Try again shortly.', 'later'),
  shutting_down: define(
    503,
    'api_error',
    'This gateway is shutting down. Nothing was forwarded. Try again shortly.',
    'later',
  ),
  upstream_error: define(
    502,
    'api_error',
    'The provider failed to answer this request. You were charged only for what it delivered.',
  ),
  upstream_rate_limited: define(503, 'api_error', 'The provider is over its capacity. Try again shortly.', 'later'),
  upstream_timeout: define(504, 'api_error', 'The provider did not answer in time.'),
  stripe_disabled: define(
    404,
    invalid,
    'This gateway sells nothing: it has no key of Stripe. Its owner sets STRIPE_SECRET_KEY.',
  ),
  stripe_unavailable: define(
    503,
    'api_error',
    'Stripe did not answer, so it is not known whether this was done. Send the same again: it is done once.',
    'later',
  ),
  stripe_refused: define(
    502,
    'api_error',
    'Stripe refused what this gateway asked of it. Its owner finds the reason in the log.',
  ),
  internal_error: define(
    500,
    'api_error',
    'The gateway failed. The x-request-id header identifies this request in its log.',
  ),
} as const satisfies Record<string, Definition>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorDetail {
  /** Replaces the registry's text; must be as safe to show. */
  message?: string;
  /** The request field at fault, as OpenAI's `param`. */
  param?: string | null;
  /** For operators and logs only: never sent. */
  cause?: unknown;
  /** How long a client should wait, for `soon` and `later`. */
  retryAfterMs?: number;
  /** To try again is of no use, whatever the registry says of others. */
  isFinal?: boolean;
  /** Another status for the same error, where a setting allows it. */
  status?: number;
}

/** An answer that is not a success. Everything a client may see of it is in the registry or given as `message`. */
export class TollgateError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly param: string | null;
  readonly retryAfterMs: number;
  readonly #isFinal: boolean;

  constructor(code: ErrorCode, detail: ErrorDetail = {}) {
    super(detail.message ?? ERRORS[code].message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = 'TollgateError';
    this.code = code;
    this.status = detail.status ?? ERRORS[code].status;
    this.param = detail.param ?? null;
    this.retryAfterMs = detail.retryAfterMs ?? (ERRORS[code].retry === 'soon' ? 500 : 1000);
    this.#isFinal = detail.isFinal ?? false;
  }

  /** The body that every plane answers with: all four keys, as OpenAI's. */
  body(): { error: { message: string; type: ErrorType; param: string | null; code: ErrorCode } } {
    return { error: { message: this.message, type: ERRORS[this.code].type, param: this.param, code: this.code } };
  }

  /** The headers that steer clients' automatic retries. */
  headers(): Record<string, string> {
    const retry: Retry = ERRORS[this.code].retry;
    if (retry === 'never') return { 'x-should-retry': 'false' };
    if (retry === 'soon') return { 'x-should-retry': 'true', 'retry-after-ms': String(this.retryAfterMs) };
    if (retry === 'later') {
      return {
        'retry-after': String(Math.ceil(this.retryAfterMs / 1000)),
        'retry-after-ms': String(this.retryAfterMs),
        ...(this.#isFinal ? { 'x-should-retry': 'false' } : {}),
      };
    }
    return {};
  }
}
