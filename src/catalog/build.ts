/** Entries as they are kept → the catalog as it is used. Pure. */
import { parseDecimal } from '../lib/money.ts';
import { type ModelEntry, modelEntry, planEntry } from './file.ts';
import { PRICE_DECIMALS, type PriceTable } from './rating.ts';
import type { Catalog, Model, Plan } from './types.ts';
import type { Unit } from './units.ts';

/** A choice of a model whose own limit nobody stated. */
const DEFAULT_MAX_OUTPUT_TOKENS = 16_384;
const MARKUP_SCALE = 1_000_000n;

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

export function buildCatalog(version: bigint, entries: readonly KeptEntry[], options: BuildOptions): Catalog {
  const models = new Map<string, Model>();
  const plans = new Map<string, Plan>();
  for (const entry of entries) {
    if (entry.kind === 'model') {
      const model = toModel(entry.name, entry.version, modelEntry.parse(entry.body), options);
      if (model.routes.length > 0) models.set(entry.name, model);
    } else if (entry.kind === 'plan') {
      const { default: isDefault, models: globs } = planEntry.parse(entry.body);
      plans.set(entry.name, { name: entry.name, isDefault: isDefault ?? false, allowsModel: matcher(globs) });
    }
  }
  const defaultPlan = [...plans.values()].find((plan) => plan.isDefault) ?? null;
  return { version, models, plans, defaultPlan };
}

function toModel(name: string, version: number, entry: ModelEntry, options: BuildOptions): Model {
  const cost = entry.cost === undefined ? null : toPrices(entry.cost, MARKUP_SCALE);
  const price = entry.price === undefined ? toPrices(entry.cost!, options.markup) : toPrices(entry.price, MARKUP_SCALE);
  return {
    name,
    routes: entry.routes.filter((route) => options.providers.has(route.provider)),
    maxOutputTokens: entry.max_output_tokens ?? DEFAULT_MAX_OUTPUT_TOKENS,
    contextWindow: entry.context_window ?? null,
    onDisconnect: entry.on_disconnect ?? (price.reasoning === undefined ? 'abort' : 'drain'),
    onUpstreamTimeout: entry.on_upstream_timeout ?? 'free',
    whenShort: entry.when_short ?? 'clamp',
    onOrphan: entry.on_orphan ?? 'charge_metered',
    price,
    cost,
    priceVersion: version,
  };
}

/** Decimal USD → atto-USD, times a markup scaled by 10⁶: exact, because prices have at most 12 decimals. */
function toPrices(prices: Record<string, string | undefined>, markup: bigint): PriceTable {
  const table: PriceTable = {};
  for (const [unit, text] of Object.entries(prices)) {
    if (text !== undefined) table[unit as Unit] = (parseDecimal(text, PRICE_DECIMALS)! * markup) / MARKUP_SCALE;
  }
  return table;
}

/** Whether a name matches one of the globs; `*` stands for any text, all else for itself. */
function matcher(globs: readonly string[]): (name: string) => boolean {
  const patterns = globs.map((glob) => new RegExp(`^${glob.split('*').map(RegExp.escape).join('.*')}$`, 's'));
  return (name) => patterns.some((pattern) => pattern.test(name));
}
