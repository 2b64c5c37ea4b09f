/** What an account may use: a pure function of its plan and the catalog, with the reason. */
import { priced } from '../catalog/override.ts';
import type { Catalog, Model, Override, Plan } from '../catalog/types.ts';

export type ModelDecision =
  | { allowed: true; model: Model; plan: Plan }
  | { allowed: false; reason: 'model_not_found' }
  | { allowed: false; reason: 'model_not_entitled'; publicPlan: string | null };

/** The plan that binds: the account's own, or the catalog's default; `null` when the named plan is gone. */
export function planOf(catalog: Catalog, plan: string | null): Plan | null {
  return plan === null ? catalog.defaultPlan : (catalog.plans.get(plan) ?? null);
}

/** Whether an account on `plan` may use the model. A model without a price is not in the catalog: deny by default. */
export function decideModel(catalog: Catalog, plan: string | null, name: string): ModelDecision {
  const model = catalog.models.get(name);
  if (model === undefined) return { allowed: false, reason: 'model_not_found' };
  const own = planOf(catalog, plan);
  if (own?.allowsModel(name)) return { allowed: true, model, plan: own };
  for (const other of catalog.plans.values()) {
    if (other.allowsModel(name)) return { allowed: false, reason: 'model_not_entitled', publicPlan: other.name };
  }
  return { allowed: false, reason: 'model_not_entitled', publicPlan: null };
}

/**
 * The model at the price that an account on `plan` pays: its own price for the model, if it has one, else the plan's, else the
 * model's. `null`: its own price is not to be read, and then it is not served at another.
 */
export function pricedFor(
  { model, plan }: { model: Model; plan: Plan },
  own: ReadonlyMap<string, Override | null>,
): Model | null {
  const override = own.has(model.name) ? own.get(model.name) : (plan.overrideOf(model.name) ?? undefined);
  if (override === undefined) return model;
  return override === null ? null : priced(model, override);
}

/** The models an account on `plan` may use, by name. */
export function allowedModels(catalog: Catalog, plan: string | null): Model[] {
  const own = planOf(catalog, plan);
  if (own === null) return [];
  return [...catalog.models.values()].filter((model) => own.allowsModel(model.name));
}
