/** What the consumption API answers, as schemas. */
import { z } from 'zod';
import { amount, time } from '../openapi/shapes.ts';
import type { HoldAnswer } from './holds.ts';
import type { UsageAnswer } from './usage.ts';

export const consumed: z.ZodType<UsageAnswer> = z
  .strictObject({
    usage_id: z.string(),
    charged: amount,
    available: amount,
    replayed: z.boolean().meta({ description: 'It was booked before, and nothing was charged now.' }),
  })
  .meta({ id: 'Consumed' });

export const hold: z.ZodType<HoldAnswer> = z
  .strictObject({
    id: z.string(),
    status: z.enum(['open', 'settled', 'released', 'expired']),
    held: amount,
    charged: amount,
    expires_at: time,
  })
  .meta({ id: 'Hold' });
