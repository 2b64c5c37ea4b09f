/**
 * The dimensions of usage, each with its own price. Usage is disjoint: a token stands in one dimension only, so that a
 * sum never counts it twice. Prices are per million tokens, but that of `request`, which is each.
 */
const INPUT_UNITS = [
  'input',
  'cached_input',
  'cache_write',
  'cache_write_1h',
  'input_audio',
  'cached_input_audio',
  'input_image',
  'cached_input_image',
] as const;
const OUTPUT_UNITS = ['output', 'reasoning', 'output_audio', 'output_image'] as const;

/** In the order of the lines of a receipt. */
export const UNITS = [...INPUT_UNITS, ...OUTPUT_UNITS, 'request'] as const;
export type Unit = (typeof UNITS)[number];

/** What a request used, in whole units; one that is absent is 0. */
export type Usage = Partial<Record<Unit, number>>;

/**
 * What a unit without a price of its own costs: what the first of these costs that has one. Audio and images without a
 * price are not to be asked for; what a provider served of them all the same is not free, but costs what text does.
 */
export const FALLBACKS: Record<Unit, readonly Unit[]> = {
  input: [],
  cached_input: ['input'],
  cache_write: ['input'],
  cache_write_1h: ['cache_write', 'input'],
  input_audio: ['input'],
  cached_input_audio: ['input_audio', 'input'],
  input_image: ['input'],
  cached_input_image: ['input_image', 'input'],
  output: [],
  reasoning: ['output'],
  output_audio: ['output'],
  output_image: ['output'],
  request: [],
};

/** Whether a unit is on the output's side of a price: whatever a model generates. */
export function isOutput(unit: Unit): boolean {
  return (OUTPUT_UNITS as readonly Unit[]).includes(unit);
}

/** How many of a unit its price is for. */
export function perOf(unit: Unit): number {
  return unit === 'request' ? 1 : 1_000_000;
}
