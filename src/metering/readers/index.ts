/** The dialects, by the names that the recordings' manifest gives them, and how an answer's bytes are cut into frames. */
import { EventStreamSplitter } from '../../lib/aws-event-stream.ts';
import { JsonArraySplitter } from '../../lib/json-array.ts';
import { JsonLineSplitter } from '../../lib/json-lines.ts';
import { FrameSplitter } from '../../lib/sse.ts';
import { embeddings, images, speech, transcriptions, unmetered } from './answers.ts';
import { messages } from './anthropic.ts';
import { converse } from './bedrock.ts';
import { invoke } from './bedrock-invoke.ts';
import { chat } from './chat.ts';
import { cohereV1, cohereV2 } from './cohere.ts';
import { geminiEmbed, geminiGen, geminiStream } from './gemini.ts';
import { geminiInteractions } from './gemini-interactions.ts';
import { ollama } from './ollama.ts';
import { realtime } from './realtime.ts';
import { rerank } from './rerank.ts';
import { responses } from './responses.ts';
import type { Dialect, Framing } from './types.ts';

/** A new dialect is a reader and its line here. */
const DIALECTS: ReadonlyMap<string, Dialect> = new Map(
  Object.entries({
    chat,
    completions: chat,
    responses,
    'responses-compact': responses,
    'responses-input_tokens': unmetered,
    count_tokens: unmetered,
    moderations: unmetered,
    embeddings,
    images,
    'images-edit': images,
    'images-var': images,
    transcriptions,
    translations: transcriptions,
    speech,
    ws: realtime,
    messages,
    'gemini-gen': geminiGen,
    'gemini-stream': geminiStream,
    'gemini-embed': geminiEmbed,
    'gemini-interactions': geminiInteractions,
    converse,
    'converse-stream': converse,
    invoke,
    'invoke-stream': invoke,
    'cohere-v1': cohereV1,
    'cohere-v2': cohereV2,
    'ollama-chat': ollama,
    'ollama-gen': ollama,
    rerank,
  }),
);

/** The dialect of an API style; `null`: Tollgate does not speak it. */
export function dialectOf(apiStyle: string): Dialect | null {
  return DIALECTS.get(apiStyle) ?? null;
}

/** Cuts the bytes of a stream into frames. */
export interface Splitter {
  /** Whether the next chunk begins with a new frame. */
  readonly atBoundary: boolean;
  push(chunk: Buffer, onFrame: (frame: Buffer) => void): void;
  /** What came after the last whole frame. */
  rest(): Buffer;
}

type SplitterClass = new (maxFrameBytes: number) => Splitter;
const SPLITTERS: Readonly<Record<Framing, SplitterClass>> = {
  sse: FrameSplitter,
  'json-lines': JsonLineSplitter,
  'json-array': JsonArraySplitter,
  'aws-event-stream': EventStreamSplitter,
};

/** A splitter for a framing; it throws on a frame larger than so many bytes, and on bytes that are not framed like that. */
export function splitterFor(framing: Framing, maxFrameBytes: number): Splitter {
  return new SPLITTERS[framing](maxFrameBytes);
}

const FRAMINGS: ReadonlyMap<string, Framing> = new Map([
  ['text/event-stream', 'sse'],
  ['application/vnd.amazon.eventstream', 'aws-event-stream'],
  ['application/x-ndjson', 'json-lines'],
  ['application/stream+json', 'json-lines'],
]);

/** How an answer of this content type is framed; `null`: it is no stream, and read whole. */
export function framingOf(dialect: Dialect, contentType: string | null): Framing | null {
  if (contentType === null) return dialect.framing;
  const type = bareType(contentType);
  const isDocument = type === 'application/json' && dialect.framing === 'json-array';
  return FRAMINGS.get(type) ?? (isDocument ? 'json-array' : null);
}

/** Providers say the same few: kept, so that a request does not take its answer's apart again. */
const BARE_TYPES = new Map<string, string>();
const MOST_TYPES = 100;

/** Without its parameters. */
function bareType(contentType: string): string {
  let type = BARE_TYPES.get(contentType);
  if (type === undefined) {
    type = contentType.split(';', 1)[0]!.trim().toLowerCase();
    if (BARE_TYPES.size < MOST_TYPES) BARE_TYPES.set(contentType, type);
  }
  return type;
}
