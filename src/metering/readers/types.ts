/**
 * What the readers of all wire dialects have in common. A reader says what an answer reports, as it reports it, under one set
 * of names; `normalise` says what that means for the bill. The names are those of the recordings' manifest.
 */
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';

/** Counts that a usage object can state. Nothing is added up or corrected; a name is present only where the body had it. */
export type CountName =
  | 'input_tokens'
  | 'output_tokens'
  | 'total_tokens'
  | 'cached_read_tokens'
  | 'cache_write_tokens'
  | 'cache_write_5m_tokens'
  | 'cache_write_1h_tokens'
  | 'prompt_cache_hit_tokens'
  | 'prompt_cache_miss_tokens'
  | 'reasoning_tokens'
  | 'audio_input_tokens'
  | 'image_input_tokens'
  | 'text_input_tokens'
  | 'video_input_tokens'
  | 'audio_output_tokens'
  | 'image_output_tokens'
  | 'text_output_tokens'
  | 'accepted_prediction_tokens'
  | 'rejected_prediction_tokens'
  | 'web_search_requests'
  | 'num_sources_used'
  | 'seconds'
  | 'cost'
  | 'cost_in_usd_ticks';

export type Reported = Partial<Record<CountName, number>>;

/** Headers of an answer, by their names in small letters. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** A whole answer that is no stream. */
export interface Answer {
  reported: Reported | null;
  /** What it says beside its usage that bears on the price. */
  terms: Terms;
  /** What was generated, for counting: empty where usage is reported. */
  generatedText: string[];
  /** A success by its status that says it failed. */
  isError: boolean;
}

/** What a frame is to the relay: `usage-only` is dropped for a client that did not ask for it, `done` ends the stream. */
export type FrameKind = 'content' | 'usage-only' | 'done' | 'error';

/** Reads a stream as it passes. */
export interface StreamReader {
  /** Takes a frame, as the dialect's framing cuts them. */
  frame(frame: Buffer): FrameKind;
  /** Takes whole frames of plain content at the beginning of a chunk, at once; returns how many bytes they are. */
  content?(chunk: Buffer): number;
  /** Whether the last content says why it ended. */
  readonly finished: boolean;
  /** What the provider reported last; `null`: nothing. */
  usage(): Reported | null;
  terms(): Terms;
  /** The output so far, in tokens: a likely count. */
  outputEstimate(): number;
  /** All that was generated, for counting when no usage came. */
  generatedText(): string[];
}

/** How the bytes of a stream are cut into frames. */
export type Framing = 'sse' | 'json-lines' | 'json-array' | 'aws-event-stream';

/** One wire dialect: the answers of one kind of endpoint. */
export interface Dialect {
  framing: Framing;
  readJson(body: Buffer, headers: AnswerHeaders): Answer;
  stream(): StreamReader;
  /** The billable dimensions: disjoint, never negative. */
  normalise(reported: Reported): Usage;
}
