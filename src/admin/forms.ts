/** The bodies that the admin API takes and the objects it answers with. The commands take and print the same. */
import { z } from 'zod';
import type { Account, AccountChange, NewAccount } from '../accounts/accounts.ts';
import type { NewGrant } from '../accounts/credits.ts';
import { type ApiKey, DEFAULT_SCOPES, type NewKey } from '../accounts/keys.ts';
import { SCOPES } from '../accounts/principals.ts';
import { invalidField, readInput } from '../errors-input.ts';
import { LOT_KINDS, type LotKind } from '../ledger/outcomes.ts';
import { presentLot } from '../ledger/present.ts';
import type { Lot } from '../ledger/read.ts';
import type { Verification } from '../ledger/verify.ts';
import { credits, instant, text } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { formatCredits } from '../lib/money.ts';
import { whole } from '../lib/settings.ts';

const KINDS = Object.keys(LOT_KINDS) as [LotKind, ...LotKind[]];
const MOST_PRIORITY = 1_000_000;
const MOST_METADATA = 50;

const account = {
  external_id: text(255).nullable().optional(),
  email: z.email('must be an email address').max(320, 'must have at most 320 characters').nullable().optional(),
  plan: text(200).nullable().optional(),
  overdraft: credits(0n).optional(),
  metadata: z
    .record(
      text(40),
      z.union([text(500), z.literal('')], 'must be text of at most 500 characters'),
      'must be an object',
    )
    .refine((all) => Object.keys(all).length <= MOST_METADATA, `must have at most ${MOST_METADATA} keys`)
    .optional(),
};
const newAccount = z.strictObject({ name: text(200), ...account });
const accountChange = z.strictObject({
  name: text(200).optional(),
  ...account,
  status: z.enum(['active', 'suspended'], 'must be "active" or "suspended"').optional(),
});
const newKey = z.strictObject({
  name: text(200).nullable().default(null),
  scopes: z
    .array(z.enum(SCOPES, `must be one of ${SCOPES.join(', ')}`), `must be a list of ${SCOPES.join(', ')}`)
    .min(1, 'must not be empty')
    .default([...DEFAULT_SCOPES]),
  expires_at: instant.nullable().default(null),
});
const newGrant = z.strictObject({
  credits: credits(1n),
  kind: z.enum(KINDS, `must be one of ${KINDS.join(', ')}`),
  reference: text(255),
  priority: whole(-MOST_PRIORITY, MOST_PRIORITY).default(0),
  starts_at: instant.nullable().default(null),
  expires_at: instant.nullable().default(null),
  reason: text(500).nullable().default(null),
});

/** Every reader throws `invalid_request` with the `param` at fault. */
export function readNewAccount(input: unknown): NewAccount {
  const body = readInput(newAccount, input);
  return {
    name: body.name,
    externalId: body.external_id ?? null,
    email: body.email ?? null,
    plan: body.plan ?? null,
    overdraft: body.overdraft ?? 0n,
    metadata: body.metadata ?? {},
  };
}

/** The fields that were given; `null` takes one away. */
export function readAccountChange(input: unknown): AccountChange {
  const { external_id: externalId, ...body } = readInput(accountChange, input);
  return Object.fromEntries(Object.entries({ ...body, externalId }).filter(([, value]) => value !== undefined));
}

/** `now`: a key that has expired by then is refused. */
export function readNewKey(input: unknown, now: number): NewKey {
  const { name, scopes, expires_at: expiresAt } = readInput(newKey, input);
  if (expiresAt !== null && expiresAt.getTime() <= now) throw invalidField('expires_at', 'must be in the future');
  return { name, scopes: [...new Set(scopes)], expiresAt };
}

export function readNewGrant(input: unknown): NewGrant {
  const { credits: amount, starts_at: startsAt, expires_at: expiresAt, ...rest } = readInput(newGrant, input);
  return { amount, startsAt, expiresAt, ...rest };
}

export function presentAccount(shown: Account) {
  return {
    id: publicId('acct', shown.id),
    name: shown.name,
    external_id: shown.externalId,
    email: shown.email,
    plan: shown.plan,
    status: shown.status,
    overdraft: formatCredits(shown.overdraft),
    metadata: shown.metadata,
    created_at: shown.createdAt.toISOString(),
  };
}

/** A key as it can always be shown. */
export function presentKey(key: ApiKey) {
  return {
    id: publicId('key', key.id),
    name: key.name,
    scopes: key.scopes,
    created_at: key.createdAt.toISOString(),
    expires_at: key.expiresAt?.toISOString() ?? null,
    revoked_at: key.revokedAt?.toISOString() ?? null,
  };
}

/** A key as it is shown once: with the key itself. */
export function presentNewKey(made: { id: bigint; text: string }, key: NewKey) {
  return {
    id: publicId('key', made.id),
    key: made.text,
    name: key.name,
    scopes: key.scopes,
    expires_at: key.expiresAt?.toISOString() ?? null,
  };
}

export function presentGrant(lot: Lot) {
  return { ...presentLot(lot), reference: lot.reference, reason: lot.reason };
}

/** `expected` and `found` are in the ledger's own units: nano-credits where they are money. */
export function presentVerification({ accounts, entries, differences }: Verification) {
  return {
    ok: differences.length === 0,
    entries: Number(entries),
    accounts,
    differences: differences.map(({ account: id, ...difference }) => ({
      account_id: publicId('acct', id),
      ...difference,
    })),
  };
}
