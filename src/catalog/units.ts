/**
 * The dimensions of usage, each with its own price. Usage is disjoint: a token stands in one dimension only, so that a
 * sum never counts it twice. Prices are per million tokens and characters; of all else, each.
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
const OTHER_UNITS = ['image', 'second_input', 'second_output', 'character', 'request'] as const;

/** In the order of the lines of a receipt; calls of tools come last. */
export const UNITS = [...INPUT_UNITS, ...OUTPUT_UNITS, ...OTHER_UNITS] as const;
/** A call of a tool that the provider runs, such as `tool:web_search`. */
export type ToolUnit = `tool:${string}`;
export type Unit = (typeof UNITS)[number] | ToolUnit;

const TOOL_UNIT = /^tool:[a-z][a-z0-9_]{0,39}$/;
const POSITIONS: ReadonlyMap<string, number> = new Map(UNITS.map((unit, i) => [unit, i]));
const INPUTS: ReadonlySet<string> = new Set(INPUT_UNITS);
const OUTPUTS: ReadonlySet<string> = new Set(OUTPUT_UNITS);

/** What a request used; a unit that is absent is 0. Whole, but for seconds, which count to the microsecond. */
export type Usage = Partial<Record<Unit, number>>;

/**
 * What a unit without a price of its own costs: what the first of these costs that has one. Audio and images without a
 * price are not to be asked for; what a provider served of them all the same is not free, but costs what text does.
 */
const FALLBACKS: Readonly<Record<string, readonly Unit[]>> = {
  cached_input: ['input'],
  cache_write: ['input'],
  cache_write_1h: ['cache_write', 'input'],
  input_audio: ['input'],
  cached_input_audio: ['input_audio', 'input'],
  input_image: ['input'],
  cached_input_image: ['input_image', 'input'],
  reasoning: ['output'],
  output_audio: ['output'],
  output_image: ['output'],
};
const NONE: readonly Unit[] = [];

/** The units whose price stands in for that of a unit without one, the nearest first. */
export function fallbacksOf(unit: Unit): readonly Unit[] {
  return FALLBACKS[unit] ?? NONE;
}

/** Whether a name is a unit: one of ours, or the call of any tool. */
export function isUnit(name: string): name is Unit {
  return POSITIONS.has(name) || TOOL_UNIT.test(name);
}

/** Whether a unit is on the input's side of a price: tokens that a model reads. */
export function isInput(unit: Unit): boolean {
  return INPUTS.has(unit);
}

/** Whether a unit is on the output's side of a price: tokens that a model generates. */
export function isOutput(unit: Unit): boolean {
  return OUTPUTS.has(unit);
}

/** Whether a unit is tokens of sound: of a request that has none, none are read or generated. */
export function isSound(unit: Unit): boolean {
  return unit.endsWith('_audio');
}

/** Whether a unit is tokens of pictures. */
export function isPicture(unit: Unit): boolean {
  return unit.endsWith('_image');
}

/** The order of the lines of a receipt. */
export function compareUnits(a: Unit, b: Unit): number {
  const [i, j] = [POSITIONS.get(a) ?? UNITS.length, POSITIONS.get(b) ?? UNITS.length];
  if (i !== j) return i - j;
  return a < b ? -1 : Number(a > b);
}

/** How many of a unit its price is for. */
export function perOf(unit: Unit): number {
  return isInput(unit) || isOutput(unit) || unit === 'character' ? 1_000_000 : 1;
}
