/** The statements that the admin API takes and shows. */
import { z } from 'zod';
import type { KeptStatement, NewStatement, Slot } from '../accounts/entitlements.ts';
import { type Asked, REQUEST_LIMITS } from '../entitlements/check.ts';
import { splitLimit } from '../entitlements/voices.ts';
import { invalidField, readInput } from '../errors-input.ts';
import { instant, isStorable, pageQuery, text } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { whole } from '../lib/settings.ts';

const KEY = /^(model|feature|limit|config):.|^plan$/s;
const MOST_KEY = 220;
const MOST_LIMIT = 999_999_999_999;
const MOST_CONFIG_BYTES = 4_096;
const GIVEN_SOURCES = ['grant', 'block', 'subscription'] as const;
const REFERRED_SOURCES = ['override', ...GIVEN_SOURCES] as const;
const MOST_PER_PAGE = 200;
const PAGE = 'must be a whole number from 1 to 200, or the name of a limit';
const AT = 'must be a time from 1970 to 9999 such as 2030-01-31T00:00:00Z';
const BOOLEAN = 'must be true or false';

const time = {
  valid_from: instant.nullable().default(null),
  valid_until: instant.nullable().default(null),
  reason: text(500),
};
const value = z.unknown();
export const override = z.strictObject({ value, ...time });
export const newStatement = z.strictObject({
  source: z.enum(GIVEN_SOURCES, `must be one of ${GIVEN_SOURCES.join(', ')}`),
  key: text(MOST_KEY),
  value,
  reference: text(255),
  ...time,
});
export const slotQuery = z
  .strictObject({
    source: z.enum(REFERRED_SOURCES, `must be one of ${REFERRED_SOURCES.join(', ')}`).default('override'),
    reference: text(255).default(''),
  })
  .refine(({ source, reference }) => (source === 'override') === (reference === ''), {
    path: ['reference'],
    message: 'names one grant, block or subscription; overrides have none',
  });
export const removal = z.strictObject({ reason: text(500).nullable().default(null) });
const name = text(255).optional();
export const entitlementsQuery = z.strictObject({
  // Of a list, how many at most; else the name of the limit that is asked about.
  limit: z.union([pageQuery.shape.limit.removeDefault(), text(255).regex(/\D/, PAGE)]).default(MOST_PER_PAGE),
  cursor: pageQuery.shape.cursor,
  // Kept as text: a `Date` would lose its microseconds, within which something may have been stated.
  at: z
    .string(AT)
    .refine((at) => instant.safeParse(at).success, AT)
    .optional(),
  model: name,
  feature: name,
  config: name,
});

/** What is asked of an account's entitlements: all of them, or one (`asked`), at an instant (`at`; `null`: now). */
export interface EntitlementsQuery {
  limit: number;
  cursor: string | undefined;
  at: string | null;
  asked: Asked | null;
}

/** Every reader throws `invalid_request` with the `param` at fault. */
export function readQuery(input: unknown): EntitlementsQuery {
  const { limit, cursor, at = null, ...names } = readInput(entitlementsQuery, input);
  const asked = { ...names, limit: typeof limit === 'string' ? limit : undefined };
  const given = Object.entries(asked).filter(([, one]) => one !== undefined);
  if (given.length > 1) throw invalidField(given[1]![0], 'ask about one thing at a time');
  return {
    limit: typeof limit === 'number' ? limit : MOST_PER_PAGE,
    cursor,
    at,
    // Whether one more would fit is the host application's to ask, which knows how many are used.
    asked: given.length === 0 ? null : { ...asked, used: 0, quantity: 1 },
  };
}

/** A statement with a reference of its own. */
export function readNewStatement(input: unknown, author: string): NewStatement {
  const { source, key, value, reference, ...rest } = readInput(newStatement, input);
  refuseKey(key);
  if (key === 'plan' && source === 'block')
    throw invalidField('key', 'a block names what it denies: a plan is no part of it');
  const given = valueOfKey(key, value);
  const denies = !key.startsWith('limit:') && given !== true;
  if (source === 'block' && (key.startsWith('config:') || given === true)) {
    throw invalidField('value', 'a block only denies: send false, or of a limit the most that is left');
  }
  if (source !== 'block' && /^(model|feature):/.test(key) && denies) {
    throw invalidField('value', `a ${source} gives: send true. An override or a block takes away`);
  }
  return { source, key, reference, value: given, ...timesOf(rest), author };
}

/** An override, whose key is in the path. */
export function readOverride(key: string, input: unknown, author: string): NewStatement {
  const { value, ...rest } = readInput(override, input);
  refuseKey(key);
  if (key === 'plan') throw invalidField('key', 'a plan is assigned with PATCH accounts/{id}, or given by a grant');
  return { source: 'override', key, reference: '', value: valueOfKey(key, value), ...timesOf(rest), author };
}

/** The slot that a path and its query name, and why it is withdrawn. */
export function readSlot(key: string, query: unknown, body: unknown): { slot: Slot; reason: string | null } {
  const { source, reference } = readInput(slotQuery, query);
  const { reason } = readInput(removal, body);
  return { slot: { source, key: text(MOST_KEY).safeParse(key).data ?? '', reference }, reason };
}

/** A statement as the admin API shows it. */
export function presentStatement(statement: KeptStatement) {
  return {
    id: publicId('ent', statement.id),
    source: statement.source,
    key: statement.key,
    reference: statement.reference === '' ? null : statement.reference,
    value: statement.value,
    valid_from: statement.from.toISOString(),
    valid_until: statement.until?.toISOString() ?? null,
    state: statement.state,
    reason: statement.reason,
    author: statement.author,
    created_at: statement.createdAt.toISOString(),
  };
}

function timesOf(given: {
  valid_from: Date | null;
  valid_until: Date | null;
  reason: string;
}): Pick<NewStatement, 'from' | 'until' | 'reason'> {
  const { valid_from: from, valid_until: until, reason } = given;
  if (from !== null && until !== null && until <= from) throw invalidField('valid_until', 'must be after valid_from');
  return { from, until, reason };
}

function refuseKey(key: string): void {
  const read = text(MOST_KEY).safeParse(key);
  if (!read.success) throw invalidField('key', read.error.issues[0]!.message);
  if (!KEY.test(key)) throw invalidField('key', 'must be model:<glob>, feature:<name>, limit:<name> or config:<name>');
  const { limit, glob } = splitLimit(key.slice('limit:'.length));
  if (!key.startsWith('limit:') || glob === null) return;
  if (glob === '' || !(REQUEST_LIMITS as readonly string[]).includes(limit)) {
    throw invalidField('key', `of models there are the limits ${REQUEST_LIMITS.join(', ')}, as in limit:rpm@gpt-*`);
  }
}

/** The value that a key takes: yes or no, how many (false: none), a plan's name, or any JSON. */
function valueOfKey(key: string, value: unknown): unknown {
  if (value === undefined || value === null) throw invalidField('value', 'is missing; DELETE takes away what was said');
  const kind = key.split(':', 1)[0];
  if (kind === 'config') {
    if (!isStorable(value)) throw invalidField('value', 'must not hold NUL or broken surrogates');
    if (Buffer.byteLength(JSON.stringify(value)) <= MOST_CONFIG_BYTES) return value;
    throw invalidField('value', `must have at most ${MOST_CONFIG_BYTES} bytes as JSON`);
  }
  const schema = { model: z.boolean(BOOLEAN), feature: z.boolean(BOOLEAN), plan: text(200) }[kind!] ?? limitValue(key);
  const read = schema.safeParse(kind === 'limit' && value === false ? 0 : value);
  if (!read.success) throw invalidField('value', read.error.issues[0]!.message);
  return read.data;
}

/** No request is for less than a token: that is a matter of the models. */
const limitValue = (key: string) => whole(/^limit:max_output_tokens(@|$)/.test(key) ? 1 : 0, MOST_LIMIT);
