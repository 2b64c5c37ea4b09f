/**
 * Speech: a text is read aloud. It is billed by the characters of the text, or by its tokens and those of the sound. A binary
 * answer reports neither: the characters are known, and what the tokens of the sound were is estimated.
 */
import type { Price } from '../../catalog/price.ts';
import type { Model } from '../../catalog/types.ts';
import type { Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { NOTHING } from './asks.ts';
import { costFieldsOf, REQUEST_FIELDS } from './field-uses.ts';
import { invalid, modelOf, readJsonBody } from './json-body.ts';
import { noParts } from './message-parts.ts';
import type { MeteredRequest, RequestReader, Unreported } from './types.ts';

/** Speech is 20 tokens a second as published; its price by the minute comes to 20.8. */
const TOKENS_PER_SECOND = 21;
/** A second is about fifteen letters, or five characters of a script that has three bytes for each. */
const BYTES_PER_SECOND_OF_TEXT = 15;
/** The most that a character may take, such as a digit that is read as a word, and what may be added in pauses: our choice. */
const MOST_SECONDS_PER_CHARACTER = 1;
const MOST_PAUSES_SECONDS = 30;
/** Instructions may ask for slow speech, and more pauses. */
const INSTRUCTED = 2;
const SLOWEST = 0.25;
const FASTEST = 4;
/** What a second is in bytes: 24 kHz of 16 bits, and MP3 of 128 kbit/s, as OpenAI's recorded answer has it. Others vary. */
const BYTES_PER_SECOND: ReadonlyMap<string, number> = new Map([
  ['mp3', 16_000],
  ['wav', 48_000],
  ['pcm', 48_000],
]);
const BYTES_PER_TOKEN = 4;
const COST_FIELDS = costFieldsOf('speech');
const REFUSED = REQUEST_FIELDS.speech.refused;

interface SpeechRequest extends MeteredRequest {
  /** What is read aloud. */
  characters: number;
  /** Of what is read aloud, and of what says how, in UTF-8. */
  textBytes: number;
  instructionBytes: number;
  /** The form of the sound. */
  format: string;
}

export const speechRequests: RequestReader = {
  read: readSpeechRequest,
  promptField: 'input',
  limitFields: [],
  asksForUsage: false,
  isPriced: pricesSpeech,
  usedUnreported: (request, model, answer) => usedBySpeech(request as SpeechRequest, model, answer),
};

/** Reads and checks a body. Throws `invalid_json` or `invalid_request` with `param`. */
export function readSpeechRequest(body: Buffer): SpeechRequest {
  const { json, spans, end } = readJsonBody(body, COST_FIELDS, REFUSED);
  const { input } = json;
  if (typeof input !== 'string') throw invalid('input', 'must be a text');
  const instructions = textOf(json, 'instructions');
  if (isObject(json.voice)) throw invalid('voice.id', 'this gateway does not know whose voice it is');
  textOf(json, 'voice');
  const characters = charactersOf(input);
  const slowness = (1 / Math.min(speedOf(json), 1)) * (instructions === '' ? 1 : INSTRUCTED);
  const seconds = (characters * MOST_SECONDS_PER_CHARACTER + MOST_PAUSES_SECONDS) * slowness;
  return {
    ...modelOf(json),
    stream: isStreamed(json),
    includeUsage: false,
    bytes: body.length,
    reads: 1,
    n: 1,
    // No field of the request says it: this is what it can come to.
    outputLimit: Math.ceil(seconds * TOKENS_PER_SECOND),
    fixedOutput: null,
    mustBeWhole: true,
    parts: noParts(),
    hasTools: false,
    asks: NOTHING,
    others: { character: characters },
    certain: { character: characters },
    speaks: true,
    likelyOutput: Math.ceil((Buffer.byteLength(input) / BYTES_PER_SECOND_OF_TEXT) * TOKENS_PER_SECOND),
    hidesOutput: true,
    spans,
    end,
    characters,
    textBytes: Buffer.byteLength(input),
    instructionBytes: Buffer.byteLength(instructions),
    format: textOf(json, 'response_format') || 'mp3',
  };
}

function textOf(json: Json, field: string): string {
  const value = json[field] ?? '';
  if (typeof value !== 'string') throw invalid(field, 'must be a text');
  return value;
}

function speedOf(json: Json): number {
  const speed = json.speed ?? 1;
  if (typeof speed === 'number' && speed >= SLOWEST && speed <= FASTEST) return speed;
  throw invalid('speed', `must be a number from ${SLOWEST} to ${FASTEST}`);
}

function isStreamed(json: Json): boolean {
  const format = json.stream_format ?? 'audio';
  if (format !== 'sse' && format !== 'audio') throw invalid('stream_format', 'must be "sse" or "audio"');
  return format === 'sse';
}

/** Code points: what is written as one character counts once, whatever its encoding. */
function charactersOf(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    const isLow = unit >= 0xdc00 && unit <= 0xdfff;
    const before = text.charCodeAt(i - 1);
    if (!(isLow && before >= 0xd800 && before <= 0xdbff)) count++;
  }
  return count;
}

/** Whether characters have a price, or both the text and the sound in tokens; or the request, and neither of those. */
function pricesSpeech({ units }: Price): boolean {
  if (units.character !== undefined) return true;
  const sides = [units.input, units.output_audio ?? units.output].filter((side) => side !== undefined).length;
  return sides === 2 || (sides === 0 && units.request !== undefined);
}

/** Characters are the bill. Tokens are estimated: the sound by its length, as its bytes tell it, or the text's; the larger. */
function usedBySpeech(
  request: SpeechRequest,
  { price }: Model,
  { bytes }: Unreported,
): { usage: Usage; exact: boolean } {
  const { textBytes, instructionBytes, format, characters } = request;
  const usage: Usage = price.units.character === undefined ? {} : { character: characters };
  if ((price.units.output_audio ?? price.units.output) === undefined) return { usage, exact: true };
  const rate = BYTES_PER_SECOND.get(format);
  const seconds = Math.max(textBytes / BYTES_PER_SECOND_OF_TEXT, rate === undefined ? 0 : bytes / rate);
  usage.input = Math.ceil((textBytes + instructionBytes) / BYTES_PER_TOKEN);
  usage.output_audio = Math.ceil(seconds * TOKENS_PER_SECOND);
  return { usage, exact: false };
}
