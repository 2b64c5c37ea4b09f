/**
 * A chat completion request as the gateway needs it: the few fields that bear on routing and cost, and where they stand
 * in the bytes. Everything else stays as it came. What could cost and cannot be priced is refused, with its `param`.
 */
import { isUtf8 } from 'node:buffer';
import { TollgateError } from '../errors.ts';
import { type Member, scanObject } from '../lib/json-scan.ts';

/** A range of the body. */
export interface Span {
  start: number;
  end: number;
}

export interface ChatRequest {
  model: string;
  stream: boolean;
  /** Whether the client itself asked for the usage chunk. */
  includeUsage: boolean;
  /** Choices. */
  n: number;
  /** The client's own limit of one choice's output, in tokens: the larger where both fields are given. */
  outputLimit: number | null;
  /** Structured output must not be cut: a clamp would make it invalid. */
  structuredOutput: boolean;
  /** Parts of messages that are not text, by what bounds them. */
  parts: { images: number; unbounded: number };
  /** Where the fields that may be edited stand. */
  spans: {
    model: Span;
    maxTokens: Span | null;
    maxCompletionTokens: Span | null;
    streamOptions: Span | null;
    /** Where a member can be added: before the closing brace. */
    end: number;
  };
}

/**
 * Top-level fields that move or bound cost. One of them given twice, in whatever case or escape, is refused: two parsers
 * could read two different requests.
 */
const COST_FIELDS = new Set([
  'model',
  'messages',
  'n',
  'stream',
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
  'service_tier',
  'modalities',
  'audio',
  'web_search_options',
  'moderation',
  'prediction',
  'tools',
  'functions',
  'response_format',
  'reasoning_effort',
  'verbosity',
  'best_of',
]);

/** Features whose cost lies outside the tokens, and that this release has no price for. */
const UNPRICED = ['web_search_options', 'moderation', 'audio'];
const FREE_TIERS = new Set<unknown>([undefined, null, 'auto', 'default']);
const MOST_CHOICES = 128;

type Json = Record<string, unknown>;

/** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
export function parseChatRequest(body: Buffer): ChatRequest {
  const json = parseObject(body);
  const { members, end } = scanObject(body);
  refuseTwice(members);
  refuseUnpriced(json);
  const span = (key: string): Span | null => {
    const member = members.find((candidate) => candidate.key === key);
    return member === undefined ? null : { start: member.valueStart, end: member.valueEnd };
  };
  const model = json.model;
  if (typeof model !== 'string' || model === '') throw invalid('model', 'must be the name of a model');
  if (!Array.isArray(json.messages) || json.messages.length === 0) {
    throw invalid('messages', 'must be an array with at least one message');
  }
  const stream = flag(json, 'stream');
  const options = json.stream_options;
  if (options !== undefined && options !== null && !isObject(options))
    throw invalid('stream_options', 'must be an object');
  const format = json.response_format;
  const limits = [limit(json, 'max_tokens'), limit(json, 'max_completion_tokens')].filter((value) => value !== null);
  return {
    model,
    stream,
    includeUsage: isObject(options) && options.include_usage === true,
    n: choices(json),
    outputLimit: limits.length === 0 ? null : Math.max(...limits),
    structuredOutput: isObject(format) && format.type !== undefined && format.type !== 'text',
    parts: countParts(json.messages),
    spans: {
      model: span('model')!,
      maxTokens: span('max_tokens'),
      maxCompletionTokens: span('max_completion_tokens'),
      streamOptions: span('stream_options'),
      end,
    },
  };
}

function parseObject(body: Buffer): Json {
  if (!isUtf8(body)) throw new TollgateError('invalid_json');
  let json: unknown;
  try {
    json = JSON.parse(body.toString());
  } catch {
    // The parser's message quotes the body, which is a prompt: it is not passed on.
    throw new TollgateError('invalid_json');
  }
  if (!isObject(json)) throw new TollgateError('invalid_json');
  return json;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(param: string, message: string): TollgateError {
  return new TollgateError('invalid_request', { param, message: `Invalid value for '${param}': ${message}.` });
}

function refuseTwice(members: readonly Member[]): void {
  const seen = new Set<string>();
  for (const { key } of members) {
    const name = key.toLowerCase();
    if (!COST_FIELDS.has(name)) continue;
    if (seen.has(name)) throw invalid(name, 'the field is given twice');
    seen.add(name);
  }
}

function refuseUnpriced(json: Json): void {
  for (const field of UNPRICED) {
    if (json[field] !== undefined && json[field] !== null) throw invalid(field, 'this gateway has no price for it');
  }
  if (!FREE_TIERS.has(json.service_tier)) throw invalid('service_tier', 'this gateway has a price for "default" only');
  if (Array.isArray(json.modalities) && json.modalities.some((modality) => modality !== 'text')) {
    throw invalid('modalities', 'this gateway has a price for "text" only');
  }
}

function flag(json: Json, field: string): boolean {
  const value = json[field] ?? false;
  if (typeof value !== 'boolean') throw invalid(field, 'must be true or false');
  return value;
}

function limit(json: Json, field: string): number | null {
  const value = json[field];
  if (value === undefined || value === null) return null;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1) {
    throw invalid(field, 'must be a whole number above 0');
  }
  return value;
}

function choices(json: Json): number {
  const value = json.n;
  if (value === undefined || value === null) return 1;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > MOST_CHOICES) {
    throw invalid('n', `must be a whole number from 1 to ${MOST_CHOICES}`);
  }
  return value;
}

/** Counts the parts whose tokens their bytes in the body do not bound. */
function countParts(messages: readonly unknown[]): ChatRequest['parts'] {
  const parts = { images: 0, unbounded: 0 };
  for (const message of messages) {
    if (!isObject(message) || !Array.isArray(message.content)) continue;
    for (const part of message.content) {
      const type = isObject(part) ? part.type : undefined;
      if (type === 'image_url') parts.images++;
      else if (type !== 'text' && type !== 'refusal' && type !== 'input_audio') parts.unbounded++;
    }
  }
  return parts;
}
