/** Entries as they are kept → the catalog as it is used. Pure. */
import type { z } from 'zod';
import { parseCredits } from '../lib/money.ts';
import { minorUnits } from './currencies.ts';
import {
  ENTRY_SCHEMAS,
  type EntryKind,
  type ModelEntry,
  type OperationEntry,
  type PackEntry,
  type PlanEntry,
} from './file.ts';
import { matcher, specificity } from './glob.ts';
import { toOverride, type WrittenOverride } from './override.ts';
import { passthroughName, passthroughTable, toPassthrough } from './passthrough.ts';
import { type Price, readPrice, type WrittenPrice } from './price.ts';
import { sharedPrices, soldBy } from './sold.ts';
import type { Catalog, Model, Operation, Override, Pack, Passthrough, Plan } from './types.ts';

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
  const packs = new Map<string, Pack>();
  const passthrough = new Map<string, Passthrough>();
  const leftOut = new Map<string, string>();
  /** The body of an entry, by the schema of its kind. */
  const read = <K extends EntryKind>(kind: K, { name, version, body }: KeptEntry) => {
    const result = ENTRY_SCHEMAS[kind].safeParse(body);
    if (!result.success) leftOut.set(`${kind} ${name}`, `this release cannot read its version ${version}`);
    return (result.data ?? null) as z.output<(typeof ENTRY_SCHEMAS)[K]> | null;
  };
  const add: Record<EntryKind, (entry: KeptEntry) => void> = {
    model: (entry) => {
      const body = read('model', entry);
      if (body === null) return;
      const model = toModel(entry.name, entry.version, body, options);
      if (model.routes.length > 0) models.push(model);
      else leftOut.set(`model ${entry.name}`, `none of its providers is on: ${providersOf(body)}`);
    },
    operation: (entry) => {
      const body = read('operation', entry);
      if (body !== null) operations.set(entry.name, toOperation(entry, body));
    },
    plan: (entry) => {
      const body = read('plan', entry);
      if (body === null) return;
      const plan = toPlan(entry.name, entry.version, body);
      plans.set(entry.name, plan);
      if (body.default) defaultPlan = plan;
    },
    pack: (entry) => {
      const body = read('pack', entry);
      if (body !== null) packs.set(entry.name, toPack(entry, body));
    },
    passthrough: (entry) => {
      const body = passthroughName.safeParse(entry.name).success ? read('passthrough', entry) : null;
      if (body === null) leftOut.set(`passthrough ${entry.name}`, 'this release serves no such route');
      else if (!options.providers.has(body.provider)) {
        leftOut.set(`passthrough ${entry.name}`, `its provider is not on: ${body.provider}`);
      } else passthrough.set(entry.name, toPassthrough(entry.name, entry.version, body));
    },
  };
  for (const entry of entries) add[entry.kind as EntryKind]?.(entry);
  models.sort((a, b) => (a.name < b.name ? -1 : 1));
  const byName = new Map(models.map((model) => [model.name, model]));
  const sellers = entries.filter(
    ({ kind, name }) => (kind === 'plan' && plans.has(name)) || (kind === 'pack' && packs.has(name)),
  );
  for (const { price, entry, owner } of sharedPrices(sellers)) {
    leftOut.set(`${price} of the ${entry}`, `it buys the ${owner}: a price buys one thing, and the first stands`);
  }
  const sold = soldBy(sellers, plans, packs);
  const { find: passthroughAt, shadowed } = passthroughTable(passthrough.values());
  for (const { name } of shadowed) leftOut.set(`passthrough ${name}`, 'another route takes the same paths');
  const entriesByName = { models: byName, operations, plans, packs, passthrough };
  return { version, ...entriesByName, passthroughAt, sold, defaultPlan, leftOut };
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

function toOperation({ name, version }: KeptEntry, { credits, feature }: OperationEntry): Operation {
  return { name, version, credits: parseCredits(credits)!, feature: feature ?? null };
}

function toPack({ name, version }: KeptEntry, entry: PackEntry): Pack {
  return {
    name,
    version,
    isPublic: entry.public ?? true,
    price: entry.price ?? null,
    amounts: amountsOf(entry.price ?? {}),
    stripePrice: entry.stripe_price ?? null,
    credits: parseCredits(entry.credits)!,
    bonusCredits: parseCredits(entry.bonus_credits ?? '0')!,
    expiresDays: entry.expires_days ?? null,
  };
}

/** In minor units: US dollars first, then as they are written. */
function amountsOf(price: Readonly<Record<string, string>>): ReadonlyMap<string, bigint> {
  const amounts = Object.entries(price).map(
    ([currency, decimal]) => [currency, minorUnits(currency, decimal)!] as const,
  );
  return new Map(amounts.sort(([a], [b]) => Number(b === 'usd') - Number(a === 'usd')));
}

function toPlan(
  name: string,
  version: number,
  {
    models,
    features,
    limits = {},
    prices = {},
    public: isPublic = true,
    included_credits: included,
    stripe_prices: stripePrices = [],
    grace_days: graceDays = 0,
  }: PlanEntry,
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
    models,
    allowsModel: matcher(models),
    features: new Set(features),
    limits: new Map(Object.entries(limits)),
    stripePrices,
    graceDays,
    included:
      included === undefined
        ? null
        : {
            credits: parseCredits(included.credits)!,
            every: included.every,
            rollover: included.rollover ?? 'none',
            trial: parseCredits(included.trial ?? '0')!,
          },
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
