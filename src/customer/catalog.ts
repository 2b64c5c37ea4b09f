/** What a customer can buy: the plans and packs that are public. */
import type { CatalogCache } from '../catalog/cache.ts';
import type { Pack, Plan } from '../catalog/types.ts';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { formatCredits } from '../lib/money.ts';
import { type Call, reading } from './calls.ts';

export interface CatalogDeps {
  catalogs: CatalogCache;
}

export function catalogCalls({ catalogs }: CatalogDeps): Call[] {
  return [
    reading('/catalog', async ({ principal }) => {
      const catalog = await catalogFor(catalogs, principal);
      return {
        plans: [...catalog.plans.values()].filter(({ isPublic }) => isPublic).map(presentPlan),
        packs: [...catalog.packs.values()].map(presentPack),
      };
    }),
  ];
}

function presentPlan({ name, models, features, limits, included }: Plan) {
  return {
    plan: name,
    models,
    features: [...features],
    limits: Object.fromEntries(limits),
    included_credits:
      included === null
        ? null
        : { credits: formatCredits(included.credits), every: included.every, rollover: included.rollover },
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
