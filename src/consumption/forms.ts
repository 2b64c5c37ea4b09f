/** The bodies that the consumption API takes. Every reader throws `invalid_request` with the `param` at fault. */
import { z } from 'zod';
import { invalidField, readInput } from '../errors-input.ts';
import type { Fields } from '../ledger/named-operations.ts';
import { credits, text } from '../lib/http-json.ts';
import { formatCredits, parseDecimal } from '../lib/money.ts';
import { whole } from '../lib/settings.ts';
import type { NamedUsage } from '../metering/usage-names.ts';

const MOST_NAME_CHARS = 255;
const MOST_QUANTITY = 1_000_000;
/** Of a unit: times the 10⁶ that seconds are counted by, it is still exact as a number. */
const MOST_UNITS = 1_000_000_000;
const MOST_UNIT_NAMES = 50;
const MOST_SECONDS = 86_400;

const UNITS = `must be a number from 0 to ${MOST_UNITS}, with at most 6 decimals`;
const units = z
  .union([z.string(), z.number()], UNITS)
  .refine((value) => {
    const micro = parseDecimal(String(value), 6);
    return micro !== null && micro >= 0n && micro <= BigInt(MOST_UNITS) * 1_000_000n;
  }, UNITS)
  .transform(Number);

export const usage = z.strictObject({
  usage_id: text(MOST_NAME_CHARS),
  operation: text(MOST_NAME_CHARS).optional(),
  quantity: whole(1, MOST_QUANTITY).optional(),
  credits: credits(1n).optional(),
  model: text(MOST_NAME_CHARS).optional(),
  usage: z
    .record(z.string(), units, 'must be an object such as {"input_tokens":1000,"output_tokens":50}')
    // What is 0 is said so: nothing at all is likelier a mistake, and would use the id up.
    .refine((all) => Object.keys(all).length > 0, 'must say what was used, such as {"input_tokens":1000}')
    .refine((all) => Object.keys(all).length <= MOST_UNIT_NAMES, `must have at most ${MOST_UNIT_NAMES} fields`)
    .optional(),
  already_done: z.boolean('must be true or false').default(false),
});

/** What was consumed, in one of three forms. */
export type Consumed =
  | { kind: 'operation'; operation: string; quantity: number }
  | { kind: 'credits'; credits: bigint }
  | { kind: 'model'; model: string; usage: NamedUsage };

export interface UsageReport {
  name: string;
  consumed: Consumed;
  alreadyDone: boolean;
}

export function readUsageReport(input: unknown): UsageReport {
  const { usage_id: name, already_done: alreadyDone, ...rest } = readInput(usage, input);
  return { name, consumed: consumedOf(rest), alreadyDone };
}

function consumedOf(given: Omit<z.output<typeof usage>, 'usage_id' | 'already_done'>): Consumed {
  const { operation, quantity, credits: amount, model, usage: used } = given;
  const [form, ...others] = (['operation', 'credits', 'model'] as const).filter((one) => given[one] !== undefined);
  if (form === undefined || others.length > 0) {
    throw invalidField(others[0] ?? 'operation', 'send exactly one of operation, credits and model');
  }
  if (quantity !== undefined && form !== 'operation') throw invalidField('quantity', 'belongs to an operation');
  if ((used !== undefined) !== (form === 'model')) throw invalidField('usage', 'belongs to a model, which needs it');
  if (operation !== undefined) return { kind: 'operation', operation, quantity: quantity ?? 1 };
  if (amount !== undefined) return { kind: 'credits', credits: amount };
  return { kind: 'model', model: model!, usage: used! };
}

/** What tells a report from another of the same name. How a shortage is taken is no part of what was used. */
export function fieldsOf(consumed: Consumed): Fields {
  switch (consumed.kind) {
    case 'operation':
      return { operation: consumed.operation, quantity: consumed.quantity };
    case 'credits':
      return { credits: formatCredits(consumed.credits) };
    case 'model': {
      const used = Object.entries(consumed.usage).filter(([, quantity]) => quantity > 0);
      return { model: consumed.model, usage: Object.fromEntries(used) };
    }
  }
}

/** Paths drop these, so that a hold of this name could not be reached. */
const NO_PATHS = ['.', '..'];
export const newHold = z.strictObject({
  id: text(MOST_NAME_CHARS).refine((id) => !NO_PATHS.includes(id), 'must not be "." or ".."'),
  credits: credits(1n),
  ttl_seconds: whole(1, MOST_SECONDS),
});
export const settlement = z.strictObject({ credits: credits(0n) });
export const enlargement = z.strictObject({ credits: credits(1n) });
export const nothing = z.strictObject({});

export interface NewHold {
  name: string;
  /** Nano-credits. */
  amount: bigint;
  ttlSeconds: number;
}

export function readNewHold(input: unknown): NewHold {
  const { id: name, credits: amount, ttl_seconds: ttlSeconds } = readInput(newHold, input);
  return { name, amount, ttlSeconds };
}

/** Nano-credits. */
export function readSettlement(input: unknown): bigint {
  return readInput(settlement, input).credits;
}

/** Nano-credits. */
export function readEnlargement(input: unknown): bigint {
  return readInput(enlargement, input).credits;
}

export function readNothing(input: unknown): void {
  readInput(nothing, input);
}

/** The name of a repeatable call from its `Idempotency-Key`; `null`: it has none. */
export function readIdempotencyKey(header: string | string[] | undefined): string | null {
  if (header === undefined) return null;
  if (typeof header === 'string' && header.length >= 1 && header.length <= MOST_NAME_CHARS) return header;
  throw invalidField('Idempotency-Key', `the header must have 1 to ${MOST_NAME_CHARS} characters, or be left out`);
}
