/** Billing periods and shares of them. Pure: seconds and minor units in, seconds and minor units out. */

export const HOUR = 3600;
export const DAY = 24 * HOUR;

export interface Interval {
  interval: string;
  interval_count: number;
}

/** `anchor` moved by `count` intervals. A month without the anchor's day ends on its last day, as Stripe does it. */
export function addIntervals(anchor: number, { interval, interval_count }: Interval, count: number): number {
  const steps = interval_count * count;
  if (interval === 'day') return anchor + steps * DAY;
  if (interval === 'week') return anchor + steps * 7 * DAY;
  const from = new Date(anchor * 1000);
  const months = from.getUTCMonth() + steps * (interval === 'year' ? 12 : 1);
  const lastDay = new Date(Date.UTC(from.getUTCFullYear(), months + 1, 0)).getUTCDate();
  const day = Math.min(from.getUTCDate(), lastDay);
  const seconds = anchor - Math.floor(anchor / DAY) * DAY;
  return Date.UTC(from.getUTCFullYear(), months, day) / 1000 + seconds;
}

/** The first instant after `at` at which a period that is anchored at `anchor` ends. */
export function periodEnd(anchor: number, interval: Interval, at: number): number {
  if (anchor > at) {
    // Anchored in the future: whole intervals before it.
    let count = 0;
    while (addIntervals(anchor, interval, count - 1) > at) count -= 1;
    return addIntervals(anchor, interval, count);
  }
  const longest = { day: DAY, week: 7 * DAY, month: 31 * DAY, year: 366 * DAY }[interval.interval] ?? DAY;
  let count = Math.max(1, Math.floor((at - anchor) / (longest * interval.interval_count)));
  while (addIntervals(anchor, interval, count) <= at) count += 1;
  return addIntervals(anchor, interval, count);
}

/** `amount` × `part` / `whole`, to the nearest minor unit, halves away from zero. */
export function share(amount: number, part: number, whole: number): number {
  if (whole <= 0) return 0;
  const [product, divisor] = [BigInt(Math.abs(amount)) * BigInt(part), BigInt(whole)];
  const rounded = Number((2n * product + divisor) / (2n * divisor));
  return amount < 0 ? -rounded : rounded;
}

/** Splits `total` over `weights` in proportion: the parts add up to `total` exactly, the last takes the rest. */
export function spread(total: number, weights: number[]): number[] {
  let [left, weight] = [total, weights.reduce((sum, each) => sum + each, 0)];
  return weights.map((each) => {
    const part = weight === 0 ? 0 : share(left, each, weight);
    left -= part;
    weight -= each;
    return part;
  });
}
