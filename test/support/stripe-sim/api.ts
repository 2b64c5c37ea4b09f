/**
 * One API call from its arrival to its answer, without sockets: authentication, idempotency keys, faults, log.
 *
 *     401 ◀─ key? ─▶ fault before? ─▶ known key? ─▶ act ─▶ keep the answer ─▶ fault after? ─▶ answer
 *                                       └─▶ 409 in flight, 400 other parameters, or the kept answer
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { API_VERSION, type Method, type Sim } from './core.ts';
import type { Deliverer } from './delivery.ts';
import { StripeFault } from './fault.ts';
import { type Fault, Faults, faultBody } from './faults.ts';

export interface Request {
  method: Method;
  path: string;
  query: string;
  body: string;
  headers: Record<string, string | string[] | undefined>;
}

export interface Answer {
  /** `cut`: headers are to be sent and no body; `reset`: nothing is. The connection is to be closed. */
  status: number | 'cut' | 'reset';
  headers: Record<string, string>;
  body: string;
}

export interface LogLine {
  at: number;
  method: string;
  path: string;
  idempotencyKey: string | null;
  /** What was answered; 0 when nothing was. */
  status: number;
  replayed: boolean;
}

interface Kept {
  params: string;
  at: number;
  status: number;
  body: string;
}

/** Stripe forgets an idempotency key after this. */
const KEY_LIFE_SECONDS = 24 * 3600;
const CLOSE_AFTER_MS = 100;

export class Api {
  readonly faults = new Faults();
  readonly log: LogLine[] = [];
  readonly #sim: Sim;
  readonly #delivery: Deliverer;
  readonly #inFlight = new Set<string>();
  /** Whether the call that is acting made an event. */
  #emitted = false;

  constructor(sim: Sim, delivery: Deliverer) {
    this.#sim = sim;
    this.#delivery = delivery;
    sim.onEvent(() => {
      this.#emitted = true;
    });
  }

  /** Answers a call. Delivery after it (mode `auto`) is the caller's: `flush` once the answer is out. */
  async answer(request: Request): Promise<Answer> {
    const { method, path } = request;
    const key = request.method === 'POST' ? header(request, 'idempotency-key') : null;
    const line: LogLine = { at: this.#sim.now(), method, path, idempotencyKey: key, status: 0, replayed: false };
    this.log.push(line);
    const answer = await this.#guarded(request, key, line);
    line.status = typeof answer.status === 'number' ? answer.status : 0;
    return answer;
  }

  async #guarded(request: Request, key: string | null, line: LogLine): Promise<Answer> {
    const mode = modeOf(header(request, 'authorization'));
    if (mode === null) return refused(401, 'Invalid API Key provided.');
    const fault = this.faults.take(request.method, request.path);
    if (fault?.kind === 'timeout_before') return silence(fault);
    const scoped = key === null ? null : `${mode} ${key}`;
    if (scoped !== null && this.#inFlight.has(scoped)) {
      return refused(
        409,
        'There is currently another in-progress request using this Idempotent Key.',
        'idempotency_key_in_use',
      );
    }
    if (scoped !== null) this.#inFlight.add(scoped);
    try {
      if (fault?.kind === 'slow') await sleep(fault.ms ?? CLOSE_AFTER_MS);
      return await this.#act(request, scoped, { livemode: mode === 'live', key, fault, line });
    } finally {
      if (scoped !== null) this.#inFlight.delete(scoped);
    }
  }

  async #act(
    request: Request,
    scoped: string | null,
    about: { livemode: boolean; key: string | null; fault: Fault | undefined; line: LogLine },
  ): Promise<Answer> {
    const { fault, line } = about;
    if (fault?.kind === 'status' && fault.when !== 'after') {
      const answer = failed(fault);
      if (fault.stored === true) this.#keep(request, scoped, answer);
      return answer;
    }
    const kept = scoped === null ? undefined : this.#kept(scoped);
    if (kept !== undefined) {
      if (kept.params !== paramsOf(request)) return wrongParams(about.key ?? '');
      line.replayed = true;
      return json(kept.status, kept.body, this.#sim.id('req'), { 'idempotent-replayed': 'true' });
    }
    this.#emitted = false;
    const answer = this.#dispatch(request, about);
    if (this.#emitted && this.#delivery.mode.when === 'early') await this.#delivery.push();
    if (fault?.kind === 'status') {
      const other = failed(fault);
      this.#keep(request, scoped, (fault.stored ?? fault.status === 500) ? other : answer);
      return other;
    }
    this.#keep(request, scoped, answer);
    return fault?.kind === 'timeout_after' ? silence(fault) : answer;
  }

  #dispatch(request: Request, about: { livemode: boolean; key: string | null }): Answer {
    const id = this.#sim.id('req');
    const origin = { livemode: about.livemode, request: { id, idempotency_key: about.key } };
    const version = header(request, 'stripe-version') ?? API_VERSION;
    try {
      const { method, path, body, query } = request;
      const object = this.#sim.as(origin, () => this.#sim.dispatch(method, path, body, query, about.key));
      return json(200, JSON.stringify(object, null, 2), id, { 'stripe-version': version });
    } catch (error) {
      if (error instanceof StripeFault)
        return json(error.status, JSON.stringify(error.body()), id, { 'stripe-version': version });
      throw error;
    }
  }

  #kept(scoped: string): Kept | undefined {
    const kept = this.#sim.side<Kept>('idempotency keys').get(scoped);
    return kept !== undefined && kept.at + KEY_LIFE_SECONDS > this.#sim.now() ? kept : undefined;
  }

  /** Only what began to act is kept: not a refusal of its parameters, of its rate, or for what is under way. */
  #keep(request: Request, scoped: string | null, { status, body }: Answer): void {
    if (scoped === null || typeof status !== 'number' || (status >= 400 && status !== 402 && status < 500)) return;
    const kept: Kept = { params: paramsOf(request), at: this.#sim.now(), status, body };
    this.#sim.side<Kept>('idempotency keys').set(scoped, kept);
  }
}

function header(request: Request, name: string): string | null {
  const value = request.headers[name];
  return typeof value === 'string' && value !== '' ? value : null;
}

function modeOf(authorization: string | null): 'live' | 'test' | null {
  const found = /^Bearer (?:sk|rk)_(live|test)_\w+$/.exec(authorization ?? '');
  return found === null ? null : (found[1] as 'live' | 'test');
}

const paramsOf = ({ method, path, body }: Request): string => `${method} ${path} ${body}`;

function json(status: number, body: string, requestId: string, more: Record<string, string> = {}): Answer {
  return { status, body, headers: { 'content-type': 'application/json', 'request-id': requestId, ...more } };
}

function refused(status: number, message: string, code?: string): Answer {
  const error = { ...(code === undefined ? {} : { code }), message, type: 'invalid_request_error' };
  return json(status, JSON.stringify({ error }), 'req_refused');
}

function wrongParams(key: string): Answer {
  const message = `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`;
  const fault = new StripeFault(message, { type: 'idempotency_error' });
  return json(fault.status, JSON.stringify(fault.body()), 'req_refused');
}

function failed(fault: Fault): Answer {
  const status = fault.status ?? 500;
  return json(status, JSON.stringify(faultBody(status)), 'req_failed');
}

/** No answer: the socket is closed after a while. */
async function silence(fault: Fault): Promise<Answer> {
  await sleep(fault.ms ?? CLOSE_AFTER_MS);
  return { status: fault.how ?? 'cut', headers: { 'content-type': 'application/json' }, body: '' };
}
