/**
 * Answers of Bedrock's InvokeModel: what a model's own dialect says, whole or in chunks of an event stream. Bedrock counts
 * too: in headers of a whole answer, and in `amazon-bedrock-invocationMetrics` in the last chunk. Where it disagrees with the
 * model, the model's own report stands; where the model reports nothing, Bedrock's does.
 *
 *   unknown ──the first chunk that tells its dialect──▶ read by that dialect's reader ──metrics──▶ done
 */
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { MessagesReader, messages, readMessagesUsage } from './anthropic.ts';
import { ConverseReader, readConverseUsage } from './bedrock.ts';
import { normalise as normaliseChat, readUsage } from './chat-usage.ts';
import { CohereV1Reader, normaliseBilled, readBilled } from './cohere.ts';
import { copyCounts, names } from './counts.ts';
import { EventReader } from './events.ts';
import { frameObject, parseObject } from './frames.ts';
import { addText, generatedIn } from './generated.ts';
import { normaliseBeside } from './normalise-beside.ts';
import type { Answer, AnswerHeaders, Dialect, FrameKind, Framing, Reported, StreamReader } from './types.ts';

export const invoke: Dialect = {
  framing: 'aws-event-stream',
  readJson,
  stream: (framing) => new InvokeReader(framing),
  normalise,
};

/** Llama's and Titan's, at the top of an answer or chunk. */
const TOP = names({
  prompt_token_count: 'input_tokens',
  generation_token_count: 'output_tokens',
  inputTextTokenCount: 'input_tokens',
  totalOutputTextTokenCount: 'output_tokens',
});
const METRICS = names({
  inputTokenCount: 'input_tokens',
  outputTokenCount: 'output_tokens',
  cacheReadInputTokenCount: 'cached_read_tokens',
  cacheWriteInputTokenCount: 'cache_write_tokens',
});
const HEADERS = names({
  'x-amzn-bedrock-input-token-count': 'input_tokens',
  'x-amzn-bedrock-output-token-count': 'output_tokens',
  'x-amzn-bedrock-cache-read-input-token-count': 'cached_read_tokens',
  'x-amzn-bedrock-cache-write-input-token-count': 'cache_write_tokens',
});

/** The usage in an answer of any model that is known. */
function usageOf(json: Json): Reported | null {
  const { usage } = json;
  if (isObject(usage)) {
    // Names of Converse and of chat completions are theirs alone; those of Messages are OpenAI's too, with a total.
    const isChat = usage.prompt_tokens !== undefined || usage.total_tokens !== undefined;
    return readConverseUsage(usage) ?? (isChat ? readUsage(usage) : readMessagesUsage(usage));
  }
  return readTop(json) ?? readBilled(json.meta);
}

function readTop(json: Json): Reported | null {
  const reported: Reported = {};
  copyCounts(json, TOP, reported);
  // Titan's texts have their counts each.
  const results = Array.isArray(json.results) ? json.results.filter(isObject) : [];
  const counts = results.map(({ tokenCount }) => tokenCount).filter((count) => typeof count === 'number');
  if (counts.length > 0)
    copyCounts({ sum: counts.reduce((sum, count) => sum + count, 0) }, names({ sum: 'output_tokens' }), reported);
  return Object.keys(reported).length === 0 ? null : reported;
}

function readHeaders(headers: AnswerHeaders): Reported {
  const counts = [...HEADERS.keys()].map((name) => [name, headers[name]] as const);
  const numbers = counts.filter(([, value]) => typeof value === 'string' && /^\d+$/.test(value));
  const reported: Reported = {};
  copyCounts(Object.fromEntries(numbers.map(([name, value]) => [name, Number(value)])), HEADERS, reported);
  return reported;
}

function readJson(body: Buffer, headers: AnswerHeaders): Answer {
  const inHeaders = readHeaders(headers);
  const counted = Object.keys(inHeaders).length === 0 ? {} : { inHeaders };
  const json = parseObject(body);
  if (json === null) return { reported: null, ...counted, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = usageOf(json);
  const isMessage = json.type === 'message';
  const silent = reported === null && counted.inHeaders === undefined;
  return {
    reported,
    ...counted,
    terms: isMessage ? messages.readJson(body, {}).terms : {},
    beside: isMessage ? messages.readJson(body, {}).beside : {},
    generatedText: silent ? textsOf(json) : [],
    isError: Boolean(json.error),
  };
}

/** What a model wrote, under the names that models have for it. */
function textsOf(json: Json): string[] {
  const texts = generatedIn(json);
  for (const name of ['generation', 'outputText', 'completion', 'text', 'content']) addText(json[name], texts);
  for (const list of [json.outputs, json.generations, json.results]) {
    for (const one of Array.isArray(list) ? list.filter(isObject) : []) addText(one.text ?? one.outputText, texts);
  }
  return texts;
}

/**
 * As the model's dialect has it: billed units are the bill; a total that is the input and the output has the cached tokens
 * inside the input; else they stand beside it.
 */
function normalise(reported: Reported): Usage {
  const { billed_input_tokens, billed_output_tokens, total_tokens, input_tokens = 0, output_tokens = 0 } = reported;
  if (billed_input_tokens !== undefined || billed_output_tokens !== undefined) return normaliseBilled(reported);
  return total_tokens === input_tokens + output_tokens ? normaliseChat(reported) : normaliseBeside(reported);
}

/** Models that have no events, but chunks of text: Llama, Titan, Mistral, and those that speak chat completions. */
class PlainReader extends EventReader {
  protected override see(event: Json): FrameKind {
    if (event.error) return 'error';
    const usage = usageOf(event);
    if (usage !== null) this.reported = { ...this.reported, ...usage };
    for (const text of textsOf(event)) this.text.add(text);
    const [choice] = Array.isArray(event.choices) ? event.choices.filter(isObject) : [];
    if (event.stop_reason || event.completionReason || choice?.finish_reason) this.finished = true;
    return 'content';
  }
}

/** The reader of the dialect that a chunk is of. */
function readerFor(chunk: Json): StreamReader {
  const { type, event_type } = chunk;
  if (typeof type === 'string' && /^(message|content_block|ping)/.test(type)) return new MessagesReader('json-lines');
  if (typeof event_type === 'string') return new CohereV1Reader('json-lines');
  const isConverse = ['messageStart', 'contentBlockStart', 'contentBlockDelta', 'metadata'].some((name) =>
    isObject(chunk[name]),
  );
  return isConverse ? new ConverseReader('json-lines') : new PlainReader('json-lines');
}

const METRICS_KEY = 'amazon-bedrock-invocationMetrics';

class InvokeReader implements StreamReader {
  readonly #framing: Framing;
  #model: StreamReader | null = null;
  #metrics: Reported | null = null;

  constructor(framing: Framing) {
    this.#framing = framing;
  }

  frame(frame: Buffer): FrameKind {
    const chunk = frameObject(frame, this.#framing);
    if (chunk === null) return 'content';
    if (chunk.error) return 'error';
    this.#model ??= readerFor(chunk);
    const kind = this.#model.frame(Buffer.from(JSON.stringify(chunk)));
    const metrics = chunk[METRICS_KEY];
    if (!isObject(metrics)) return kind;
    const counted: Reported = {};
    copyCounts(metrics, METRICS, counted);
    if (Object.keys(counted).length > 0) this.#metrics = counted;
    return kind === 'error' ? 'error' : 'done';
  }

  get finished(): boolean {
    return this.#metrics !== null || (this.#model?.finished ?? false);
  }

  usage(): Reported | null {
    return this.#model?.usage() ?? this.#metrics;
  }

  terms(): Terms {
    return this.#model?.terms() ?? {};
  }

  beside(): Usage {
    return this.#model?.beside() ?? {};
  }

  outputEstimate(): number {
    return this.#model?.outputEstimate() ?? 0;
  }

  generatedText(): string[] {
    return this.#model?.generatedText() ?? [];
  }
}
