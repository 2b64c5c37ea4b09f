/** Answers put together, and read as the gateway does. */
import { dialectOf, splitterFor } from '../../../src/metering/readers/index.ts';
import type { AnswerHeaders, FrameKind, Framing } from '../../../src/metering/readers/types.ts';

/** Events as server-sent ones, of which the type is told twice. */
export function events(...list: Record<string, unknown>[]): string {
  return list.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('');
}

export function whole(apiStyle: string, body: unknown, headers: AnswerHeaders = {}) {
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return dialectOf(apiStyle)!.readJson(bytes, headers);
}

/** Reads a stream in two pieces, cut in the middle of a byte sequence that nothing ends at. */
export function streamed(apiStyle: string, text: string | Buffer, framing: Framing = 'sse') {
  const reader = dialectOf(apiStyle)!.stream(framing);
  const splitter = splitterFor(framing, 1 << 24);
  const kinds: FrameKind[] = [];
  const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text);
  const middle = bytes.length >> 1;
  for (const piece of [bytes.subarray(0, middle), bytes.subarray(middle)]) {
    splitter.push(piece, (frame) => kinds.push(reader.frame(frame)));
  }
  return {
    kinds,
    reported: reader.usage(),
    terms: reader.terms(),
    beside: reader.beside(),
    finished: reader.finished,
    estimate: reader.outputEstimate(),
    text: reader.generatedText().join(''),
  };
}

export function billed(apiStyle: string, body: unknown) {
  const { reported, beside } = whole(apiStyle, body);
  const usage = reported === null ? {} : dialectOf(apiStyle)!.normalise(reported);
  return { usage, beside };
}
