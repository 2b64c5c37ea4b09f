/** What both APIs answer of entitlements, as schemas. Of it: `present.ts`. */
import { z } from 'zod';
import { count, pageOf, time } from '../openapi/shapes.ts';

const decided = {
  allowed: z.boolean(),
  reason: z.string().meta({ description: 'A sentence that a support person can read out.' }),
  source: z.strictObject({
    kind: z.enum(['block', 'override', 'grant', 'subscription', 'plan', 'key', 'account', 'default']),
    id: z.string().nullable(),
    reason: z.string().nullable(),
  }),
  value: z.unknown(),
};
const validUntil = { valid_until: time.nullable() };
const limits = z.strictObject({
  rpm: count.nullable(),
  tpm: count.nullable(),
  concurrency: count.nullable(),
  max_output_tokens: count.nullable(),
});

/** The fields of a decision that was asked for, to which each API adds when it was judged. */
export const decisionFields = { ...decided, limits, ...validUntil };
/** Text with the microseconds of the database. */
export const judgedAt = z.string().meta({ format: 'date-time', description: 'The instant as of which it was judged.' });
export const decision = z.strictObject({ ...decisionFields, at: judgedAt }).meta({ id: 'Decision' });
export const spokenPage = pageOf(
  z.strictObject({ key: z.string(), ...decided, ...validUntil }).meta({ id: 'Entitlement' }),
);
