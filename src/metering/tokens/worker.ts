/** The worker of the token counter. Text is cut into short chunks, because the tokeniser is quadratic in one long word. */
import { parentPort } from 'node:worker_threads';
import { get_encoding, type Tiktoken, type TiktokenEncoding } from 'tiktoken';
import { systemClock } from '../../lib/clock.ts';
import type { CountAnswer, CountRequest } from './counter.ts';

const CHUNK_CHARS = 1024;
const encodings = new Map<TiktokenEncoding, Tiktoken>();

/** Models older than the o200k encoding; an unknown model is counted as a current one. */
const CL100K = /^(gpt-4$|gpt-4-|gpt-3\.5|gpt-35|text-embedding-3|text-embedding-ada)/;

function encodingOf(model: string): Tiktoken {
  const name: TiktokenEncoding = CL100K.test(model) ? 'cl100k_base' : 'o200k_base';
  let encoding = encodings.get(name);
  if (encoding === undefined) {
    encoding = get_encoding(name);
    encodings.set(name, encoding);
  }
  return encoding;
}

/** The end of the chunk that begins at `start`: at a space where there is one, never inside a surrogate pair. */
function chunkEnd(text: string, start: number): number {
  const most = start + CHUNK_CHARS;
  if (most >= text.length) return text.length;
  const space = text.lastIndexOf(' ', most);
  if (space > start + CHUNK_CHARS / 2) return space;
  const last = text.charCodeAt(most - 1);
  return last >= 0xd800 && last <= 0xdbff ? most - 1 : most;
}

/** Tokens of a text; `null` when the deadline passed before it was counted. */
function count({ text, model, deadline }: CountRequest): number | null {
  const encoding = encodingOf(model);
  let tokens = 0;
  for (let start = 0; start < text.length; ) {
    if (systemClock.now() > deadline) return null;
    const end = chunkEnd(text, start);
    // Special tokens are ordinary text here: an answer that names one must not throw.
    tokens += encoding.encode_ordinary(text.slice(start, end)).length;
    start = end;
  }
  return tokens;
}

parentPort!.on('message', (request: CountRequest) => {
  parentPort!.postMessage({ id: request.id, tokens: count(request) } satisfies CountAnswer);
});
