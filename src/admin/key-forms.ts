/** The bodies that the admin API takes for keys and service keys, and how it shows them. The commands take and print the same. */
import { z } from 'zod';
import { type ApiKey, DEFAULT_SCOPES, KEY_LIMITS, type KeyChange, type NewKey } from '../accounts/keys.ts';
import { SCOPES } from '../accounts/principals.ts';
import type { NewServiceKey, ServiceKey } from '../accounts/service-keys.ts';
import { invalidField, readInput } from '../errors-input.ts';
import { presentBudget } from '../ledger/present.ts';
import { instant, text } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { isNetwork } from '../lib/networks.ts';
import { whole } from '../lib/settings.ts';
import { budget, given } from './forms.ts';

/** Of globs and of ranges: each is looked at for every request. */
const MOST_TERMS = 100;
const MOST_LIMIT = 1_000_000_000;
const MOST_OVERLAP_SECONDS = 30 * 86_400;

const LIST = 'must be a list';
/** An empty list would allow nothing at all, which nobody means. */
const terms = <T extends z.ZodType<string>>(term: T) =>
  z
    .array(term, LIST)
    .min(1, 'must not be empty: leave it out, or send null, to allow all')
    .max(MOST_TERMS, `must have at most ${MOST_TERMS} items`)
    .nullable();
const limit = whole(0, MOST_LIMIT).optional();
const narrowing = {
  models: terms(text(200)),
  ip_ranges: terms(text(50).refine(isNetwork, 'must be an IP address or a CIDR such as 10.0.0.0/8')),
  limits: z
    .strictObject(
      { rpm: limit, tpm: limit, concurrency: limit, max_output_tokens: limit },
      `must be an object of ${KEY_LIMITS.join(', ')}`,
    )
    .nullable(),
  budget,
};
const scopes = z
  .array(z.enum(SCOPES, `must be one of ${SCOPES.join(', ')}`), `must be a list of ${SCOPES.join(', ')}`)
  .min(1, 'must not be empty')
  .transform((all) => [...new Set(all)])
  .default([...DEFAULT_SCOPES]);
export const newKey = z.strictObject({
  name: text(200).nullable().default(null),
  scopes,
  expires_at: instant.nullable().default(null),
  models: narrowing.models.default(null),
  ip_ranges: narrowing.ip_ranges.default(null),
  limits: narrowing.limits.default(null),
  budget: budget.default(null),
});
export const keyChange = z.strictObject(narrowing).partial();
export const newServiceKey = z.strictObject({
  name: text(200),
  scopes,
  create_accounts: z.boolean('must be true or false').default(false),
});
export const rotation = z.strictObject({ overlap_seconds: whole(0, MOST_OVERLAP_SECONDS).default(0) });

/** `now`: a key that has expired by then is refused. Throws `invalid_request` with the `param` at fault, as all of these. */
export function readNewKey(input: unknown, now: number): NewKey {
  const { expires_at: expiresAt, ip_ranges: ipRanges, ...rest } = readInput(newKey, input);
  if (expiresAt !== null && expiresAt.getTime() <= now) throw invalidField('expires_at', 'must be in the future');
  return { ...rest, limits: rest.limits === null ? null : given(rest.limits), expiresAt, ipRanges };
}

/** The fields that were given; `null` takes one away. */
export function readKeyChange(input: unknown): KeyChange {
  const { ip_ranges: ipRanges, ...rest } = readInput(keyChange, input);
  return given({ ...rest, ipRanges });
}

export function readNewServiceKey(input: unknown): NewServiceKey {
  const { create_accounts: createAccounts, ...rest } = readInput(newServiceKey, input);
  return { ...rest, createAccounts };
}

/** How many seconds the old key is good beside the new one. */
export function readOverlap(input: unknown): number {
  return readInput(rotation, input).overlap_seconds;
}

/** A key as it can always be shown. */
export function presentKey(key: ApiKey) {
  return {
    ...presentTerms(key),
    models: key.models,
    ip_ranges: key.ipRanges,
    limits: key.limits,
    budget: key.budget === null ? null : presentBudget(key.budget),
  };
}

/** A service key as it can always be shown. */
export function presentServiceKey(key: ServiceKey) {
  return { ...presentTerms(key), create_accounts: key.createAccounts };
}

function presentTerms(key: ApiKey | ServiceKey) {
  return {
    id: publicId('key', key.id),
    name: key.name,
    scopes: key.scopes,
    created_at: key.createdAt.toISOString(),
    expires_at: key.expiresAt?.toISOString() ?? null,
    revoked_at: key.revokedAt?.toISOString() ?? null,
    replaced_by: key.replacedBy === null ? null : publicId('key', key.replacedBy),
  };
}

/** A key as it is shown once: with the key itself. */
export function presentNewKey(made: ApiKey & { text: string }) {
  return withText(presentKey(made), made.text);
}

/** A service key as it is shown once: with the key itself. */
export function presentNewServiceKey(made: ServiceKey & { text: string }) {
  return withText(presentServiceKey(made), made.text);
}

function withText<T extends { id: string }>({ id, ...rest }: T, key: string) {
  return { id, key, ...rest };
}
