/**
 * The shape of `catalog.yaml` and of the same entries in the database: models, operations, plans, packs, pass-through
 * routes. Strict: an
 * unknown key is a fault. A price unit that this release cannot meter is refused, never ignored.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { z } from 'zod';
import { type Config, catalogSource, loadConfig } from '../config.ts';
import { parseDecimal } from '../lib/money.ts';
import { ConfigError, check, type Fault, readYaml, type Variables, whole } from '../lib/settings.ts';
import { moneyByCurrency } from './currencies.ts';
import { credits, fitsReceipt, MOST_NAME_BYTES, shortName, text, usd } from './fields.ts';
import { passthroughEntry, passthroughList, named as passthroughNamed, quotedPaths } from './passthrough.ts';
import { sharedPrices } from './sold.ts';
import { isUnit, UNITS } from './units.ts';

const MOST_MULTIPLE = 1_000n * 10n ** 6n;
const multipleMessage = 'must be a decimal above 0 and up to 1000 with at most 6 decimals';
const multiple = z
  .string(multipleMessage)
  .refine((text) => {
    const scaled = parseDecimal(text, 6);
    return scaled !== null && scaled > 0n && scaled <= MOST_MULTIPLE;
  }, multipleMessage)
  .meta({ format: 'multiple', description: 'A factor as decimal text.', examples: ['0.8'] });

/** By unit. The catch-all takes the tools' names, which are not ours to list. */
const unitPrices = z.object(Object.fromEntries(UNITS.map((unit) => [unit, usd.optional()])));
/** Receipts repeat these too, so they are of characters that take one byte each as JSON; no `?`, by which receipts tell others. */
const priceKey = z
  .string()
  .regex(/^[\w .:/+-]{1,40}$/, 'must have 1 to 40 characters: letters, digits, spaces and any of _ . : / + -');
const images = z.union([usd, z.record(priceKey, z.union([usd, z.record(priceKey, usd)]))], {
  error: 'must be a price, or prices by size, or by size and quality',
});

const refuseUnknownUnits = (table: object, context: z.core.$RefinementCtx): void => {
  for (const name of Object.keys(table)) {
    if (isUnit(name) || name === 'tiers' || name === 'service_tiers' || name === 'above_input_tokens') continue;
    const message = `this release cannot meter it, so the model would be served below its price; known are ${UNITS.join(', ')} and tool:<name>`;
    context.addIssue({ code: 'custom', path: [name], message });
  }
};

/** As JSON: what a receipt in the journal has room for, beside the longest of all else (ledger/journal/record.ts). */
const MOST_PRICE_BYTES = 1_200;
/** What a markup and an override's multiple add to a price at most: six digits, a point, twelve decimals. */
const GROWTH_BYTES = 19;

function refuseLong(table: object, context: z.core.$RefinementCtx): void {
  const { service_tiers: _, ...priced } = table as { service_tiers?: unknown };
  const count = countPrices(priced);
  // All of it is ASCII: characters are bytes.
  if (JSON.stringify(table).length + count * GROWTH_BYTES <= MOST_PRICE_BYTES) return;
  const message = `is too long: each receipt repeats it, and there is no room for ${count} prices and their names; leave out units, tools, tiers, sizes or qualities`;
  context.addIssue({ code: 'custom', message });
}

function countPrices(value: unknown): number {
  if (typeof value === 'string') return 1;
  if (typeof value !== 'object' || value === null) return 0;
  return Object.values(value).reduce<number>((sum, inner) => sum + countPrices(inner), 0);
}

const tier = unitPrices
  .extend({ above_input_tokens: whole(1, 100_000_000) })
  .catchall(usd)
  .superRefine(refuseUnknownUnits);

export const priceEntry = unitPrices
  .extend({
    image: images.optional(),
    tiers: z.array(tier).max(10).optional(),
    service_tiers: z.record(priceKey, multiple).optional(),
  })
  .catchall(usd)
  .superRefine((table, context) => {
    refuseUnknownUnits(table, context);
    const names = Object.keys(table).filter((name) => name !== 'tiers' && name !== 'service_tiers');
    if (names.length === 0) context.addIssue({ code: 'custom', message: 'is empty: 0 is a price, none is not' });
    const tiers = (table.tiers ?? []) as { above_input_tokens: number }[];
    if (new Set(tiers.map((one) => one.above_input_tokens)).size < tiers.length) {
      context.addIssue({ code: 'custom', path: ['tiers'], message: 'two tiers begin at the same number of tokens' });
    }
    refuseLong(table, context);
  });

const multipleEntry = z.strictObject({ multiple });

/** A price in the place of a model's own, or a multiple of that: `{ multiple: 0.8 }`. */
export const priceOverride = z.unknown().transform((value, context) => {
  const isMultiple = typeof value === 'object' && value !== null && 'multiple' in value;
  const read = (isMultiple ? multipleEntry : priceEntry).safeParse(value);
  if (read.success) return read.data;
  for (const { path, message } of read.error.issues) context.addIssue({ code: 'custom', path, message });
  return z.NEVER;
});
const MOST_PLAN_PRICES = 200;

const route = z.strictObject({
  provider: shortName,
  model: text.refine(fitsReceipt, `must have at most ${MOST_NAME_BYTES} bytes`),
  weight: whole(1, 1_000).optional(),
  cost: priceEntry.optional(),
});

export const modelEntry = z
  .strictObject({
    routes: z.array(route).min(1, 'needs at least one route'),
    max_output_tokens: whole(1, 100_000_000).optional(),
    context_window: whole(1, 1_000_000_000).optional(),
    on_disconnect: z.enum(['abort', 'drain']).optional(),
    on_upstream_timeout: z.enum(['estimate', 'free']).optional(),
    on_orphan: z.enum(['charge_metered', 'release', 'charge_hold']).optional(),
    when_short: z.enum(['clamp', 'refuse']).optional(),
    price: priceEntry.optional(),
    cost: priceEntry.optional(),
  })
  .refine((model) => model.price !== undefined || model.cost !== undefined, {
    path: ['price'],
    message: 'needs a price or a cost: a model without one is never served',
    when: ({ value }) => typeof value === 'object' && value !== null,
  });

const MOST_PER_LIST = 500;
const names = z
  .array(shortName, 'must be a list of names')
  .max(MOST_PER_LIST, `must have at most ${MOST_PER_LIST} names`)
  .default([]);

export const planEntry = z.strictObject({
  default: z.boolean().optional(),
  /** Whether those who are not on it may hear of it. */
  public: z.boolean().optional(),
  models: names,
  features: names,
  /** By the names of models, `*` for any text: what the plan asks instead of the model's own price. */
  prices: z
    .record(text, priceOverride)
    .refine((all) => Object.keys(all).length <= MOST_PLAN_PRICES, `must have at most ${MOST_PLAN_PRICES} prices`)
    .optional(),
  /** By name: those of requests, which `name@<glob>` sets for the use of some models, and the app's own. */
  limits: z
    .record(
      z.string().regex(/^[\w.:-]{1,64}(@[^\0]{1,150})?$/s, 'must be a name such as rpm, seats, or rpm@gpt-*'),
      whole(0, 1_000_000_000),
    )
    .refine((all) => Object.keys(all).length <= MOST_PER_LIST, `must have at most ${MOST_PER_LIST} limits`)
    .optional(),
  grace_days: whole(0, 365).optional(),
  stripe_prices: names.removeDefault().optional(),
  included_credits: z
    .strictObject({
      credits,
      every: z.enum(['month', 'period', 'once']),
      rollover: z.enum(['none', 'all']).optional(),
      /** Instead of `credits`, while a subscription is on trial. */
      trial: credits.optional(),
    })
    .optional(),
});

export const operationEntry = z.strictObject({
  credits,
  feature: shortName.optional(),
});

export const packEntry = z.strictObject({
  /** By currency, what it costs. */
  price: moneyByCurrency.optional(),
  /** Whether it is listed and sold; what was sold of it before is granted in any case. */
  public: z.boolean().optional(),
  stripe_price: shortName.optional(),
  credits,
  bonus_credits: credits.optional(),
  expires_days: whole(1, 36_500).optional(),
});

export const ENTRY_SCHEMAS = {
  model: modelEntry,
  operation: operationEntry,
  plan: planEntry,
  pack: packEntry,
  passthrough: passthroughEntry,
};
export type EntryKind = keyof typeof ENTRY_SCHEMAS;
export type ModelEntry = z.output<typeof modelEntry>;
export type PlanEntry = z.output<typeof planEntry>;
export type OperationEntry = z.output<typeof operationEntry>;
export type PackEntry = z.output<typeof packEntry>;

/** The name of an entry: of a model, for one. */
export const entryName = z
  .string()
  .min(1, 'the name must not be empty')
  .refine(fitsReceipt, `the name must have at most ${MOST_NAME_BYTES} bytes`);
const named = <T extends z.ZodType>(entry: T) => z.record(entryName, entry).default({});

const fileSchema = z
  .strictObject({
    models: named(modelEntry),
    operations: named(operationEntry),
    plans: named(planEntry).superRefine((plans, context) => {
      const [first, ...others] = Object.keys(plans).filter((name) => plans[name]?.default === true);
      for (const name of others) {
        const message = `only one plan can be the default, and "${first}" is`;
        context.addIssue({ code: 'custom', path: [name, 'default'], message });
      }
    }),
    packs: named(packEntry),
    passthrough: passthroughList,
  })
  .superRefine(({ plans, packs }, context) => {
    const of = (kind: 'plan' | 'pack', named: object) =>
      Object.entries(named).map(([name, body]) => ({ kind, name, body }));
    for (const { price, path, owner } of sharedPrices([...of('plan', plans), ...of('pack', packs)])) {
      context.addIssue({
        code: 'custom',
        path,
        message: `"${price}" buys the ${owner} already: a price buys one thing`,
      });
    }
  });

/** One entry of a file, checked: its body as it is kept. */
export interface FileEntry {
  kind: EntryKind;
  name: string;
  body: unknown;
}

/** Reads and checks a catalog file. Throws `ConfigError` with every fault and its path. */
export function readCatalogFile(path: string, env: Variables): FileEntry[] {
  const faults: Fault[] = [];
  const name = basename(path);
  const yaml = readYaml(quotedPaths(readText(path)), name, env, faults);
  const file = yaml === undefined ? null : check(fileSchema, yaml, name, faults);
  if (file === null) throw new ConfigError(faults);
  const entries = (kind: EntryKind, named: Record<string, unknown>): FileEntry[] =>
    Object.entries(named).map(([name, body]) => ({ kind, name, body }));
  return [
    ...entries('model', file.models),
    ...entries('operation', file.operations),
    ...entries('plan', file.plans),
    ...entries('pack', file.packs),
    ...entries('passthrough', passthroughNamed(file.passthrough)),
  ];
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError([{ path, message: code === 'ENOENT' ? 'there is no such file' : `cannot be read: ${code}` }]);
  }
}

/** The settings and the catalog file, checked together: throws one `ConfigError` with the faults of both. */
export function loadSettings(env?: NodeJS.ProcessEnv): { config: Config; entries: FileEntry[] } {
  const faults: Fault[] = [];
  const source = catalogSource(env);
  const config = gather(() => loadConfig(env), faults);
  const entries = gather(() => readCatalogFile(source.catalogPath, source.env), faults);
  if (config === null || entries === null) throw new ConfigError(faults);
  return { config, entries };
}

function gather<T>(read: () => T, faults: Fault[]): T | null {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    faults.push(...error.faults);
    return null;
  }
}
