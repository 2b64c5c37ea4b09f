/** What the readers of usage objects have in common: counts are copied by their names, and parts taken out of their whole. */
import type { Json } from '../../lib/json.ts';
import type { CountName, Reported } from './types.ts';

/** Which member of a usage object is which count. */
export type Names = ReadonlyMap<string, CountName>;

export function names(entries: Record<string, CountName>): Names {
  return new Map(Object.entries(entries));
}

/** No request uses more of anything: a count above it is a fault, and no bill. */
const MOST_COUNTED = 1e9;
/** Ticks are 10⁻¹⁰ USD: a million of them. */
const MOST_TICKS = 1e16;

/** Whether a value can be a count. What is no number, negative or absurd is as good as absent. */
export function isCount(value: unknown, most = MOST_COUNTED): value is number {
  return typeof value === 'number' && value >= 0 && value <= most;
}

/** Copies the counts that an object has. */
export function copyCounts(from: Json, known: Names, into: Reported): void {
  for (const [key, name] of known) {
    const value = from[key];
    if (isCount(value, name === 'cost_in_usd_ticks' ? MOST_TICKS : MOST_COUNTED)) into[name] = value;
  }
}

/** A count that parts are taken out of: never more than is left. */
export class Whole {
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
