/** Time that does not decide money comes from a clock that is passed in; time that does is the database's. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };

/** A clock that is wrong by a fixed number of milliseconds: what the tests of skewed gateways run on. */
export function skewedClock(offsetMs: number): Clock {
  return { now: () => Date.now() + offsetMs };
}
