/** What all readers of JSON requests have in common: one object, in which each field that bears on cost stands once. */
import { isUtf8 } from 'node:buffer';
import { TollgateError } from '../../errors.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { type Member, scanObject } from '../../lib/json-scan.ts';
import type { Span } from './types.ts';

const MOST_MODEL_NAME_CHARS = 200;

export interface JsonBody {
  json: Json;
  spans: ReadonlyMap<string, Span>;
  /** Before the closing brace. */
  end: number;
}

/**
 * Reads a body. `costFields` bear on cost, in any way; `refused` may not be there, and say why. Throws `invalid_json` or
 * `invalid_request` with `param`.
 */
export function readJsonBody(
  body: Buffer,
  costFields: ReadonlySet<string>,
  refused: Readonly<Record<string, string>>,
): JsonBody {
  const json = parseObject(body);
  const { members, end } = scanObject(body);
  refuseAmbiguous(members, body, costFields);
  for (const field in refused) {
    if ((json[field] ?? null) !== null) throw invalid(field, refused[field]!);
  }
  const spans = new Map<string, Span>();
  for (const { key, valueStart, valueEnd } of members) spans.set(key, { start: valueStart, end: valueEnd });
  return { json, spans, end };
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

/**
 * A field that bears on cost, given twice or in another case, is read differently by different parsers: ours and the
 * provider's must see the same request. The same goes for one that is spelled with escapes (see `isMisread`).
 */
function refuseAmbiguous(members: readonly Member[], body: Buffer, costFields: ReadonlySet<string>): void {
  const seen = new Set<string>();
  for (const { key, keyStart } of members) {
    // Upper case first: letters that have the same capital are the same to a parser that ignores case.
    const name = key.toUpperCase().toLowerCase();
    if (!costFields.has(name)) continue;
    if (seen.has(name)) throw invalid(name, 'the field is given twice');
    seen.add(name);
    const plain = body.toString('latin1', keyStart + 1, keyStart + 1 + name.length) === name;
    if (!plain) throw invalid(name, 'the name of the field must be spelled in small letters, without escapes');
  }
}

/** A refusal of one field. `message` says what it must be. */
export function invalid(param: string, message: string): TollgateError {
  return new TollgateError('invalid_request', { param, message: `Invalid value for '${param}': ${message}.` });
}

/** The model that is named; `otherwise`: what the endpoint takes where none is. Throws `invalid_request`. */
export function modelOf(json: Json, otherwise?: string): { model: string; namesModel: boolean } {
  const model = json.model ?? otherwise;
  if (typeof model !== 'string' || model === '' || model.length > MOST_MODEL_NAME_CHARS) {
    throw invalid('model', 'must be the name of a model');
  }
  return { model, namesModel: (json.model ?? null) !== null };
}

/** A flag; absent or null, it is false. Throws `invalid_request`. */
export function flag(json: Json, field: string): boolean {
  const value = json[field] ?? false;
  if (typeof value !== 'boolean') throw invalid(field, 'must be true or false');
  return value;
}

/** A whole number within bounds; absent or null, it is `otherwise`. Throws `invalid_request`. */
export function count<T>(
  json: Json,
  field: string,
  otherwise: T,
  least = 1,
  most = Number.MAX_SAFE_INTEGER,
): number | T {
  const value = json[field] ?? null;
  if (value === null) return otherwise;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
  const range = most === Number.MAX_SAFE_INTEGER ? `above ${least - 1}` : `from ${least} to ${most}`;
  throw invalid(field, `must be a whole number ${range}`);
}

/** Whether the client asks for usage at the end of its stream. Throws `invalid_request`. */
export function includesUsage(json: Json): boolean {
  const options = json.stream_options ?? null;
  if (options !== null && !isObject(options)) throw invalid('stream_options', 'must be an object');
  return options !== null && options.include_usage === true;
}
