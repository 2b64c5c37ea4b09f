/**
 * `prices import`: what LiteLLM's price table would change in the catalog. Pure: a plan is made here, shown, and applied by
 * `putEntries`. A row is the provider's price, so it becomes the model's `cost`, or that of a route; what the customer pays
 * (`price`) is never touched, and what the row does not speak of stays.
 */
import { isObject, type Json } from '../lib/json.ts';
import { parseDecimal } from '../lib/money.ts';
import { entryName, type ModelEntry, modelEntry } from './file.ts';
import { matcher } from './glob.ts';
import { type Refused, readRow } from './import-row.ts';
import { PRICE_DECIMALS, type WrittenPrice } from './price.ts';
import { type Doubts, questionPrice } from './sanity.ts';

/** A model as the catalog has it. */
export interface CurrentModel {
  name: string;
  /** Of its newest version. */
  version: number;
  deleted: boolean;
  /** `null`: deleted, or not to be read by this release, and then left alone. */
  entry: ModelEntry | null;
}

export interface ImportOptions {
  /** The catalog's names of providers → the table's. Only these are looked at. */
  providers: ReadonlyMap<string, string>;
  /** Only models that match one of these globs, and rows of the table that do, as new models; `null`: all of the catalog. */
  models: readonly string[] | null;
}

/** One price that changes; `from` is `null` where there was none. */
export interface Change {
  param: string;
  from: string | null;
  to: string;
}

export interface PlannedModel extends Doubts {
  model: string;
  isNew: boolean;
  /** The version that the plan was made from. */
  version: number;
  entry: ModelEntry;
  changes: Change[];
}

export interface ImportPlan {
  planned: PlannedModel[];
  unchanged: string[];
  /** What of the table is not imported: whole models, or single fields. */
  refused: (Refused & { model: string })[];
  /** Prices of models that change, of which the table does not speak: they stay. */
  kept: { model: string; params: string[] }[];
}

/** Plans an import of the table, parsed by `parseJson`: its numbers are their text. Throws `Error` when it is no such table. */
export function planImport(table: unknown, current: readonly CurrentModel[], options: ImportOptions): ImportPlan {
  const rows = rowsOf(table);
  const plan: ImportPlan = { planned: [], unchanged: [], refused: [], kept: [] };
  const wanted = options.models === null ? null : matcher(options.models);
  for (const model of current) {
    if (model.entry !== null && (wanted === null || wanted(model.name)))
      planModel(rows, model, model.entry, options, plan);
  }
  if (wanted !== null) planNewModels(rows, current, wanted, options, plan);
  return plan;
}

interface Rows {
  /** By their keys. */
  byKey: ReadonlyMap<string, Json>;
  /** Models whose pictures have rows by size and quality: "<quality>/<width>-x-<height>/<model>". */
  sized: ReadonlySet<string>;
}

const SIZED = /^(?:[a-z]+\/)*\d+-x-\d+\/(.+)$/;
const SAMPLE = 'sample_spec';

function rowsOf(table: unknown): Rows {
  const rows = isObject(table) ? Object.entries(table).filter(([key, row]) => key !== SAMPLE && isObject(row)) : [];
  const priced = rows.some(([, row]) => typeof (row as Json).litellm_provider === 'string');
  if (!priced) throw new Error('It is not the price table of LiteLLM: no model in it names its litellm_provider.');
  const sizes = rows.flatMap(([key]) => SIZED.exec(key)?.[1] ?? []);
  return { byKey: new Map(rows as [string, Json][]), sized: new Set(sizes) };
}

/** The row of a provider's model, by the table's name of the provider. */
function rowOf({ byKey }: Rows, provider: string, model: string): Json | null {
  const row = [`${provider}/${model}`, model]
    .map((key) => byKey.get(key))
    .find((one) => one?.litellm_provider === provider);
  return row ?? null;
}

/** Plans one model that the catalog has: its first route's row is its cost, those of others theirs where they differ. */
function planModel(
  rows: Rows,
  { name, version }: CurrentModel,
  entry: ModelEntry,
  options: ImportOptions,
  plan: ImportPlan,
): void {
  const changed = structuredClone(entry);
  const changes: Change[] = [];
  let known = false;
  for (const [i, route] of entry.routes.entries()) {
    const provider = options.providers.get(route.provider);
    if (provider === undefined) continue;
    const row = rowOf(rows, provider, route.model);
    const read = row === null ? null : readRow(row, { sized: rows.sized.has(route.model) });
    plan.refused.push(...(read?.refused ?? [notThere(provider, route.model)]).map((one) => ({ model: name, ...one })));
    if (!read?.price) continue;
    known = true;
    if (i === 0) {
      const kept = overlay(changed, 'cost', read.price, 'cost', changes);
      if (kept.length > 0 && changes.length > 0) plan.kept.push({ model: name, params: kept });
    } else if (route.cost !== undefined || !saysTheSame(read.price, changed.cost as WrittenPrice | undefined)) {
      overlay(changed.routes[i]!, 'cost', read.price, `routes.${i}.cost`, changes);
    }
  }
  if (changes.length > 0) finish({ model: name, isNew: false, version, changes, entry: changed }, entry, plan);
  else if (known) plan.unchanged.push(name);
}

const notThere = (provider: string, model: string): Refused => ({
  field: `${provider}/${model}`,
  why: 'the table has no such model of this provider',
});

/** Plans the rows that match, of the providers looked at, which no route of the catalog leads to yet. */
function planNewModels(
  rows: Rows,
  current: readonly CurrentModel[],
  wanted: (name: string) => boolean,
  options: ImportOptions,
  plan: ImportPlan,
): void {
  const names = new Map([...options.providers].map(([ours, theirs]) => [theirs, ours]));
  const served = new Set(
    current.flatMap(({ entry }) => entry?.routes.map((one) => `${one.provider} ${one.model}`) ?? []),
  );
  const versions = new Map(current.map(({ name, version }) => [name, version]));
  const taken = new Set(current.flatMap(({ name, deleted }) => (deleted ? [] : [name])));
  for (const [key, row] of rows.byKey) {
    const provider = names.get(String(row.litellm_provider));
    if (provider === undefined || !wanted(key) || SIZED.test(key) || taken.has(key)) continue;
    const prefix = `${row.litellm_provider}/`;
    const model = key.startsWith(prefix) ? key.slice(prefix.length) : key;
    if (served.has(`${provider} ${model}`)) continue;
    // The table names some models twice, with the provider and without.
    if (key === model && rows.byKey.get(prefix + model)?.litellm_provider === row.litellm_provider) continue;
    const { price, refused } = readRow(row, { sized: rows.sized.has(model) });
    plan.refused.push(...refused.map((one) => ({ model: key, ...one })));
    if (price === null) continue;
    const entry = newEntry(row, provider, model);
    const changes: Change[] = [];
    overlay(entry, 'cost', price, 'cost', changes);
    finish(
      { model: key, isNew: true, version: versions.get(key) ?? 0, changes, entry: entry as ModelEntry },
      null,
      plan,
    );
  }
}

/** The table says how long a prompt and an answer may be; the sum of both is a window that is never too small. */
function newEntry(row: Json, provider: string, model: string): Omit<ModelEntry, 'cost'> & { cost?: WrittenPrice } {
  const tokens = (field: string): number => {
    const count = Number(row[field]);
    return Number.isSafeInteger(count) && count > 0 ? count : 0;
  };
  const [input, output] = [tokens('max_input_tokens'), tokens('max_output_tokens')];
  return {
    routes: [{ provider, model }],
    ...(output > 0 ? { max_output_tokens: output } : {}),
    ...(input > 0 ? { context_window: input + output } : {}),
    ...(row.supports_reasoning === true ? { on_disconnect: 'drain' as const } : {}),
  };
}

type Unfinished = Omit<PlannedModel, keyof Doubts>;

/** Takes a model into the plan, unless the catalog could not keep it. */
function finish(planned: Unfinished, previous: ModelEntry | null, plan: ImportPlan): void {
  const named = entryName.safeParse(planned.model);
  const checked = modelEntry.safeParse(planned.entry);
  if (named.success && checked.success) {
    plan.planned.push({ ...planned, entry: checked.data, ...questionPrice(checked.data, previous) });
    return;
  }
  const [issue] = (named.error ?? checked.error)!.issues;
  plan.refused.push({ model: planned.model, field: issue!.path.join('.') || 'the name', why: issue!.message });
}

interface Leaf {
  path: readonly string[];
  text: string;
}

/** The prices of a table, each with its path; a tier's is by its tokens, so that tiers compare wherever they stand. */
function leavesOf(price: WrittenPrice | undefined): Map<string, Leaf> {
  const leaves = new Map<string, Leaf>();
  const visit = (value: unknown, path: readonly string[]): void => {
    if (typeof value === 'string') leaves.set(path.join('.'), { path, text: value });
    else if (isObject(value)) for (const [key, inner] of Object.entries(value)) visit(inner, [...path, key]);
  };
  const { tiers = [], ...rest } = price ?? {};
  visit(rest, []);
  for (const { above_input_tokens: above, ...units } of tiers) visit(units, ['tiers', String(above)]);
  return leaves;
}

const same = (a: string, b: string): boolean => parseDecimal(a, PRICE_DECIMALS) === parseDecimal(b, PRICE_DECIMALS);

/** Whether all that a row says stands in a price already. */
function saysTheSame(row: WrittenPrice, price: WrittenPrice | undefined): boolean {
  const known = leavesOf(price);
  return [...leavesOf(row)].every(([key, { text }]) => {
    const from = known.get(key);
    return from !== undefined && same(from.text, text);
  });
}

/** Lays a row's prices over those that `holder` has, and adds what changes. Returns what the row does not speak of. */
function overlay<K extends string>(
  holder: { [key in K]?: unknown },
  key: K,
  row: WrittenPrice,
  param: string,
  changes: Change[],
): string[] {
  const price = (holder[key] ?? {}) as WrittenPrice;
  const [known, said] = [leavesOf(price), leavesOf(row)];
  for (const [name, { path, text }] of said) {
    const from = known.get(name)?.text ?? null;
    if (from !== null && same(from, text)) continue;
    // Prices by size and quality say more than one price for all.
    if (name === 'image' && typeof price.image === 'object') continue;
    set(price, path, text);
    changes.push({ param: `${param}.${name}`, from, to: text });
  }
  holder[key] = price;
  return [...known.keys()].filter((name) => !said.has(name)).map((name) => `${param}.${name}`);
}

function set(price: WrittenPrice, path: readonly string[], text: string): void {
  const [first, second, third] = path;
  if (first === 'tiers') {
    const above = Number(second);
    const tiers = [...(price.tiers ?? [])];
    const at = tiers.findIndex((tier) => tier.above_input_tokens === above);
    const tier = { above_input_tokens: above, ...tiers[at], [third!]: text };
    price.tiers = (at < 0 ? [...tiers, tier] : tiers.with(at, tier)).sort(
      (a, b) => a.above_input_tokens - b.above_input_tokens,
    );
  } else if (first === 'service_tiers') {
    price.service_tiers = { ...price.service_tiers, [second!]: text };
  } else {
    Object.assign(price, { [first!]: text });
  }
}
