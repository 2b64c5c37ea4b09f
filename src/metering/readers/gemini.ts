/**
 * Answers of Gemini's own dialect, from Google AI and Vertex: whole, and in streams, as server-sent events or as one JSON
 * array. A chunk may report usage or not; the last report stands, also where it is smaller than one before. Cached tokens lie
 * inside the prompt; thoughts stand beside the candidates, and prompts of tools beside the prompt.
 */
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { dialect, PLAIN } from './answers.ts';
import { normalise } from './chat-usage.ts';
import { copyCounts, names } from './counts.ts';
import { EventReader } from './events.ts';
import { parseObject } from './frames.ts';
import { addText } from './generated.ts';
import type { Answer, CountName, Dialect, FrameKind, Framing, Reported } from './types.ts';

/** One answer. */
export const geminiGen: Dialect = of('sse');
/** A stream: it says so where it is server-sent events, and is an array else. */
export const geminiStream: Dialect = of('json-array');
/** Older models report nothing. */
export const geminiEmbed: Dialect = dialect({
  ...PLAIN,
  read: ({ usageMetadata }) => readUsageMetadata(usageMetadata),
  terms: termsOf,
  normalise: normaliseGemini,
});

function of(framing: Framing): Dialect {
  return { framing, readJson, stream: (cut) => new GeminiReader(cut), normalise: normaliseGemini };
}

const COUNTS = names({
  promptTokenCount: 'input_tokens',
  candidatesTokenCount: 'output_tokens',
  thoughtsTokenCount: 'reasoning_tokens',
  cachedContentTokenCount: 'cached_read_tokens',
  toolUsePromptTokenCount: 'tool_use_input_tokens',
  totalTokenCount: 'total_tokens',
});

type Modality = 'audio' | 'image' | 'video';
/** By their names, and by their numbers, as some clients of Vertex have them. */
const MODALITIES: ReadonlyMap<unknown, Modality> = new Map<unknown, Modality>([
  ['IMAGE', 'image'],
  [2, 'image'],
  ['VIDEO', 'video'],
  [3, 'video'],
  ['AUDIO', 'audio'],
  [4, 'audio'],
]);
type OfModality = Partial<Record<Modality, CountName>>;
const OF_THE_PROMPT: OfModality = {
  audio: 'audio_input_tokens',
  image: 'image_input_tokens',
  video: 'video_input_tokens',
};
const DETAILS: Readonly<Record<string, OfModality>> = {
  promptTokensDetails: OF_THE_PROMPT,
  promptTokenDetails: OF_THE_PROMPT,
  candidatesTokensDetails: { audio: 'audio_output_tokens', image: 'image_output_tokens' },
  cacheTokensDetails: {
    audio: 'audio_cached_read_tokens',
    image: 'image_cached_read_tokens',
    video: 'video_cached_read_tokens',
  },
};

function readUsageMetadata(usage: unknown): Reported | null {
  if (!isObject(usage)) return null;
  const reported: Reported = {};
  copyCounts(usage, COUNTS, reported);
  for (const [key, byModality] of Object.entries(DETAILS)) {
    const list = usage[key];
    for (const detail of Array.isArray(list) ? list.filter(isObject) : []) {
      const modality = MODALITIES.get(detail.modality);
      const name = modality === undefined ? undefined : byModality[modality];
      if (name !== undefined) copyCounts(detail, names({ tokenCount: name }), reported);
    }
  }
  return Object.keys(reported).length === 0 ? null : reported;
}

/**
 * As OpenAI's usage, once thoughts are put into the output and prompts of tools into the input: what is inside of what is
 * the same then. Video is priced as text is.
 */
export function normaliseGemini(reported: Reported): Usage {
  const { input_tokens = 0, output_tokens = 0, reasoning_tokens = 0, tool_use_input_tokens = 0 } = reported;
  return normalise({
    ...reported,
    input_tokens: input_tokens + tool_use_input_tokens,
    output_tokens: output_tokens + reasoning_tokens,
    cached_audio_input_tokens: reported.audio_cached_read_tokens ?? 0,
    cached_image_input_tokens: reported.image_cached_read_tokens ?? 0,
  });
}

/** The service tier; Vertex tells it as a type of traffic, such as `ON_DEMAND_PRIORITY`. */
function termsOf({ usageMetadata }: Json): Terms {
  const { serviceTier, trafficType } = isObject(usageMetadata) ? usageMetadata : {};
  const tier = serviceTier ?? trafficType;
  return typeof tier === 'string' ? { serviceTier: tier } : {};
}

function readJson(body: Buffer): Answer {
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = readUsageMetadata(json.usageMetadata);
  return {
    reported,
    terms: termsOf(json),
    beside: searchesIn(json) ?? {},
    generatedText: reported === null ? candidatesOf(json).flatMap(generatedIn) : [],
    isError: Boolean(json.error),
  };
}

function candidatesOf({ candidates }: Json): Json[] {
  return Array.isArray(candidates) ? candidates.filter(isObject) : [];
}

/** What a model wrote: text, thoughts, calls of functions, code. */
function generatedIn({ content }: Json): string[] {
  const texts: string[] = [];
  const parts = isObject(content) && Array.isArray(content.parts) ? content.parts.filter(isObject) : [];
  for (const { text, functionCall, executableCode } of parts) {
    addText(text, texts);
    if (isObject(executableCode)) addText(executableCode.code, texts);
    if (isObject(functionCall)) addText(`${functionCall.name}${JSON.stringify(functionCall.args ?? {})}`, texts);
  }
  return texts;
}

/** Models before the third are charged for a prompt that was searched for, later ones for each search. */
const CHARGED_ONCE = /(^|\/)gemini-[12]\b/;

/** How many searches are charged of such a model's: those that asked for nothing are not. */
export function chargedSearches(model: unknown, queries: readonly unknown[]): Usage {
  const asked = queries.filter((query) => query !== '').length;
  if (asked === 0) return {};
  return { 'tool:web_search': typeof model === 'string' && CHARGED_ONCE.test(model) ? 1 : asked };
}

/** The searches that an answer or chunk tells of; `null`: it tells of none, which is not that there were none. */
function searchesIn(json: Json): Usage | null {
  const told = candidatesOf(json)
    .map(({ groundingMetadata }) => (isObject(groundingMetadata) ? groundingMetadata.webSearchQueries : undefined))
    .filter((queries) => Array.isArray(queries));
  return told.length === 0 ? null : chargedSearches(json.modelVersion, told.flat());
}

class GeminiReader extends EventReader {
  protected override see(event: Json): FrameKind {
    if (event.error) return 'error';
    const usage = readUsageMetadata(event.usageMetadata);
    if (usage !== null) {
      this.reported = usage;
      this.said = termsOf(event);
    }
    this.used = searchesIn(event) ?? this.used;
    for (const candidate of candidatesOf(event)) {
      for (const text of generatedIn(candidate)) this.text.add(text);
      if (candidate.finishReason) this.finished = true;
    }
    return 'content';
  }
}
