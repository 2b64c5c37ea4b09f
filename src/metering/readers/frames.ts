/** What stands in a frame or a body, as JSON. */
import { readMessage } from '../../lib/aws-event-stream.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { frameData } from '../../lib/sse.ts';
import type { Framing } from './types.ts';

const DONE = Buffer.from('[DONE]');
/** `[DONE]` and the other fields of its event; a longer frame is not searched for it. */
const MOST_DONE_BYTES = 256;

const BYTE_ORDER_MARK = 0xfeff;

/** The JSON object that the bytes are; `null` where they are none. A byte order mark is passed over. */
export function parseObject(bytes: Buffer): Json | null {
  try {
    const text = bytes.toString();
    const json: unknown = JSON.parse(text.charCodeAt(0) === BYTE_ORDER_MARK ? text.slice(1) : text);
    return isObject(json) ? json : null;
  } catch {
    return null;
  }
}

/** The JSON object in a frame: in the data of an event, in an element of an array, in a message, or the frame itself; `null` where there is none. */
export function frameObject(frame: Buffer, framing: Framing): Json | null {
  if (framing === 'aws-event-stream') return messageObject(frame);
  const data = framing === 'sse' ? frameData(frame) : framing === 'json-array' ? elementOf(frame) : frame;
  return data === null ? null : parseObject(data);
}

const OPEN_BRACE = 0x7b;
const CLOSE_BRACKET = 0x5d;

function elementOf(frame: Buffer): Buffer | null {
  const start = frame.indexOf(OPEN_BRACE);
  return start < 0 ? null : frame.subarray(start);
}

/**
 * What a message of an event stream says, in one form: under the name of its event, as it stands where the same events come
 * as lines; an exception under `error`. A `chunk` is a frame of the model's own, as it came out of its wrapping.
 */
function messageObject(frame: Buffer): Json | null {
  const message = readMessage(frame);
  if (message === null) return null;
  const said = parseObject(message.payload) ?? {};
  if (message.headers.get(':message-type') !== 'event') return { error: said };
  const type = message.headers.get(':event-type') ?? '';
  if (type !== 'chunk') return { [type]: said };
  return typeof said.bytes === 'string' ? parseObject(Buffer.from(said.bytes, 'base64')) : null;
}

/** Whether a frame is the bracket that ends an array. */
export function isArrayEnd(frame: Buffer): boolean {
  return frame.at(-1) === CLOSE_BRACKET;
}

/** Whether a frame is the event that ends the streams of chat completions, and some others. */
export function isDone(frame: Buffer): boolean {
  return frame.length <= MOST_DONE_BYTES && frame.includes(DONE) && frameData(frame)?.indexOf(DONE) === 0;
}
