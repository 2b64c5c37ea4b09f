/**
 * Answers of the Responses dialect: usage in the response, which streams repeat whole in their last event (`completed`,
 * `incomplete`, `failed`, `cancelled`); calls of hosted tools beside it, in `tool_usage` or as items of the output.
 */
import type { Terms } from '../../catalog/price.ts';
import type { Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { CONTENT_OF } from '../item-contents.ts';
import { normalise, readUsage } from './chat-usage.ts';
import { isCount } from './counts.ts';
import { EventReader, sumOf } from './events.ts';
import { parseObject } from './frames.ts';
import { addText } from './generated.ts';
import { mostTokens, ResponseSoFar } from './response-so-far.ts';
import type { Answer, Dialect, FrameKind, SoFar } from './types.ts';

export const responses: Dialect = {
  framing: 'sse',
  readJson,
  stream: (framing) => new ResponsesReader(framing),
  normalise: (reported) => normalise(reported),
  mostTokens,
  stores: 'responses',
};

function readJson(body: Buffer): Answer {
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = readUsage(json.usage);
  const failed = json.object === 'response' && json.status === 'failed';
  return {
    reported,
    terms: termsOf(json),
    beside: besideOf(json),
    generatedText: reported === null ? writtenIn(json) : [],
    isError: Boolean(json.error) && !failed,
    isRunning: json.status === 'queued' || json.status === 'in_progress',
    made: madeOf(json, itemsOf(json)),
    ...(failed ? { failed } : {}),
  };
}

/** What was written, if only nothing: else an answer that cannot be read is counted by its bytes. */
function writtenIn(json: Json): string[] {
  const texts = generatedIn(itemsOf(json));
  return texts.length === 0 && Array.isArray(json.output) ? [''] : texts;
}

const LAST = new Set(['response.completed', 'response.incomplete', 'response.cancelled', 'response.failed']);

class ResponsesReader extends EventReader {
  #items: Json[] = [];
  readonly #soFar = new ResponseSoFar();
  /** Of the response, as it was told last. */
  #head: Json = {};

  soFar(): SoFar {
    return this.#soFar.told(this.text.texts);
  }

  made(): readonly string[] {
    return madeOf(this.#head, this.#items);
  }

  protected override see(event: Json): FrameKind {
    const { type } = event;
    if (typeof event.delta === 'string') {
      this.#soFar.delta(event, this.text.texts.length);
      this.text.add(event.delta);
      return 'content';
    }
    this.#soFar.see(event);
    if (type === 'response.output_item.done' && isObject(event.item)) this.#note(event.item);
    const ends = typeof type === 'string' && LAST.has(type);
    if (isObject(event.response)) this.#respond(event.response);
    this.finished ||= ends;
    if (type === 'response.failed' || type === 'error') return 'failed';
    if (event.error) return 'error';
    return ends ? 'done' : 'content';
  }

  /** Items count until the whole response comes: a stream may be cut before. */
  #note(item: Json): void {
    if (this.#items.length >= MOST_ITEMS) return;
    this.#items.push(callOf(item));
    this.used = callsOf(this.#items);
  }

  /** The last event has all items again, but for those who leave them out. */
  #respond(response: Json): void {
    this.reported = readUsage(response.usage) ?? this.reported;
    this.said = termsOf(response);
    this.#head = { id: response.id ?? this.#head.id, store: response.store ?? this.#head.store };
    if (itemsOf(response).length > 0) this.#items = itemsOf(response).slice(0, MOST_ITEMS).map(callOf);
    this.used = besideOf(itemsOf(response).length > 0 ? response : { ...response, output: this.#items });
  }
}

/** Items of an output beyond these are not looked at while they come. */
const MOST_ITEMS = 10_000;

/** What is kept of an item: its id, that it is a call, and of what. */
function callOf({ id, type, action, container_id, encrypted_content }: Json): Json {
  return {
    id,
    type,
    action: isObject(action) ? { type: action.type } : undefined,
    container_id,
    isOpen: !encrypted_content,
  };
}

/** Thoughts without their sealed content are named by their id when they come back. */
function carriesItself({ type, encrypted_content, isOpen }: Json): boolean {
  return CONTENT_OF.has(type) && !(type === 'reasoning' && (isOpen ?? !encrypted_content));
}

/** Ids beyond these are nobody's: what is named by them is refused. */
const MOST_MADE = 500;

/**
 * The ids of a response, of its items, and of the containers that its code ran in. Of one that is not stored, those alone that name what
 * the provider keeps all the same: the others carry their content.
 */
function madeOf({ id, store }: Json, items: readonly Json[]): string[] {
  const isStored = store !== false;
  const made: unknown[] = isStored ? [id] : [];
  for (const item of items) {
    if (isStored || !carriesItself(item)) made.push(item.id);
    made.push(item.container_id);
  }
  return [...new Set(made.filter((one) => typeof one === 'string'))].slice(0, MOST_MADE);
}

function itemsOf(response: Json): Json[] {
  return Array.isArray(response.output) ? response.output.filter(isObject) : [];
}

function termsOf({ service_tier }: Json): Terms {
  return typeof service_tier === 'string' ? { serviceTier: service_tier } : {};
}

/**
 * Calls of tools beside the usage. Where the provider counts them, its count stands; older answers have the items only. A
 * provider that counts them inside the usage object has said it all there. The tokens of the model that draws pictures are
 * counted as this one's: what they cost stands as `output_image` and `input_image` in this model's price.
 */
function besideOf(response: Json): Usage {
  const { usage, tool_usage } = response;
  if (isObject(usage) && isObject(usage.server_side_tool_usage_details)) return {};
  const calls = callsOf(itemsOf(response));
  if (!isObject(tool_usage)) return calls;
  const searches = isObject(tool_usage.web_search) ? tool_usage.web_search.num_requests : undefined;
  if (isCount(searches)) {
    delete calls['tool:web_search'];
    if (searches > 0) calls['tool:web_search'] = Math.ceil(searches);
  }
  const drawn = readUsage(tool_usage.image_gen);
  return drawn === null ? calls : positive(sumOf([calls, normalise(drawn, 'output_image')]));
}

const TOOLS: ReadonlyMap<unknown, 'tool:web_search' | 'tool:file_search' | 'image'> = new Map([
  ['web_search_call', 'tool:web_search'],
  ['file_search_call', 'tool:file_search'],
  ['image_generation_call', 'image'],
] as const);

/** A search is charged, opening a page that it found is not; code runs in containers, each charged once. */
function callsOf(items: readonly Json[]): Usage {
  const calls: Usage = {};
  const containers = new Set<unknown>();
  for (const { type, action, container_id } of items) {
    const tool = TOOLS.get(type);
    const searches = !isObject(action) || action.type === undefined || action.type === 'search';
    if (tool !== undefined && (tool !== 'tool:web_search' || searches)) calls[tool] = (calls[tool] ?? 0) + 1;
    if (type === 'code_interpreter_call') containers.add(container_id);
  }
  if (containers.size > 0) calls['tool:code_interpreter'] = containers.size;
  return calls;
}

function positive(usage: Usage): Usage {
  return Object.fromEntries(Object.entries(usage).filter(([, quantity]) => quantity !== 0));
}

/** What the model wrote: messages, visible reasoning, calls of the client's tools. */
function generatedIn(items: readonly Json[]): string[] {
  const texts: string[] = [];
  for (const item of items) {
    addText(item.content, texts);
    addText(item.summary, texts);
    addText(item.name, texts);
    addText(item.arguments ?? item.input ?? item.code, texts);
    for (const part of Array.isArray(item.content) ? item.content : []) {
      if (isObject(part)) addText(part.refusal, texts);
    }
  }
  return texts;
}
