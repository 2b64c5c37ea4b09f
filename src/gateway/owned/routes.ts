/**
 * Calls on stored responses: to read, list what went in, cancel and delete. They are its account's alone, and go to the provider that
 * made it. They use nothing, so that nothing is held or charged; each counts as a request in the limits of its account and key. To all
 * others the answer is what OpenAI says of an id that it does not know, whoever's it is.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { accept, authenticateReader } from '../../accounts/authenticate.ts';
import type { Principal, Principals } from '../../accounts/principals.ts';
import type { CatalogCache } from '../../catalog/cache.ts';
import { promptly } from '../../db/pool.ts';
import { catalogFor } from '../../entitlements/catalog-for.ts';
import { type Limiter, refusalOf, type Taken } from '../../entitlements/limits/limiter.ts';
import { rateLimited, rateLimitHeaders } from '../../entitlements/limits/refusal.ts';
import { ownSubjects } from '../../entitlements/limits/subjects.ts';
import { accessOf } from '../../entitlements/resolve.ts';
import { TollgateError } from '../../errors.ts';
import { requestHeaders } from '../../upstream/headers.ts';
import type { Provider } from '../../upstream/types.ts';
import { type BackgroundJobDeps, settleNow } from '../background/job.ts';
import { sendBody } from '../respond.ts';
import { logDenied } from './check.ts';
import { isStoredId, type OwnedId, type OwnedIds } from './ids.ts';
import { passedQuery } from './query.ts';
import { FreeRelay } from './relay.ts';

export interface OwnedDeps extends BackgroundJobDeps {
  owned: OwnedIds;
  principals: Principals;
  catalogs: CatalogCache;
  limits: Limiter;
  draining: { value: boolean };
}

interface OwnedCall {
  method: 'GET' | 'POST' | 'DELETE';
  /** Its URL here, and its path at a provider, where `:id` is the response's. */
  url: string;
  /** The names of its query. */
  query: ReadonlySet<string>;
  /** It only reads: with either scope, and of a suspended account too. */
  reads: boolean;
}

const INCLUDE = ['include', 'include[]'];
const NONE: ReadonlySet<string> = new Set();
/** What stands in the place of an id, and takes other methods. */
const NO_IDS = new Set(['input_tokens', 'compact']);

/** What is served of stored responses. */
export const OWNED_CALLS: readonly OwnedCall[] = [
  {
    method: 'GET',
    url: '/v1/responses/:id',
    query: new Set([...INCLUDE, 'stream', 'starting_after', 'include_obfuscation']),
    reads: true,
  },
  { method: 'DELETE', url: '/v1/responses/:id', query: NONE, reads: false },
  { method: 'POST', url: '/v1/responses/:id/cancel', query: NONE, reads: false },
  {
    method: 'GET',
    url: '/v1/responses/:id/input_items',
    query: new Set([...INCLUDE, 'limit', 'order', 'after', 'before']),
    reads: true,
  },
];

/** Registers the calls. */
export function registerOwned(scope: FastifyInstance, deps: OwnedDeps): void {
  for (const call of OWNED_CALLS) {
    scope.route({
      method: call.method,
      url: call.url,
      onRequest: async (request, reply) => {
        if (NO_IDS.has((request.params as { id: string }).id)) return reply.callNotFound();
        // Read afresh: no hold will verify the cache.
        const principal = await authenticateReader(
          request,
          deps.principals,
          'inference',
          ...(call.reads ? (['read'] as const) : []),
        );
        request.principal = call.reads ? principal : accept(principal, 'inference', request);
      },
      handler: (request, reply) => answer(call, request, reply, deps),
    });
  }
}

/** One call, by somebody who may make it. */
interface Asked {
  call: OwnedCall;
  request: FastifyRequest;
  reply: FastifyReply;
  principal: Principal;
  id: string;
}

async function answer(call: OwnedCall, request: FastifyRequest, reply: FastifyReply, deps: OwnedDeps): Promise<void> {
  if (deps.draining.value) throw new TollgateError('shutting_down');
  const { id } = request.params as { id: string };
  const asked = { call, request, reply, principal: request.principal!, id };
  const query = passedQuery(request.url, call.query);
  const taken = await takeCall(asked, deps);
  let passed = false;
  try {
    const own = await ownOf(asked, deps);
    const provider = own === null ? null : deps.providers.get(own.provider);
    if (provider === undefined) throw new TollgateError('upstream_error');
    if (own !== null && call.method === 'DELETE') await refuseRunning(own, deps);
    reply.hijack();
    if (own === null || provider === null) sendNotFound(asked);
    else {
      passed = true;
      forward(asked, `${pathAt(call, id)}${query}`, own, provider, deps, () => taken?.end(0));
    }
  } finally {
    if (!passed) taken?.end(0);
  }
}

/** Whose it is, if it is the caller's. The attempt on another's is logged. Throws `ledger_unavailable`. */
async function ownOf({ call, request, principal, id }: Asked, { owned, log }: OwnedDeps): Promise<OwnedId | null> {
  const found = isStoredId(id) ? await promptly(owned.find([id])) : [];
  const own = found.find(({ account }) => account === principal.account);
  if (own !== undefined) return own;
  logDenied(log, { publicId: request.id, principal }, { id, param: `${call.method} ${call.url}` }, found);
  return null;
}

/** What is deleted can be read no more, nor what it used. Throws `conflict`, and `ledger_unavailable`. */
async function refuseRunning(own: OwnedId, deps: OwnedDeps): Promise<void> {
  if (await settleNow(deps, own).catch(unavailable)) return;
  const message =
    'This response still runs, or its cost is not known yet. Cancel it, or wait until it has ended, and delete it then.';
  throw new TollgateError('conflict', { message });
}

function unavailable(cause: unknown): never {
  throw new TollgateError('ledger_unavailable', { cause });
}

/** The id is one: it has no character that means anything in a path. */
function pathAt({ url }: OwnedCall, id: string): string {
  return url.slice('/v1'.length).replace(':id', id);
}

function forward(
  asked: Asked,
  path: string,
  own: OwnedId,
  provider: Provider,
  deps: OwnedDeps,
  done: () => void,
): void {
  const { call, request, reply } = asked;
  const { owned, log } = deps;
  const relay = new FreeRelay({
    response: reply.raw,
    requestId: request.id,
    notFound: () => sendNotFound(asked),
    done: (status) => {
      done();
      log.info(
        { req: request.id, provider: provider.name, call: `${call.method} ${call.url}`, status },
        'a stored answer',
      );
      if (call.method === 'POST' && status !== null && status < 300) {
        settleNow(deps, own).catch((err) => log.warn({ req: request.id, err }, 'what was cancelled is settled later'));
      }
      const isGone = status === 404 || (call.method === 'DELETE' && status !== null && status < 300);
      if (isGone)
        owned.forget(own).catch((err) => log.warn({ req: request.id, err }, 'an id that is gone stays noted'));
    },
  });
  const sent = { path, headers: requestHeaders(request.headers), body: NO_BODY, upstreamModel: '' };
  relay.attempt = provider.send({ ...sent, method: call.method }, relay);
}

const NO_BODY = Buffer.alloc(0);

/** As OpenAI says it: `code` is null. */
function sendNotFound({ request, reply, id }: Asked): void {
  const message = `Response with id '${id.slice(0, 200)}' not found.`;
  const error = { message, type: 'invalid_request_error', param: null, code: null };
  const headers = { 'content-type': 'application/json', 'x-request-id': request.id };
  sendBody(reply.raw, 404, Buffer.from(JSON.stringify({ error })), headers);
}

/** Counts the call in the limits of its account and key. Throws `rate_limit_exceeded`. */
async function takeCall({ request, reply, principal }: Asked, { catalogs, limits }: OwnedDeps): Promise<Taken | null> {
  const access = accessOf(await catalogFor(catalogs, principal), principal);
  const subjects = ownSubjects(access, principal).filter(({ limits: set }) =>
    Object.values(set).some((limit) => limit !== null),
  );
  if (subjects.length === 0) return null;
  const ask = { request: request.id, tokens: 0, subjects };
  const { levels, taken } = await limits.take(ask);
  for (const [name, value] of rateLimitHeaders(subjects, levels)) {
    reply.header(name, value);
    reply.raw.setHeader(name, value);
  }
  const refusal = taken === null ? refusalOf(ask, levels) : null;
  if (refusal !== null) throw rateLimited(refusal, 'stored responses');
  return taken;
}
