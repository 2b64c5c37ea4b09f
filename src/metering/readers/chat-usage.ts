/**
 * The usage object of the chat completions dialect: what it says, under one set of names, and what that means for the
 * bill. Those who speak the dialect differ in which names they use and in which counts contain which.
 */

import type { Unit, Usage } from '../../catalog/units.ts';
import { isObject, type Json } from '../../lib/json.ts';
import type { CountName, Reported } from './types.ts';

type Names = ReadonlyMap<string, CountName>;
const names = (entries: Record<string, CountName>): Names => new Map(Object.entries(entries));

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
  total_tokens: 'total_tokens',
  num_sources_used: 'num_sources_used',
  prompt_audio_seconds: 'seconds',
  cost: 'cost',
  cost_in_usd_ticks: 'cost_in_usd_ticks',
});

/** Members of the objects inside it. They stand over the object's own. */
const NESTED: ReadonlyMap<string, Names> = new Map(
  Object.entries({
    prompt_tokens_details: names({
      cached_tokens: 'cached_read_tokens',
      cache_write_tokens: 'cache_write_tokens',
      audio_tokens: 'audio_input_tokens',
      image_tokens: 'image_input_tokens',
      text_tokens: 'text_input_tokens',
      video_tokens: 'video_input_tokens',
    }),
    completion_tokens_details: names({
      reasoning_tokens: 'reasoning_tokens',
      audio_tokens: 'audio_output_tokens',
      image_tokens: 'image_output_tokens',
      text_tokens: 'text_output_tokens',
      accepted_prediction_tokens: 'accepted_prediction_tokens',
      rejected_prediction_tokens: 'rejected_prediction_tokens',
    }),
    cache_creation: names({
      ephemeral_5m_input_tokens: 'cache_write_5m_tokens',
      ephemeral_1h_input_tokens: 'cache_write_1h_tokens',
    }),
    server_tool_use_details: names({ web_search_requests: 'web_search_requests' }),
    cost: names({ total_cost: 'cost' }),
  }),
);

/** No request uses this many tokens: a count above it is a fault, and no bill. */
const MOST_COUNTED = 1e9;

/** Reads a usage object; `null` when it counts nothing: absent, null, or without a number of tokens. */
export function readUsage(usage: unknown): Reported | null {
  if (!isObject(usage)) return null;
  const reported: Reported = {};
  copyCounts(usage, TOP, reported);
  for (const key in usage) {
    const inside = NESTED.get(key);
    const value = usage[key];
    if (inside !== undefined && isObject(value)) copyCounts(value, inside, reported);
  }
  const counted = reported.input_tokens ?? reported.output_tokens ?? reported.total_tokens;
  return counted === undefined ? null : reported;
}

function copyCounts(from: Json, known: Names, into: Reported): void {
  for (const [key, name] of known) {
    const value = from[key];
    if (typeof value === 'number' && value >= 0 && value <= MOST_COUNTED) into[name] = value;
  }
}

/**
 * The billable dimensions of what was reported: disjoint, whole, never negative. Cached, written, audio and image
 * tokens lie inside the input, reasoning, audio and image tokens inside the output; a part larger than its whole is cut
 * to it. A total above input and output is audio that was left out of the input, where it is just that much; else it
 * hides output, mostly reasoning, that is billed.
 */
export function normalise(reported: Reported): Usage {
  const of = (name: CountName): number => Math.ceil(reported[name] ?? 0);
  const stated = of('input_tokens');
  const unexplained = Math.max(0, of('total_tokens') - stated - of('output_tokens'));
  const audioBeside = unexplained > 0 && unexplained === of('audio_input_tokens');
  const input = new Whole(audioBeside ? stated + unexplained : stated);
  const output = new Whole(of('output_tokens') + (audioBeside ? 0 : unexplained));
  const cached = input.take(
    of(reported.cached_read_tokens === undefined ? 'prompt_cache_hit_tokens' : 'cached_read_tokens'),
  );
  const written = input.take(of('cache_write_tokens'));
  const keptLong = Math.min(of('cache_write_1h_tokens'), written);
  const parts: Usage = {
    cached_input: cached,
    cache_write: written - keptLong,
    cache_write_1h: keptLong,
    input_audio: input.take(of('audio_input_tokens')),
    input_image: input.take(of('image_input_tokens')),
    reasoning: output.take(of('reasoning_tokens')),
    output_audio: output.take(of('audio_output_tokens')),
    output_image: output.take(of('image_output_tokens')),
  };
  const usage: Usage = { input: input.rest, output: output.rest };
  for (const unit in parts) if (parts[unit as Unit]! > 0) usage[unit as Unit] = parts[unit as Unit]!;
  return usage;
}

/** A count that parts are taken out of: never more than is left. */
class Whole {
  rest: number;

  constructor(tokens: number) {
    this.rest = tokens;
  }

  take(tokens: number): number {
    const part = Math.min(tokens, this.rest);
    this.rest -= part;
    return part;
  }
}
