/**
 * Answers of the chat completions dialect, of OpenAI and of those that speak it their own way, and of the older
 * completions, which differ in where their text stands alone.
 */

import { isObject } from '../../lib/json.ts';
import { FrameSplitter } from '../../lib/sse.ts';
import { ChatStreamReader } from './chat-stream.ts';
import { besideIn, normalise, termsIn, usageIn } from './chat-usage.ts';
import { frameObject, parseObject } from './frames.ts';
import { generatedIn, mostTokensIn, soundsIn } from './generated.ts';
import type { Answer, Dialect } from './types.ts';

export { ChatStreamReader } from './chat-stream.ts';
export { normalise } from './chat-usage.ts';

export const chat: Dialect = {
  framing: 'sse',
  readJson: readChatJson,
  stream: () => new ChatStreamReader(),
  normalise,
  mostTokens,
  stores: 'sound',
};

const DATA = Buffer.from('data:');

/**
 * Reads a whole answer. One that is no JSON object says nothing; but a stream that came under another content type is read
 * as the stream that it is.
 */
export function readChatJson(body: Buffer): Answer {
  if (body.subarray(0, DATA.length).equals(DATA)) return readUndeclaredStream(body);
  const json = parseObject(body);
  if (json === null) return { reported: null, terms: {}, beside: {}, generatedText: [], isError: false };
  const reported = usageIn(json);
  const failed = isObject(json.base_resp) && Boolean(json.base_resp.status_code);
  return {
    reported,
    terms: termsIn(json) ?? {},
    beside: besideIn(json, reported),
    generatedText: reported === null ? generatedIn(json) : [],
    isError: Boolean(json.error) || failed,
    made: soundsIn(json, 'message'),
  };
}

function readUndeclaredStream(body: Buffer): Answer {
  const reader = new ChatStreamReader();
  let isError = false;
  const take = (frame: Buffer): void => {
    isError = reader.frame(frame) === 'error' || isError;
  };
  const splitter = new FrameSplitter(Number.POSITIVE_INFINITY);
  splitter.push(body, take);
  take(splitter.rest());
  const reported = reader.usage();
  return {
    reported,
    terms: reader.terms(),
    beside: reader.beside(),
    generatedText: reported === null ? reader.generatedText() : [],
    isError,
  };
}

/** The most output tokens that a frame of a stream can be: see `mostTokensIn`. */
export function mostTokens(frame: Buffer): number {
  const json = frameObject(frame, 'sse');
  return json === null ? 0 : mostTokensIn(json);
}
