/** What the handlers of the admin API share: their parts, and the things that paths name. */
import type { LedgerDeps } from '../accounts/credits.ts';
import type { EntryKind } from '../catalog/file.ts';
import type { Catalog } from '../catalog/types.ts';
import { TollgateError } from '../errors.ts';
import { parsePublicId } from '../lib/ids.ts';
import type { PaymentDeps } from '../payments/deps.ts';

export interface AdminDeps extends LedgerDeps {
  /** `null`: the admin API is off. */
  adminKey: string | null;
  /** What a price is of its cost where the catalog states none; scaled by 10⁶. */
  markup: bigint;
  /** Null: there is no key of Stripe. */
  payments: PaymentDeps | null;
  /** The catalog as it was in force at an instant, which is text in microseconds. */
  catalogAt: (at: string) => Promise<Catalog>;
}

/** A route whose path names an account, or a request, as `:id`. */
export interface ById {
  Params: { id: string };
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Of a call of the admin API: the name of its key. */
    admin: string;
  }
}

/** Who makes a change, as its author. */
export function actorOf(request: { admin: string }): string {
  return request.admin;
}

/** The account that a path names. Throws `not_found` on what is no account's id. */
export function accountOf(request: { params: ById['Params'] }): bigint {
  const id = parsePublicId('acct', request.params.id);
  if (id === null) throw noSuch('account', request.params.id);
  return id;
}

/** The key that a path names as `:key`. Throws `not_found` on what is no key's id. */
export function keyOf(request: { params: { key: string } }): bigint {
  const key = parsePublicId('key', request.params.key);
  if (key === null) throw noSuch('key', request.params.key);
  return key;
}

/** The error for what a path names and nobody has. */
export function noSuch(
  what: EntryKind | 'account' | 'key' | 'request' | 'price' | 'entitlement' | 'event',
  name: string,
): TollgateError {
  return new TollgateError('not_found', { message: `There is no ${what} "${name}".` });
}

/** The position in a list of accounts or keys: their id. */
export function integerCursor(position: string): bigint | null {
  return /^\d{1,18}$|^[1-8]\d{18}$/.test(position) ? BigInt(position) : null;
}
