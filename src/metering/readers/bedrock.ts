/**
 * Answers of Bedrock's Converse: usage in the answer, or in the `metadata` event that ends a stream, after `messageStop`.
 * Cached and written tokens stand beside the input, and in the total.
 */
import type { Terms } from '../../catalog/price.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { copyCounts, names } from './counts.ts';
import { EventReader } from './events.ts';
import { parseObject } from './frames.ts';
import { addText } from './generated.ts';
import { normaliseBeside } from './normalise-beside.ts';
import type { Answer, Dialect, FrameKind, Reported } from './types.ts';

export const converse: Dialect = {
  framing: 'aws-event-stream',
  readJson,
  stream: (framing) => new ConverseReader(framing),
  normalise: normaliseBeside,
};

/** Some names come twice; both say the same. */
const COUNTS = names({
  inputTokens: 'input_tokens',
  outputTokens: 'output_tokens',
  totalTokens: 'total_tokens',
  cacheReadInputTokenCount: 'cached_read_tokens',
  cacheReadInputTokens: 'cached_read_tokens',
  cacheWriteInputTokenCount: 'cache_write_tokens',
  cacheWriteInputTokens: 'cache_write_tokens',
});
const BY_LIFE = new Map([
  ['5m', names({ inputTokens: 'cache_write_5m_tokens' })],
  ['1h', names({ inputTokens: 'cache_write_1h_tokens' })],
]);

/** Reads a usage object; `null` when it counts nothing. */
export function readConverseUsage(usage: unknown): Reported | null {
  if (!isObject(usage)) return null;
  const reported: Reported = {};
  copyCounts(usage, COUNTS, reported);
  for (const detail of Array.isArray(usage.cacheDetails) ? usage.cacheDetails.filter(isObject) : []) {
    const known = BY_LIFE.get(String(detail.ttl));
    if (known !== undefined) copyCounts(detail, known, reported);
  }
  return Object.keys(reported).length === 0 ? null : reported;
}

function termsOf({ serviceTier }: Json): Terms {
  return isObject(serviceTier) && typeof serviceTier.type === 'string' ? { serviceTier: serviceTier.type } : {};
}

function readJson(body: Buffer): Answer {
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = readConverseUsage(json.usage);
  return {
    reported,
    terms: termsOf(json),
    beside: {},
    generatedText: reported === null ? generatedIn(json) : [],
    isError: Boolean(json.error),
  };
}

function generatedIn({ output }: Json): string[] {
  const message = isObject(output) && isObject(output.message) ? output.message : {};
  const blocks = Array.isArray(message.content) ? message.content.filter(isObject) : [];
  return blocks.flatMap(textsOf);
}

/** What a block, or the delta of one, holds that a model wrote. */
function textsOf({ text, toolUse, reasoningContent }: Json): string[] {
  const texts: string[] = [];
  addText(text, texts);
  if (isObject(reasoningContent)) {
    addText(reasoningContent.text, texts);
    if (isObject(reasoningContent.reasoningText)) addText(reasoningContent.reasoningText.text, texts);
  }
  if (isObject(toolUse)) {
    addText(toolUse.name, texts);
    addText(isObject(toolUse.input) ? JSON.stringify(toolUse.input) : toolUse.input, texts);
  }
  return texts;
}

/** Its events are objects with one member, that their type names. */
export class ConverseReader extends EventReader {
  protected override see(event: Json): FrameKind {
    const { contentBlockStart, contentBlockDelta, messageStop, metadata } = event;
    if (event.error || Object.keys(event).some((name) => name.endsWith('Exception'))) return 'error';
    if (isObject(contentBlockStart) && isObject(contentBlockStart.start)) this.#write(contentBlockStart.start);
    if (isObject(contentBlockDelta) && isObject(contentBlockDelta.delta)) this.#write(contentBlockDelta.delta);
    if (isObject(messageStop)) this.finished = true;
    if (!isObject(metadata)) return 'content';
    this.reported = readConverseUsage(metadata.usage) ?? this.reported;
    this.said = termsOf(metadata);
    return 'done';
  }

  #write(part: Json): void {
    for (const text of textsOf(part)) this.text.add(text);
  }
}
