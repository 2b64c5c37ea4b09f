/** The bodies that the admin API takes and the objects it answers with. The commands take and print the same. */
import { z } from 'zod';
import type { Account, AccountChange, NewAccount } from '../accounts/accounts.ts';
import type { Correction, NewAdjustment, NewRefund } from '../accounts/corrections.ts';
import type { NewGrant } from '../accounts/credits.ts';
import { readInput } from '../errors-input.ts';
import { LOT_KINDS, type LotKind } from '../ledger/outcomes.ts';
import { presentBudget, presentEntry, presentLot } from '../ledger/present.ts';
import type { Lot } from '../ledger/read.ts';
import { CREDITS, credits, instant, text } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { formatCredits, parseCredits } from '../lib/money.ts';
import { whole } from '../lib/settings.ts';

const KINDS = Object.keys(LOT_KINDS) as [LotKind, ...LotKind[]];
const MOST_PRIORITY = 1_000_000;
const MOST_METADATA = 50;
const MOST_PAID_MINOR = 999_999_999_999;
const CURRENCY = 'must be the three letters of a currency';

const PERIOD = 'must be "day", "month" or "total"';
/** The budget of an account or a key; `null`: none. */
export const budget = z
  .strictObject(
    { credits: credits(0n), period: z.enum(['day', 'month', 'total'], PERIOD) },
    'must be an object such as {"credits":"50","period":"day"}',
  )
  .nullable();
const account = {
  external_id: text(255).nullable().optional(),
  email: z.email('must be an email address').max(320, 'must have at most 320 characters').nullable().optional(),
  plan: text(200).nullable().optional(),
  plan_quantity: whole(1, 100_000).optional(),
  overdraft: credits(0n).optional(),
  budget: budget.optional(),
  stripe_customer_id: text(255).nullable().optional(),
  metadata: z
    .record(
      text(40),
      z.union([text(500), z.literal('')], 'must be text of at most 500 characters'),
      'must be an object',
    )
    .refine((all) => Object.keys(all).length <= MOST_METADATA, `must have at most ${MOST_METADATA} keys`)
    .optional(),
};
export const accountStatus = z.enum(['active', 'suspended'], 'must be "active" or "suspended"');
export const newAccount = z.strictObject({ name: text(200), ...account });
export const accountChange = z.strictObject({
  name: text(200).optional(),
  ...account,
  status: accountStatus.optional(),
});
export const newGrant = z.strictObject({
  credits: credits(1n),
  kind: z.enum(KINDS, `must be one of ${KINDS.join(', ')}`),
  reference: text(255),
  priority: whole(-MOST_PRIORITY, MOST_PRIORITY).default(0),
  starts_at: instant.nullable().default(null),
  expires_at: instant.nullable().default(null),
  reason: text(500).nullable().default(null),
  paid: z
    .strictObject(
      {
        amount_minor: whole(0, MOST_PAID_MINOR),
        currency: z
          .string(CURRENCY)
          .regex(/^[a-z]{3}$/i, CURRENCY)
          .toLowerCase(),
      },
      'must be an object such as {"amount_minor":1000,"currency":"usd"}',
    )
    .nullable()
    .default(null),
});
export const newAdjustment = z.strictObject({
  credits: z
    .union([z.string(), z.number()], 'must be credits, as text such as "-12.5"')
    .transform((value) => parseCredits(String(value)))
    .refine((nano): nano is bigint => nano !== null && nano !== 0n, {
      message: 'must be above or below 0, at most 10⁹ from it, with at most 9 decimals',
    })
    .meta({ ...CREDITS, format: 'signed credits' }),
  reason: text(500),
  reference: text(255),
});
export const newRefund = z.strictObject({ credits: credits(1n).nullable().default(null), reason: text(500) });

/** Every reader throws `invalid_request` with the `param` at fault. */
export function readNewAccount(input: unknown): NewAccount {
  const body = readInput(newAccount, input);
  return {
    name: body.name,
    externalId: body.external_id ?? null,
    email: body.email ?? null,
    plan: body.plan ?? null,
    planQuantity: body.plan_quantity ?? 1,
    overdraft: body.overdraft ?? 0n,
    budget: body.budget ?? null,
    stripeCustomerId: body.stripe_customer_id ?? null,
    metadata: body.metadata ?? {},
  };
}

/** The fields that were given; `null` takes one away. */
export function readAccountChange(input: unknown): AccountChange {
  const {
    external_id: externalId,
    plan_quantity: planQuantity,
    stripe_customer_id: stripeCustomerId,
    ...body
  } = readInput(accountChange, input);
  return given({ ...body, externalId, planQuantity, stripeCustomerId });
}

/** The fields that are there. */
export function given(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Credits to grant. What was paid for them is given whole or not at all. */
export function readNewGrant(input: unknown): NewGrant {
  const { credits: amount, starts_at: startsAt, expires_at: expiresAt, paid, ...rest } = readInput(newGrant, input);
  const payment = paid === null ? null : { minor: BigInt(paid.amount_minor), currency: paid.currency };
  return { amount, startsAt, expiresAt, paid: payment, ...rest };
}

/** Credits to add, or to take where they are below 0. */
export function readNewAdjustment(input: unknown): NewAdjustment {
  const { credits: amount, ...rest } = readInput(newAdjustment, input);
  return { amount, ...rest };
}

/** How much of a charge to give back; all of it where no credits are given. */
export function readNewRefund(input: unknown): NewRefund {
  const { credits: amount, reason } = readInput(newRefund, input);
  return { amount, reason };
}

/** An account as the admin API shows it. */
export function presentAccount(shown: Account) {
  return {
    id: publicId('acct', shown.id),
    name: shown.name,
    external_id: shown.externalId,
    email: shown.email,
    plan: shown.plan,
    plan_quantity: shown.planQuantity,
    status: shown.status,
    overdraft: formatCredits(shown.overdraft),
    budget: shown.budget === null ? null : presentBudget(shown.budget),
    stripe_customer_id: shown.stripeCustomerId,
    metadata: shown.metadata,
    created_at: shown.createdAt.toISOString(),
    erased_at: shown.erasedAt?.toISOString() ?? null,
  };
}

/** The lot of a grant, with why it was made and what was paid for it. */
export function presentGrant(lot: Lot) {
  const { paid } = lot;
  return {
    ...presentLot(lot),
    reference: lot.reference,
    reason: lot.reason,
    paid: paid === null ? null : { amount_minor: Number(paid.minor), currency: paid.currency },
  };
}

/** The entry of a correction, with why it was made. */
export function presentCorrection({ entry }: Correction) {
  return { ...presentEntry(entry), reason: entry.reason };
}
