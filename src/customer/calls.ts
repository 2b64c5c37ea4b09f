/** What the calls of the customer API have in common: who may make them, and how they are registered. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { authenticate, authenticateReader } from '../accounts/authenticate.ts';
import type { Principal, Principals, Scope } from '../accounts/principals.ts';
import { type Limiter, refusalOf } from '../entitlements/limits/limiter.ts';
import { rateLimited, rateLimitHeaders } from '../entitlements/limits/refusal.ts';
import { callsOf } from '../entitlements/limits/subjects.ts';
import { TollgateError } from '../errors.ts';
import type { About } from '../openapi/about.ts';

const CALLS_PER_MINUTE = 120;

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
  limits: Limiter,
): void {
  const known = new WeakMap<FastifyRequest, Principal>();
  for (const { method, path, scopes, reads, about, answer } of calls) {
    scope.route({
      method,
      url: path,
      config: { about: { calls: [about], scopes } },
      // Before the body is read: nobody else's is.
      onRequest: async (request, reply) => {
        const principal = reads
          ? await authenticateReader(request, principals, ...scopes)
          : await authenticate(request, principals, scopes[0]);
        await countCall(request, reply, principal, limits);
        known.set(request, principal);
      },
      handler: async (request, reply) => answer({ principal: known.get(request)!, request, reply }),
    });
  }
}

async function countCall(
  request: FastifyRequest,
  reply: FastifyReply,
  principal: Principal,
  limits: Limiter,
): Promise<void> {
  const subjects = [callsOf(principal, CALLS_PER_MINUTE)];
  const ask = { request: request.id, tokens: 0, subjects };
  const { levels, taken } = await limits.take(ask);
  for (const [name, value] of rateLimitHeaders(subjects, levels)) reply.header(name, value);
  const refusal = taken === null ? refusalOf(ask, levels) : null;
  if (refusal !== null) throw rateLimited(refusal, 'the account API');
}

/** A call that reads, with the scope `read`. */
export function reading(path: string, about: About, answer: Call['answer']): Call {
  return { method: 'GET', path, scopes: ['read'], reads: true, about, answer };
}

export function found<T>(value: T | null): T {
  if (value === null) throw new TollgateError('not_found');
  return value;
}
