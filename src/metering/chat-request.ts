/**
 * A chat completion request as the gateway needs it: the few fields that bear on routing and cost, and where they stand
 * in the bytes. Everything else stays as it came. What could cost and cannot be metered is refused, with its `param`; what
 * its model must have a price for is told (request-asks.ts).
 */

import { isUtf8 } from 'node:buffer';
import { isInput } from '../catalog/units.ts';
import { TollgateError } from '../errors.ts';
import { isObject, type Json } from '../lib/json.ts';
import { type Member, scanObject } from '../lib/json-scan.ts';
import { countParts, type MessageParts } from './message-parts.ts';
import { type Asks, readAsks } from './request-asks.ts';
import { costFieldsOf, REQUEST_FIELDS } from './request-fields.ts';

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
  /** Parts of messages that are not text. */
  parts: MessageParts;
  /** Whether tools are described, whoever runs them. */
  hasTools: boolean;
  /** The units and the tier that the model must have a price for. */
  asks: Asks;
  /**
   * Output may be billed that the answer does not show as text: sound, pictures, a draft's rejected tokens, what a model does
   * with the tools that the provider runs.
   */
  hidesOutput: boolean;
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

/** Fields that may name what a provider has stored, to be read with the messages. */
const STORED = ['extra_body', 'cached_content'];
const COST_FIELDS = costFieldsOf('chat');
const REFUSED = REQUEST_FIELDS.chat.refused;
const MOST_CHOICES = 128;
const MOST_MODEL_NAME_CHARS = 200;

/** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
export function parseChatRequest(body: Buffer): ChatRequest {
  const json = parseObject(body);
  const { members, end } = scanObject(body);
  refuseAmbiguous(members, body);
  refuseUnmetered(json);
  const span = (key: string): Span | null => {
    const member = members.find((candidate) => candidate.key === key);
    return member === undefined ? null : { start: member.valueStart, end: member.valueEnd };
  };
  const model = json.model;
  if (typeof model !== 'string' || model === '' || model.length > MOST_MODEL_NAME_CHARS) {
    throw invalid('model', 'must be the name of a model');
  }
  if (!Array.isArray(json.messages) || json.messages.length === 0) {
    throw invalid('messages', 'must be an array with at least one message');
  }
  const stream = flag(json, 'stream');
  const options = json.stream_options;
  if ((options ?? null) !== null && !isObject(options)) throw invalid('stream_options', 'must be an object');
  const format = json.response_format;
  const n = choices(json);
  const parts = countParts(json.messages);
  parts.unbounded += STORED.filter((field) => (json[field] ?? null) !== null).length;
  const asks = readAsks(json, parts, n);
  const limits = [limit(json, 'max_tokens'), limit(json, 'max_completion_tokens')].filter((value) => value !== null);
  return {
    model,
    stream,
    includeUsage: isObject(options) && options.include_usage === true,
    n,
    outputLimit: limits.length === 0 ? null : Math.max(...limits),
    structuredOutput: isObject(format) && format.type !== undefined && format.type !== 'text',
    parts,
    hasTools: [json.tools, json.functions].some((tools) => Array.isArray(tools) && tools.length > 0),
    asks,
    hidesOutput: (json.prediction ?? null) !== null || asks.units.some(({ unit }) => !isInput(unit)),
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

function invalid(param: string, message: string): TollgateError {
  return new TollgateError('invalid_request', { param, message: `Invalid value for '${param}': ${message}.` });
}

/**
 * A field that bears on cost, given twice or in another case, is read differently by different parsers: ours and the
 * provider's must see the same request. The same goes for one that is spelled with escapes (see `isMisread`).
 */
function refuseAmbiguous(members: readonly Member[], body: Buffer): void {
  const seen = new Set<string>();
  for (const { key, keyStart } of members) {
    // Upper case first: letters that have the same capital are the same to a parser that ignores case.
    const name = key.toUpperCase().toLowerCase();
    if (!COST_FIELDS.has(name)) continue;
    if (seen.has(name)) throw invalid(name, 'the field is given twice');
    seen.add(name);
    const plain = body.toString('latin1', keyStart + 1, keyStart + 1 + name.length) === name;
    if (!plain) throw invalid(name, 'the name of the field must be spelled in small letters, without escapes');
  }
}

function refuseUnmetered(json: Json): void {
  for (const field in REFUSED) {
    if ((json[field] ?? null) !== null) throw invalid(field, REFUSED[field]!);
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
