/** Who speaks of what an account may do: statements in force, and the default plan where none is assigned. Pure. */
import { SOURCES, type Source, type Statement } from '../accounts/entitlements.ts';
import { matcher, specificity } from '../catalog/glob.ts';
import type { Catalog, Plan } from '../catalog/types.ts';

export type Kind = 'model' | 'feature' | 'limit' | 'config';

/** One that speaks: for one thing, or as a plan for all that is in it. */
export interface Voice {
  source: Source;
  /** `null`: the default plan, which nobody had to assign. */
  statement: Statement | null;
  /** What a plan's name stands for; `null`: it is none, or the catalog has none of that name. */
  plan: Plan | null;
  /** `null`: a plan. */
  kind: Kind | null;
  name: string;
  /** Of models, those that a limit or a permission is of. */
  glob: string | null;
  matches: (model: string) => boolean;
}

/** What is asked: of a name; of a limit for the use of a `model`; or of one rule as it is written, with its `glob`. */
export interface Question {
  kind: Kind;
  /** Of the model, feature, limit or configuration; of a rule for models, its glob. */
  name: string;
  model: string | null;
  glob: string | null;
}

/** What one voice says of one thing. */
export interface Said {
  by: Voice;
  value: unknown;
  glob: string | null;
  /** How much is known of it by the glob that it was said with. */
  says: number;
}

const NONE = (): boolean => false;

/** All voices, strongest source first, within a source the newest first. */
export function voicesOf(catalog: Catalog, statements: readonly Statement[]): Voice[] {
  const voices = statements.toReversed().map((statement) => voiceOf(catalog, statement));
  const isAssigned = voices.some(({ source, kind }) => source === 'plan' && kind === null);
  const { defaultPlan } = catalog;
  if (!isAssigned && defaultPlan !== null) voices.push(planVoice('plan', null, defaultPlan.name, defaultPlan));
  return SOURCES.flatMap((source) => voices.filter((voice) => voice.source === source));
}

function voiceOf(catalog: Catalog, statement: Statement): Voice {
  const { source, key, value } = statement;
  if (key === 'plan') {
    const name = String(value);
    return planVoice(source, statement, name, catalog.plans.get(name) ?? null);
  }
  const colon = key.indexOf(':');
  const kind = key.slice(0, colon) as Kind;
  const written = key.slice(colon + 1);
  const { limit: name, glob } =
    kind === 'limit' ? splitLimit(written) : { limit: written, glob: kind === 'model' ? written : null };
  return { source, statement, plan: null, kind, name, glob, matches: glob === null ? NONE : matcher([glob]) };
}

function planVoice(source: Source, statement: Statement | null, name: string, plan: Plan | null): Voice {
  return { source, statement, plan, kind: null, name, glob: null, matches: NONE };
}

/** `rpm@gpt-*`: the limit and the models that it is of; `seats`: of the account as a whole. */
export function splitLimit(name: string): { limit: string; glob: string | null } {
  const at = name.indexOf('@');
  return at < 0 ? { limit: name, glob: null } : { limit: name.slice(0, at), glob: name.slice(at + 1) };
}

/** What a voice says of what is asked; `null`: nothing. */
export function saysOf(voice: Voice, question: Question): Said | null {
  return voice.kind === null ? planSays(voice, question) : statementSays(voice, question);
}

function statementSays(voice: Voice, { kind, name, model, glob: asked }: Question): Said | null {
  const { glob, statement } = voice;
  if (voice.kind !== kind || (kind !== 'model' && voice.name !== name)) return null;
  if (model === null ? glob !== asked : !voice.matches(model)) return null;
  return { by: voice, value: statement!.value, glob, says: glob === null ? 0 : specificity(glob) };
}

function planSays(voice: Voice, { kind, name, model, glob: asked }: Question): Said | null {
  const { plan } = voice;
  if (plan === null) return null;
  const said = (value: unknown, glob: string | null = null): Said => ({
    by: voice,
    value,
    glob,
    says: glob === null ? 0 : specificity(glob),
  });
  if (kind === 'model') return model !== null && plan.allowsModel(model) ? said(true) : null;
  if (kind === 'feature') return plan.features.has(name) ? said(true) : null;
  if (kind === 'config') return null;
  if (model === null) {
    const written = asked === null ? name : `${name}@${asked}`;
    return plan.limits.has(written) ? said(plan.limits.get(written), asked) : null;
  }
  let most: Said | null = null;
  for (const [written, value] of plan.limits) {
    const { limit, glob } = splitLimit(written);
    if (limit !== name || glob === null || !matcher([glob])(model)) continue;
    const one = said(value, glob);
    if (most === null || one.says > most.says) most = one;
  }
  return most;
}

/** The key that a rule is written with. */
export function keyOf(kind: Kind, name: string, glob: string | null): string {
  return kind === 'limit' && glob !== null ? `limit:${name}@${glob}` : `${kind}:${name}`;
}

/**
 * What voices speak of, each once: features, limits, configurations, and of models the rules that deny some. Those that allow
 * models are told by the models themselves.
 */
export function rulesOf(voices: readonly Voice[]): Pick<Question, 'kind' | 'name' | 'glob'>[] {
  const rules = new Map<string, Pick<Question, 'kind' | 'name' | 'glob'>>();
  const add = (kind: Kind, name: string, glob: string | null): void => {
    rules.set(keyOf(kind, name, glob), { kind, name, glob });
  };
  for (const { kind, name, glob, plan, statement } of voices) {
    if (kind === null) {
      for (const feature of plan?.features ?? []) add('feature', feature, null);
      for (const written of plan?.limits.keys() ?? []) {
        const { limit, glob: models } = splitLimit(written);
        add('limit', limit, models);
      }
    } else if (kind !== 'model' || statement?.value === false) add(kind, name, glob);
  }
  return [...rules.values()];
}
