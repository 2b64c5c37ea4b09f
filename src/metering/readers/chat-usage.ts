/**
 * The usage object of the OpenAI family: what it says, under one set of names, and what that means for the bill. Those who
 * speak these dialects differ in which names they use and in which counts contain which.
 */
import type { Terms } from '../../catalog/price.ts';
import { isUnit, type Unit, type Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { copyCounts, isCount, type Names, names, Whole } from './counts.ts';
import type { CountName, Reported } from './types.ts';

/** Members of the object itself, the less telling first: where two say the same, the later one stands. */
const TOP = names({
  cached_tokens: 'cached_read_tokens',
  num_cached_tokens: 'cached_read_tokens',
  cache_read_input_tokens: 'cached_read_tokens',
  cache_creation_input_tokens: 'cache_write_tokens',
  prompt_cache_hit_tokens: 'prompt_cache_hit_tokens',
  prompt_cache_miss_tokens: 'prompt_cache_miss_tokens',
  reasoning_tokens: 'reasoning_tokens',
  prompt_tokens: 'input_tokens',
  completion_tokens: 'output_tokens',
  input_tokens: 'input_tokens',
  output_tokens: 'output_tokens',
  total_tokens: 'total_tokens',
  num_sources_used: 'num_sources_used',
  num_server_side_tools_used: 'num_server_side_tools_used',
  prompt_audio_seconds: 'seconds',
  seconds: 'seconds',
  cost: 'cost',
  cost_in_usd_ticks: 'cost_in_usd_ticks',
});

const OF_THE_INPUT = names({
  cached_tokens: 'cached_read_tokens',
  cache_write_tokens: 'cache_write_tokens',
  audio_tokens: 'audio_input_tokens',
  image_tokens: 'image_input_tokens',
  text_tokens: 'text_input_tokens',
  video_tokens: 'video_input_tokens',
});

const OF_THE_OUTPUT = names({
  reasoning_tokens: 'reasoning_tokens',
  audio_tokens: 'audio_output_tokens',
  image_tokens: 'image_output_tokens',
  text_tokens: 'text_output_tokens',
  accepted_prediction_tokens: 'accepted_prediction_tokens',
  rejected_prediction_tokens: 'rejected_prediction_tokens',
});

/** Members of the objects inside it. They stand over the object's own. */
const NESTED: ReadonlyMap<string, Names> = new Map(
  Object.entries({
    prompt_tokens_details: OF_THE_INPUT,
    input_tokens_details: OF_THE_INPUT,
    input_token_details: OF_THE_INPUT,
    completion_tokens_details: OF_THE_OUTPUT,
    output_tokens_details: OF_THE_OUTPUT,
    output_token_details: OF_THE_OUTPUT,
    cached_tokens_details: names({
      audio_tokens: 'cached_audio_input_tokens',
      image_tokens: 'cached_image_input_tokens',
      text_tokens: 'cached_text_input_tokens',
    }),
    cache_creation: names({
      ephemeral_5m_input_tokens: 'cache_write_5m_tokens',
      ephemeral_1h_input_tokens: 'cache_write_1h_tokens',
    }),
    server_tool_use_details: names({ web_search_requests: 'web_search_requests' }),
    cost: names({ total_cost: 'cost' }),
  }),
);

/** Reads a usage object; `null` when it counts nothing: absent, null, or without a number of tokens or seconds. */
export function readUsage(usage: unknown): Reported | null {
  const reported = readAnyUsage(usage);
  if (reported === null) return null;
  const { input_tokens, output_tokens, total_tokens, seconds } = reported;
  return (input_tokens ?? output_tokens ?? total_tokens ?? seconds) === undefined ? null : reported;
}

/** The same, also where all that it states is something else, such as what the answer has cost. */
export function readAnyUsage(usage: unknown): Reported | null {
  if (!isObject(usage)) return null;
  const reported: Reported = {};
  copyCounts(usage, TOP, reported);
  copyNested(usage, reported);
  const calls = callsOfTools(usage.server_side_tool_usage_details);
  if (calls !== null) reported.server_side_tool_usage = calls;
  if (typeof usage.type === 'string') reported.usage_type = usage.type;
  return Object.keys(reported).length === 0 ? null : reported;
}

/** Details have details themselves: which of the cached tokens are audio. */
function copyNested(from: Json, into: Reported): void {
  for (const key in from) {
    const inside = NESTED.get(key);
    const value = from[key];
    if (inside === undefined || !isObject(value)) continue;
    copyCounts(value, inside, into);
    if (inside === OF_THE_INPUT) copyNested(value, into);
  }
}

/** Of more tools than these none is told: a receipt has to have room for each. No provider has more than about eight. */
const MOST_TOOLS = 16;

function callsOfTools(details: unknown): Record<string, number> | null {
  if (!isObject(details)) return null;
  const called = Object.entries(details)
    .filter(([, calls]) => isCount(calls) && calls > 0)
    .slice(0, MOST_TOOLS);
  return called.length === 0 ? null : (Object.fromEntries(called) as Record<string, number>);
}

/** The usage of a completion or chunk, wherever the provider put it. */
export function usageIn(json: Json): Reported | null {
  const groq = isObject(json.x_groq) ? json.x_groq.usage : undefined;
  const choice = Array.isArray(json.choices) && isObject(json.choices[0]) ? json.choices[0].usage : undefined;
  return readUsage(json.usage) ?? readUsage(groq) ?? readUsage(choice);
}

/** What an answer says that bears on the price; `null`: nothing. */
export function termsIn(json: Json): Terms | null {
  const tier = json.service_tier ?? (isObject(json.usage) ? json.usage.service_tier : undefined);
  return typeof tier === 'string' ? { serviceTier: tier } : null;
}

const NOTHING_BESIDE: Usage = {};

/**
 * What was used beside what the usage object counts. Vercel's gateway, known by its `market_cost`, reports reasoning that
 * neither the output nor the total contains, and charges it: what `normalise` takes for a part of the output is then added.
 */
export function besideIn(json: Json, reported: Reported | null): Usage {
  if (!reported?.reasoning_tokens || !isObject(json.usage) || json.usage.market_cost === undefined)
    return NOTHING_BESIDE;
  const { output, reasoning = 0 } = normalise(reported);
  const stated = Math.ceil(reported.output_tokens ?? 0);
  const reasoned = Math.ceil(reported.reasoning_tokens);
  const beside: Usage = {};
  if (stated > (output ?? 0)) beside.output = stated - (output ?? 0);
  if (reasoned > reasoning) beside.reasoning = reasoned - reasoning;
  return beside;
}

/** What the tokens of an output are of which no details tell. */
type OutputKind = 'output' | 'output_image' | 'output_audio';

/**
 * The billable dimensions of what was reported: disjoint, whole, never negative. Cached, written, audio and image
 * tokens lie inside the input, reasoning, audio and image tokens inside the output; a part larger than its whole is cut
 * to it. A total above input and output is audio that was left out of the input, where it is just that much; else it
 * hides output, mostly reasoning, that is billed. Seconds of audio are counted beside its tokens: a model has a price for
 * one of them.
 */
export function normalise(reported: Reported, kind: OutputKind = 'output'): Usage {
  const of = (name: CountName): number => Math.ceil(reported[name] ?? 0);
  const stated = of('input_tokens');
  const unexplained = Math.max(0, of('total_tokens') - stated - of('output_tokens'));
  const audioBeside = unexplained > 0 && unexplained === of('audio_input_tokens');
  const output = new Whole(of('output_tokens') + (audioBeside ? 0 : unexplained));
  const parts: Usage = {
    ...inputParts(audioBeside ? stated + unexplained : stated, reported, of),
    reasoning: output.take(of('reasoning_tokens')),
    output_audio: output.take(of('audio_output_tokens')),
    output_image: output.take(of('image_output_tokens')),
    second_input: reported.seconds ?? 0,
    ...toolsIn(reported),
  };
  // Text among pictures is told apart by the details.
  const text = output.take(kind === 'output' ? output.rest : of('text_output_tokens'));
  if (output.rest > 0) parts[kind] = (parts[kind] ?? 0) + output.rest;
  const usage: Usage = { input: parts.input!, output: text };
  for (const unit in parts) if (parts[unit as Unit]! > 0) usage[unit as Unit] = parts[unit as Unit]!;
  return usage;
}

function inputParts(tokens: number, reported: Reported, of: (name: CountName) => number): Usage {
  const input = new Whole(tokens);
  const cached = new Whole(
    input.take(of(reported.cached_read_tokens === undefined ? 'prompt_cache_hit_tokens' : 'cached_read_tokens')),
  );
  // As many written as read, and more than there are together: the same tokens, told twice. What is left is plain.
  const toldTwice = of('cache_write_tokens') === cached.rest && cached.rest > input.rest;
  const written = toldTwice ? 0 : input.take(of('cache_write_tokens'));
  const keptLong = Math.min(of('cache_write_1h_tokens'), written);
  const cachedAudio = cached.take(Math.min(of('cached_audio_input_tokens'), of('audio_input_tokens')));
  const cachedImage = cached.take(Math.min(of('cached_image_input_tokens'), of('image_input_tokens')));
  return {
    cached_input: cached.rest,
    cached_input_audio: cachedAudio,
    cached_input_image: cachedImage,
    cache_write: written - keptLong,
    cache_write_1h: keptLong,
    input_audio: input.take(of('audio_input_tokens') - cachedAudio),
    input_image: input.take(of('image_input_tokens') - cachedImage),
    input: input.rest,
  };
}

/** Calls of tools that stand in the usage object: each `tool:` and its name. */
function toolsIn({ web_search_requests, num_sources_used, server_side_tool_usage = {} }: Reported): Usage {
  const tools: Usage = {};
  if (web_search_requests !== undefined) tools['tool:web_search'] = web_search_requests;
  if (num_sources_used !== undefined) tools['tool:search_source'] = num_sources_used;
  for (const [name, calls] of Object.entries(server_side_tool_usage)) {
    const unit = `tool:${name.replace(/_calls$/, '')}`;
    if (isUnit(unit)) tools[unit] = Math.ceil(calls);
  }
  return tools;
}
