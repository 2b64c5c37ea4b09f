/**
 * Closer bounds than bytes, for when these do not fit into a balance: texts by their tokens, all else by its bytes still. Only for models whose encoding is published; those of others may count more.
 */
import type { TiktokenEncoding } from 'tiktoken';
import type { Model } from '../catalog/types.ts';
import { partsBound } from './bounds.ts';
import type { MeteredRequest } from './requests/types.ts';
import type { TokenCounter } from './tokens/counter.ts';
import { publishedEncodingOf } from './tokens/encodings.ts';

/** The bytes of a shorter body are close enough. */
const LEAST_BYTES = 1_024;
/** A text that is cut to be counted might be a token more here and there: 1 in so many. */
const SLACK = 64;
/** A token of text is seldom more: where even this would not fit, counting is of no use. */
const MOST_BYTES_PER_TOKEN = 8;

/** The fewest tokens that a count could come to; `null`: its bytes bound it as well as can be. */
export function leastExactBound(request: MeteredRequest, model: Model): number | null {
  if (request.bytes < LEAST_BYTES || encodingOfRoutes(model) === null) return null;
  const ofParts = partsBound(request, model);
  if (ofParts === null) return null;
  return Math.floor((request.bytes - request.parts.dataBytes) / MOST_BYTES_PER_TOKEN) + ofParts;
}

/**
 * The most input tokens that a request can be, by a count of its texts. What they take of the body is taken out of it as it is
 * at least: what is left of it, such as a text that is given twice, counts by its bytes. `null`: not counted.
 */
export async function exactInputBound(
  request: MeteredRequest,
  body: Buffer,
  model: Model,
  tokens: TokenCounter,
): Promise<number | null> {
  const encoding = encodingOfRoutes(model);
  const ofParts = partsBound(request, model);
  if (encoding === null || ofParts === null) return null;
  const counted = await tokens.countPrompt(body, encoding);
  if (counted === null) return null;
  const rest = body.length - request.parts.dataBytes - counted.bytes;
  return rest + withSlack(counted.tokens) + ofParts;
}

/** The most tokens that pieces of one answer can be; `null`: not counted. */
export async function generatedBound(
  texts: readonly string[],
  model: Model,
  tokens: TokenCounter,
): Promise<number | null> {
  const encoding = encodingOfRoutes(model);
  const counted = encoding === null ? null : await tokens.countText(texts.join(''), encoding);
  return counted === null ? null : withSlack(counted);
}

/** About the fewest tokens that pieces of an answer are, whatever the tokeniser. */
export function fewestGenerated(texts: readonly string[]): number {
  return Math.floor(texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) / MOST_BYTES_PER_TOKEN);
}

function withSlack(tokens: number): number {
  return tokens + Math.ceil(tokens / SLACK);
}

/** The encoding that all routes of a model count in; `null`: nobody says, or they differ. Asked for each request: kept. */
function encodingOfRoutes(model: Model): TiktokenEncoding | null {
  let encoding = ENCODINGS.get(model);
  if (encoding === undefined) {
    const [first = null, ...others] = new Set(model.routes.map((route) => publishedEncodingOf(route.model)));
    encoding = others.length === 0 ? first : null;
    ENCODINGS.set(model, encoding);
  }
  return encoding;
}

const ENCODINGS = new WeakMap<Model, TiktokenEncoding | null>();
