/**
 * What a request used, from the provider's own words where there are any, else counted and marked as an estimate. Fills `made` in
 * passing.
 */
import type { Terms } from '../catalog/price.ts';
import { isInput, type Unit, type Usage } from '../catalog/units.ts';
import { inputEstimate, likelyInput } from '../metering/bounds.ts';
import { sumOf } from '../metering/readers/events.ts';
import type { Reported, StreamReader } from '../metering/readers/types.ts';
import type { Unreported } from '../metering/requests/types.ts';
import type { TokenCounter } from '../metering/tokens/counter.ts';
import type { UpstreamHeaders } from '../upstream/types.ts';
import type { Metering } from './7-settle.ts';
import { type Context, need } from './context.ts';

/** Of an answer whose text cannot be told from its syntax. */
const BYTES_PER_TOKEN = 4;

export interface MeterDeps {
  tokens: TokenCounter;
}

/**
 * Reads the usage of a whole answer that is no stream. `body` null is one too large to read. Null: the answer is an error in the form
 * of a success, as some providers send it, and reports no usage: nothing was served. An answer in which nothing can be
 * read was served all the same: its bytes are counted.
 */
export async function meterBody(
  context: Context,
  deps: MeterDeps,
  { headers, body, bytes }: { headers: UpstreamHeaders; body: Buffer | null; bytes: number },
): Promise<Metering | null> {
  const read = body === null ? null : context.endpoint.dialect.readJson(body, headers);
  const answer: Unreported = { bytes, contentType: contentTypeOf(headers), beside: read?.beside ?? {}, ended: 'whole' };
  if (read === null) return estimate(context, deps, answer, [], bytes);
  const { beside, terms, failed } = read;
  context.made = read.made ?? null;
  const reported = read.reported ?? read.inHeaders;
  if (reported !== undefined) return { ...asReported(context, reported, beside, terms), failed };
  if (read.isError) return null;
  const { generatedText } = read;
  const counted = await estimate(context, deps, answer, generatedText, generatedText.length === 0 ? bytes : 0);
  return { ...counted, usage: sumOf([counted.usage, beside]), terms, failed };
}

/** Reads the usage of a stream that ended whole. */
export async function meterStream(context: Context, deps: MeterDeps, reader: StreamReader): Promise<Metering> {
  context.made = madeBy(context, reader);
  const reported = reader.usage();
  if (reported !== null) return asReported(context, reported, reader.beside(), reader.terms());
  const answer: Unreported = { bytes: 0, contentType: null, beside: reader.beside(), ended: 'whole' };
  return withBeside(await estimate(context, deps, answer, reader.generatedText()), reader);
}

/**
 * Reads the usage of an answer that was cut: a stream, or a body of which so many `bytes` came. Usage that stands when the
 * output has ended is the bill. Some providers report it with every frame, and it lags behind what was sent: then the
 * larger count of the output is charged.
 */
export async function meterCut(
  context: Context,
  deps: MeterDeps,
  { reader, bytes = 0 }: { reader: StreamReader | null; bytes?: number },
): Promise<Metering> {
  context.made = madeBy(context, reader);
  const reported = reader?.usage() ?? null;
  const metering = reported === null ? null : asReported(context, reported, reader!.beside(), reader!.terms());
  if (metering !== null && reader!.finished) return metering;
  const ended = context.clientGone ? 'left' : 'broken';
  const answer: Unreported = { bytes, contentType: null, beside: reader?.beside() ?? {}, ended };
  const generated = reader?.generatedText() ?? [];
  const counted = withBeside(await estimate(context, deps, answer, generated, bytes), reader);
  if (metering === null) return counted;
  const told = metering.usage;
  const output = (told.output ?? 0) + (told.reasoning ?? 0);
  if ((counted.usage.output ?? 0) <= output) return metering;
  const more = (counted.usage.output ?? 0) - (told.reasoning ?? 0);
  return { usage: { ...told, output: more }, source: 'estimated', terms: metering.terms };
}

/** Sound is looked for in a stream only where it was asked for: its content is not parsed otherwise. */
function madeBy(context: Context, reader: StreamReader | null): readonly string[] | null {
  const { stores } = context.endpoint.dialect;
  if (reader === null || stores === undefined) return null;
  const { units } = need(context, 'request').asks;
  if (stores === 'sound' && !units.some(({ unit }) => unit === 'output_audio')) return null;
  return reader.made?.() ?? null;
}

/**
 * What the provider says, with what it leaves out of its usage object. One that counts what it wrote, and not what it read,
 * such as Ollama of a prompt that it had in its cache, has read it all the same.
 */
function asReported(context: Context, reported: Reported, beside: Usage, terms: Terms): Metering {
  const usage = withBrought(context, sumOf([context.endpoint.dialect.normalise(reported), beside]));
  const lacksInput = reported.input_tokens === undefined && reported.output_tokens !== undefined;
  if (!lacksInput || (Object.keys(usage) as Unit[]).some((unit) => isInput(unit) && usage[unit]! > 0)) {
    return { usage, source: 'provider', terms };
  }
  return { usage: { ...usage, input: likelyTokens(context) }, source: 'estimated', terms };
}

/**
 * With what the request brought, where that is what its model is priced by and tokens are not: a provider that reports tokens of
 * a sound, and bills seconds, is not heard for nothing.
 */
function withBrought(context: Context, usage: Usage): Usage {
  const { certain } = need(context, 'request');
  if (certain === null) return usage;
  const { units } = need(context, 'model').price;
  if (units.input !== undefined || units.input_audio !== undefined) return usage;
  const brought: Usage = {};
  for (const unit in certain) {
    if (units[unit as Unit] !== undefined && usage[unit as Unit] === undefined)
      brought[unit as Unit] = certain[unit as Unit]!;
  }
  return { ...usage, ...brought };
}

/** What was counted of a stream, with what it shows of itself. */
function withBeside(counted: Metering, reader: StreamReader | null): Metering {
  if (reader === null) return counted;
  return { ...counted, usage: sumOf([counted.usage, reader.beside()]), terms: reader.terms() };
}

function likelyTokens(context: Context): number {
  return inputEstimate(need(context, 'request'), need(context, 'model'));
}

/** What a request tells by itself; else a count of what was generated, or of `unread` bytes of an answer that cannot be read; the settle caps it at the hold. */
async function estimate(
  context: Context,
  deps: MeterDeps,
  answer: Unreported,
  generated: string[],
  unread = 0,
): Promise<Metering> {
  const { dialect, requests } = context.endpoint;
  if (dialect.unmetered) return { usage: {}, source: 'provider' };
  const own = requests.usedUnreported?.(need(context, 'request'), need(context, 'model'), answer);
  if (own !== undefined) return { usage: own.usage, source: own.exact ? 'provider' : 'estimated' };
  const usage = likelyInput(need(context, 'request'), need(context, 'model'));
  if (generated.length > 0) usage.output = await deps.tokens.count(generated, need(context, 'model').name);
  else if (unread > 0) usage.output = Math.ceil(unread / BYTES_PER_TOKEN);
  return { usage, source: 'estimated' };
}

function contentTypeOf(headers: UpstreamHeaders): string | null {
  const type = headers['content-type'];
  return typeof type === 'string' ? type : null;
}
