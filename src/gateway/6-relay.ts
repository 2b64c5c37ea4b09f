/**
 * Step 6: the provider's answer → the client, as it comes; usage is read from the bytes as they pass. The last bytes
 * (`[DONE]`, the end of a body) are withheld: they leave when the charge is committed (7-settle).
 *
 *                 ┌─ status ≥ 400 ─▶ refused body, kept ───────────────end──▶ refused
 *   waiting ─head─┼─ event stream ─▶ streaming, frame by frame ────────end──▶ streamed | cut short
 *                 └─ other ────────▶ collecting ──over 1 MiB──▶ passing on ─end──▶ whole
 *   any ──failure──▶ failed (by a retry elsewhere, as long as nothing has reached the client)
 *   any ──client gone, policy abort──▶ abandoned          policy drain ──▶ reads on unheard, within bounds
 *   streaming, of a slice ──not held for──▶ blocked ──extended──▶ streaming
 *                                             └─ the credits ran out ──▶ exhausted
 */
import { joined } from '../lib/bytes.ts';
import { FrameSplitter } from '../lib/sse.ts';
import { ChatStreamReader, mostTokens } from '../metering/readers/chat.ts';
import { responseHeaders } from '../upstream/headers.ts';
import type { Attempt, UpstreamFailure, UpstreamHeaders, UpstreamListener } from '../upstream/types.ts';
import { redactedBody } from './redact.ts';
import type { Relayed, RelayOptions } from './relayed.ts';
import type { SliceListener } from './slices.ts';

/** Bodies up to this size are held whole, and carry their charge in headers. */
const WHOLE_BODY_BYTES = 1024 * 1024;
/** Of a larger body, this much is kept to read its usage; beyond it the usage is counted as missing. */
const READABLE_BODY_BYTES = 64 * 1024 * 1024;
/** Of an error body, more is dropped. */
const ERROR_BODY_BYTES = 256 * 1024;
const MAX_FRAME_BYTES = 32 * 1024 * 1024;
/** A drained stream is read at most this long after the client left, and no further than its output is held for. */
const DRAIN_MS = 120_000;
/** A stream whose answer is complete is read this much longer after the client left: its usage is all that is missing. */
const USAGE_MS = 2_000;
/** A client that takes nothing for this long has left, whatever its connection says. */
const STALL_MS = 60_000;

type Mode = 'waiting' | 'error' | 'stream' | 'collect' | 'pass' | 'over';

export class Relay implements UpstreamListener, SliceListener {
  readonly #options: RelayOptions;
  attempt: Attempt | null = null;
  #mode: Mode = 'waiting';
  #status = 0;
  #headers: Record<string, string | string[]> = {};
  #chunks: Buffer[] = [];
  #bytes = 0;
  #reader: ChatStreamReader | null = null;
  #splitter: FrameSplitter | null = null;
  /** The terminal frame, or the last chunk of a large body: not sent before the charge is committed. */
  #withheld: Buffer | null = null;
  /** The provider said that it failed, and whether the client was told so. */
  #broken = false;
  #errorSent = false;
  /** Pieces of a stream that the current turn has brought. */
  #arrived: Buffer[] = [];
  /** Until it has drained, the provider is not read. */
  #clientIsSlow = false;
  /** The provider has sent all of a stream that is blocked. */
  #ended = false;
  #draining = false;
  #limited: NodeJS.Timeout | null = null;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** What is known so far of a stream: the heartbeat notes its cost. */
  get reader(): ChatStreamReader | null {
    return this.#reader;
  }

  onStart(status: number, headers: UpstreamHeaders): void {
    this.#status = status;
    this.#headers = responseHeaders(headers);
    const type = headers['content-type'];
    if (status >= 400) {
      this.#mode = 'error';
    } else if (typeof type === 'string' && type.toLowerCase().startsWith('text/event-stream')) {
      this.#mode = 'stream';
      this.#reader = new ChatStreamReader();
      this.#splitter = new FrameSplitter(MAX_FRAME_BYTES);
      this.#options.slices?.open(this);
    } else {
      this.#mode = 'collect';
    }
  }

  onData(chunk: Buffer): boolean {
    switch (this.#mode) {
      case 'stream':
        // What one read of the socket brings in several pieces is looked at, and sent on, as one: before the next read.
        if (this.#arrived.push(chunk) === 1) process.nextTick(() => this.#relayArrived());
        return !this.#isPaused;
      case 'pass':
        return this.#pass(chunk);
      case 'error':
        if (this.#bytes < ERROR_BODY_BYTES) this.#keep(chunk);
        return true;
      default:
        this.#keep(chunk);
        if (this.#bytes > WHOLE_BODY_BYTES) this.#startPassing();
        return true;
    }
  }

  onEnd(): void {
    this.#relayArrived();
    if (this.#mode === 'stream') {
      this.#endStream();
    } else if (this.#mode === 'error') {
      this.#finish({ kind: 'refused', status: this.#status, body: Buffer.concat(this.#chunks) });
    } else {
      const whole = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
      const body = this.#bytes > READABLE_BODY_BYTES ? null : whole;
      const { rest, bytes } = { rest: this.#withheld, bytes: this.#bytes };
      this.#finish({ kind: 'whole', status: this.#status, headers: this.#headers, body, bytes, rest });
    }
  }

  onFailure(failure: UpstreamFailure): void {
    this.#relayArrived();
    const reached = this.#options.response.headersSent;
    this.#finish({ kind: 'failed', failure, reader: this.#reader, bytes: this.#bytes, reached });
  }

  /**
   * The client went away. What is not a stream is finished, so that it can be charged exactly; so is a stream whose text
   * has ended, since nobody may read an answer and leave before the usage that charges it.
   */
  clientGone(): void {
    if (this.#mode === 'over') return;
    this.#relayArrived();
    const streams = this.#mode === 'stream' || (this.#mode === 'waiting' && this.#options.streamAsked);
    const abort = streams && this.#options.onDisconnect === 'abort';
    if (abort && !this.#reader?.finished) {
      this.abandon();
      return;
    }
    if (streams) this.#limit(abort ? USAGE_MS : DRAIN_MS);
    this.#draining = streams;
    this.#clientIsSlow = false;
    this.#resume();
  }

  /** Frames of a slice that had to wait, and are held for now. */
  onMore(frames: Buffer[]): void {
    const out: Buffer[] = [];
    for (const frame of frames) this.#relayFrame(frame, out);
    if (out.length > 0) this.#write(joined(out));
    if (this.#ended) this.#endStream();
    else this.#resume();
  }

  /** The credits ran out: what was sent is all there is. */
  onSpent(unsent: Buffer): void {
    this.attempt?.abort();
    this.#sendHead();
    this.#finish({ kind: 'exhausted', reader: this.#reader!, unsent, status: this.#status });
  }

  /** Gives the attempt up: the client left, or the gateway stops. */
  abandon(): void {
    if (this.#mode === 'over') return;
    this.#relayArrived();
    const sent = this.attempt?.sent ?? false;
    this.attempt?.abort();
    this.#finish({ kind: 'abandoned', reader: this.#reader, bytes: this.#bytes, sent });
  }

  /** Gives the attempt up unless it ends, or the reason to limit it does, within so long. `null`: no limit. */
  #limit(ms: number | null): void {
    if (this.#limited !== null) clearTimeout(this.#limited);
    this.#limited = ms === null ? null : setTimeout(() => this.abandon(), ms);
  }

  #finish(relayed: Relayed): void {
    if (this.#mode === 'over') return;
    this.#mode = 'over';
    this.#limit(null);
    this.#options.slices?.close();
    this.#options.done(relayed);
  }

  get #isPaused(): boolean {
    return this.#clientIsSlow || (this.#options.slices?.blocked ?? false);
  }

  #resume(): void {
    if (!this.#isPaused) this.attempt?.resume();
  }

  #keep(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  #relayArrived(): void {
    if (this.#arrived.length === 0 || this.#mode !== 'stream') return;
    const chunk = this.#arrived.length === 1 ? this.#arrived[0]! : Buffer.concat(this.#arrived);
    this.#arrived = [];
    this.#relayFrames(chunk);
  }

  #relayFrames(chunk: Buffer): void {
    const reader = this.#reader!;
    const { slices, outputHeld } = this.#options;
    const out: Buffer[] = [];
    try {
      const plain = slices === null && this.#splitter!.atBoundary ? reader.content(chunk) : 0;
      if (plain > 0) out.push(chunk.subarray(0, plain));
      if (plain < chunk.length) {
        this.#splitter!.push(chunk.subarray(plain), (frame) => {
          if (slices === null || slices.pass(frame, mostTokens(frame))) this.#relayFrame(frame, out);
        });
      }
    } catch (cause) {
      this.attempt?.abort();
      this.onFailure({ kind: 'protocol', sent: true, cause });
      return;
    }
    if (out.length > 0) this.#write(joined(out));
    if (this.#draining && reader.outputEstimate() > outputHeld) this.abandon();
  }

  #relayFrame(frame: Buffer, out: Buffer[]): void {
    const kind = this.#reader!.frame(frame);
    if (kind === 'done') this.#withheld = frame;
    else if (kind === 'error') {
      // An error before anything else is no answer: another route may have one.
      this.#broken = true;
      if (!this.#options.response.headersSent && out.length === 0) return;
      this.#errorSent = true;
      out.push(redactedBody(frame));
    } else if (kind !== 'usage-only' || this.#options.usageAsked) out.push(frame);
  }

  #endStream(): void {
    const reader = this.#reader!;
    const rest = this.#splitter!.rest();
    if (rest.length > 0) this.#relayFrames(Buffer.from('\n\n'));
    if (this.#mode === 'over') return;
    this.#ended = true;
    if (this.#options.slices?.blocked) return;
    const whole = (this.#withheld !== null || reader.finished) && !this.#broken;
    const status = this.#status;
    if (whole) {
      this.#sendHead();
      this.#finish({ kind: 'streamed', reader, rest: this.#withheld, status });
    } else {
      const reached = this.#options.response.headersSent;
      this.#finish({ kind: 'cut_short', reader, reached, status, errorSent: this.#errorSent });
    }
  }

  #startPassing(): void {
    this.#mode = 'pass';
    this.#withheld = this.#chunks.at(-1)!;
    for (const chunk of this.#chunks.slice(0, -1)) this.#write(chunk);
  }

  #pass(chunk: Buffer): boolean {
    const previous = this.#withheld!;
    this.#withheld = chunk;
    this.#bytes += chunk.length;
    if (this.#bytes <= READABLE_BODY_BYTES) this.#chunks.push(chunk);
    else this.#chunks = [];
    return this.#write(previous);
  }

  /** Sends bytes to the client, the head first; `false` when it is slow: the attempt is paused until it has drained. */
  #write(bytes: Buffer): boolean {
    const { response, claim } = this.#options;
    this.#sendHead();
    claim?.add(bytes);
    if (response.destroyed) return true;
    if (response.write(bytes) || this.#clientIsSlow) return !this.#clientIsSlow;
    this.#clientIsSlow = true;
    this.#limit(STALL_MS);
    response.once('drain', () => {
      this.#clientIsSlow = false;
      this.#limit(null);
      this.#resume();
    });
    return false;
  }

  #sendHead(): void {
    const { response, requestId, claim } = this.#options;
    if (response.headersSent || (response.destroyed && claim === null)) return;
    const headers = {
      ...this.#headers,
      'x-request-id': requestId,
      ...(this.#mode === 'stream' ? { 'cache-control': 'no-cache', 'x-accel-buffering': 'no' } : {}),
    };
    claim?.head(this.#status, headers);
    if (!response.destroyed) response.writeHead(this.#status, headers);
  }
}
