/** What a request used, from the provider's own words where there are any, else counted and marked as an estimate. */
import type { Usage } from '../catalog/units.ts';
import { inputEstimate } from '../metering/bounds.ts';
import { type ChatStreamReader, normalise, readChatJson } from '../metering/readers/chat.ts';
import type { TokenCounter } from '../metering/tokens/counter.ts';
import type { Metering } from './7-settle.ts';
import { type Context, need } from './context.ts';

export interface MeterDeps {
  tokens: TokenCounter;
}

/** Reads the usage of a whole JSON answer; `null` is a body too large to read. */
export async function meterBody(context: Context, deps: MeterDeps, body: Buffer | null): Promise<Metering> {
  if (body === null) return estimate(context, deps, []);
  const read = readChatJson(body);
  if (read.reported !== null) return { usage: normalise(read.reported), source: 'provider' };
  return estimate(context, deps, read.generatedText);
}

/** Reads the usage of a stream, or of what came of it; `null`: nothing came. */
export async function meterStream(
  context: Context,
  deps: MeterDeps,
  reader: ChatStreamReader | null,
): Promise<Metering> {
  const reported = reader?.usage() ?? null;
  if (reported !== null) return { usage: normalise(reported), source: 'provider' };
  return estimate(context, deps, reader?.generatedText() ?? []);
}

async function estimate(context: Context, deps: MeterDeps, generated: string[]): Promise<Metering> {
  const request = need(context, 'request');
  const model = need(context, 'model');
  const usage: Usage = { input: inputEstimate(request, need(context, 'body').length, model) };
  if (generated.length > 0) usage.output = await deps.tokens.count(generated, model.name);
  return { usage, source: 'estimated' };
}
