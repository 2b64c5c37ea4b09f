/**
 * The stream of the chat completions dialect, read as it passes: usage in an extra chunk without choices, on the finish
 * chunk, on every chunk (the last wins), under `x_groq` or inside a choice; null, missing, or zero, which is not missing.
 *
 *   reading ──usage seen──▶ reading (the last usage stands)      kept bytes over their limit ──▶ folded into text
 *      └─ a finish reason ──▶ finished ──more content──▶ reading
 */
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';
import { ByteLog } from '../../lib/bytes.ts';
import type { Json } from '../../lib/json.ts';
import { frameData, frameFinder } from '../../lib/sse.ts';
import { besideIn, termsIn, usageIn } from './chat-usage.ts';
import { FrameTemplate } from './frame-template.ts';
import { frameObject, isDone, parseObject } from './frames.ts';
import { GeneratedText, generatedIn, soundsIn } from './generated.ts';
import type { FrameKind, Reported, StreamReader } from './types.ts';

const DONE = Buffer.from('[DONE]');
const BLANK_LINE = Buffer.from('\n\n');
const FINISH = Buffer.from('"finish_reason"');
const CR = 0x0d;

/** Content kept as it came, until it is folded into text. */
const KEPT_BYTES = 8 * 1024;
const MOST_CHOICES = 128;

/**
 * Reads a stream as it passes. Content costs one look at each byte and is not parsed, unless usage or an error stands in
 * it; what would be needed to count the output is kept aside, bounded.
 */
export class ChatStreamReader implements StreamReader {
  #usage: Reported | null = null;
  /** As the usage came with them; and as all that was folded says them. */
  #terms: Terms = {};
  #foldedTerms: Terms = {};
  #beside: Usage = {};
  #finished = false;
  /** Whole content frames. */
  readonly #kept = new ByteLog();
  readonly #text = new GeneratedText();
  /** Of the last frame that was parsed, and what it said of the terms: most that follow are like it. */
  #template: FrameTemplate | null = null;
  #templateTerms: Terms | null = null;
  readonly #sounds = new Set<string>();

  /** Whether the last content says why it ended: then the stream may end without `[DONE]` and still be whole. */
  get finished(): boolean {
    return this.#finished;
  }

  /** What the provider reported last. */
  usage(): Reported | null {
    return this.#usage;
  }

  /** As the chunks with usage say it; where there were none, as all others do. */
  terms(): Terms {
    if (this.#usage !== null) return this.#terms;
    this.#fold();
    return this.#foldedTerms;
  }

  beside(): Usage {
    return this.#beside;
  }

  /**
   * Takes the whole frames at the beginning of a chunk in which nothing but content stands, at once: a busy stream brings
   * many frames a chunk. Returns how many bytes they are; the rest goes through `frame`.
   */
  content(chunk: Buffer): number {
    if (chunk.includes(CR)) return 0;
    const done = chunk.indexOf(DONE);
    const other = Math.min(firstOther(chunk), done < 0 ? chunk.length : done);
    const end = chunk.lastIndexOf(BLANK_LINE, other) + BLANK_LINE.length;
    if (end < BLANK_LINE.length) return 0;
    this.#keep(end === chunk.length ? chunk : chunk.subarray(0, end));
    return end;
  }

  /** Takes a frame. A usage-only one is dropped for a client that did not ask for it; `done` is the end of the stream. */
  frame(frame: Buffer): FrameKind {
    if (isDone(frame)) return 'done';
    const data = firstOther(frame) < frame.length ? frameData(frame) : null;
    const json = data === null ? null : parseObject(data);
    if (json === null) return this.#keep(frame);
    if (json.error) return 'error';
    const usage = usageIn(json);
    if (usage === null) return this.#keep(frame);
    this.#usage = usage;
    this.#terms = termsIn(json) ?? this.#terms;
    this.#beside = besideIn(json, usage);
    if (isBare(json)) return 'usage-only';
    // Some repeat an empty choice with the usage, without the reason that they gave before.
    const finished = this.#finished;
    this.#keep(frame);
    this.#finished ||= finished;
    return 'content';
  }

  /**
   * The output so far, in tokens: one for each piece of text, or by length where pieces are long. It parses what has come
   * since it was last asked, so it is for a look now and then.
   */
  outputEstimate(): number {
    this.#fold();
    return this.#text.estimate();
  }

  /** All that was generated, for counting when no usage came. */
  generatedText(): string[] {
    this.#fold();
    return this.#text.texts;
  }

  /** The ids of its sounds. */
  made(): readonly string[] {
    this.#fold();
    return [...this.#sounds];
  }

  #keep(frames: Buffer): 'content' {
    const finish = frames.lastIndexOf(FINISH);
    if (finish >= 0) this.#finished = valueByte(frames, finish + FINISH.length) !== NULL;
    if (this.#kept.length + frames.length > KEPT_BYTES) this.#fold();
    if (frames.length > KEPT_BYTES) this.#countAll(frames);
    else this.#kept.append(frames);
    return 'content';
  }

  #fold(): void {
    if (this.#kept.length > 0) this.#countAll(this.#kept.take());
  }

  #countAll(frames: Buffer): void {
    const find = frameFinder(frames);
    for (let start = 0; start < frames.length; ) {
      const text = this.#template?.read(frames, start) ?? null;
      if (text !== null) {
        this.#text.add(text);
        this.#foldedTerms = this.#templateTerms ?? this.#foldedTerms;
        start = this.#template!.end;
      } else {
        const end = find(frames, start);
        const next = end < 0 ? frames.length : end;
        this.#count(frames.subarray(start, next));
        start = next;
      }
    }
  }

  #count(frame: Buffer): void {
    const json = frameObject(frame, 'sse');
    if (json === null) return;
    const texts = generatedIn(json);
    const sounds = soundsIn(json, 'delta');
    const terms = termsIn(json);
    for (const text of texts) this.#text.add(text);
    // As many as there may be choices.
    if (this.#sounds.size < MOST_CHOICES) for (const id of sounds) this.#sounds.add(id);
    this.#foldedTerms = terms ?? this.#foldedTerms;
    this.#template = texts.length === 1 && sounds.length === 0 ? FrameTemplate.of(frame, texts[0]!) : null;
    this.#templateTerms = terms;
  }
}

/** Whether nothing but usage is in a chunk: no choice, and none of what providers send in chunks without one. */
function isBare(json: Json): boolean {
  const empty = Array.isArray(json.choices) && json.choices.length === 0;
  return empty && json.prompt_filter_results === undefined && json.moderation === undefined;
}

const QUOTE = 0x22;
const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;
const NULL = 0x6e;
const U = 0x75;

const USAGE = Buffer.from('"usage"');
const ERROR = Buffer.from('"error"');
/** Both keys have this length. */
const KEY_BYTES = 7;

/** How far a search for the last byte of either key may go on from each byte that it meets instead (Horspool). */
const SKIPS = new Uint8Array(256).fill(KEY_BYTES);
for (const key of [USAGE, ERROR]) {
  for (let i = 0; i < KEY_BYTES - 1; i++) SKIPS[key[i]!] = Math.min(SKIPS[key[i]!]!, KEY_BYTES - 1 - i);
}

/**
 * Where the first member stands that is not plain content: a "usage" or an "error" that is not plainly null; the length
 * where there is none. What follows the key may stand on the next line of an event's data, so it is not asked more. Quotes inside of strings are escaped, so text that a model writes never looks like a key.
 * One search for both keys that skips most bytes: in JSON, full of quotes, it takes half the time of two native ones.
 */
function firstOther(bytes: Buffer): number {
  for (let last = KEY_BYTES - 1; last < bytes.length; last += SKIPS[bytes[last]!]!) {
    const start = last - KEY_BYTES + 1;
    if (bytes[last] !== QUOTE || bytes[start] !== QUOTE) continue;
    if (!isKey(bytes, start, bytes[start + 1] === U ? USAGE : ERROR)) continue;
    if (valueByte(bytes, last + 1) !== NULL) return start;
  }
  return bytes.length;
}

function isKey(bytes: Buffer, start: number, key: Buffer): boolean {
  for (let i = 1; i < KEY_BYTES; i++) if (bytes[start + i] !== key[i]) return false;
  return true;
}

/** The first byte of the value that follows a key. */
function valueByte(bytes: Buffer, from: number): number | undefined {
  let at = from;
  while (bytes[at] === SPACE || bytes[at] === COLON || bytes[at] === TAB) at++;
  return bytes[at];
}
