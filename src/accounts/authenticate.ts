/** A presented API key → a principal. Every failure has the same text, so that nothing is learned by guessing. */
import type { IncomingHttpHeaders } from 'node:http';
import { TollgateError } from '../errors.ts';
import { ACCOUNT_HEADER } from './account-ref.ts';
import type { Principal, Principals, Scope } from './principals.ts';

/** Who calls: Fastify's request is one. */
export interface Caller {
  readonly headers: IncomingHttpHeaders;
  /** The client's address, as far as proxies are trusted. Told when it is asked for: most keys may come from any. */
  readonly ip: string | undefined;
}

/** The key as clients send it: `Authorization: Bearer`, or the headers `api-key` and `x-api-key`. */
export function presentedKey(headers: IncomingHttpHeaders): string | null {
  const authorization = headers.authorization;
  if (authorization !== undefined) {
    return /^bearer /i.test(authorization) ? authorization.slice('bearer '.length).trim() : null;
  }
  const other = headers['api-key'] ?? headers['x-api-key'];
  return typeof other === 'string' ? other : null;
}

/** For whom a service key says to act. */
function actsFor(headers: IncomingHttpHeaders): string | undefined {
  return headers[ACCOUNT_HEADER] as string | undefined;
}

/**
 * The principal behind the key, read afresh when the cached one would be refused. Synchronous when it is cached and
 * good. Throws what `accept` throws, and for the header of a service key `invalid_request` or `not_found`.
 */
export function authenticate(caller: Caller, principals: Principals, scope: Scope): Principal | Promise<Principal> {
  const key = presentedKey(caller.headers);
  if (key === null) throw new TollgateError('invalid_api_key');
  const found = principals.find(key, actsFor(caller.headers));
  if (found instanceof Promise) return found.then((principal) => accept(principal, scope, caller));
  if (found !== null && refusal(found, scope, caller) !== null) {
    return principals.reload(found).then((fresh) => accept(fresh, scope, caller));
  }
  return accept(found, scope, caller);
}

/**
 * The principal for a call that only reads: always as the database has it now, because no hold will verify the cache. A
 * suspended account may read. One of the scopes will do. Throws as `authenticate` does.
 */
export async function authenticateReader(
  caller: Caller,
  principals: Principals,
  ...scopes: [Scope, ...Scope[]]
): Promise<Principal> {
  const key = presentedKey(caller.headers);
  const fresh = key === null ? null : await principals.findFresh(key, actsFor(caller.headers));
  if (fresh === null) throw new TollgateError('invalid_api_key');
  const scope = scopes.find((one) => fresh.scopes.includes(one)) ?? scopes[0];
  accept({ ...fresh, suspended: false }, scope, caller);
  return fresh;
}

/**
 * The principal, if it may do what needs the scope, from where it calls. Throws `invalid_api_key`, `ip_not_allowed`,
 * `account_suspended` or `scope_missing`.
 */
export function accept(principal: Principal | null, scope: Scope, caller: Caller): Principal {
  if (principal === null) throw new TollgateError('invalid_api_key');
  const error = refusal(principal, scope, caller);
  if (error !== null) throw error;
  return principal;
}

function refusal(principal: Principal, scope: Scope, caller: Caller): TollgateError | null {
  if (principal.keyEnded) return new TollgateError('invalid_api_key');
  if (principal.mayComeFrom !== null && !principal.mayComeFrom(caller.ip)) return new TollgateError('ip_not_allowed');
  if (principal.suspended) return new TollgateError('account_suspended');
  if (!principal.scopes.includes(scope)) {
    return new TollgateError('scope_missing', {
      message: `This API key lacks the scope "${scope}" that this call needs. Use a key with that scope.`,
    });
  }
  return null;
}
