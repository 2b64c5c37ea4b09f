/** What stands in a frame or a body, as JSON. */
import { isObject, type Json } from '../../lib/json.ts';
import { frameData } from '../../lib/sse.ts';
import type { Framing } from './types.ts';

const DONE = Buffer.from('[DONE]');
/** `[DONE]` and the other fields of its event; a longer frame is not searched for it. */
const MOST_DONE_BYTES = 256;

/** The JSON object that the bytes are; `null` where they are none. */
export function parseObject(bytes: Buffer): Json | null {
  try {
    const json: unknown = JSON.parse(bytes.toString());
    return isObject(json) ? json : null;
  } catch {
    return null;
  }
}

/** The JSON object in a frame: in the data of an event, or the frame itself; `null` where there is none. */
export function frameObject(frame: Buffer, framing: Framing): Json | null {
  const data = framing === 'sse' ? frameData(frame) : frame;
  return data === null ? null : parseObject(data);
}

/** Whether a frame is the event that ends the streams of chat completions, and some others. */
export function isDone(frame: Buffer): boolean {
  return frame.length <= MOST_DONE_BYTES && frame.includes(DONE) && frameData(frame)?.indexOf(DONE) === 0;
}
