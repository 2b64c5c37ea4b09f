/** Order statistics: robust against the noise of a machine that others use too. NaN when there are no samples. */

/** The value below which that share of the samples lies (nearest rank). */
export function quantile(samples: readonly number[], share: number): number {
  return ascending(samples)[Math.max(0, Math.ceil(share * samples.length) - 1)] ?? Number.NaN;
}

/** The middle sample, or the mean of the two in the middle. */
export function median(samples: readonly number[]): number {
  const sorted = ascending(samples);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}

function ascending(samples: readonly number[]): Float64Array {
  return Float64Array.from(samples).sort();
}
