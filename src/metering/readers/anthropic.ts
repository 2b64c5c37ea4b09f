/**
 * Answers of Anthropic's Messages, and of those that serve the same dialect (Vertex, Bedrock, Ollama). Usage comes in
 * `message_start`, and again in `message_delta`, whose counts are cumulative and may be fewer: they are merged name by name,
 * the later one stands. Cached and written tokens stand beside the input, thinking inside the output.
 */
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { termsIn } from './chat-usage.ts';
import { copyCounts, names } from './counts.ts';
import { EventReader, sumOf } from './events.ts';
import { parseObject } from './frames.ts';
import { addText } from './generated.ts';
import { normaliseBeside } from './normalise-beside.ts';
import type { Answer, Dialect, FrameKind, Iteration, Reported } from './types.ts';

export const messages: Dialect = {
  framing: 'sse',
  readJson,
  stream: (framing) => new MessagesReader(framing),
  normalise: normaliseBeside,
};

const PASS_COUNTS = [
  'input_tokens',
  'output_tokens',
  'cache_read_input_tokens',
  'cache_creation_input_tokens',
] as const;
const COUNTS = names({
  input_tokens: 'input_tokens',
  output_tokens: 'output_tokens',
  cache_read_input_tokens: 'cached_read_tokens',
  cache_creation_input_tokens: 'cache_write_tokens',
});
const NESTED = {
  cache_creation: names({
    ephemeral_5m_input_tokens: 'cache_write_5m_tokens',
    ephemeral_1h_input_tokens: 'cache_write_1h_tokens',
  }),
  output_tokens_details: names({ thinking_tokens: 'reasoning_tokens' }),
  server_tool_use: names({ web_search_requests: 'web_search_requests', web_fetch_requests: 'web_fetch_requests' }),
};

/** Reads a usage object; `null` when it counts nothing. */
export function readMessagesUsage(usage: unknown): Reported | null {
  if (!isObject(usage)) return null;
  const reported: Reported = {};
  copyCounts(usage, COUNTS, reported);
  for (const [key, inside] of Object.entries(NESTED)) {
    const value = usage[key];
    if (isObject(value)) copyCounts(value, inside, reported);
  }
  if (Object.keys(reported).length === 0) return null;
  const passes = passesOf(usage);
  if (passes.length > 0) reported.iterations = passes.map(iterationOf);
  return reported;
}

function passesOf({ iterations }: Json): Json[] {
  return Array.isArray(iterations) ? iterations.filter(isObject) : [];
}

function iterationOf(pass: Json): Iteration {
  const iteration: Iteration = { type: String(pass.type) };
  if (typeof pass.model === 'string') iteration.model = pass.model;
  for (const key of PASS_COUNTS) {
    const count = pass[key];
    if (typeof count === 'number') iteration[key] = count;
  }
  return iteration;
}

/**
 * What the passes of an answer used beyond its top-level counts. These are of one kind of pass alone: of the `message` ones,
 * or, where another model stepped in, of its `fallback_message`; a compaction or an adviser's pass stands beside them. So the
 * bill is the sum of all passes, and never less than the top level. A pass of another model is counted as this model's
 * tokens: its own price is not known here, and it must not be free.
 */
function passesBeside(passes: readonly Json[], top: Reported | null): Usage {
  if (passes.length === 0 || top === null) return {};
  // Thinking is told of the top level alone: it is left in the output, or it would be taken for output beside it.
  const plain = (one: Reported): Usage =>
    normaliseBeside({ ...one, reasoning_tokens: 0, web_search_requests: 0, web_fetch_requests: 0 });
  const all = sumOf(passes.map((pass) => plain(readMessagesUsage(pass) ?? {})));
  const stated = plain(top);
  const over = (...units: ('input' | 'cached_input' | 'cache_write' | 'cache_write_1h' | 'output')[]): number =>
    Math.max(
      0,
      units.reduce((sum, unit) => sum + (all[unit] ?? 0) - (stated[unit] ?? 0), 0),
    );
  const written = over('cache_write', 'cache_write_1h');
  const keptLong = Math.min(written, over('cache_write_1h'));
  const beside: Usage = {
    input: over('input'),
    cached_input: over('cached_input'),
    cache_write: written - keptLong,
    cache_write_1h: keptLong,
    output: over('output'),
  };
  return Object.fromEntries(Object.entries(beside).filter(([, tokens = 0]) => tokens > 0));
}

function readJson(body: Buffer): Answer {
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = readMessagesUsage(json.usage);
  return {
    reported,
    terms: termsIn(json) ?? {},
    beside: isObject(json.usage) ? passesBeside(passesOf(json.usage), reported) : {},
    generatedText: reported === null ? generatedIn(json.content) : [],
    isError: json.type === 'error' || Boolean(json.error),
  };
}

function generatedIn(content: unknown): string[] {
  const texts: string[] = [];
  for (const block of Array.isArray(content) ? content.filter(isObject) : []) {
    addText(block.text ?? block.thinking, texts);
    addText(block.name, texts);
    if (isObject(block.input)) addText(JSON.stringify(block.input), texts);
  }
  return texts;
}

export class MessagesReader extends EventReader {
  #passes: Json[] = [];

  protected override see(event: Json): FrameKind {
    const { type, message, delta, content_block } = event;
    if (type === 'error' || event.error) return 'error';
    if (isObject(message)) this.#note(message);
    this.#note(event);
    if (isObject(delta)) {
      for (const text of [delta.text, delta.thinking, delta.partial_json])
        if (typeof text === 'string') this.text.add(text);
      if (typeof delta.stop_reason === 'string') this.finished = true;
    }
    if (isObject(content_block) && typeof content_block.name === 'string') this.text.add(content_block.name);
    if (type !== 'message_stop') return 'content';
    this.finished = true;
    return 'done';
  }

  #note(holder: Json): void {
    const read = readMessagesUsage(holder.usage);
    if (read === null) return;
    this.reported = { ...this.reported, ...read };
    const terms: Terms | null = termsIn(holder);
    if (terms !== null) this.said = terms;
    const passes = passesOf(holder.usage as Json);
    if (passes.length > 0) this.#passes = passes;
    this.used = passesBeside(this.#passes, this.reported);
  }
}
