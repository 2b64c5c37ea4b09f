/**
 * What a principal may do: a pure function of its statements in force and the catalog, with the reason.
 *
 * The strongest source that says anything of a thing decides: block, override, grant, subscription, plan. Within a block or an
 * override the glob that says most decides, then the newest. The others give: of several limits the largest holds, of the globs
 * of a limit that which says most, and of configurations the newest. A plan speaks at the rank of whoever gave it. Where nothing is
 * said, models and features are denied, and nothing is limited. Then the key's own terms narrow what is left.
 */
import type { Principal } from '../accounts/principals.ts';
import { matcher } from '../catalog/glob.ts';
import { priced } from '../catalog/override.ts';
import type { Catalog, Model, Override, Plan } from '../catalog/types.ts';
import { publicId } from '../lib/ids.ts';
import { deniedByKey, noModel, sentence } from './explain.ts';
import type { Access, Decision, LimitDecision, ModelDecision } from './types.ts';
import { type Kind, keyOf, type Question, rulesOf, type Said, saysOf, type Voice, voicesOf } from './voices.ts';

/** Whose access it is. An account itself has no key: `keyModels` and `keyLimits` are null then. */
export type Who = Pick<Principal, 'key' | 'statements' | 'keyModels' | 'keyLimits' | 'prices'>;

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
  const voices = voicesOf(catalog, principal.statements);
  const ask = (kind: Kind, name: string, model: string | null = null, glob: string | null = null) =>
    decide(catalog, voices, { kind, name, model, glob });
  const modelLimit: Access['modelLimit'] = (name, model) => {
    const { decision, glob } = ask('limit', name, model);
    return { ...(decision as LimitDecision), glob };
  };
  const limit: Access['limit'] = (name, model) => {
    const own = ask('limit', name).decision as LimitDecision;
    if (model === undefined) return own;
    const { glob: _, ...ofModel } = modelLimit(name, model);
    return ofModel.value !== null && (own.value === null || ofModel.value < own.value) ? ofModel : own;
  };
  const binding: Access['binding'] = (name, ofModel) =>
    leastOf(limit(name, ofModel).value, principal.keyLimits?.[name] ?? null);
  const narrow = narrowed(principal);
  const model = remembered(catalog, (name): ModelDecision => {
    const known = catalog.models.get(name);
    if (known === undefined) return noModel(name);
    const { decision } = ask('model', name, name);
    if (!decision.allowed) return { ...decision, value: false, allowed: false, code: 'model_not_entitled' };
    const denied = narrow(name);
    if (denied !== null) return denied;
    const own = pricedFor({ model: known, plan: payingPlan(voices, name) }, principal.prices);
    if (own === null) return noModel(name);
    const most = binding('max_output_tokens', name);
    return { ...decision, value: true, allowed: true, model: most === null ? own : capped(own, most) };
  });
  return {
    model,
    modelLimit,
    limit,
    binding,
    feature: (name) => ask('feature', name).decision as Decision<boolean>,
    config: (name) => ask('config', name).decision,
    models: () => [...catalog.models.keys()].flatMap((name) => allowedModel(model(name))),
    spoken: () => [
      ...rulesOf(voices).map(({ kind, name, glob }) => ({
        key: keyOf(kind, name, glob),
        decision: ask(kind, name, null, glob).decision,
      })),
      ...[...catalog.models.keys()]
        .map((name) => ({ key: keyOf('model', name, name), decision: model(name) }))
        // Names of models that nobody gave the account are not for it to see.
        .filter(({ decision }) => decision.allowed || decision.source.kind === 'key'),
    ],
  };
}

function allowedModel(decision: ModelDecision): Model[] {
  return decision.allowed ? [decision.model] : [];
}

/** Decisions on models that the catalog has are kept; other names are the client's, as many as it likes. */
function remembered(catalog: Catalog, decideModel: (name: string) => ModelDecision): Access['model'] {
  const decisions = new Map<string, ModelDecision>();
  return (name) => {
    let decision = decisions.get(name);
    if (decision === undefined) {
      decision = decideModel(name);
      if (catalog.models.has(name)) decisions.set(name, decision);
    }
    return decision;
  };
}

function decide(
  catalog: Catalog,
  voices: readonly Voice[],
  question: Question,
): { decision: Decision; glob: string | null } {
  const said = strongest(voices, question);
  const { kind } = question;
  const isYesNo = kind === 'model' || kind === 'feature';
  const value = said === null ? (isYesNo ? false : null) : said.value;
  const statement = said?.by.statement ?? null;
  const decision: Decision = {
    // A limit of 0 is one that somebody set.
    allowed: isYesNo || kind === 'config' ? value !== null && value !== false : value !== null,
    value,
    reason: sentence(question, said, voices, catalog),
    source:
      said === null
        ? { kind: 'default', id: null, reason: null }
        : {
            kind: said.by.source,
            id: statement === null ? said.by.name : publicId('ent', statement.id),
            reason: statement?.reason ?? null,
          },
    validUntil: statement?.until ?? null,
  };
  return { decision, glob: said?.glob ?? null };
}

/** What decides: of the strongest source that says anything, what goes before all else that it says. */
function strongest(voices: readonly Voice[], question: Question): Said | null {
  let first: Said | null = null;
  for (const voice of voices) {
    // Voices of one source stand together, the strongest source first.
    if (first !== null && first.by.source !== voice.source) break;
    const said = saysOf(voice, question);
    if (said !== null && (first === null || goesBefore(said, first, question))) first = said;
  }
  return first;
}

/** Of two of one source; the newer comes first, so that it stays where they are equal. */
function goesBefore(one: Said, other: Said, { kind }: Question): boolean {
  const [a, b] = [orderOf(one, kind), orderOf(other, kind)];
  const at = a.findIndex((value, i) => value !== b[i]);
  return at >= 0 && a[at]! > b[at]!;
}

function orderOf({ by, says, value }: Said, kind: Kind): number[] {
  if (by.source === 'block' || by.source === 'override') return [says];
  if (kind === 'config') return [];
  // What lasts longest is what is told of several that say the same.
  const until = by.statement?.until?.getTime() ?? Infinity;
  return kind === 'limit' ? [says, value as number, until] : [until];
}

/** Whose prices are paid: the strongest plan in force that allows the model; `null`: none does, and it is had at its own price. */
function payingPlan(voices: readonly Voice[], model: string): Plan | null {
  return voices.find(({ plan }) => plan?.allowsModel(model))?.plan ?? null;
}

/** Denies what the key's own list of models does not name. */
function narrowed({ key, keyModels }: Who): (name: string) => ModelDecision | null {
  if (keyModels === null) return () => null;
  const allows = matcher(keyModels);
  return (name) => (allows(name) ? null : deniedByKey(publicId('key', key), keyModels, name));
}

function leastOf(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.min(a, b);
}

/** The model with no more output than so many tokens of one choice, which its provider then has to be told. */
function capped(model: Model, most: number): Model {
  // No request is for less than a token.
  const maxOutputTokens = Math.max(1, most);
  return maxOutputTokens >= model.maxOutputTokens ? model : { ...model, maxOutputTokens, statesMaxOutput: false };
}

/**
 * The model at the price that an account on `plan` pays: its own price for the model, if it has one, else the plan's, else the
 * model's. `null`: its own price is not to be read, and then it is not served at another.
 */
export function pricedFor(
  { model, plan }: { model: Model; plan: Plan | null },
  own: ReadonlyMap<string, Override | null>,
): Model | null {
  const override = own.has(model.name) ? own.get(model.name) : (plan?.overrideOf(model.name) ?? undefined);
  if (override === undefined) return model;
  return override === null ? null : priced(model, override);
}
