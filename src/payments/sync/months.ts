/** Periods of subscriptions, by the calendar of UTC: a 31st becomes the last of a shorter month, as `months_after` of 0017 has it. Pure. */

/** How often a price is due. */
export interface Interval {
  unit: 'day' | 'week' | 'month' | 'year';
  count: number;
}

const DAY_MS = 86_400_000;

/** `n` months after an instant; before it where `n` is negative. */
function monthsAfter(at: Date, n: number): Date {
  const moved = new Date(at);
  moved.setUTCDate(1);
  moved.setUTCMonth(moved.getUTCMonth() + n);
  const last = new Date(Date.UTC(moved.getUTCFullYear(), moved.getUTCMonth() + 1, 0)).getUTCDate();
  moved.setUTCDate(Math.min(at.getUTCDate(), last));
  return moved;
}

/** How many whole months an interval has; 0: it is shorter than one. */
export function monthsOf({ unit, count }: Interval): number {
  if (unit === 'year') return 12 * count;
  return unit === 'month' ? count : 0;
}

/** How long the period is that ends at an instant, in milliseconds. */
export function periodBefore(end: Date, interval: Interval): number {
  const months = monthsOf(interval);
  if (months > 0) return end.getTime() - monthsAfter(end, -months).getTime();
  return interval.count * (interval.unit === 'week' ? 7 : 1) * DAY_MS;
}

/** A stretch of time, and its weight among others: how much of a month it is, in millionths. */
export interface Stretch {
  start: Date;
  end: Date;
  weight: bigint;
}

const WHOLE = 1_000_000n;

/** The months of a whole period, counted from its start; the last ends with it. */
export function wholeMonths(start: Date, end: Date, months: number): Stretch[] {
  const edge = (n: number): Date => (n === months ? end : monthsAfter(start, n));
  return Array.from({ length: months }, (_, n) => ({ start: edge(n), end: edge(n + 1), weight: WHOLE }));
}

/** The months of what is left of a period, counted back from its end; the first may be a part of one. */
export function monthsLeft(start: Date, end: Date, months: number): Stretch[] {
  const stretches: Stretch[] = [];
  for (let n = 0; n < months; n++) {
    const until = monthsAfter(end, -n);
    const from = monthsAfter(end, -n - 1);
    if (until <= start && n > 0) break;
    const since = from < start ? start : from;
    const share = (BigInt(until.getTime() - since.getTime()) * WHOLE) / BigInt(until.getTime() - from.getTime());
    stretches.unshift({ start: since, end: until, weight: share > 0n ? share : 1n });
  }
  return stretches;
}

/** Splits a total by weights: the parts add up to it exactly. */
export function split(total: bigint, weights: readonly bigint[]): bigint[] {
  const whole = weights.reduce((sum, weight) => sum + weight, 0n);
  let seen = 0n;
  let given = 0n;
  return weights.map((weight) => {
    seen += weight;
    const upTo = (total * seen) / whole;
    const part = upTo - given;
    given = upTo;
    return part;
  });
}
