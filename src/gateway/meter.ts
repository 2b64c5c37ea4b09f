/** What a request used, from the provider's own words where there are any, else counted and marked as an estimate. */
import type { Usage } from '../catalog/units.ts';
import { inputEstimate } from '../metering/bounds.ts';
import { type ChatStreamReader, normalise, readChatJson } from '../metering/readers/chat.ts';
import type { TokenCounter } from '../metering/tokens/counter.ts';
import type { Metering } from './7-settle.ts';
import { type Context, need } from './context.ts';

/** Of an answer whose text cannot be told from its syntax. */
const BYTES_PER_TOKEN = 4;

export interface MeterDeps {
  tokens: TokenCounter;
}

/**
 * Reads the usage of a whole JSON answer. `body` null is one too large to read. Null: the answer is an error in the form
 * of a success, as some providers send it, and reports no usage: nothing was served. An answer in which nothing can be
 * read was served all the same: its bytes are counted.
 */
export async function meterBody(
  context: Context,
  deps: MeterDeps,
  { body, bytes }: { body: Buffer | null; bytes: number },
): Promise<Metering | null> {
  const read = body === null ? null : readChatJson(body);
  if (read === null) return estimate(context, deps, [], bytes);
  if (read.reported !== null) return { usage: normalise(read.reported), source: 'provider' };
  if (read.isError) return null;
  return estimate(context, deps, read.generatedText, read.generatedText.length === 0 ? bytes : 0);
}

/** Reads the usage of a stream that ended whole. */
export async function meterStream(context: Context, deps: MeterDeps, reader: ChatStreamReader): Promise<Metering> {
  const reported = reader.usage();
  if (reported !== null) return { usage: normalise(reported), source: 'provider' };
  return estimate(context, deps, reader.generatedText());
}

/**
 * Reads the usage of an answer that was cut: a stream, or a body of which so many `bytes` came. Usage that stands when the
 * output has ended is the bill. Some providers report it with every frame, and it lags behind what was sent: then the
 * larger count of the output is charged.
 */
export async function meterCut(
  context: Context,
  deps: MeterDeps,
  { reader, bytes = 0 }: { reader: ChatStreamReader | null; bytes?: number },
): Promise<Metering> {
  const reported = reader?.usage() ?? null;
  if (reported !== null && reader?.finished) return { usage: normalise(reported), source: 'provider' };
  const counted = await estimate(context, deps, reader?.generatedText() ?? [], bytes);
  if (reported === null) return counted;
  const usage = normalise(reported);
  const output = (usage.output ?? 0) + (usage.reasoning ?? 0);
  if ((counted.usage.output ?? 0) <= output) return { usage, source: 'provider' };
  return { usage: { ...usage, output: (counted.usage.output ?? 0) - (usage.reasoning ?? 0) }, source: 'estimated' };
}

/** A count of what was generated, or of `unread` bytes of an answer that cannot be read; the settle caps it at the hold. */
async function estimate(context: Context, deps: MeterDeps, generated: string[], unread = 0): Promise<Metering> {
  const request = need(context, 'request');
  const model = need(context, 'model');
  const usage: Usage = { input: inputEstimate(request, need(context, 'body').length, model) };
  if (generated.length > 0) usage.output = await deps.tokens.count(generated, model.name);
  else if (unread > 0) usage.output = Math.ceil(unread / BYTES_PER_TOKEN);
  return { usage, source: 'estimated' };
}
