/**
 * What of a stream goes to the client. Usage is read from the frames as they pass; the usage that only we wished for is taken
 * out, and the frames that end the stream are withheld.
 *
 *   passing ──a terminal frame──▶ ending (withheld; more of them are put behind it) ──more content──▶ passing (both go)
 *      │    └─ it tells of a failure ──▶ failed: the stream is whole, and its answer none
 *      └─ an error ──▶ broken: the stream is not whole, whatever follows
 */
import { joined } from '../lib/bytes.ts';
import { framingOf, type Splitter, splitterFor } from '../metering/readers/index.ts';
import type { Dialect, Framing, StreamReader } from '../metering/readers/types.ts';
import { redactedBody } from './redact.ts';
import type { Slices } from './slices.ts';

const MAX_FRAME_BYTES = 32 * 1024 * 1024;
/** What ends the last frame of a text whose own end is missing; a binary frame that is not whole is none. */
const LAST_LINE: Readonly<Record<Framing, Buffer>> = {
  sse: Buffer.from('\n\n'),
  'json-lines': Buffer.from('\n'),
  'json-array': Buffer.alloc(0),
  'aws-event-stream': Buffer.alloc(0),
};

export interface FilterOptions {
  /** What the answer is read by. */
  dialect: Dialect;
  /** Whether the client itself asked for the usage chunk; else it is taken out again. */
  usageAsked: boolean;
  /** Where less than the whole of a stream is held. */
  slices: Slices | null;
}

/**
 * How an answer of this content type is framed; `null`: it is no stream. One that does not say what it is, is what was
 * asked for.
 */
export function streamFraming(
  contentType: string | string[] | undefined,
  { dialect, streamAsked }: { dialect: Dialect; streamAsked: boolean },
): Framing | null {
  if (typeof contentType === 'string') return framingOf(dialect, contentType);
  return streamAsked ? framingOf(dialect, null) : null;
}

export class FrameFilter {
  readonly reader: StreamReader;
  readonly #options: FilterOptions;
  readonly #framing: Framing;
  readonly #splitter: Splitter;
  /** The terminal frames: not sent before the charge is committed. */
  #withheld: Buffer | null = null;
  #passed = false;
  #broken = false;
  #errorPassed = false;
  #failed = false;

  constructor(framing: Framing, options: FilterOptions) {
    this.#options = options;
    this.#framing = framing;
    this.reader = options.dialect.stream(framing);
    this.#splitter = splitterFor(framing, MAX_FRAME_BYTES);
  }

  get withheld(): Buffer | null {
    return this.#withheld;
  }

  /** Whether the stream may end here. */
  get isWhole(): boolean {
    return (this.#withheld !== null || this.reader.finished) && !this.#broken;
  }

  /** Whether the provider said that it failed, and the client was told so. */
  get errorPassed(): boolean {
    return this.#errorPassed;
  }

  /** Whether its end says that the answer failed, in the form of its dialect. */
  get failed(): boolean {
    return this.#failed;
  }

  /** What of a chunk goes on now, `null`: nothing. Throws on bytes that are not framed as the answer says. */
  take(chunk: Buffer): Buffer | null {
    const { slices, dialect } = this.#options;
    const out: Buffer[] = [];
    const plain = slices === null && this.#splitter.atBoundary ? (this.reader.content?.(chunk) ?? 0) : 0;
    if (plain > 0) this.#pass(chunk.subarray(0, plain), out);
    if (plain < chunk.length) {
      this.#splitter.push(chunk.subarray(plain), (frame) => {
        // Of what does not show how much it is, nothing passes before all is held for.
        const most = (): number => dialect.mostTokens?.(frame) ?? Number.POSITIVE_INFINITY;
        if (slices === null || slices.pass(frame, most())) this.#see(frame, out);
      });
    }
    return this.#joined(out);
  }

  /** The same of frames of a slice that had to wait, and are held for now. */
  takeHeld(frames: readonly Buffer[]): Buffer | null {
    const out: Buffer[] = [];
    for (const frame of frames) this.#see(frame, out);
    return this.#joined(out);
  }

  /** The same of a last frame whose end did not come. */
  takeRest(): Buffer | null {
    return this.#splitter.rest().length > 0 ? this.take(LAST_LINE[this.#framing]) : null;
  }

  #joined(out: Buffer[]): Buffer | null {
    if (out.length === 0) return null;
    this.#passed = true;
    return joined(out);
  }

  #see(frame: Buffer, out: Buffer[]): void {
    const kind = this.reader.frame(frame);
    if (kind === 'content') {
      this.#pass(frame, out);
    } else if (kind === 'done') {
      this.#withhold(frame);
    } else if (kind === 'error' || kind === 'failed') {
      this.#fail(kind, redactedBody(frame), out);
    } else if (this.#options.usageAsked) {
      // Clients read no further than the end: their usage goes before it, even where it came after it.
      out.push(frame);
    }
  }

  #withhold(frame: Buffer): void {
    this.#withheld = this.#withheld === null ? frame : Buffer.concat([this.#withheld, frame]);
  }

  #fail(kind: 'error' | 'failed', frame: Buffer, out: Buffer[]): void {
    // An error before anything else is no answer: another route may have one.
    if (!this.#passed && out.length === 0) {
      this.#broken = true;
    } else if (kind === 'failed') {
      this.#failed = true;
      this.#withhold(frame);
    } else {
      this.#broken = true;
      this.#errorPassed = true;
      out.push(frame);
    }
  }

  /** An end that more of the answer follows was none: one of several pictures was finished. */
  #pass(frames: Buffer, out: Buffer[]): void {
    if (this.#withheld !== null) out.push(this.#withheld);
    this.#withheld = null;
    out.push(frames);
  }
}
