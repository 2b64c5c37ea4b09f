/** What answers are made of, as schemas: they describe, and tests hold the answers against them. */
import { z } from 'zod';

/** An amount in credits; those of corrections and margins may be below 0. */
export const amount = z
  .string()
  .regex(/^-?\d+(\.\d{1,9})?$/)
  .meta({ format: 'credits', description: 'Credits as decimal text, up to 9 decimals.', examples: ['12.5'] });
export const time = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  .meta({ format: 'date-time', description: 'RFC 3339, UTC.', examples: ['2030-01-31T00:00:00.000Z'] });
export const count = z.int();

/** An id, by its prefix. */
export function id(prefix: string) {
  return z
    .string()
    .regex(new RegExp(`^${prefix}_`))
    .meta({ examples: [`${prefix}_…`] });
}

/** A page of a list, newest first. */
export function pageOf<T extends z.ZodType>(item: T) {
  return z.strictObject({ data: z.array(item), has_more: z.boolean(), next_cursor: z.string().nullable() });
}

/** What was asked to end, and has. */
export const revoked = z.strictObject({ id: id('key'), revoked: z.literal(true) });
