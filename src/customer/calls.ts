/** What the calls of the customer API have in common: who may make them, and how they are registered. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { authenticate, authenticateReader } from '../accounts/authenticate.ts';
import type { Principal, Principals, Scope } from '../accounts/principals.ts';
import { TollgateError } from '../errors.ts';
import type { RateLimit } from '../lib/rate-limit.ts';
import type { About } from '../openapi/about.ts';

/** A call as it was made, by somebody who may. */
export interface Asked {
  principal: Principal;
  request: FastifyRequest;
  reply: FastifyReply;
}

/** A row of the table of calls. */
export interface Call {
  method: 'GET' | 'POST' | 'PUT';
  /** Below `/account/v1`. */
  path: string;
  /** One of them will do. */
  scopes: [Scope, ...Scope[]];
  /** It reads, or ends what was begun: a suspended account may, and its principal is read afresh. Of all others the ledger does. */
  reads: boolean;
  /** How it is described. */
  about: About;
  answer: (asked: Asked) => unknown;
}

/** Registers the calls. Each takes one of the calls a minute that its key has, a service key for each account. */
export function registerCalls(
  scope: FastifyInstance,
  calls: readonly Call[],
  principals: Principals,
  limit: RateLimit<string>,
): void {
  const known = new WeakMap<FastifyRequest, Principal>();
  for (const { method, path, scopes, reads, about, answer } of calls) {
    scope.route({
      method,
      url: path,
      config: { about: { calls: [about], scopes } },
      // Before the body is read: nobody else's is.
      onRequest: async (request) => {
        const principal = reads
          ? await authenticateReader(request, principals, ...scopes)
          : await authenticate(request, principals, scopes[0]);
        const retryAfterMs = limit.take(`${principal.key} ${principal.account}`);
        if (retryAfterMs > 0) throw new TollgateError('rate_limit_exceeded', { retryAfterMs });
        known.set(request, principal);
      },
      handler: async (request, reply) => answer({ principal: known.get(request)!, request, reply }),
    });
  }
}

/** A call that reads, with the scope `read`. */
export function reading(path: string, about: About, answer: Call['answer']): Call {
  return { method: 'GET', path, scopes: ['read'], reads: true, about, answer };
}

export function found<T>(value: T | null): T {
  if (value === null) throw new TollgateError('not_found');
  return value;
}
