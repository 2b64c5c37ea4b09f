/**
 * The parts of messages that are not text: how many there are of each kind, by what bounds their tokens, and what they
 * likely are in tokens. Pictures, sound and files come as base64 in the body, by address, or by an id.
 */
import { isObject, type Json } from '../lib/json.ts';

export interface MessageParts {
  /** Pictures: each bounded by a cap, however it comes. */
  images: number;
  /** Sound in the body: bounded by its bytes, billed at a price of its own. */
  audio: number;
  /** Parts whose tokens only the context window bounds: files, what is named by an id, kinds we do not know. */
  unbounded: number;
  /** Bytes of the body that are data and no text. */
  dataBytes: number;
  /** A likely count of the tokens of all these parts: never a bound. */
  likelyTokens: number;
}

/** A picture of a usual size, in the models that count most for it. */
const LIKELY_IMAGE_TOKENS = 1_000;
/** Sound is about 10 tokens a second; a second of it is about 20 KB of base64 as MP3. */
const AUDIO_BYTES_PER_TOKEN = 2_048;
/** A page of a document is about 64 KB of base64, and 1,000 tokens. */
const FILE_BYTES_PER_TOKEN = 64;

export function countParts(messages: readonly unknown[]): MessageParts {
  const parts: MessageParts = { images: 0, audio: 0, unbounded: 0, dataBytes: 0, likelyTokens: 0 };
  for (const message of messages) {
    if (!isObject(message)) continue;
    // Sound that a model gave before is named by its id.
    if (isObject(message.audio) || isMisread(message)) parts.unbounded++;
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
    case 'image_url': {
      const url = isObject(part.image_url) ? part.image_url.url : part.image_url;
      parts.images++;
      parts.dataBytes += typeof url === 'string' && url.startsWith('data:') ? url.length : 0;
      parts.likelyTokens += LIKELY_IMAGE_TOKENS;
      return;
    }
    case 'input_audio': {
      const bytes = dataLength(part.input_audio, 'data');
      parts.audio++;
      parts.dataBytes += bytes;
      parts.likelyTokens += Math.ceil(bytes / AUDIO_BYTES_PER_TOKEN);
      return;
    }
    default: {
      const bytes = dataLength(part.file, 'file_data');
      parts.unbounded++;
      parts.dataBytes += bytes;
      parts.likelyTokens += Math.ceil(bytes / FILE_BYTES_PER_TOKEN);
    }
  }
}

function dataLength(holder: unknown, field: string): number {
  const data = isObject(holder) ? holder[field] : undefined;
  return typeof data === 'string' ? data.length : 0;
}

/**
 * The JSON parser of Node 26 takes a key that begins with an escape ("\u0074ype") for a lone backslash, once it has
 * parsed an object that has such a key in the same place. No message has that key of its own.
 */
function isMisread(object: Json): boolean {
  return '\\' in object;
}
