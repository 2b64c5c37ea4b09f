/** A planned import of prices as text: what cannot be imported first, then what would change, and at the end what that means. */
import type { CurrentModel, ImportOptions, ImportPlan, PlannedModel } from '../catalog/import.ts';
import { formatDecimal } from '../lib/money.ts';

export interface PlanContext extends ImportOptions {
  current: readonly CurrentModel[];
  /** Scaled by 10⁶. */
  markup: bigint;
  force: boolean;
}

/** The plan, line by line. */
export function describePlan(plan: ImportPlan, context: PlanContext): string {
  const { planned, unchanged, refused, kept } = plan;
  if (planned.length + unchanged.length + refused.length === 0) return nothingFound(context);
  const added = planned.filter(({ isNew }) => isNew).length;
  return [
    ...describeRefused(refused),
    ...kept.map(({ model, params }) => `kept: ${model}: the table does not speak of ${params.join(', ')}`),
    ...planned.flatMap((model) => describeModel(model, context.force)),
    `${planned.length - added} to change, ${added} new, ${unchanged.length} unchanged`,
    ...whatCustomersPay(planned, context.markup),
  ].join('\n');
}

/** Tables say the same of many models: the reason once, with those it holds for. */
function describeRefused(refused: ImportPlan['refused']): string[] {
  const models = new Map<string, string[]>();
  for (const { model, field, why } of refused) {
    const reason = `${field}: ${why}`;
    models.set(reason, [...(models.get(reason) ?? []), model]);
  }
  return [...models].map(([reason, of]) => `not importable: ${of.join(', ')}: ${reason}`);
}

function describeModel({ model, isNew, changes, questions, warnings }: PlannedModel, force: boolean): string[] {
  const asked =
    questions.length === 0 ? '' : force ? ', QUESTIONED, forced' : ', QUESTIONED, left as it is (--force applies it)';
  return [
    `${isNew ? 'new' : 'changed'}: ${model}${asked}`,
    ...changes.map(({ param, from, to }) => `  ${param}: ${from ?? '(none)'} → ${to}`),
    ...questions.map(({ param, message }) => `  is this meant? ${param}: ${message}`),
    ...warnings.map(({ param, message }) => `  warning: ${param}: ${message}`),
  ];
}

/** Costs change, and so does what customers pay for a model that has no price of its own. */
function whatCustomersPay(planned: readonly PlannedModel[], markup: bigint): string[] {
  const following = planned.filter(({ entry }) => entry.price === undefined).length;
  if (following === 0) return [];
  const times = formatDecimal(markup, 6);
  return [`Customers follow: ${following} of them have no price of their own, and are sold at cost × ${times}.`];
}

function nothingFound({ models, providers, current }: PlanContext): string {
  const names = [...providers].map(([ours, theirs]) => (ours === theirs ? ours : `${ours}=${theirs}`)).join(', ');
  if (models !== null) return `Neither the catalog nor the table has a model ${models.join(', ')} of ${names}.`;
  if (current.every(({ deleted }) => deleted)) {
    return 'The catalog has no models: "npx tollgate catalog apply config/catalog.yaml" brings those of the file, and --models makes rows of the table new ones.';
  }
  return `No model of the catalog is of ${names}.`;
}
