/**
 * The parts of messages that are not text: how many there are of each kind, by what bounds their tokens, and what they
 * likely are in tokens. Pictures, sound and files come as base64 in the body, by address, or by an id.
 */
import { imageSizeOfDataUrl } from '../../lib/image-size.ts';
import { isObject, type Json } from '../../lib/json.ts';
import type { Picture } from '../image-tokens.ts';

export interface MessageParts {
  /** Each is bounded by the rule of the model's family. */
  pictures: Picture[];
  /** Sounds, in the body or named by an id: billed at a price of its own. */
  sounds: number;
  /** The most tokens of the sounds in the body. */
  soundTokens: number;
  /** Tokens that the body gives as their numbers, each of which is one. */
  given: number;
  /** What earlier answers hold, named by their ids: bounded by what their usage was, where that is known. */
  named: number;
  /** Parts whose tokens only the context window bounds: files, what else is named by an id, kinds we do not know. */
  unbounded: number;
  /** Bytes of the body that are data and no text: of pictures, sounds and files, of tokens that are given. */
  dataBytes: number;
  /** A likely count of the tokens of all these parts: never a bound. */
  likelyTokens: number;
}

/** A picture of a usual size, in the models that count most for it. */
const LIKELY_IMAGE_TOKENS = 1_000;
/** Sound is about 10 tokens a second; a second of it is about 20 KB of base64 as MP3. */
const AUDIO_BYTES_PER_TOKEN = 2_048;
/**
 * The least base64 that a token of sound can be: MP3 has 8 kbit/s at least, and the models that count most take 32 tokens a
 * second of it. Of formats that can be smaller, each byte of base64 may be a token.
 */
const LEAST_AUDIO_BYTES_PER_TOKEN: ReadonlyMap<unknown, number> = new Map([
  ['mp3', 32],
  ['wav', 32],
]);
/** A page of a document is about 64 KB of base64, and 1,000 tokens. */
const FILE_BYTES_PER_TOKEN = 64;

/** Pictures that are looked at one by one; no model takes many more. */
const MOST_PICTURES = 500;

/** Of a prompt that is text alone, as far as is known yet. */
export function noParts(): MessageParts {
  return { pictures: [], sounds: 0, soundTokens: 0, given: 0, named: 0, unbounded: 0, dataBytes: 0, likelyTokens: 0 };
}

/** What of messages is not text. */
export function countParts(messages: readonly unknown[]): MessageParts {
  const parts = noParts();
  for (const message of messages) {
    if (!isObject(message)) continue;
    if (isMisread(message)) parts.unbounded++;
    // Sound that a model gave before is named by its id.
    if (isObject(message.audio)) {
      parts.unbounded++;
      parts.sounds++;
    }
    if (Array.isArray(message.content)) for (const part of message.content) countPart(part, parts);
  }
  return parts;
}

function countPart(part: unknown, parts: MessageParts): void {
  if (!isObject(part) || isMisread(part)) {
    parts.unbounded++;
    return;
  }
  switch (part.type) {
    case 'text':
    case 'refusal':
      return;
    case 'image_url':
      countPicture(isObject(part.image_url) ? part.image_url : { url: part.image_url }, parts);
      return;
    case 'input_audio':
      countSound(part.input_audio, parts);
      return;
    default:
      countUnknown(isObject(part.file) ? part.file.file_data : undefined, parts);
  }
}

/** Adds a sound in the body. */
export function countSound(sound: unknown, parts: MessageParts): void {
  const { data, format } = isObject(sound) ? sound : {};
  const bytes = lengthOf(data);
  parts.sounds++;
  parts.soundTokens += Math.ceil(bytes / (LEAST_AUDIO_BYTES_PER_TOKEN.get(format) ?? 1));
  parts.dataBytes += bytes;
  parts.likelyTokens += Math.ceil(bytes / AUDIO_BYTES_PER_TOKEN);
}

/** Adds what only the context window bounds; `data`: as much of it as is in the body, as base64. */
export function countUnknown(data: unknown, parts: MessageParts): void {
  const bytes = lengthOf(data);
  parts.unbounded++;
  parts.dataBytes += bytes;
  parts.likelyTokens += Math.ceil(bytes / FILE_BYTES_PER_TOKEN);
}

/** Adds a picture, by its address or as base64. */
export function countPicture({ url, detail }: Json, parts: MessageParts): void {
  const isData = typeof url === 'string' && url.startsWith('data:');
  // Some providers read documents, too, where a picture is expected.
  if (isData && !url.startsWith('data:image/')) parts.unbounded++;
  if (parts.pictures.length === MOST_PICTURES) parts.unbounded++;
  else parts.pictures.push({ size: isData ? imageSizeOfDataUrl(url) : null, low: detail === 'low' });
  parts.dataBytes += isData ? url.length : 0;
  parts.likelyTokens += LIKELY_IMAGE_TOKENS;
}

function lengthOf(data: unknown): number {
  return typeof data === 'string' ? data.length : 0;
}

/**
 * The JSON parser of Node 26 takes a key that is spelled with an escape ("\u0074ype", "typ\u0065") for what stands before the escape
 * and a backslash, once it has parsed an object that has such a key in the same place. No message has a key like that of its own.
 */
export function isMisread(object: Json): boolean {
  for (const key in object) if (key.includes('\\')) return true;
  return false;
}
