/**
 * The adapter for every provider that speaks OpenAI's HTTP dialect, over one connection pool per provider. It is on
 * the path of every request, so that an attempt is one object that is undici's handler and the gateway's `Attempt` at
 * once: no streams, no promises, no copies of the body.
 *
 *    queued ──onRequestStart──▶ sent ──onResponseStart──▶ answering ──onResponseEnd──▶ over (onEnd)
 *      │                          │                        │      ▲
 *      │                          │           onData: false▼      │resume()
 *      │                          │                        paused─┘
 *      └──────────────────────────┴── onResponseError ─────┴─────────────────────────▶ over (onFailure)
 *    any ──abort()──▶ over: the listener hears nothing more; a queued one is dropped unsent when its turn comes
 */
import { type Dispatcher, errors, Pool } from 'undici';
import type {
  Attempt,
  FailureKind,
  OutputLimitField,
  Provider,
  ProviderConfig,
  UpstreamHeaders,
  UpstreamListener,
  UpstreamRequest,
} from './types.ts';

/** Each attempt has a connection to itself, so that this is how many run at once; more are refused, not queued. */
const CONNECTIONS = 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/** Reasoning models are silent for minutes; the official clients give up after 600 s too. */
const SILENCE_TIMEOUT_MS = 600_000;
/** Shorter than the idle limit of the load balancers in front of providers, so that we are the one who closes. */
const KEEP_ALIVE_MS = 60_000;
const MAX_RESPONSE_HEADER_BYTES = 64 * 1024;
/** OpenAI's models, at OpenAI, in any of its regions, or at Azure. */
const OPENAI_HOST = /(^|\.)(api\.openai\.com|openai\.azure\.com)$/;
/** OpenAI itself, in any of its regions: all of the fields that tell whose a request is are known to be taken. */
const OPENAIS_OWN_HOST = /(^|\.)api\.openai\.com$/;
/** Refuses `stream_options` with 422, a field it does not know, as others have found (litellm#8978, openai-agents-python#442). */
const MISTRAL_HOST = /(^|\.)mistral\.ai$/;

/** The answer is HTTP, but not one that may be relayed or metered. */
class UnacceptableAnswer extends Error {}

/** A provider that is reached over HTTP with a bearer key. Throws when the base URL is missing or no URL. */
export function createOpenAiProvider(config: ProviderConfig, apiKey: string): Provider {
  if (config.baseUrl === undefined) throw new Error(`providers.${config.name}.base_url is required`);
  return new OpenAiProvider(config, new URL(config.baseUrl), apiKey);
}

function tenantsAt(host: string, isolated: boolean | undefined): Provider['tenants'] {
  if (isolated === false) return 'as_sent';
  return isolated === true || OPENAIS_OWN_HOST.test(host) ? 'set' : 'replaced';
}

class OpenAiProvider implements Provider {
  readonly name: string;
  readonly kind = 'openai';
  readonly dialect = 'chat';
  readonly outputLimitField: OutputLimitField;
  readonly tellsUsageUnasked: boolean;
  readonly tenants: Provider['tenants'];
  readonly storesNothing: boolean;
  readonly #pool: Pool;
  readonly #pathPrefix: string;
  readonly #authorization: string;
  readonly #maxRunning: number;
  readonly #load = { running: 0 };

  constructor(config: ProviderConfig, baseUrl: URL, apiKey: string) {
    this.name = config.name;
    this.outputLimitField = OPENAI_HOST.test(baseUrl.hostname) ? 'max_completion_tokens' : 'max_tokens';
    this.tellsUsageUnasked = MISTRAL_HOST.test(baseUrl.hostname);
    this.tenants = tenantsAt(baseUrl.hostname, config.isolateTenants);
    this.storesNothing = config.storesNothing ?? false;
    this.#pathPrefix = baseUrl.pathname.replace(/\/+$/, '');
    this.#authorization = `Bearer ${apiKey}`;
    this.#maxRunning = config.connections ?? CONNECTIONS;
    this.#pool = new Pool(baseUrl.origin, {
      connections: this.#maxRunning,
      pipelining: 1,
      // Over HTTP/2 all streams of a connection share one window: a few paused clients would stall all the others.
      allowH2: false,
      connectTimeout: config.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      headersTimeout: config.headersTimeoutMs ?? SILENCE_TIMEOUT_MS,
      bodyTimeout: config.bodyTimeoutMs ?? SILENCE_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_RESPONSE_HEADER_BYTES,
    });
  }

  send(request: UpstreamRequest, listener: UpstreamListener): Attempt {
    const attempt = new OpenAiAttempt(listener, this.#load);
    if (this.#load.running > this.#maxRunning) {
      attempt.refuse(this.#maxRunning);
      return attempt;
    }
    const headers = ['authorization', this.#authorization];
    for (const name in request.headers) headers.push(name, request.headers[name]!);
    const { method = 'POST', body } = request;
    // Of bytes at hand undici states the length by itself.
    if (!Buffer.isBuffer(body)) headers.push('content-length', String(body.length));
    const sent = method === 'GET' || method === 'DELETE' ? null : Buffer.isBuffer(body) ? body : body.open();
    this.#pool.dispatch({ method, path: this.#pathPrefix + request.path, headers, body: sent }, attempt);
    return attempt;
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

class OpenAiAttempt implements Attempt, Dispatcher.DispatchHandler {
  readonly #listener: UpstreamListener;
  readonly #load: { running: number };
  #controller: Dispatcher.DispatchController | null = null;
  #sent = false;
  #over = false;

  constructor(listener: UpstreamListener, load: { running: number }) {
    this.#listener = listener;
    this.#load = load;
    load.running++;
  }

  get sent(): boolean {
    return this.#sent;
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#controller?.abort(new errors.RequestAbortedError());
  }

  refuse(maxRunning: number): void {
    this.#load.running--;
    this.#failSoon('busy', new Error(`${maxRunning} attempts are running, as many as this provider may have`));
  }

  /** The last moment at which nothing is sent: undici writes the request when this returns. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#over) controller.abort(new errors.RequestAbortedError());
    else this.#sent = true;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: UpstreamHeaders): void {
    if (status < 200) return;
    const encoding = headers['content-encoding'];
    if (status >= 300 && status < 400) {
      controller.abort(new UnacceptableAnswer(`the provider redirects (${status}), which is never followed`));
    } else if (encoding !== undefined && encoding !== 'identity') {
      controller.abort(new UnacceptableAnswer('the provider compressed its answer although asked not to'));
    } else {
      this.#listener.onStart(status, headers);
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#listener.onData(chunk) && !this.#over) controller.pause();
  }

  /** undici calls this or `onResponseError` once for each attempt, also for an aborted one, when it is done with it. */
  onResponseEnd(): void {
    this.#load.running--;
    if (this.#over) return;
    this.#over = true;
    this.#listener.onEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#load.running--;
    if (this.#sent) this.#fail(kindOf(error), error);
    else this.#failSoon('connect', error);
  }

  /** What fails before it was sent may fail inside `send`, before the caller has the attempt in hand. */
  #failSoon(kind: FailureKind, cause: Error): void {
    queueMicrotask(() => this.#fail(kind, cause));
  }

  #fail(kind: FailureKind, cause: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#listener.onFailure({ kind, sent: this.#sent, cause });
  }
}

/** What went wrong with an attempt that was sent. A truncated answer is a `reset`, in whichever way undici notices it. */
function kindOf(error: Error): FailureKind {
  if (error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError) return 'timeout';
  if (error instanceof UnacceptableAnswer || error instanceof errors.HeadersOverflowError) return 'protocol';
  // undici leaves `code` undefined here: the parser's words are all that tells a truncated body from broken HTTP.
  if (error instanceof errors.HTTPParserError && !error.message.includes('Invalid EOF state')) return 'protocol';
  return 'reset';
}
