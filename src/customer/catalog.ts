/** What a customer can buy: the plans and packs that are public. */
import { z } from 'zod';
import type { CatalogCache } from '../catalog/cache.ts';
import type { Pack, Plan } from '../catalog/types.ts';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { formatCredits } from '../lib/money.ts';
import { amount, count } from '../openapi/shapes.ts';
import { type Call, reading } from './calls.ts';

export interface CatalogDeps {
  catalogs: CatalogCache;
}

const onSale = z
  .strictObject({
    plans: z.array(
      z.strictObject({
        plan: z.string(),
        models: z.array(z.string()),
        features: z.array(z.string()),
        limits: z.record(z.string(), count),
        /** Those that it is sold by; absent: it is not sold. */
        stripe_prices: z.array(z.string()).optional(),
        included_credits: z
          .strictObject({
            credits: amount,
            every: z.enum(['month', 'period', 'once']),
            rollover: z.enum(['none', 'all']),
            trial: amount,
          })
          .nullable(),
      }),
    ),
    packs: z.array(
      z.strictObject({
        pack: z.string(),
        price: z.record(z.string(), z.string()).nullable(),
        credits: amount,
        bonus_credits: amount,
        expires_days: count.nullable(),
      }),
    ),
  })
  .meta({ id: 'OnSale' });

export function catalogCalls({ catalogs }: CatalogDeps): Call[] {
  return [
    reading(
      '/catalog',
      { summary: 'Lists the plans and packs that can be bought.', answer: onSale },
      async ({ principal }) => {
        const catalog = await catalogFor(catalogs, principal);
        return {
          plans: [...catalog.plans.values()].filter(({ isPublic }) => isPublic).map(presentPlan),
          packs: [...catalog.packs.values()].filter(({ isPublic }) => isPublic).map(presentPack),
        };
      },
    ),
  ];
}

function presentPlan({ name, models, features, limits, included, stripePrices }: Plan) {
  return {
    plan: name,
    models,
    features: [...features],
    limits: Object.fromEntries(limits),
    ...(stripePrices.length > 0 && { stripe_prices: [...stripePrices] }),
    included_credits:
      included === null
        ? null
        : {
            credits: formatCredits(included.credits),
            every: included.every,
            rollover: included.rollover,
            trial: formatCredits(included.trial),
          },
  };
}

function presentPack({ name, price, credits, bonusCredits, expiresDays }: Pack) {
  return {
    pack: name,
    price,
    credits: formatCredits(credits),
    bonus_credits: formatCredits(bonusCredits),
    expires_days: expiresDays,
  };
}
