/**
 * Answers of Ollama's own endpoints, `/api/chat` and `/api/generate`: counts at the top of the answer, in a stream of its last
 * line, the one that says `done`. Those that answer there in the form of chat completions report as these do.
 */
import type { Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { normalise, readUsage } from './chat-usage.ts';
import { copyCounts, names } from './counts.ts';
import { EventReader } from './events.ts';
import { parseObject } from './frames.ts';
import { addText, generatedIn } from './generated.ts';
import type { Answer, Dialect, FrameKind, Reported } from './types.ts';

export const ollama: Dialect = {
  framing: 'json-lines',
  readJson,
  stream: (framing) => new OllamaReader(framing),
  normalise: (reported): Usage => normalise(reported),
};

const COUNTS = names({ prompt_eval_count: 'input_tokens', eval_count: 'output_tokens' });

function usageOf(json: Json): Reported | null {
  const reported: Reported = {};
  copyCounts(json, COUNTS, reported);
  return Object.keys(reported).length === 0 ? readUsage(json.usage) : reported;
}

function textsOf(json: Json): string[] {
  const texts = generatedIn(json);
  const { message } = json;
  addText(json.response, texts);
  addText(json.thinking, texts);
  if (!isObject(message)) return texts;
  addText(message.content, texts);
  addText(message.thinking, texts);
  for (const call of Array.isArray(message.tool_calls) ? message.tool_calls : []) addText(JSON.stringify(call), texts);
  return texts;
}

function readJson(body: Buffer): Answer {
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = usageOf(json);
  return {
    reported,
    terms: {},
    beside: {},
    generatedText: reported === null ? textsOf(json) : [],
    isError: Boolean(json.error),
  };
}

class OllamaReader extends EventReader {
  protected override see(event: Json): FrameKind {
    if (event.error) return 'error';
    for (const text of textsOf(event)) this.text.add(text);
    this.reported = usageOf(event) ?? this.reported;
    if (event.done !== true) return 'content';
    this.finished = true;
    return 'done';
  }
}
