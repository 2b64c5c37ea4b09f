/** What both APIs answer of an account's money, as schemas. Of it: `ledger/present.ts`, `receipt-view.ts`, `usage-view.ts`. */
import { z } from 'zod';
import { LOT_KINDS, type LotKind } from '../ledger/outcomes.ts';
import { amount, count, id, pageOf, time } from '../openapi/shapes.ts';

const KINDS = Object.keys(LOT_KINDS) as [LotKind, ...LotKind[]];
const share = z.strictObject({ lot_id: id('lot'), credits: amount });

export const lot = z
  .strictObject({
    id: id('lot'),
    kind: z.enum(KINDS),
    granted: amount,
    remaining: amount,
    priority: count.meta({ description: 'The lower burns first.' }),
    starts_at: time,
    expires_at: time.nullable(),
  })
  .meta({ id: 'Lot' });

export const balance = z
  .strictObject({
    available: amount.meta({ description: 'What may be spent: posted + overdraft − held.' }),
    held: amount,
    posted: amount,
    debt: amount,
    overdraft: amount,
    next_expiry: z.strictObject({ at: time, credits: amount }).nullable(),
    lots: z.array(lot).meta({ description: 'Open lots, in the order in which they burn.' }),
  })
  .meta({ id: 'Balance' });

export const budget = z
  .strictObject({
    credits: amount,
    period: z.enum(['day', 'month', 'total']),
    used: amount,
    held: amount,
    remaining: amount,
    resets_at: time.nullable(),
  })
  .meta({ id: 'Budget' });

export const entry = z
  .strictObject({
    id: id('entry'),
    seq: count,
    kind: z.string(),
    credits: amount.meta({ description: 'Signed, seen from the wallet.' }),
    balance_after: amount,
    debit: z.string(),
    credit: z.string(),
    reference: z.string().nullable(),
    request_id: id('req').nullable(),
    lots: z.array(share),
    created_at: time,
  })
  .meta({ id: 'Entry' });
export const ledgerPage = pageOf(entry);

export const chargeLine = z.strictObject({
  unit: z.string(),
  quantity: z.number(),
  unit_price_usd: z.string(),
  per: count,
  credits: amount,
});

/** The fields of a receipt, to which the admin API adds the margin. */
export const receiptFields = {
  request_id: id('req'),
  account_id: id('acct'),
  key_id: id('key').nullable(),
  endpoint: z.string(),
  model: z.string(),
  provider: z.string().nullable(),
  provider_model: z.string().nullable(),
  status: z.enum(['held', 'settled', 'released', 'recovered']),
  stream: z.boolean(),
  usage: z.record(z.string(), z.number()),
  usage_source: z.string().nullable(),
  price_version: count,
  price_source: z.enum(['model', 'plan', 'account']),
  price_override: z.strictObject({ plan: z.string().optional(), version: count }).nullable(),
  service_tier: z.string().nullable(),
  lines: z.array(
    chargeLine.extend({
      service_tier: z.string().optional(),
      above_input_tokens: count.optional(),
      size: z.string().optional(),
      quality: z.string().optional(),
      model: z.string().optional(),
      price_version: count.optional(),
    }),
  ),
  held: amount,
  charged: amount,
  clamped_to: count.nullable(),
  disconnect: z.enum(['aborted', 'drained']).nullable(),
  policy: z
    .string()
    .nullable()
    .meta({ description: 'Which setting of the model decided the charge, where one had to.' }),
  lots: z.array(share),
  refund: z.strictObject({ credits: amount, reason: z.string(), lots: z.array(share), created_at: time }).nullable(),
  attempts: z.array(
    z.strictObject({
      provider: z.string(),
      status: count.nullable(),
      outcome: z.string(),
      ms: z.number(),
    }),
  ),
  created_at: time,
  settled_at: time.nullable(),
};
export const receipt = z.strictObject(receiptFields).meta({ id: 'Receipt' });
export const receiptPage = pageOf(receipt);

const counts = { requests: count, input_tokens: count, output_tokens: count, credits: amount };
export const usage = z
  .strictObject({
    data: z.array(
      z.strictObject({ key: z.string().meta({ description: "A model, a key's id, or a day." }), ...counts }),
    ),
    total: z.strictObject(counts),
  })
  .meta({ id: 'Usage' });
