/** The form of JSON on the planes that are not a provider's: fields, bodies, and pages with opaque cursors. Pure. */
import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import { parseCredits } from './money.ts';

/**
 * Reads a JSON body. A number that a float would not keep as it was written stays text, so that no amount is rounded
 * on its way in. An absent body is an empty object. Throws `SyntaxError`.
 */
export function parseJson(body: Buffer): unknown {
  if (body.length === 0) return {};
  if (!isUtf8(body)) throw new SyntaxError('the body is not UTF-8');
  try {
    return JSON.parse(body.toString(), (_key, value: unknown, context?: { source?: string }) =>
      typeof value === 'number' && String(value) !== context?.source ? context?.source : value,
    );
  } catch (error) {
    // Thousands of brackets within one another are more than the stack holds.
    throw error instanceof RangeError ? new SyntaxError('the body is nested too deeply', { cause: error }) : error;
  }
}

/** Whether Postgres can keep a value as JSON: no text in it holds NUL, or half of a surrogate pair. */
export function isStorable(value: unknown): boolean {
  if (typeof value === 'string') return !value.includes('\0') && value.isWellFormed();
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([key, inner]) => isStorable(key) && isStorable(inner));
}

/** Text that Postgres can keep as it is: no NUL, no half of a surrogate pair. */
export const text = (most: number) =>
  z
    .string('must be text')
    .min(1, 'must not be empty')
    .max(most, `must have at most ${most} characters`)
    .refine((value) => !value.includes('\0') && value.isWellFormed(), 'must not hold NUL or broken surrogates');

/** How a description of the API tells an amount in credits. */
export const CREDITS = {
  format: 'credits',
  description: 'Credits as decimal text with up to 9 decimals, or as an exact number.',
  examples: ['12.5'],
};

/** Credits as text or as an exact number → nano-credits, from `least` (nano-credits) to 10⁹ credits. */
export const credits = (least: bigint) =>
  z
    .union([z.string(), z.number()], 'must be credits, as text such as "12.5"')
    .transform((value) => parseCredits(String(value)))
    .refine((nano): nano is bigint => nano !== null && nano >= least, {
      message: `must be ${least > 0n ? 'above 0' : '0 or more'} and at most 10⁹, with at most 9 decimals`,
    })
    .meta(CREDITS);

const LATEST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);
const INSTANT = 'must be a time from 1970 to 9999 such as 2030-01-31T00:00:00Z';

/** RFC 3339 with its offset → an instant. */
export const instant = z.iso
  .datetime({ offset: true, error: INSTANT })
  .transform((value) => new Date(value))
  .refine((at) => at.getTime() >= 0 && at.getTime() <= LATEST_MS, INSTANT)
  .meta({ format: 'date-time', pattern: undefined, examples: ['2030-01-31T00:00:00Z'] });

const MOST_PER_PAGE = 200;
const DEFAULT_PER_PAGE = 20;
const LIMIT = `must be a whole number from 1 to ${MOST_PER_PAGE}`;

/** The query of a list: `limit` and `cursor`. */
export const pageQuery = z.strictObject({
  limit: z
    .string(LIMIT)
    .regex(/^[1-9]\d{0,2}$/, LIMIT)
    .transform(Number)
    .refine((limit) => limit <= MOST_PER_PAGE, LIMIT)
    .default(DEFAULT_PER_PAGE)
    .meta({ type: 'integer', minimum: 1, maximum: MOST_PER_PAGE, pattern: undefined, default: DEFAULT_PER_PAGE }),
  cursor: z.string('must be the next_cursor of an earlier page').optional(),
});

export interface Page<T> {
  data: T[];
  has_more: boolean;
  next_cursor: string | null;
}

/** A page of at most `limit` out of rows that were asked for one more, so that it is known whether more follow. */
export function toPage<Row, T>(
  rows: readonly Row[],
  limit: number,
  present: (row: Row) => T,
  position: (row: Row) => string,
): Page<T> {
  const shown = rows.slice(0, limit);
  const more = rows.length > limit;
  return {
    data: shown.map(present),
    has_more: more,
    next_cursor: more ? writeCursor(position(shown.at(-1)!)) : null,
  };
}

function writeCursor(position: string): string {
  return Buffer.from(position).toString('base64url');
}

/** The position that a cursor stands for; nonsense for one that is not ours: whoever reads it checks its form. */
export function cursorPosition(cursor: string): string {
  return Buffer.from(cursor, 'base64url').toString();
}
