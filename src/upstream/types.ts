/**
 * What the gateway and a provider say to each other. One `send` is one attempt: it either ends (the whole answer was
 * received, whatever its status) or fails, and says so exactly once. Nothing here knows what a credit is.
 */
import type { Readable } from 'node:stream';

/** Header names are lower-case; a header that came several times is a list. */
export type UpstreamHeaders = Record<string, string | string[] | undefined>;

/** A body that is too large to be held in memory: sent as a stream, of a length that is known. */
export interface StreamedBody {
  /** Bytes. */
  readonly length: number;
  /** From its beginning, each time: an attempt has a stream of its own, and destroys it when it breaks off. */
  open(): Readable;
}

export interface UpstreamRequest {
  /** POST where it is not said. GET and DELETE have no body. */
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | undefined;
  /** From the route's template, never from a client: '/chat/completions'. Appended to the path of the base URL. */
  path: string;
  /** What may go upstream, as `requestHeaders` left it. Providers add their own credentials to a copy. */
  headers: Readonly<Record<string, string>>;
  /** Sent as it is. */
  body: Buffer | StreamedBody;
  /** The provider's own name of the model, already in `body`. */
  upstreamModel: string;
}

/**
 * Hears one attempt. Nothing is called before `send` has returned, nor after `abort()`. The callbacks must not throw:
 * they run inside the parser of a connection.
 */
export interface UpstreamListener {
  /** The head of the answer, once; `status` is final: never 1xx, never 3xx. Its headers are the provider's: see `responseHeaders`. */
  onStart(status: number, headers: UpstreamHeaders): void;
  /**
   * Bytes as they came. `false` pauses the attempt until `resume()`: the connection is then no longer read, so that
   * the provider feels it. What was read already (at most 64 KiB) may still be delivered when the provider hangs up.
   */
  onData(chunk: Buffer): boolean;
  /** The whole answer was received. */
  onEnd(): void;
  /** It was not, and never will be. */
  onFailure(failure: UpstreamFailure): void;
}

/**
 * - `busy`: as many attempts as the provider may have at once are running; refused here, nothing was sent.
 * - `connect`: no connection (DNS, refused, TLS, connect timeout, shut down); nothing was sent.
 * - `timeout`: sent, then silence for longer than the limit, before the head or between two pieces of the body.
 * - `reset`: sent, then the connection broke before the answer was whole.
 * - `protocol`: sent, and answered by what we do not take: broken HTTP, a redirect, a compressed body.
 */
export type FailureKind = 'busy' | 'connect' | 'timeout' | 'reset' | 'protocol';

export interface UpstreamFailure {
  kind: FailureKind;
  /** Whether bytes of the request may have reached the provider, and so may be billed by it. */
  sent: boolean;
  /** For operators: log its `code` and `message`, never send it to a client. */
  cause: unknown;
}

export interface Attempt {
  /** As in `UpstreamFailure`, at any time: what an aborted attempt has to be judged by. */
  readonly sent: boolean;
  /** Continues after `onData` returned false; else without effect. */
  resume(): void;
  /** Gives the attempt up and closes its connection. Without effect once the attempt is over. */
  abort(): void;
}

/**
 * The first is OpenAI's own, whose reasoning models refuse the second; others who speak its dialect know the second, and
 * some of them nothing else.
 */
export type OutputLimitField = 'max_completion_tokens' | 'max_tokens';

/** A provider of models: one adapter, configured. */
export interface Provider {
  /** Its name in the configuration. */
  readonly name: string;
  /** The adapter. */
  readonly kind: string;
  /** The wire shape of its requests and answers. */
  readonly dialect: 'chat';
  /** The field of a request that limits its output, where the client sent none. */
  readonly outputLimitField: OutputLimitField;
  /** Its streams end with their usage whether or not a request wishes so; it may refuse a request that says so. */
  readonly tellsUsageUnasked: boolean;
  /**
   * What it is told of whose a request is: what the client sent, names of ours in its stead, or names of ours in any case.
   * The last is for those that are known to take the fields; they are refused by others.
   */
  readonly tenants: 'as_sent' | 'replaced' | 'set';
  /** Nothing may be stored there, whatever a request wishes. */
  readonly storesNothing: boolean;
  send(request: UpstreamRequest, listener: UpstreamListener): Attempt;
  /** Closes every connection at once; attempts that still run fail. Drain first. */
  close(): Promise<void>;
}

/** One entry of `providers` in the configuration. Times in milliseconds; what is left out takes the adapter's default. */
export interface ProviderConfig {
  name: string;
  kind: string;
  /** Origin and path; no query, no credentials. */
  baseUrl?: string | undefined;
  apiKey?: string | undefined;
  /** How many attempts may run at once, each on a connection of its own. */
  connections?: number | undefined;
  connectTimeoutMs?: number | undefined;
  /** The longest silence before the head of an answer. */
  headersTimeoutMs?: number | undefined;
  /** The longest silence between two pieces of a body. */
  bodyTimeoutMs?: number | undefined;
  /** Whether accounts are told apart there by names of ours; not said: as far as it is known to take them. */
  isolateTenants?: boolean | undefined;
  storesNothing?: boolean | undefined;
}
