/** Prices as versions: what may be sent, what is questioned, and what a new price would have made of recent traffic. */
import type { Pool } from 'pg';
import { z } from 'zod';
import { type ModelEntry, modelEntry, priceEntry } from '../catalog/file.ts';
import { type Question, questionPrice } from '../catalog/sanity.ts';
import { type EntryChange, entryVersions, type KeptVersion } from '../catalog/store.ts';
import { TollgateError } from '../errors.ts';
import { invalidField, readInput } from '../errors-input.ts';
import { instant } from '../lib/http-json.ts';
import { whole } from '../lib/settings.ts';
import { type Preview, previewOf } from '../metering/price-preview.ts';
import { type AdminDeps, noSuch } from './shared.ts';

const MOST_DAYS = 366;
const newPrice = z.strictObject({ price: priceEntry.optional(), cost: priceEntry.optional() });
export const newVersion = newPrice.extend({ effective_at: instant.nullable().default(null) });
export const preview = newPrice.extend({ days: whole(1, MOST_DAYS).default(30) });
export const confirmation = z.strictObject({
  confirm: z.enum(['true', 'false'], 'must be true or false').default('false'),
});

/** Whether the caller says that what looks like a slip is meant: `?confirm=true`. */
export function confirmed(query: unknown): boolean {
  return readInput(confirmation, query).confirm === 'true';
}

/** A new price or cost of a model, now or at its instant: all else stays as it then is. */
export function priceChange(
  name: string,
  body: unknown,
  confirm: boolean,
): Pick<EntryChange, 'at' | 'fields' | 'make'> {
  const { effective_at: at, ...given } = readInput(newVersion, numbersAsText(body));
  const make = (base: KeptVersion | null) => {
    if (base === null) throw noSuch('model', name);
    const entry = withPrice(base.body, given);
    if (!confirm) refuseDoubts(entry, base.body);
    return entry;
  };
  return { at, fields: Object.keys(given), make };
}

function withPrice(body: object, given: z.output<typeof newPrice>): ModelEntry {
  if (given.price === undefined && given.cost === undefined) {
    throw invalidField('price', 'give a price, a cost, or both');
  }
  const { price, cost } = given;
  return {
    ...(body as ModelEntry),
    ...(price === undefined ? {} : { price }),
    ...(cost === undefined ? {} : { cost }),
  };
}

/** Throws `invalid_request` that asks about a price which is likely a slip, such as one 1,000 times what it was. */
export function refuseDoubts(entry: Pick<ModelEntry, 'price' | 'cost'>, previous: object | null): void {
  refuseQuestions(questionPrice(entry, previous).questions);
}

/** Throws `invalid_request` that asks what is to be asked; nothing: there is nothing to ask. */
export function refuseQuestions(questions: readonly Question[]): void {
  if (questions.length === 0) return;
  const asked = questions.map(({ param, message }) => `${param}: ${message}`).join('; ');
  throw new TollgateError('invalid_request', {
    param: questions[0]!.param,
    message: `Is this meant? ${asked}. Nothing was changed. If it is, send it again with ?confirm=true.`,
  });
}

/** A version as a price. */
export function presentPrice({ version, body, effectiveAt }: KeptVersion) {
  const { price = null, cost = null } = body;
  return { version, price, cost, effective_at: effectiveAt.toISOString() };
}

/** What the newest requests to a model would cost at another price. Changes nothing. */
export async function previewPrice(deps: AdminDeps, name: string, body: unknown): Promise<Preview> {
  const { days, ...given } = readInput(preview, numbersAsText(body));
  const present = await modelInForce(deps.pool, name);
  return previewOf(deps, { model: name, days, present, proposed: withPrice(present, given) });
}

/** The entry of a model that is in force. Throws `not_found`. */
export async function modelInForce(pool: Pool, name: string): Promise<ModelEntry> {
  const versions = name.includes('\0') ? [] : await entryVersions(pool, 'model', name);
  const present = versions.find(({ waits }) => !waits);
  const read = present === undefined || present.deleted ? null : modelEntry.safeParse(present.body);
  if (!read?.success) throw noSuch('model', name);
  return read.data;
}

/** Prices are text, as in the catalog's file. Whatever number `parseJson` left is exactly its text. */
export function numbersAsText(value: unknown): unknown {
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value)) return value.map(numbersAsText);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, numbersAsText(item)]));
}
