/** A presented API key → a principal. Every failure has the same text, so that nothing is learned by guessing. */
import type { IncomingHttpHeaders } from 'node:http';
import { TollgateError } from '../errors.ts';
import type { Principal, Principals, Scope } from './principals.ts';

/** The key as clients send it: `Authorization: Bearer`, or the headers `api-key` and `x-api-key`. */
export function presentedKey(headers: IncomingHttpHeaders): string | null {
  const authorization = headers.authorization;
  if (authorization !== undefined) {
    return /^bearer /i.test(authorization) ? authorization.slice('bearer '.length).trim() : null;
  }
  const other = headers['api-key'] ?? headers['x-api-key'];
  return typeof other === 'string' ? other : null;
}

/**
 * The principal behind the key, read afresh when the cached one would be refused. Synchronous when it is cached and
 * good. Throws `invalid_api_key`, `account_suspended` or `scope_missing`.
 */
export function authenticate(
  headers: IncomingHttpHeaders,
  principals: Principals,
  scope: Scope,
): Principal | Promise<Principal> {
  const key = presentedKey(headers);
  if (key === null) throw new TollgateError('invalid_api_key');
  const found = principals.find(key);
  if (found instanceof Promise) return found.then((principal) => accept(principal, scope));
  if (found !== null && refusal(found, scope) !== null) {
    return principals.reload(found).then((fresh) => accept(fresh, scope));
  }
  return accept(found, scope);
}

/**
 * The principal for a call that only reads: always as the database has it now, because no hold will verify the cache. A
 * suspended account may read. One of the scopes will do. Throws `invalid_api_key` or `scope_missing`.
 */
export async function authenticateReader(
  headers: IncomingHttpHeaders,
  principals: Principals,
  ...scopes: [Scope, ...Scope[]]
): Promise<Principal> {
  const key = presentedKey(headers);
  const found = key === null ? null : await principals.find(key);
  const fresh = found === null ? null : await principals.reload(found);
  const scope = scopes.find((one) => fresh?.scopes.includes(one)) ?? scopes[0];
  return accept(fresh === null ? null : { ...fresh, suspended: false }, scope);
}

function refusal(principal: Principal, scope: Scope): TollgateError | null {
  if (principal.keyEnded) return new TollgateError('invalid_api_key');
  if (principal.suspended) return new TollgateError('account_suspended');
  if (!principal.scopes.includes(scope)) {
    return new TollgateError('scope_missing', {
      message: `This API key lacks the scope "${scope}" that this call needs. Use a key with that scope.`,
    });
  }
  return null;
}

function accept(principal: Principal | null, scope: Scope): Principal {
  if (principal === null) throw new TollgateError('invalid_api_key');
  const error = refusal(principal, scope);
  if (error !== null) throw error;
  return principal;
}
