/**
 * The shape of `catalog.yaml` and of the same entries in the database: models, operations, plans, packs. Strict: an
 * unknown key is a fault. A price unit that this release cannot meter is refused, never ignored.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { parseCredits, parseDecimal } from '../lib/money.ts';
import { ConfigError, check, type Fault, readYaml } from '../lib/settings.ts';
import { UNITS } from './units.ts';

/** Prices have up to 12 decimals and markups 6, so that their product is exact at 18. */
const PRICE_INPUT_DECIMALS = 12;
const MOST_USD = 1_000_000n * 10n ** 12n;

const whole = (least: number, most: number) =>
  z
    .union([z.string(), z.number()])
    .transform((value) => String(value))
    .refine((text) => /^\d{1,12}$/.test(text) && Number(text) >= least && Number(text) <= most, {
      message: `must be a whole number between ${least} and ${most}`,
    })
    .transform(Number);

const usd = z.string('must be a decimal number, as text or as YAML writes it').refine((text) => {
  const price = parseDecimal(text, PRICE_INPUT_DECIMALS);
  return price !== null && price >= 0n && price <= MOST_USD;
}, `must be a decimal between 0 and 1000000 with at most ${PRICE_INPUT_DECIMALS} decimals`);

const credits = z
  .string()
  .refine((text) => (parseCredits(text) ?? -1n) >= 0n, 'must be a decimal of at most 10⁹ with at most 9 decimals');

const prices = z.strictObject(Object.fromEntries(UNITS.map((unit) => [unit, usd.optional()])), {
  error: (issue) =>
    issue.code === 'unrecognized_keys'
      ? `this release cannot meter ${issue.keys?.join(', ')}: remove it, or the model would be served without its price`
      : undefined,
});

export const modelEntry = z
  .strictObject({
    routes: z.array(z.strictObject({ provider: z.string(), model: z.string().min(1) })).min(1),
    max_output_tokens: whole(1, 100_000_000).optional(),
    context_window: whole(1, 1_000_000_000).optional(),
    on_disconnect: z.enum(['abort', 'drain']).optional(),
    on_upstream_timeout: z.enum(['estimate', 'free']).optional(),
    on_orphan: z.enum(['charge_metered', 'release', 'charge_hold']).optional(),
    when_short: z.enum(['clamp', 'refuse']).optional(),
    price: prices.optional(),
    cost: prices.optional(),
  })
  .refine((model) => model.price !== undefined || model.cost !== undefined, {
    message: 'needs a price or a cost: a model without one is never served',
  });

export const planEntry = z.strictObject({
  default: z.boolean().optional(),
  models: z.array(z.string()).default([]),
  features: z.array(z.string()).default([]),
  limits: z.record(z.string(), whole(0, 1_000_000_000)).optional(),
  grace_days: whole(0, 365).optional(),
  stripe_prices: z.array(z.string()).optional(),
  included_credits: z
    .strictObject({
      credits,
      every: z.enum(['month', 'period', 'once']),
      rollover: z.enum(['none', 'all']).optional(),
    })
    .optional(),
});

const operationEntry = z.strictObject({ credits, feature: z.string().optional() });
const packEntry = z.strictObject({
  price: z.record(z.string().regex(/^[a-z]{3}$/), usd).optional(),
  stripe_price: z.string().optional(),
  credits,
  bonus_credits: credits.optional(),
  expires_days: whole(1, 36_500).optional(),
});

export const ENTRY_SCHEMAS = { model: modelEntry, operation: operationEntry, plan: planEntry, pack: packEntry };
export type EntryKind = keyof typeof ENTRY_SCHEMAS;
export type ModelEntry = z.output<typeof modelEntry>;
export type PlanEntry = z.output<typeof planEntry>;

const named = <T extends z.ZodType>(entry: T) => z.record(z.string().min(1).max(200), entry).default({});

const fileSchema = z
  .strictObject({
    models: named(modelEntry),
    operations: named(operationEntry),
    plans: named(planEntry),
    packs: named(packEntry),
  })
  .superRefine((file, context) => {
    const defaults = Object.entries(file.plans).filter(([, plan]) => plan.default === true);
    for (const [name] of defaults.slice(1)) {
      context.addIssue({
        code: 'custom',
        path: ['plans', name, 'default'],
        message: 'only one plan can be the default',
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
export function readCatalogFile(path: string, env: NodeJS.ProcessEnv): FileEntry[] {
  const faults: Fault[] = [];
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    throw new ConfigError([{ path: 'environment.TOLLGATE_CATALOG', message: `there is no file ${path}` }]);
  }
  const file = check(fileSchema, readYaml(text, 'catalog.yaml', env, faults), 'catalog.yaml', faults);
  if (file === null || faults.length > 0) throw new ConfigError(faults);
  const entries = (kind: EntryKind, named: Record<string, unknown>): FileEntry[] =>
    Object.entries(named).map(([name, body]) => ({ kind, name, body }));
  return [
    ...entries('model', file.models),
    ...entries('operation', file.operations),
    ...entries('plan', file.plans),
    ...entries('pack', file.packs),
  ];
}
