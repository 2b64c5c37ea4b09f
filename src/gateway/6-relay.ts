/**
 * Step 6: the provider's answer → the client (outlet.ts), as it comes, a stream frame by frame (frame-filter.ts). The last
 * bytes (`[DONE]`, the end of a body) are withheld: they leave when the charge is committed (7-settle).
 *
 *                 ┌─ status ≥ 400 ─▶ refused body, kept ───────────────end──▶ refused
 *   waiting ─head─┼─ framed ───────▶ streaming, frame by frame ────────end──▶ streamed | cut short
 *                 ├─ other ────────▶ collecting ──over 1 MiB──▶ passing on ─end──▶ whole
 *                 └─ sound, or pictures, in bytes ─────────────▶ passing on
 *   any ──failure──▶ failed (by a retry elsewhere, as long as nothing has reached the client)
 *   any ──client gone, policy abort──▶ abandoned          policy drain ──▶ reads on unheard, within bounds
 *   streaming, of a slice ──not held for──▶ blocked ──extended──▶ streaming
 *                                             └─ the credits ran out ──▶ exhausted
 *
 * Bound: a body that is passed on and is to be read is kept up to 64 MiB, or as its skeleton where its dialect is bulky.
 */
import { JsonSkeleton } from '../lib/json-skeleton.ts';
import type { StreamReader } from '../metering/readers/types.ts';
import { responseHeaders } from '../upstream/headers.ts';
import type { Attempt, UpstreamFailure, UpstreamHeaders, UpstreamListener } from '../upstream/types.ts';
import { FrameFilter, streamFraming } from './frame-filter.ts';
import { Outlet } from './outlet.ts';
import type { Relayed, RelayOptions } from './relayed.ts';
import type { SliceListener } from './slices.ts';

/** Bodies up to this size are held whole, and carry their charge in headers. */
const WHOLE_BODY_BYTES = 1024 * 1024;
/** Of a larger body, this much is kept to read its usage; beyond it the usage is counted as missing. */
const READABLE_BODY_BYTES = 64 * 1024 * 1024;
/** Of an error body, more is dropped. */
const ERROR_BODY_BYTES = 256 * 1024;
/** A drained stream is read at most this long after the client left, and no further than its output is held for. */
const DRAIN_MS = 120_000;
/** A stream whose answer is complete is read this much longer after the client left: its usage is all that is missing. */
const USAGE_MS = 2_000;

type Mode = 'waiting' | 'error' | 'stream' | 'collect' | 'pass' | 'over';

export class Relay implements UpstreamListener, SliceListener {
  readonly #options: RelayOptions;
  readonly #outlet: Outlet;
  attempt: Attempt | null = null;
  #mode: Mode = 'waiting';
  #status = 0;
  #headers: UpstreamHeaders = {};
  #chunks: Buffer[] = [];
  #bytes = 0;
  #frames: FrameFilter | null = null;
  /** The last chunk of a large body: not sent before the charge is committed. */
  #withheld: Buffer | null = null;
  /** What is kept of a large answer that is mostly data; `null`: its chunks are. */
  #skeleton: JsonSkeleton | null = null;
  /** Pieces of a stream that the current turn has brought. */
  #arrived: Buffer[] = [];
  /** The provider has sent all of a stream that is blocked. */
  #ended = false;
  #clientLeft = false;
  #draining = false;
  #limited: NodeJS.Timeout | null = null;
  #onMade: RelayOptions['onMade'];

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#onMade = options.onMade;
    const { response, claim } = options;
    this.#outlet = new Outlet({ response, claim, onDrained: () => this.#resume() });
  }

  /** What is known so far of a stream: the heartbeat notes its cost. */
  get reader(): StreamReader | null {
    return this.#frames?.reader ?? null;
  }

  onStart(status: number, headers: UpstreamHeaders): void {
    this.#status = status;
    this.#headers = headers;
    const framing = status >= 400 ? null : streamFraming(headers['content-type'], this.#options);
    const own = framing === null ? {} : { 'cache-control': 'no-cache', 'x-accel-buffering': 'no' };
    this.#outlet.head(status, { ...responseHeaders(headers), 'x-request-id': this.#options.requestId, ...own });
    if (framing === null) {
      if (status >= 400) this.#mode = 'error';
      else this.#mode = this.#isUnreadable ? 'pass' : 'collect';
      return;
    }
    this.#mode = 'stream';
    this.#frames = new FrameFilter(framing, this.#options);
    this.#options.slices?.open(this);
    // Who asked for no stream had been taken for one whose answer is to be finished.
    if (this.#clientLeft && !this.#draining) this.clientGone();
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
      const answer = { status: this.#status, headers: this.#headers, body: this.#keptBody(), bytes: this.#bytes };
      if (this.#withheld !== null) this.#outlet.sendHead();
      this.#finish({ kind: 'whole', ...answer, rest: this.#withheld });
    }
  }

  /** What of the body can be read; `null`: too much, or nothing. */
  #keptBody(): Buffer | null {
    if (this.#skeleton !== null) return this.#skeleton.read();
    const isKept = this.#bytes <= READABLE_BODY_BYTES && (this.#withheld === null || !this.#isUnreadable);
    if (!isKept) return null;
    return this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
  }

  /** An answer in bytes, of a dialect that has nothing to read in those. One that does not say what it is may be text. */
  get #isUnreadable(): boolean {
    const type = this.#headers['content-type'];
    return this.#options.dialect.bulky === true && typeof type === 'string' && !/json|^text\//i.test(type);
  }

  onFailure(failure: UpstreamFailure): void {
    this.#relayArrived();
    const { reached } = this.#outlet;
    // Its status has said that nothing was served, whatever became of the words that explain it.
    if (this.#mode === 'error') this.#finish({ kind: 'refused', status: this.#status, body: null });
    else this.#finish({ kind: 'failed', failure, reader: this.reader, bytes: this.#bytes, reached });
  }

  /**
   * The client went away. What is not a stream is finished, so that it can be charged exactly; so is a stream whose text
   * has ended, since nobody may read an answer and leave before the usage that charges it.
   */
  clientGone(): void {
    if (this.#mode === 'over') return;
    this.#clientLeft = true;
    this.#relayArrived();
    const streams = this.#mode === 'stream' || (this.#mode === 'waiting' && this.#options.streamAsked);
    // What its provider goes on with is read by others, once its id is known.
    const runsOn = this.#options.onMade !== null && this.#onMade === null;
    const abort = streams && (runsOn || this.#options.onDisconnect === 'abort');
    if (abort && !this.reader?.finished) {
      this.abandon();
      return;
    }
    if (streams) this.#limited ??= setTimeout(() => this.abandon(), abort ? USAGE_MS : DRAIN_MS);
    this.#draining = streams;
    this.#outlet.unheard();
    this.#resume();
  }

  /** Frames of a slice that had to wait, and are held for now. */
  onMore(frames: Buffer[]): void {
    this.#send(() => this.#frames!.takeHeld(frames));
    if (this.#ended) this.#endStream();
    else this.#resume();
  }

  /** The credits ran out: what was sent is all there is. */
  onSpent(unsent: Buffer): void {
    this.attempt?.abort();
    this.#outlet.sendHead();
    this.#finish({ kind: 'exhausted', reader: this.reader!, unsent, status: this.#status });
  }

  /** What was generated of the frames that have passed. */
  generated(): readonly string[] {
    return this.reader?.generatedText() ?? [];
  }

  /** Gives the attempt up: the client left, or the gateway stops. */
  abandon(): void {
    if (this.#mode === 'over') return;
    this.#relayArrived();
    const sent = this.#mode !== 'error' && (this.attempt?.sent ?? false);
    this.attempt?.abort();
    this.#finish({ kind: 'abandoned', reader: this.reader, bytes: this.#bytes, sent });
  }

  #finish(relayed: Relayed): void {
    if (this.#mode === 'over') return;
    this.#mode = 'over';
    if (this.#limited !== null) clearTimeout(this.#limited);
    this.#outlet.unheard();
    this.#options.slices?.close();
    this.#options.done(relayed);
  }

  get #isPaused(): boolean {
    return this.#outlet.isSlow || (this.#options.slices?.blocked ?? false);
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
    const frames = this.#frames!;
    this.#send(() => frames.take(chunk));
    if (this.#onMade !== null) this.#tellMade(frames.reader, this.#onMade);
    if (this.#draining && frames.reader.outputEstimate() > this.#options.outputHeld) this.abandon();
  }

  #tellMade(reader: StreamReader, onMade: (id: string) => void): void {
    const id = reader.made?.()[0];
    if (id === undefined) return;
    this.#onMade = null;
    onMade(id);
    if (this.#clientLeft) this.abandon();
  }

  /** Sends what is found in a stream; what is not framed as it says ends the attempt. */
  #send(find: () => Buffer | null): void {
    let found: Buffer | null;
    try {
      found = find();
    } catch (cause) {
      this.attempt?.abort();
      this.onFailure({ kind: 'protocol', sent: true, cause });
      return;
    }
    if (found !== null) this.#outlet.write(found);
  }

  #endStream(): void {
    const frames = this.#frames!;
    this.#send(() => frames.takeRest());
    if (this.#mode === 'over') return;
    this.#ended = true;
    if (this.#options.slices?.blocked) return;
    const [reader, status] = [frames.reader, this.#status];
    if (frames.isWhole) {
      this.#outlet.sendHead();
      this.#finish({ kind: 'streamed', reader, rest: frames.withheld, status, failed: frames.failed });
    } else {
      const { reached } = this.#outlet;
      this.#finish({ kind: 'cut_short', reader, reached, status, errorSent: frames.errorPassed });
    }
  }

  #startPassing(): void {
    this.#mode = 'pass';
    this.#withheld = this.#chunks.at(-1)!;
    for (const chunk of this.#chunks.slice(0, -1)) this.#outlet.write(chunk);
    if (this.#options.dialect.bulky !== true) return;
    this.#skeleton = new JsonSkeleton();
    for (const chunk of this.#chunks) this.#skeleton.push(chunk);
    this.#chunks = [];
  }

  #pass(chunk: Buffer): boolean {
    const previous = this.#withheld;
    this.#withheld = chunk;
    this.#bytes += chunk.length;
    if (this.#skeleton !== null) this.#skeleton.push(chunk);
    else if (this.#bytes <= READABLE_BODY_BYTES && !this.#isUnreadable) this.#chunks.push(chunk);
    else this.#chunks = [];
    return previous === null || this.#outlet.write(previous);
  }
}
