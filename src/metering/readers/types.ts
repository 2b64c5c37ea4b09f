/**
 * What the readers of all wire dialects have in common. A reader says what an answer reports, as it reports it, under one set
 * of names; `normalise` says what that means for the bill. The names are those of the recordings' manifest.
 */
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';
import type { Json } from '../../lib/json.ts';

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
  | 'cached_audio_input_tokens'
  | 'cached_image_input_tokens'
  | 'cached_text_input_tokens'
  | 'audio_cached_read_tokens'
  | 'image_cached_read_tokens'
  | 'video_cached_read_tokens'
  | 'tool_use_input_tokens'
  | 'billed_input_tokens'
  | 'billed_output_tokens'
  | 'web_search_requests'
  | 'web_fetch_requests'
  | 'num_sources_used'
  | 'num_server_side_tools_used'
  | 'search_units'
  | 'seconds'
  | 'cost'
  | 'cost_in_usd_ticks';

/** A pass of a model within one answer, with the names that it is reported under. */
export interface Iteration {
  type: string;
  model?: string;
  input_tokens?: number;
  output_tokens?: number;
  cache_read_input_tokens?: number;
  cache_creation_input_tokens?: number;
}

export interface Reported extends Partial<Record<CountName, number>> {
  /** What a transcription is billed by: `tokens` or `duration`. */
  usage_type?: string;
  /** Calls of tools that the provider ran, by its names for them; those that were called. */
  server_side_tool_usage?: Record<string, number>;
  iterations?: Iteration[];
  /** Of a session: one entry for each response, and for each transcription of what was heard. */
  responses?: Reported[];
  transcriptions?: Reported[];
}

/** Headers of an answer, by their names in small letters. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** A whole answer that is no stream. */
export interface Answer {
  reported: Reported | null;
  /** What its headers report: the bill where `reported` is null. */
  inHeaders?: Reported;
  /** What it says beside its usage that bears on the price. */
  terms: Terms;
  /**
   * What was used that its usage object leaves out: calls of tools, pictures, tokens beside its counts. To be added to the
   * normalised usage; it is known, and billed, where no usage is reported too. A picture is counted in both tokens and
   * `image`: a model has a price for one of them.
   */
  beside: Usage;
  /** What was generated, for counting: empty where usage is reported. */
  generatedText: string[];
  /** A success by its status that says it failed. */
  isError: boolean;
  /** It is no answer yet: the provider goes on with it after the request has ended. */
  isRunning?: boolean;
  /** As `StreamReader.made`. */
  made?: readonly string[];
  /** It was served, and says that it failed: charged for what it reports or says, and no answer to repeat. */
  failed?: true;
}

/**
 * What a frame is to the relay: `usage-only` is dropped for a client that did not ask for it, `done` ends the stream, and `failed` ends
 * it as one that failed: the client is told so in the form of the dialect. `error`: the stream broke.
 */
export type FrameKind = 'content' | 'usage-only' | 'done' | 'failed' | 'error';

/** What a stream of the Responses dialect has told, as it can be told again. */
export interface SoFar {
  /** The response without its output, status and usage. */
  head: Json;
  /** Its items, with what they hold so far. */
  output: Json[];
  /** The items that are not closed, with their index in the output of the stream. */
  open: { item: Json; output: unknown }[];
  /** The number of the next event. */
  sequence: number;
}

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
  /** As `Answer.beside`, so far. */
  beside(): Usage;
  /** The output so far, in tokens: a likely count. */
  outputEstimate(): number;
  /** All that was generated, for counting when no usage came. */
  generatedText(): string[];
  /** What a response has told so far, for an end of ours. */
  soFar?(): SoFar;
  /** Ids of what the provider has stored of the answer so far, the answer's own first: see `Dialect.stores`. */
  made?(): readonly string[];
}

/** How the bytes of a stream are cut into frames. */
export type Framing = 'sse' | 'json-lines' | 'json-array' | 'aws-event-stream';

/** One wire dialect: the answers of one kind of endpoint. */
export interface Dialect {
  /** Of an answer that does not say how it is framed; `json-array`: of a stream that is one JSON document. */
  framing: Framing;
  /** Its answers use nothing that is counted in tokens: what they do not report is not to be estimated. */
  unmetered?: true;
  /**
   * Its answers are mostly data that no bill depends on: pictures, sound, vectors. Such an answer is read by its skeleton
   * (lib/json-skeleton.ts) where it is large; one that is no text is not read at all, and passed on as it comes.
   */
  bulky?: true;
  readJson(body: Buffer, headers: AnswerHeaders): Answer;
  /** A reader of the frames that this framing cuts. */
  stream(framing: Framing): StreamReader;
  /** The billable dimensions: disjoint, never negative. */
  normalise(reported: Reported): Usage;
  /** What of an answer a provider keeps, so that later requests may name it: its ids are its account's. Absent: nothing. */
  stores?: 'responses' | 'sound';
  /** The most output tokens that a frame of a stream can be. Where it cannot be told, a stream is held for as a whole. */
  mostTokens?(frame: Buffer): number;
}
