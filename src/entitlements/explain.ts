/**
 * Decisions as sentences that a support person can read out, and customers may see: they name the rule and what would allow it,
 * never the words of whoever made a statement (those stand beside, as `source.reason`). Pure.
 */
import type { Catalog, Plan } from '../catalog/types.ts';
import { type ErrorCode, TollgateError } from '../errors.ts';
import type { Decision, ModelDecision } from './types.ts';
import type { Question, Said, Voice } from './voices.ts';

type Denied = Extract<ModelDecision, { allowed: false }>;

/** Of a key's own globs, as many as a sentence holds. */
const MOST_NAMED = 5;

/** Why it is decided as it is. `said`: what decided; `null`: nobody says anything, of all `voices`. */
export function sentence(question: Question, said: Said | null, voices: readonly Voice[], catalog: Catalog): string {
  if (said === null) return nothingSaid(question, voices, catalog);
  const { kind } = question;
  if (said.by.kind === null) return planSaid(question, said);
  return kind === 'model' || kind === 'feature' ? permissionSaid(question, said) : valueSaid(question, said);
}

function permissionSaid(question: Question, { by, value, glob }: Said): string {
  const thing = thingOf(question);
  const until = untilOf(by);
  const through = glob === null || glob === question.name ? '' : `, by its rule for ${quoted(glob)}`;
  switch (by.source) {
    case 'block':
      return `A block denies this account ${thing}${until}${through}.`;
    case 'override':
      return value === true
        ? `An override allows this account ${thing}${until}${through}.`
        : `An override takes ${thing} away from this account${until}${through}.`;
    case 'grant':
      return `A grant allows this account ${thing}${until}${through}.`;
    default:
      return `The ${by.source} of this account allows ${thing}${until}${through}.`;
  }
}

function valueSaid(question: Question, { by, value, glob }: Said): string {
  const who = { block: 'A block', override: 'An override', grant: 'A grant' }[by.source as string];
  const whose = who === undefined ? ' of this account' : '';
  return `${who ?? `The ${by.source}`}${whose} sets ${setting(question, value, glob)}${untilOf(by)}.`;
}

function planSaid(question: Question, { by, value, glob }: Said): string {
  const { kind } = question;
  const does = kind === 'limit' ? `sets ${setting(question, value, glob)}` : `includes ${thingOf(question)}`;
  const plan = `the plan ${quoted(by.name)}`;
  if (by.statement === null) {
    return `This account has no plan of its own, and the default plan ${quoted(by.name)} ${does}.`;
  }
  if (by.source === 'grant') return `A grant gives this account ${plan}${untilOf(by)}, which ${does}.`;
  if (by.source === 'subscription') return `This account subscribes to ${plan}${untilOf(by)}, which ${does}.`;
  return `The plan ${quoted(by.name)} of this account ${does}.`;
}

function nothingSaid(question: Question, voices: readonly Voice[], catalog: Catalog): string {
  const { kind } = question;
  const plans = voices.filter((voice) => voice.kind === null);
  const missing = plans.find(({ plan }) => plan === null);
  const verb = kind === 'model' || kind === 'feature' ? 'includes' : 'sets';
  const thing = thingOf(question);
  if (missing !== undefined) {
    return `The catalog has no plan ${quoted(missing.name)}, which this account is on, and nothing else ${verb} ${thing}.`;
  }
  const hint = hintOf(question, catalog);
  if (plans.length === 0) return `This account has no plan, and nothing granted to it ${verb} ${thing}.${hint}`;
  const [first, ...others] = plans.map((voice) => nameOf(voice));
  const named = others.length === 0 ? `Neither ${first}` : `None of ${[first, ...others].join(', ')}`;
  return `${named} nor anything else granted to this account ${verb} ${thing}.${hint}`;
}

/** The plan that would allow it, of those that the public may know of. */
function hintOf({ kind, name }: Question, catalog: Catalog): string {
  const includes = (plan: Plan): boolean =>
    kind === 'model' ? plan.allowsModel(name) : kind === 'feature' && plan.features.has(name);
  const plan = [...catalog.plans.values()].find((one) => one.isPublic && includes(one));
  return plan === undefined ? '' : ` The plan ${quoted(plan.name)} does.`;
}

function nameOf({ statement, name, source }: Voice): string {
  if (statement === null) return `the default plan ${quoted(name)}`;
  return source === 'plan'
    ? `the plan ${quoted(name)} of this account`
    : `the plan ${quoted(name)} given by a ${source}`;
}

function thingOf({ kind, name, model }: Question): string {
  if (kind === 'config') return `the configuration ${quoted(name)}`;
  if (kind === 'limit' && model !== null) return `a limit ${quoted(name)} of the model ${quoted(model)}`;
  if (kind === 'model' && name.includes('*')) return `the models ${quoted(name)}`;
  return `${kind === 'limit' ? 'a' : 'the'} ${kind} ${quoted(name)}`;
}

function setting({ kind, name }: Question, value: unknown, glob: string | null): string {
  if (kind === 'config') return `the configuration ${quoted(name)}`;
  const models = glob === null ? '' : ` of the models ${quoted(glob)}`;
  return `the limit ${quoted(name)}${models} to ${String(value)}`;
}

function untilOf({ statement }: Voice): string {
  const until = statement?.until ?? null;
  return until === null ? '' : ` until ${until.toISOString()}`;
}

const quoted = (name: string): string => JSON.stringify(name);

/** The decision on a model that the catalog does not serve. */
export function noModel(name: string): Denied {
  return {
    allowed: false,
    value: false,
    code: 'model_not_found',
    reason: `There is no model ${quoted(name)}.`,
    source: { kind: 'default', id: null, reason: null },
    validUntil: null,
  };
}

/** The decision on a model that the account may use and its key may not. `globs`: those of the key. */
export function deniedByKey(id: string, globs: readonly string[], name: string): Denied {
  const more = globs.length > MOST_NAMED ? ` and ${globs.length - MOST_NAMED} more` : '';
  const named =
    globs.length === 0 ? 'no model at all' : `only ${globs.slice(0, MOST_NAMED).map(quoted).join(', ')}${more}`;
  return {
    allowed: false,
    value: false,
    code: 'model_not_entitled',
    reason: `This account may use the model ${quoted(name)}, but this API key may use ${named}.`,
    source: { kind: 'key', id, reason: null },
    validUntil: null,
  };
}

/** The error for what a decision denies: its sentence names the rule, and the plan that would allow it. `param`: what asked for it. */
export function notEntitled(
  what: 'model' | 'feature',
  { reason }: Pick<Decision, 'reason'>,
  param: string | null = what,
): TollgateError {
  const code: ErrorCode = what === 'model' ? 'model_not_entitled' : 'feature_not_entitled';
  return new TollgateError(code, { param, message: reason });
}
