/**
 * Answers of Cohere's chat, versions 1 and 2. Three counts tell of one answer: `tokens` has the hidden preamble too,
 * `cached_tokens` are of these; `billed_units` are the bill. Streams report at their end.
 */
import type { Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { copyCounts, names } from './counts.ts';
import { EventReader } from './events.ts';
import { parseObject } from './frames.ts';
import { addText } from './generated.ts';
import type { Answer, Dialect, FrameKind, Reported } from './types.ts';

export const cohereV1: Dialect = {
  framing: 'json-lines',
  readJson: (body) => readJson(body, ({ meta }) => meta),
  stream: (framing) => new CohereV1Reader(framing),
  normalise: normaliseBilled,
};

export const cohereV2: Dialect = {
  framing: 'sse',
  readJson: (body) => readJson(body, ({ usage }) => usage),
  stream: (framing) => new CohereV2Reader(framing),
  normalise: normaliseBilled,
};

const TOP = names({ cached_tokens: 'cached_read_tokens' });
const TOKENS = names({ input_tokens: 'input_tokens', output_tokens: 'output_tokens' });
const BILLED = names({
  input_tokens: 'billed_input_tokens',
  output_tokens: 'billed_output_tokens',
  search_units: 'search_units',
});

/** Reads `meta` or `usage`; `null` when it counts nothing. */
export function readBilled(usage: unknown): Reported | null {
  if (!isObject(usage)) return null;
  const reported: Reported = {};
  copyCounts(usage, TOP, reported);
  if (isObject(usage.tokens)) copyCounts(usage.tokens, TOKENS, reported);
  if (isObject(usage.billed_units)) copyCounts(usage.billed_units, BILLED, reported);
  return Object.keys(reported).length === 0 ? null : reported;
}

/** Billed units are the bill, more or fewer than the tokens; without them, the tokens are. */
export function normaliseBilled(reported: Reported): Usage {
  const usage: Usage = {
    input: Math.ceil(reported.billed_input_tokens ?? reported.input_tokens ?? 0),
    output: Math.ceil(reported.billed_output_tokens ?? reported.output_tokens ?? 0),
  };
  if (reported.search_units) usage['tool:search_unit'] = Math.ceil(reported.search_units);
  return usage;
}

function readJson(body: Buffer, usageOf: (json: Json) => unknown): Answer {
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = readBilled(usageOf(json));
  const texts: string[] = [];
  if (reported === null) {
    addText(json.text, texts);
    if (isObject(json.message)) texts.push(...textsOf(json.message));
  }
  return { reported, terms: {}, beside: {}, generatedText: texts, isError: json.finish_reason === 'ERROR' };
}

/** What a message, or the delta of one, holds that a model wrote. */
function textsOf({ content, tool_plan, tool_calls }: Json): string[] {
  const texts: string[] = [];
  addText(isObject(content) ? (content.text ?? content.thinking) : content, texts);
  addText(tool_plan, texts);
  for (const call of [tool_calls].flat()) {
    if (!isObject(call) || !isObject(call.function)) continue;
    addText(call.function.name, texts);
    addText(call.function.arguments, texts);
  }
  return texts;
}

export class CohereV1Reader extends EventReader {
  protected override see(event: Json): FrameKind {
    if (event.event_type !== 'stream-end') {
      if (typeof event.text === 'string') this.text.add(event.text);
      if (isObject(event.tool_call_delta)) this.text.add(JSON.stringify(event.tool_call_delta));
      return 'content';
    }
    if (isObject(event.response)) this.reported = readBilled(event.response.meta);
    this.finished = true;
    return event.finish_reason === 'ERROR' ? 'error' : 'done';
  }
}

class CohereV2Reader extends EventReader {
  protected override see({ type, delta }: Json): FrameKind {
    if (!isObject(delta)) return 'content';
    if (isObject(delta.message)) for (const text of textsOf(delta.message)) this.text.add(text);
    if (type !== 'message-end') return 'content';
    this.reported = readBilled(delta.usage);
    this.finished = true;
    return delta.finish_reason === 'ERROR' ? 'error' : 'done';
  }
}
