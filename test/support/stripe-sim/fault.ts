/** What Stripe answers when it refuses: the envelope `{error: …}` that the `stripe` library turns into its error classes. */

export type FaultType = 'card_error' | 'invalid_request_error' | 'idempotency_error' | 'api_error' | 'rate_limit_error';

export interface FaultDetail {
  status?: number;
  type?: FaultType;
  code?: string;
  param?: string;
  decline_code?: string;
  /** Objects that Stripe adds to the envelope: `payment_intent`, `payment_method`, `setup_intent`. */
  with?: Record<string, unknown>;
}

const STATUS: Record<FaultType, number> = {
  card_error: 402,
  invalid_request_error: 400,
  idempotency_error: 400,
  api_error: 500,
  rate_limit_error: 429,
};

/** A refusal of the simulator. By default a 400 `invalid_request_error`. */
export class StripeFault extends Error {
  readonly status: number;
  readonly type: FaultType;
  readonly code: string | undefined;
  readonly param: string | undefined;
  readonly decline_code: string | undefined;
  readonly extra: Record<string, unknown>;

  constructor(message: string, detail: FaultDetail = {}) {
    super(message);
    this.name = 'StripeFault';
    this.type = detail.type ?? 'invalid_request_error';
    this.status = detail.status ?? STATUS[this.type];
    this.code = detail.code;
    this.param = detail.param;
    this.decline_code = detail.decline_code;
    this.extra = detail.with ?? {};
  }

  /** The body of the answer. */
  body(): { error: Record<string, unknown> } {
    const { code, param, decline_code, message, type } = this;
    return {
      error: {
        ...(code === undefined
          ? {}
          : { code, doc_url: `https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}` }),
        ...(decline_code === undefined ? {} : { decline_code }),
        message,
        ...(param === undefined ? {} : { param }),
        ...this.extra,
        type,
      },
    };
  }
}

/** A parameter that Stripe asks for and did not get. */
export function missing(param: string): StripeFault {
  return new StripeFault(`Missing required param: ${param}.`, { code: 'parameter_missing', param });
}

/** An object that is not there: 404 when the path named it, 400 when a parameter did. */
export function noSuch(kind: string, id: string, param?: string): StripeFault {
  const named = kind === 'payment_method' ? 'PaymentMethod' : kind;
  return new StripeFault(`No such ${named}: '${id}'`, {
    status: param === undefined ? 404 : 400,
    code: 'resource_missing',
    param: param ?? 'id',
  });
}
