/**
 * Where the whole of what a stream may cost would take much of a balance, only a slice of it is held, and the hold is
 * extended as output flows. A frame passes once it is held for; what is not held for is never sent.
 *
 *   passing ──half of the slice is used──▶ asking, still passing ──granted──▶ passing; the next slice is twice as large
 *      ▲                                     └─ refused, or no answer ──▶ using up what is held
 *      │ granted                                                            │ a frame is not held for
 *      └──────────────────── asking, blocked: the provider is not read ◀────┘
 *                              └─ refused, or no answer ──▶ recounting ──fewer tokens than bytes──▶ passing
 *                                                              └─ no fewer ──▶ spent: the stream is ended cleanly, charged
 *                                                                              for what it sent
 *
 * Output is measured by its bytes, of which a token has one at least: what is held is enough, whatever the tokeniser. Where that
 * comes to an end, and the model's encoding is known, what was sent is counted, and goes on by its bytes from there.
 * A ledger that is away is one that does not answer: what is held is used up, then the stream waits for as long as a new
 * hold would (`holdTimeoutMs` of the writer), and ends. Bounds: one question at a time; slices of 1,024 to 16,384 tokens;
 * while it is blocked, what had been read from the provider before it was paused waits (see `UpstreamListener.onData`).
 */

/** Tokens of the first slice: at the pace of a fast model and four bytes a token, more than a second until half is used. */
export const FIRST_SLICE_TOKENS = 1_024;
const MOST_SLICE_TOKENS = 16_384;
/** An extension by fewer tokens than this would be of no use to anybody. */
const LEAST_EXTENSION_TOKENS = 16;
/** A count that finds fewer tokens too many than this is the last. */
const LEAST_FREED_TOKENS = 32;
/** Tokens that no byte of the answer shows, such as the one that ends it. */
const UNSEEN_TOKENS = 16;

export interface SliceOptions {
  /** Nano-credits held at first. */
  held: bigint;
  /** The most output tokens that the request can have. */
  bound: number;
  /** What the request costs at most with so many output tokens, in nano-credits; does not fall. */
  costOf: (output: number) => bigint;
  /** Makes the hold at least `least`, at best `want`; resolves with what it is then, `null` where it stays as it was. */
  extend: (want: bigint, least: bigint) => Promise<bigint | null>;
  /** The most tokens that so much of an answer can be; `null`: not counted. */
  count: (texts: readonly string[]) => Promise<number | null>;
}

/** Who sends the frames on. */
export interface SliceListener {
  /** These had to wait, and are held for now. */
  onMore(frames: Buffer[]): void;
  /** No more is to be had; `unsent` is the first frame that must not be sent. */
  onSpent(unsent: Buffer): void;
  /** The text of all frames that have passed, as far as it is kept. */
  generated(): readonly string[];
}

interface Waiting {
  frame: Buffer;
  tokens: number;
}

export class Slices {
  readonly #options: SliceOptions;
  #listener: SliceListener | null = null;
  #waiting: Waiting[] = [];
  /** Output tokens of what has passed: by a count of the first pieces of its text, by bytes from there. */
  #used = UNSEEN_TOKENS;
  #counted = { tokens: 0, pieces: 0 };
  /** Output tokens that what is held pays for. */
  #covered: number;
  #slice = FIRST_SLICE_TOKENS;
  /** Whether it waits for an answer of the ledger, or for a count. */
  #asking = false;
  /** The last answer was no: what is held is used up before it is asked again. */
  #refused = false;

  constructor(options: SliceOptions) {
    this.#options = options;
    this.#covered = this.#coveredBy(options.held);
  }

  /** Whether a frame waits to be held for: then no more of the answer must be read. */
  get blocked(): boolean {
    return this.#waiting.length > 0;
  }

  /** Begins an answer, of which nothing has been sent. */
  open(listener: SliceListener): void {
    this.#listener = listener;
    this.#used = UNSEEN_TOKENS;
    this.#counted = { tokens: 0, pieces: 0 };
  }

  /** Ends it: what waits is dropped, and an answer that comes later wakes nobody. */
  close(): void {
    this.#listener = null;
    this.#waiting = [];
  }

  /** Whether a frame of so many output tokens at most may be sent now; else it waits, and all that come after it. */
  pass(frame: Buffer, tokens: number): boolean {
    if (this.blocked || this.#used + tokens > this.#covered) {
      this.#waiting.push({ frame, tokens });
      this.#ask();
      return false;
    }
    this.#used += tokens;
    if (!this.#refused && this.#covered - this.#used < this.#slice / 2) this.#ask();
    return true;
  }

  #ask(): void {
    if (this.#asking) return;
    this.#asking = true;
    const { bound, costOf, extend } = this.#options;
    const needed = this.#used + (this.#waiting[0]?.tokens ?? 0);
    const least = Math.max(this.#covered + LEAST_EXTENSION_TOKENS, needed);
    const want = Math.max(this.#covered, needed) + this.#slice;
    void extend(costOf(Math.min(want, bound)), costOf(Math.min(least, bound))).then((held) => this.#answered(held));
  }

  #answered(held: bigint | null): void {
    this.#refused = held === null;
    if (held !== null) {
      this.#covered = this.#coveredBy(held);
      this.#slice = Math.min(this.#slice * 2, MOST_SLICE_TOKENS);
    }
    if (held === null && this.blocked) void this.#recount();
    else this.#goOn();
  }

  #goOn(): void {
    this.#asking = false;
    const first = this.#waiting[0];
    if (first === undefined) return;
    if (this.#used + first.tokens > this.#covered) this.#ask();
    else this.#passWaiting();
  }

  /** What is held is used up by bytes: perhaps not by tokens. Nothing passes meanwhile, and nothing else is asked. */
  async #recount(): Promise<void> {
    const listener = this.#listener;
    const { tokens, pieces } = this.#counted;
    const texts = listener?.generated().slice(pieces) ?? [];
    const counted = texts.length === 0 ? null : await this.#options.count(texts);
    const first = this.#waiting[0];
    if (listener === null || listener !== this.#listener || first === undefined) {
      this.#goOn();
      return;
    }
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    // What no text shows, or was not kept, stays as it was. A piece is a token at least, however the text would be cut anew.
    const beside = Math.max(0, this.#used - tokens - bytes);
    const used = tokens + beside + Math.max(counted ?? bytes, texts.length);
    if (this.#used - used < LEAST_FREED_TOKENS) {
      listener.onSpent(first.frame);
      return;
    }
    this.#used = used;
    this.#counted = { tokens: used, pieces: pieces + texts.length };
    this.#goOn();
  }

  #passWaiting(): void {
    const frames: Buffer[] = [];
    for (const { frame, tokens } of this.#waiting) {
      if (this.#used + tokens > this.#covered) break;
      this.#used += tokens;
      frames.push(frame);
    }
    this.#waiting.splice(0, frames.length);
    if (this.blocked) this.#ask();
    this.#listener?.onMore(frames);
  }

  /** Bytes may be more than the tokens that the request can have: whoever holds for all of these holds for all. */
  #coveredBy(held: bigint): number {
    const { bound, costOf } = this.#options;
    const covered = mostCovered(held, bound, costOf);
    return covered === bound ? Number.POSITIVE_INFINITY : covered;
  }
}

/** The largest count up to `most` whose cost, which does not fall, is within an amount; 0 where none is. */
export function mostCovered(amount: bigint, most: number, costOf: (count: number) => bigint): number {
  if (costOf(most) <= amount) return most;
  let fits = 0;
  let tooMuch = most;
  while (tooMuch - fits > 1) {
    const middle = Math.floor((fits + tooMuch) / 2);
    if (costOf(middle) <= amount) fits = middle;
    else tooMuch = middle;
  }
  return fits;
}
