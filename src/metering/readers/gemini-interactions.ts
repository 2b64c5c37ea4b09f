/**
 * Answers of Gemini's Interactions: usage in the interaction, which a stream has in its last event. Cached tokens lie inside
 * the input; thoughts and prompts of tools stand beside. Of the modalities those are read that have a price of their own
 * throughout: audio, and pictures that were drawn; pictures that were seen cost what text does.
 */
import type { Terms } from '../../catalog/price.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { copyCounts, type Names, names } from './counts.ts';
import { EventReader } from './events.ts';
import { parseObject } from './frames.ts';
import { chargedSearches, normaliseGemini } from './gemini.ts';
import { addText } from './generated.ts';
import type { Answer, Dialect, FrameKind, Reported } from './types.ts';

export const geminiInteractions: Dialect = {
  framing: 'sse',
  readJson,
  stream: (framing) => new InteractionsReader(framing),
  normalise: normaliseGemini,
};

const COUNTS = names({
  total_input_tokens: 'input_tokens',
  total_output_tokens: 'output_tokens',
  total_thought_tokens: 'reasoning_tokens',
  total_tool_use_tokens: 'tool_use_input_tokens',
  total_cached_tokens: 'cached_read_tokens',
  total_tokens: 'total_tokens',
});
const DETAILS: readonly [list: string, modality: string, Names][] = [
  ['input_tokens_by_modality', 'audio', names({ tokens: 'audio_input_tokens' })],
  ['cached_tokens_by_modality', 'audio', names({ tokens: 'audio_cached_read_tokens' })],
  ['output_tokens_by_modality', 'audio', names({ tokens: 'audio_output_tokens' })],
  ['output_tokens_by_modality', 'image', names({ tokens: 'image_output_tokens' })],
];

function readUsage(usage: unknown): Reported | null {
  if (!isObject(usage)) return null;
  const reported: Reported = {};
  copyCounts(usage, COUNTS, reported);
  for (const [key, modality, name] of DETAILS) {
    const list = usage[key];
    for (const detail of Array.isArray(list) ? list.filter(isObject) : []) {
      if (detail.modality === modality) copyCounts(detail, name, reported);
    }
  }
  return Object.keys(reported).length === 0 ? null : reported;
}

function termsOf({ service_tier }: Json): Terms {
  return typeof service_tier === 'string' ? { serviceTier: service_tier } : {};
}

function readJson(body: Buffer): Answer {
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = readUsage(json.usage);
  const steps = Array.isArray(json.steps) ? json.steps.filter(isObject) : [];
  return {
    reported,
    terms: termsOf(json),
    beside: chargedSearches(json.model, steps.flatMap(queriesOf)),
    generatedText: reported === null ? steps.flatMap(generatedIn) : [],
    isError: Boolean(json.error),
  };
}

/** What a step, or a part of one, searched for. */
function queriesOf({ type, arguments: asked }: Json): unknown[] {
  const isSearch = type === 'google_search_call' && isObject(asked);
  return isSearch && Array.isArray(asked.queries) ? asked.queries : [];
}

function generatedIn(step: Json): string[] {
  const texts: string[] = [];
  for (const value of [step.content, step.summary, step.text, step.name]) addText(value, texts);
  if (isObject(step.arguments)) addText(JSON.stringify(step.arguments), texts);
  return texts;
}

/** Searches beyond these are not counted while they come. */
const MOST_QUERIES = 10_000;

class InteractionsReader extends EventReader {
  #queries: unknown[] = [];
  #model: unknown;

  protected override see(event: Json): FrameKind {
    const { interaction, step, delta } = event;
    if (event.error || event.event_type === 'error') return 'error';
    for (const part of [step, delta]) if (isObject(part)) this.#note(part);
    if (isObject(interaction)) {
      this.reported = readUsage(interaction.usage) ?? this.reported;
      this.said = { ...this.said, ...termsOf(interaction) };
      this.#model = interaction.model ?? this.#model;
    }
    this.used = chargedSearches(this.#model, this.#queries);
    if (event.event_type !== 'interaction.completed') return 'content';
    this.finished = true;
    return 'done';
  }

  #note(part: Json): void {
    for (const text of generatedIn(part)) this.text.add(text);
    this.#queries.push(...queriesOf(part).slice(0, MOST_QUERIES - this.#queries.length));
  }
}
