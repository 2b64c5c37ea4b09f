/** Entries as they are kept → the catalog as it is used. Pure. */
import { parseCredits } from '../lib/money.ts';
import { ENTRY_SCHEMAS, type ModelEntry, type PlanEntry } from './file.ts';
import { matcher, specificity } from './glob.ts';
import { toOverride, type WrittenOverride } from './override.ts';
import { type Price, readPrice, type WrittenPrice } from './price.ts';
import type { Catalog, Model, Operation, Override, Plan } from './types.ts';

/** Of a choice, where the model's entry states no limit. */
const DEFAULT_MAX_OUTPUT_TOKENS = 16_384;

export interface KeptEntry {
  kind: string;
  name: string;
  version: number;
  body: unknown;
}

export interface BuildOptions {
  /** The names of the providers that are on: a model none of whose routes has one is left out. */
  providers: ReadonlySet<string>;
  /** Scaled by 10⁶. */
  markup: bigint;
}

/**
 * `entries` stand in the order in which they were written: of several default plans the last one is the default, as
 * when a new file names another and the old entry is still there. An entry that this release cannot read, since a newer
 * one wrote it, is left out: denied, not misunderstood.
 */
export function buildCatalog(version: bigint, entries: readonly KeptEntry[], options: BuildOptions): Catalog {
  const models: Model[] = [];
  const plans = new Map<string, Plan>();
  let defaultPlan: Plan | null = null;
  const operations = new Map<string, Operation>();
  const leftOut = new Map<string, string>();
  for (const { kind, name, version, body } of entries) {
    if (kind !== 'model' && kind !== 'plan' && kind !== 'operation') continue;
    const read = ENTRY_SCHEMAS[kind].safeParse(body);
    if (!read.success) {
      leftOut.set(`${kind} ${name}`, `this release cannot read its version ${version}`);
    } else if ('routes' in read.data) {
      const model = toModel(name, version, read.data, options);
      if (model.routes.length > 0) models.push(model);
      else leftOut.set(`model ${name}`, `none of its providers is on: ${providersOf(read.data)}`);
    } else if ('credits' in read.data) {
      const { credits, feature = null } = read.data;
      operations.set(name, { name, version, credits: parseCredits(credits)!, feature });
    } else {
      const plan = toPlan(name, version, read.data);
      plans.set(name, plan);
      if (read.data.default) defaultPlan = plan;
    }
  }
  models.sort((a, b) => (a.name < b.name ? -1 : 1));
  const byName = new Map(models.map((model) => [model.name, model]));
  return { version, models: byName, operations, plans, defaultPlan, leftOut };
}

function providersOf(entry: ModelEntry): string {
  return [...new Set(entry.routes.map(({ provider }) => provider))].join(', ');
}

/** What the customer pays: the entry's price, else its cost times the markup, which is scaled by 10⁶. */
export function priceOf({ price, cost }: ModelEntry, markup: bigint): Price {
  return price === undefined ? readPrice(cost as WrittenPrice, markup) : readPrice(price as WrittenPrice);
}

function toModel(name: string, version: number, entry: ModelEntry, options: BuildOptions): Model {
  const cost = entry.cost === undefined ? null : readPrice(entry.cost as WrittenPrice);
  const price = priceOf(entry, options.markup);
  return {
    name,
    routes: entry.routes
      .filter(({ provider }) => options.providers.has(provider))
      .map(({ provider, model }) => ({ provider, model })),
    maxOutputTokens: entry.max_output_tokens ?? DEFAULT_MAX_OUTPUT_TOKENS,
    statesMaxOutput: entry.max_output_tokens !== undefined,
    contextWindow: entry.context_window ?? null,
    // What a model thinks is billed, and not seen before the end: one that has a price for it is read to the end.
    onDisconnect: entry.on_disconnect ?? (price.units.reasoning === undefined ? 'abort' : 'drain'),
    onUpstreamTimeout: entry.on_upstream_timeout ?? 'free',
    whenShort: entry.when_short ?? 'clamp',
    onOrphan: entry.on_orphan ?? 'charge_metered',
    reasons: price.units.reasoning !== undefined,
    price,
    priceSource: null,
    cost,
    priceVersion: version,
  };
}

function toPlan(
  name: string,
  version: number,
  { models, features, limits = {}, prices = {}, public: isPublic = true }: PlanEntry,
): Plan {
  const source = { kind: 'plan' as const, plan: name, version };
  // The name itself first, then the glob that says the most.
  const overrides = Object.entries(prices)
    .map(([glob, written]) => ({
      glob,
      matches: matcher([glob]),
      override: toOverride(written as WrittenOverride, source),
    }))
    .sort((a, b) => specificity(b.glob) - specificity(a.glob) || (a.glob < b.glob ? -1 : 1));
  const found = new Map<string, Override | null>();
  return {
    name,
    version,
    isPublic,
    allowsModel: matcher(models),
    features: new Set(features),
    limits: new Map(Object.entries(limits)),
    // Asked of models of the catalog alone, so that what is kept of the answers is bounded.
    overrideOf: (model) => {
      let override = found.get(model);
      if (override === undefined) {
        override = overrides.find(({ matches }) => matches(model))?.override ?? null;
        found.set(model, override);
      }
      return override;
    },
  };
}
