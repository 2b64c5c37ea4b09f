/** Changing an object in place and telling what it was: the `previous_attributes` of Stripe's `….updated` events. */
import type { Sim, Stored } from '../core.ts';
import { copyOf } from '../parts.ts';

export { copyOf } from '../parts.ts';

type Hash = Record<string, unknown>;

/** Runs `act` on `object`; emits `type` with what differs, if anything does. Says whether it did. */
export function changing<T extends Stored>(sim: Sim, type: string, object: T, act: (object: T) => void): boolean {
  const before = copyOf(object);
  act(object);
  const previous = differences(before, object);
  if (Object.keys(previous).length === 0) return false;
  sim.emit(type, object, previous);
  return true;
}

/** The fields of `before` that `after` holds otherwise; nested hashes give only theirs, lists are given whole. */
export function differences(before: object, after: object): Hash {
  const previous: Hash = {};
  for (const [key, now] of Object.entries(after)) {
    const was = (before as Hash)[key];
    if (same(was, now)) continue;
    previous[key] = isHash(was) && isHash(now) ? differences(was, now) : (was ?? null);
  }
  return previous;
}

function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const [mine, its] = [Object.keys(a), Object.keys(b)];
  return mine.length === its.length && mine.every((key) => same((a as Hash)[key], (b as Hash)[key]));
}

function isHash(value: unknown): value is Hash {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
