/** Auto-recharge: an account buys a pack by itself when its credits run low. */
import { z } from 'zod';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { TollgateError } from '../errors.ts';
import { readInput } from '../errors-input.ts';
import { credits, text } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { formatCredits, formatDecimal, parseDecimal } from '../lib/money.ts';
import type { About } from '../openapi/about.ts';
import { amount, count, id, time } from '../openapi/shapes.ts';
import type { SellingDeps } from '../payments/deps.ts';
import { changeRecharge } from '../payments/recharge/change.ts';
import { type InFlight, type RechargeView, readRecharge } from '../payments/recharge/settings.ts';
import type { BillingDeps } from './billing.ts';
import type { Asked, Call } from './calls.ts';

const MOST_CENTS = 100_000_000n;
const MOST_NAME = 200;

const usd = z
  .union([z.string(), z.number()], 'must be US dollars, as text such as "50.00"')
  .transform((value) => parseDecimal(String(value), 2))
  .refine((cents): cents is bigint => cents !== null && cents >= 0n && cents <= MOST_CENTS, {
    message: 'must be 0 or more and at most 1,000,000, with at most 2 decimals',
  })
  .meta({ format: 'usd', description: 'US dollars as decimal text, or as an exact number.', examples: ['50.00'] });

const form = z.strictObject({
  enabled: z.boolean('must be true or false'),
  threshold: credits(0n).optional(),
  pack: text(MOST_NAME).optional(),
  monthly_cap_usd: usd.optional(),
});

const dollars = z
  .string()
  .regex(/^\d+(\.\d{1,2})?$/)
  .meta({ format: 'usd', examples: ['50'] });

const settings = z
  .strictObject({
    enabled: z.boolean(),
    threshold: amount.nullable(),
    pack: z.string().nullable(),
    monthly_cap_usd: dollars.nullable(),
    state: z.enum(['off', 'ready', 'needs_payment_method', 'stopped']),
    stopped_reason: z.string().nullable(),
    stopped_at: time.nullable(),
    spent_this_month_usd: dollars,
    payment_method: z.strictObject({ brand: z.string(), last4: z.string() }).nullable(),
    in_flight: z
      .strictObject({
        id: id('rch'),
        status: z.string(),
        packs: count,
        credits: amount,
        amount_usd: dollars,
        created_at: time,
      })
      .nullable(),
  })
  .meta({ id: 'AutoRecharge' });

const ABOUT = {
  show: {
    summary: 'Shows auto-recharge: its settings, whether it can buy, and what it has spent this month (UTC).',
    answer: settings,
    errors: ['stripe_disabled'],
  },
  change: {
    summary:
      'Changes auto-recharge; what is not sent stays as it is. To enable it, also again after it has stopped, is a person’s act.',
    body: form,
    answer: settings,
    errors: ['account_suspended', 'stripe_disabled', 'stripe_unavailable', 'stripe_refused'],
  },
} satisfies Record<string, About>;

export function autoRechargeCalls({ catalogs, selling }: BillingDeps): Call[] {
  const show = async ({ principal }: Asked) => present(await readRecharge(withStripe(selling).pool, principal.account));
  const change = async ({ principal, request }: Asked) => {
    const asked = readInput(form, request.body);
    if (principal.suspended) throw new TollgateError('account_suspended');
    const deps = withStripe(selling);
    return present(await changeRecharge(deps, principal.account, await catalogFor(catalogs, principal), asked));
  };
  const path = '/auto_recharge';
  return [
    { method: 'GET', path, scopes: ['read', 'billing'], reads: true, about: ABOUT.show, answer: show },
    // No hold verifies the cache, so whoever asks is read afresh.
    { method: 'PUT', path, scopes: ['billing'], reads: true, about: ABOUT.change, answer: change },
  ];
}

function withStripe(selling: SellingDeps | null): SellingDeps {
  if (selling === null) throw new TollgateError('stripe_disabled');
  return selling;
}

function present({ settings: kept, state, stoppedReason, stoppedAt, spentMinor, card, inFlight }: RechargeView) {
  return {
    enabled: kept?.enabled ?? false,
    threshold: kept === null ? null : formatCredits(kept.threshold),
    pack: kept?.pack ?? null,
    monthly_cap_usd: kept === null || kept.monthlyCapMinor === null ? null : formatDecimal(kept.monthlyCapMinor, 2),
    state,
    stopped_reason: stoppedReason,
    stopped_at: stoppedAt?.toISOString() ?? null,
    spent_this_month_usd: formatDecimal(spentMinor, 2),
    payment_method: card,
    in_flight: inFlight === null ? null : presentInFlight(inFlight),
  };
}

function presentInFlight({ id: recharge, status, packs, credits: bought, amountMinor, createdAt }: InFlight) {
  return {
    id: publicId('rch', recharge),
    status,
    packs,
    credits: formatCredits(bought),
    amount_usd: formatDecimal(amountMinor, 2),
    created_at: createdAt.toISOString(),
  };
}
