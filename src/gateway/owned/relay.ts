/**
 * An answer that costs nothing, from its provider to its client: as it comes, and no faster than the client takes it.
 *
 *   waiting ──head──▶ passing ──end──▶ whole
 *      │                 └──failure──▶ cut: the connection breaks, so that nothing looks whole
 *      ├──status ≥ 400──▶ collecting (at most `ERROR_BODY_BYTES`) ──end──▶ refused, in the words of `answerRefused`
 *      └──failure──▶ our error
 *   any ──client gone──▶ aborted
 */
import type { ServerResponse } from 'node:http';
import { TollgateError } from '../../errors.ts';
import { FrameSplitter } from '../../lib/sse.ts';
import { responseHeaders } from '../../upstream/headers.ts';
import type { Attempt, UpstreamFailure, UpstreamHeaders, UpstreamListener } from '../../upstream/types.ts';
import { Outlet } from '../outlet.ts';
import { redactedBody } from '../redact.ts';
import { sendBody, sendError } from '../respond.ts';

const ERROR_BODY_BYTES = 256 * 1024;
/** A JSON answer up to this size is held whole: one that failed may name our account. */
const WHOLE_BODY_BYTES = 1024 * 1024;
const MAX_FRAME_BYTES = 32 * 1024 * 1024;
const FAILED = ['"response.failed"', '"type":"error"', '"type": "error"'];
/** What a client did wrong, in the provider's words; its 404 is ours. */
const CLIENT_FAULTS = new Set([400, 409, 413, 422]);

export interface FreeRelayOptions {
  response: ServerResponse;
  requestId: string;
  /** What a client is told where the provider does not know the id. */
  notFound: () => void;
  /** The attempt is over. `status` null: no whole answer came. */
  done: (status: number | null) => void;
}

export class FreeRelay implements UpstreamListener {
  readonly #options: FreeRelayOptions;
  readonly #outlet: Outlet;
  attempt: Attempt | null = null;
  #status = 0;
  #errorBody: Buffer[] | null = null;
  #errorBytes = 0;
  /** A JSON answer so far; null: it is none, or too large. */
  #whole: Buffer[] | null = null;
  #wholeBytes = 0;
  #splitter: FrameSplitter | null = null;
  #over = false;

  constructor(options: FreeRelayOptions) {
    this.#options = options;
    const { response } = options;
    this.#outlet = new Outlet({ response, claim: null, onDrained: () => this.attempt?.resume() });
    response.on('close', () => {
      if (response.writableFinished) return;
      this.attempt?.abort();
      this.#finish(null);
    });
  }

  onStart(status: number, headers: UpstreamHeaders): void {
    this.#status = status;
    if (status >= 400) {
      this.#errorBody = [];
      return;
    }
    const type = String(headers['content-type'] ?? '');
    if (type.startsWith('application/json')) this.#whole = [];
    else if (type.startsWith('text/event-stream')) this.#splitter = new FrameSplitter(MAX_FRAME_BYTES);
    const own = { 'x-request-id': this.#options.requestId, 'x-accel-buffering': 'no' };
    this.#outlet.head(status, { ...responseHeaders(headers), ...own });
  }

  onData(chunk: Buffer): boolean {
    if (this.#errorBody === null) return this.#pass(chunk);
    this.#errorBytes += chunk.length;
    if (this.#errorBytes <= ERROR_BODY_BYTES) this.#errorBody.push(chunk);
    return true;
  }

  onEnd(): void {
    const { response } = this.#options;
    if (this.#errorBody !== null) this.#refuse(Buffer.concat(this.#errorBody));
    else {
      if (this.#whole !== null) this.#outlet.write(clean(Buffer.concat(this.#whole)));
      const rest = this.#splitter?.rest();
      if (rest !== undefined && rest.length > 0) this.#outlet.write(cleanFrame(rest));
      this.#outlet.sendHead();
      if (!response.destroyed) response.end();
    }
    this.#finish(this.#status);
  }

  onFailure(failure: UpstreamFailure): void {
    const { response, requestId } = this.#options;
    const code =
      failure.kind === 'timeout' ? 'upstream_timeout' : failure.kind === 'busy' ? 'overloaded' : 'upstream_error';
    sendError(response, requestId, new TollgateError(code, { cause: failure.cause }));
    this.#finish(null);
  }

  #pass(chunk: Buffer): boolean {
    if (this.#whole !== null) {
      this.#whole.push(chunk);
      this.#wholeBytes += chunk.length;
      if (this.#wholeBytes <= WHOLE_BODY_BYTES) return true;
      const all = Buffer.concat(this.#whole);
      this.#whole = null;
      return this.#outlet.write(all);
    }
    if (this.#splitter === null) return this.#outlet.write(chunk);
    const frames: Buffer[] = [];
    try {
      this.#splitter.push(chunk, (frame) => frames.push(cleanFrame(frame)));
    } catch (cause) {
      this.attempt?.abort();
      this.onFailure({ kind: 'protocol', sent: true, cause });
      return false;
    }
    return frames.length === 0 || this.#outlet.write(Buffer.concat(frames));
  }

  #refuse(body: Buffer): void {
    const { response, requestId, notFound } = this.#options;
    if (this.#status === 404) notFound();
    else if (CLIENT_FAULTS.has(this.#status)) {
      const headers = { 'content-type': 'application/json', 'x-request-id': requestId };
      sendBody(response, this.#status, redactedBody(body), headers);
    } else {
      const code = this.#status === 429 ? 'upstream_rate_limited' : 'upstream_error';
      sendError(response, requestId, new TollgateError(code));
    }
  }

  #finish(status: number | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#outlet.unheard();
    this.#options.done(status);
  }
}

/** Of a response that failed, what names our account is blotted out; text that a model wrote stays as it is. */
function clean(body: Buffer): Buffer {
  try {
    const { error } = JSON.parse(body.toString()) as { error?: unknown };
    return error ? redactedBody(body) : body;
  } catch {
    return body;
  }
}

function cleanFrame(frame: Buffer): Buffer {
  return FAILED.some((mark) => frame.includes(mark)) ? redactedBody(frame) : frame;
}
