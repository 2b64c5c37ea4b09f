/** What a principal may do: a pure function of its statements and the catalog, with the reason. */
import type { Principal } from '../accounts/principals.ts';
import { matcher } from '../catalog/build.ts';
import { priced } from '../catalog/override.ts';
import type { Catalog, Model, Override, Plan } from '../catalog/types.ts';
import { publicId } from '../lib/ids.ts';
import type { Access, DecidedBy, Decision, ModelDecision } from './types.ts';

type Who = Pick<Principal, 'key' | 'statements' | 'keyModels' | 'prices'>;

const ACCESS = new WeakMap<Who, { catalog: Catalog; access: Access }>();

/** What a principal may do by a catalog. One serves many requests, so it is made once. */
export function accessOf(catalog: Catalog, principal: Who): Access {
  const made = ACCESS.get(principal);
  if (made?.catalog === catalog) return made.access;
  const access = resolve(catalog, principal);
  ACCESS.set(principal, { catalog, access });
  return access;
}

function resolve(catalog: Catalog, principal: Who): Access {
  const assigned = principal.statements.find(({ source, key }) => source === 'plan' && key === 'plan');
  const plan = assigned === undefined ? catalog.defaultPlan : (catalog.plans.get(assigned.value as string) ?? null);
  const keyAllows = principal.keyModels === null ? () => true : matcher(principal.keyModels);
  const source: DecidedBy = {
    kind: 'plan',
    id: assigned === undefined ? (plan?.name ?? null) : publicId('ent', assigned.id),
    reason: assigned?.reason ?? null,
  };
  const decisions = new Map<string, ModelDecision>();
  const said = plan === null ? 'No plan is assigned' : `The plan "${plan.name}" says so`;
  const decided = <T>(allowed: boolean, value: T): Decision<T> => ({
    allowed,
    value,
    reason: `${said}.`,
    source,
    validUntil: null,
  });

  const decide = (name: string): ModelDecision => {
    const model = catalog.models.get(name);
    const denied = { ...decided(false, false as const), allowed: false as const };
    if (model === undefined) return { ...denied, code: 'model_not_found', publicPlan: null };
    if (plan?.allowsModel(name) && keyAllows(name)) {
      const own = pricedFor({ model, plan }, principal.prices);
      if (own === null) return { ...denied, code: 'model_not_found', publicPlan: null };
      return { ...decided(true, true as const), allowed: true, model: own };
    }
    const other = [...catalog.plans.values()].find((one) => one.allowsModel(name));
    return { ...denied, code: 'model_not_entitled', publicPlan: other?.name ?? null };
  };
  const model = (name: string): ModelDecision => {
    let decision = decisions.get(name);
    if (decision === undefined) {
      decision = decide(name);
      // Names that the catalog has not are the client's: as many as it likes.
      if (catalog.models.has(name)) decisions.set(name, decision);
    }
    return decision;
  };
  return {
    model,
    feature: (name) => decided(plan?.features.has(name) ?? false, plan?.features.has(name) ?? false),
    limit: (name) => decided(plan?.limits.has(name) ?? false, plan?.limits.get(name) ?? null),
    config: () => decided(false, null),
    models: () => [...catalog.models.keys()].flatMap((name) => allowedModel(model(name))),
  };
}

function allowedModel(decision: ModelDecision): Model[] {
  return decision.allowed ? [decision.model] : [];
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
