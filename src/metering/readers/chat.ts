/**
 * Usage of the chat completions dialect, of OpenAI and of those that speak it their own way: in an extra chunk without
 * choices, on the finish chunk, on every chunk (the last wins), under `x_groq` or inside a choice; null, missing, zero
 * (which is not missing), as a float, with parts larger than their whole, or with a total larger than its parts.
 */
import type { Usage } from '../../catalog/units.ts';
import { FrameSplitter, frameData } from '../../lib/sse.ts';

/** What a provider said, in one set of names; absent: not said. Nothing is added up or corrected. */
export interface Reported {
  input_tokens?: number;
  output_tokens?: number;
  total_tokens?: number;
  cached_read_tokens?: number;
  cache_write_tokens?: number;
  reasoning_tokens?: number;
  audio_input_tokens?: number;
  audio_output_tokens?: number;
}

export type FrameKind = 'content' | 'usage-only' | 'done' | 'error';

type Json = Record<string, unknown>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? Math.ceil(value) : undefined;
}

/** Reads a usage object; `null` when it says nothing: absent, null, or without a single number. */
export function readUsage(usage: unknown): Reported | null {
  if (!isObject(usage)) return null;
  const input = isObject(usage.prompt_tokens_details) ? usage.prompt_tokens_details : {};
  const output = isObject(usage.completion_tokens_details) ? usage.completion_tokens_details : {};
  const all: Record<keyof Reported, number | undefined> = {
    input_tokens: count(usage.prompt_tokens),
    output_tokens: count(usage.completion_tokens),
    total_tokens: count(usage.total_tokens),
    cached_read_tokens: count(input.cached_tokens ?? usage.prompt_cache_hit_tokens ?? usage.cached_tokens),
    cache_write_tokens: count(input.cache_write_tokens),
    reasoning_tokens: count(output.reasoning_tokens ?? usage.reasoning_tokens),
    audio_input_tokens: count(input.audio_tokens),
    audio_output_tokens: count(output.audio_tokens),
  };
  if (all.input_tokens === undefined && all.output_tokens === undefined && all.total_tokens === undefined) return null;
  const reported: Reported = {};
  for (const key in all) {
    const value = all[key as keyof Reported];
    if (value !== undefined) reported[key as keyof Reported] = value;
  }
  return reported;
}

/**
 * Disjoint dimensions of what was reported. Cached, written and audio tokens are part of the input, reasoning and audio
 * of the output; a part larger than its whole is cut to it. A total above input and output hides output, mostly
 * reasoning, that the provider bills: it is counted as output.
 */
export function normalise(reported: Reported): Usage {
  const total = reported.total_tokens ?? 0;
  const input = reported.input_tokens ?? 0;
  const stated = reported.output_tokens ?? 0;
  const output = Math.max(stated, total - input);
  const cached = Math.min(reported.cached_read_tokens ?? 0, input);
  const written = Math.min(reported.cache_write_tokens ?? 0, input - cached);
  const audioIn = Math.min(reported.audio_input_tokens ?? 0, input - cached - written);
  const reasoning = Math.min(reported.reasoning_tokens ?? 0, output);
  const audioOut = Math.min(reported.audio_output_tokens ?? 0, output - reasoning);
  const usage: Usage = { input: input - cached - written - audioIn, output: output - reasoning - audioOut };
  if (cached > 0) usage.cached_input = cached;
  if (written > 0) usage.cache_write = written;
  if (audioIn > 0) usage.input_audio = audioIn;
  if (reasoning > 0) usage.reasoning = reasoning;
  if (audioOut > 0) usage.output_audio = audioOut;
  return usage;
}

/** The usage of a completion or chunk, wherever the provider put it. */
function usageIn(json: Json): Reported | null {
  const groq = isObject(json.x_groq) ? json.x_groq.usage : undefined;
  const choice = Array.isArray(json.choices) && isObject(json.choices[0]) ? json.choices[0].usage : undefined;
  return readUsage(json.usage) ?? readUsage(groq) ?? readUsage(choice);
}

/** A whole JSON answer. `generatedText` is for counting where no usage is reported. */
export function readChatJson(body: Buffer): { reported: Reported | null; generatedText: string[] } {
  const json = parse(body);
  if (json === null) return { reported: null, generatedText: [] };
  return { reported: usageIn(json), generatedText: generatedIn(json) };
}

function parse(bytes: Buffer): Json | null {
  try {
    const json: unknown = JSON.parse(bytes.toString());
    return isObject(json) ? json : null;
  } catch {
    return null;
  }
}

/** All that a model wrote in a completion or chunk: text, refusals, visible reasoning, calls of tools. */
function generatedIn(json: Json): string[] {
  const texts: string[] = [];
  const add = (value: unknown): void => {
    if (typeof value === 'string' && value !== '') texts.push(value);
  };
  for (const choice of Array.isArray(json.choices) ? json.choices : []) {
    const message = isObject(choice) ? (choice.delta ?? choice.message) : null;
    if (!isObject(message)) continue;
    add(message.content);
    add(message.refusal);
    add(message.reasoning_content ?? message.reasoning);
    const calls = Array.isArray(message.tool_calls)
      ? message.tool_calls.map((call) => isObject(call) && call.function)
      : [];
    for (const call of [...calls, message.function_call]) {
      if (!isObject(call)) continue;
      add(call.name);
      add(call.arguments);
    }
  }
  return texts;
}

const USAGE = Buffer.from('"usage"');
const ERROR = Buffer.from('"error"');
const FINISH = Buffer.from('"finish_reason"');
const DONE = Buffer.from('[DONE]');
const BLANK_LINE = Buffer.from('\n\n');
const OPEN_BRACE = 0x7b;
const QUOTE = 0x22;
const COLON = 0x3a;
const CR = 0x0d;

/** Content kept as it came, until it is folded into text. */
const KEPT_BYTES = 64 * 1024;
/** Text kept for counting; beyond it, tokens are estimated from its length. */
const KEPT_CHARS = 4 * 1024 * 1024;

/**
 * Reads a stream frame by frame. A content frame costs a few native searches and is not parsed, unless usage stands in
 * it; what would be needed to count the output is kept aside, bounded.
 */
export class ChatStreamReader {
  #usage: Reported | null = null;
  #finished = false;
  /** Whole content frames, one or several a buffer. */
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #foldedFrames = 0;
  #texts: string[] = [];
  #chars = 0;

  /** Whether a choice has ended: the stream may end without `[DONE]` and still be whole. */
  get finished(): boolean {
    return this.#finished;
  }

  /** What the provider reported last. */
  usage(): Reported | null {
    return this.#usage;
  }

  /**
   * Takes the whole frames at the beginning of a chunk in which nothing but content stands, at once: a busy stream brings
   * many frames a chunk. Returns how many bytes they are; the rest goes through `frame`.
   */
  content(chunk: Buffer): number {
    if (chunk.includes(CR)) return 0;
    const first = firstOf(memberAt(chunk, USAGE, OPEN_BRACE), firstOf(memberAt(chunk, ERROR, 0), chunk.indexOf(DONE)));
    const end = chunk.lastIndexOf(BLANK_LINE, first < 0 ? chunk.length : first) + 2;
    if (end < 2) return 0;
    this.#keep(end === chunk.length ? chunk : chunk.subarray(0, end));
    return end;
  }

  frame(frame: Buffer): FrameKind {
    if (frame.length < 32 && frame.includes(DONE)) return 'done';
    if (memberAt(frame, USAGE, OPEN_BRACE) >= 0 || memberAt(frame, ERROR, 0) >= 0) {
      const kind = this.#parsed(frame);
      if (kind !== null) return kind;
    }
    this.#keep(frame);
    return 'content';
  }

  /** A cheap count of the output so far, in tokens: providers send about one a frame. */
  outputEstimate(): number {
    let frames = this.#foldedFrames;
    for (const bytes of this.#kept) frames += framesIn(bytes).length;
    return Math.max(frames, Math.ceil(this.#chars / 4));
  }

  /** All that was generated, for counting when no usage came. */
  generatedText(): string[] {
    this.#fold();
    return this.#texts;
  }

  #keep(frames: Buffer): void {
    this.#finished ||= memberAt(frames, FINISH, QUOTE) >= 0;
    this.#kept.push(frames);
    this.#keptBytes += frames.length;
    if (this.#keptBytes > KEPT_BYTES) this.#fold();
  }

  /** A frame that has usage or an error in it; `null`: it is content all the same. */
  #parsed(frame: Buffer): FrameKind | null {
    const data = frameData(frame);
    const json = data === null ? null : parse(data);
    if (json === null) return null;
    if (json.error) return 'error';
    const usage = usageIn(json);
    if (usage === null) return null;
    this.#usage = usage;
    const bare = Array.isArray(json.choices) && json.choices.length === 0;
    return bare && json.prompt_filter_results === undefined && json.moderation === undefined ? 'usage-only' : null;
  }

  #fold(): void {
    for (const frame of this.#kept.flatMap(framesIn)) {
      this.#foldedFrames++;
      const data = frameData(frame);
      const json = data === null ? null : parse(data);
      if (json === null) continue;
      for (const text of generatedIn(json)) {
        this.#chars += text.length;
        if (this.#chars <= KEPT_CHARS) this.#texts.push(text);
      }
    }
    this.#kept = [];
    this.#keptBytes = 0;
  }
}

/** The frames of a buffer of whole frames. */
function framesIn(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  new FrameSplitter(Number.POSITIVE_INFINITY).push(bytes, (frame) => frames.push(frame));
  return frames;
}

function firstOf(a: number, b: number): number {
  return a < 0 ? b : b < 0 ? a : Math.min(a, b);
}

/** Where a member of that quoted name has a value that begins with `byte`; 0: with anything but null. −1: nowhere. */
function memberAt(bytes: Buffer, name: Buffer, byte: number): number {
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + name.length)) {
    let next = at + name.length;
    while (bytes[next] === 0x20 || bytes[next] === COLON) next++;
    if (bytes[next] === byte || (byte === 0 && bytes[next] !== 0x6e)) return at;
  }
  return -1;
}
