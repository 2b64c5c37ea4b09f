/**
 * The worker of the token counter. Text is cut into short chunks, because the tokeniser is quadratic in one long word. Those
 * who wait take turns, a few milliseconds each, so that nobody's text holds up another's.
 *
 *   idle ──job──▶ counting in turns ──counted, enough, or past its deadline──▶ answered        none left ──▶ idle
 */
import { parentPort } from 'node:worker_threads';
import { get_encoding, type Tiktoken, type TiktokenEncoding } from 'tiktoken';
import { systemClock } from '../../lib/clock.ts';
import { promptTexts } from '../prompt-text.ts';
import type { CountAnswer, CountRequest } from './counter.ts';

const CHUNK_CHARS = 256;
/** Where there is no space: what is one word to the tokeniser takes time by the square of this. */
const WORD_CHARS = 128;
const TURN_MS = 5;
const encodings = new Map<TiktokenEncoding, Tiktoken>();

/** A text that is being counted. */
interface Job {
  request: CountRequest;
  texts: string[];
  /** What is counted of them so far. */
  tokens: number;
  /** The text, and the place in it, that is next. */
  at: { text: number; char: number };
  /** Bytes that the texts take of the body they came in. */
  bytes: number;
}

const jobs: Job[] = [];

function encoderOf(name: TiktokenEncoding): Tiktoken {
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
  if (text.length <= start + WORD_CHARS) return text.length;
  // Searched in the chunk alone: the text may have none before it, and be long.
  const space = text.slice(start, most).lastIndexOf(' ');
  if (space > 0) return start + space;
  const last = text.charCodeAt(start + WORD_CHARS - 1);
  return start + (last >= 0xd800 && last <= 0xdbff ? WORD_CHARS - 1 : WORD_CHARS);
}

/** Counts on for a while. Whether the job is done, or given up. */
function turn(job: Job): boolean {
  const { request, texts, at } = job;
  const encoder = encoderOf(request.encoding);
  const began = performance.now();
  while (at.text < texts.length) {
    const text = texts[at.text]!;
    if (at.char >= text.length) {
      at.text++;
      at.char = 0;
      continue;
    }
    const end = chunkEnd(text, at.char);
    // Special tokens are ordinary text here: an answer that names one must not throw.
    job.tokens += encoder.encode_ordinary(text.slice(at.char, end)).length;
    at.char = end;
    if (job.tokens > request.enough) return true;
    if (performance.now() - began > TURN_MS) return false;
  }
  return true;
}

function answer(id: number, counted: CountAnswer['counted']): void {
  parentPort!.postMessage({ id, counted } satisfies CountAnswer);
}

/** Gives the first who waits a turn. What is asked meanwhile comes in between two turns. */
function next(): void {
  const job = jobs.shift();
  if (job === undefined) return;
  if (systemClock.now() > job.request.deadline) answer(job.request.id, null);
  else if (turn(job)) answer(job.request.id, { tokens: job.tokens, bytes: job.bytes });
  else jobs.push(job);
  if (jobs.length > 0) setImmediate(next);
}

parentPort!.on('message', (request: CountRequest) => {
  const texts = typeof request.source === 'string' ? [request.source] : promptTexts(Buffer.from(request.source));
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(JSON.stringify(text)) - 2, 0);
  jobs.push({ request, texts, tokens: 0, at: { text: 0, char: 0 }, bytes });
  if (jobs.length === 1) setImmediate(next);
});
