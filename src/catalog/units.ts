/**
 * The dimensions of usage, each with its own price. Usage is disjoint: a token stands in one dimension only, so that a
 * sum never counts it twice. Units per million tokens, but for `request`, which is each.
 */
export const TOKEN_UNITS = [
  'input',
  'cached_input',
  'cache_write',
  'cache_write_1h',
  'output',
  'reasoning',
  'input_audio',
  'cached_input_audio',
  'output_audio',
  'input_image',
  'cached_input_image',
  'output_image',
] as const;

export const UNITS = [...TOKEN_UNITS, 'request'] as const;
export type Unit = (typeof UNITS)[number];

/** What a request used; a unit that is absent is 0. */
export type Usage = Partial<Record<Unit, number>>;

/** What a unit without a price of its own costs: the price of another, or of a third. */
export const FALLBACKS: Record<Unit, readonly Unit[]> = {
  input: [],
  cached_input: ['input'],
  cache_write: ['input'],
  cache_write_1h: ['cache_write', 'input'],
  output: [],
  reasoning: ['output'],
  input_audio: [],
  cached_input_audio: ['input_audio'],
  output_audio: [],
  input_image: [],
  cached_input_image: ['input_image'],
  output_image: [],
  request: [],
};

/** How many of a unit its price is for. */
export function perOf(unit: Unit): bigint {
  return unit === 'request' ? 1n : 1_000_000n;
}
