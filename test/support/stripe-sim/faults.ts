/** Faults that a test orders for calls to come. Each is used up by the calls that match it, oldest fault first. */
import type { Method } from './core.ts';

export interface Fault {
  /**
   * `timeout_after` acts and never answers; `timeout_before` does not even act; `status` answers `status`, before acting
   * or after it; `slow` acts after `ms`; `decline` and `requires_action` are what the bank says to the next charges.
   */
  kind: 'timeout_after' | 'timeout_before' | 'status' | 'slow' | 'decline' | 'requires_action';
  /** How many calls it hits: 1 unless told. */
  times?: number;
  method?: Method;
  /** Start of the path, as `/v1/payment_intents`. Any when not given. */
  path?: string;
  /** `status` only. */
  status?: 500 | 429 | 409 | 503;
  when?: 'before' | 'after';
  /** Whether the answer is kept under the idempotency key: by default a 500 after acting is, others are not. */
  stored?: boolean;
  /** Milliseconds until a call that gets no answer has its socket closed (100), or that `slow` waits. */
  ms?: number;
  /**
   * How a call without answer ends: `cut` sends headers and no body, which the library reports at once; `reset` closes
   * the socket, which the library tries again by itself, under the same key, once even where retries are off.
   */
  how?: 'cut' | 'reset';
  /** `decline` only: the decline code, `generic_decline` unless told. */
  code?: string;
}

export class Faults {
  readonly #rules: Array<{ fault: Fault; left: number }> = [];

  add(fault: Fault): void {
    this.#rules.push({ fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#rules.length = 0;
  }

  /** The fault for this call, which it uses up once. */
  take(method: string, path: string): Fault | undefined {
    const index = this.#rules.findIndex(
      ({ fault }) =>
        (fault.method === undefined || fault.method === method) &&
        (fault.path === undefined || path.startsWith(fault.path)),
    );
    const rule = this.#rules[index];
    if (rule === undefined) return undefined;
    rule.left -= 1;
    if (rule.left <= 0) this.#rules.splice(index, 1);
    return rule.fault;
  }
}

/** The body that goes with a status a test ordered. */
export function faultBody(status: number): unknown {
  if (status === 429) {
    const message =
      'Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.';
    return { error: { message, type: 'invalid_request_error', code: 'rate_limit' } };
  }
  if (status === 409) {
    const message =
      'This object cannot be accessed right now because another API request or Stripe process is currently accessing it.';
    return { error: { message, type: 'invalid_request_error', code: 'lock_timeout' } };
  }
  return { error: { message: 'An unknown error occurred', type: 'api_error' } };
}
