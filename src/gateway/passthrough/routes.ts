/**
 * Routes that the catalog declares. One route of the server takes whatever no other does, and looks it up in the catalog as that is
 * now: so they appear and vanish without a restart, and what has a route of its own stays with that. What is declared runs through
 * the steps that all requests do (pipeline.ts), with a reader that reads nothing; what is not is unknown.
 *
 *   declared, as far as is known ──a good key──▶ served
 *   not declared ──no good key──▶ unknown_url        ──a good key: the catalog is read again if it is old──▶ served, or unknown_url
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Principal } from '../../accounts/principals.ts';
import { METHODS } from '../../catalog/passthrough.ts';
import type { Passthrough } from '../../catalog/types.ts';
import { catalogFor } from '../../entitlements/catalog-for.ts';
import { TollgateError } from '../../errors.ts';
import { opaque } from '../../metering/readers/opaque.ts';
import { opaqueRequests } from '../../metering/requests/opaque.ts';
import { accept, authenticate, authenticateReader } from '../1-authenticate.ts';
import type { Endpoint } from '../endpoints.ts';
import type { GatewayDeps } from '../pipeline.ts';
import { answerEnds } from '../stream-ends.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** It takes what the catalog declares, and nothing of its own. */
    declared?: boolean;
  }
  interface FastifyRequest {
    /** Set where the catalog declares what is asked for. */
    declared: Endpoint | null;
  }
}

type Deps = Pick<GatewayDeps, 'catalogs' | 'principals'>;

/** Serves a request whose principal is known and whose body has been read. */
export type ServeRequest = (request: FastifyRequest, reply: FastifyReply, endpoint: Endpoint) => void;

/** Registers the route that takes what no other does. `serve`: how the data plane serves a request by its endpoint. */
export async function registerPassthrough(app: FastifyInstance, deps: Deps, serve: ServeRequest): Promise<void> {
  app.decorateRequest('declared', null);
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    scope.route({
      method: [...METHODS],
      url: '/v1/*',
      config: { declared: true },
      onRequest: async (request, reply) => {
        const found = await admitted(request, deps);
        if (found === null) return reply.callNotFound();
        request.principal = found.principal;
        request.declared = endpointOf(found.route, found.target);
      },
      handler: (request, reply) => serve(request, reply, request.declared!),
    });
  });
}

interface Target {
  path: string;
  /** With its question mark; empty: none. */
  query: string;
}

/** Of what may be in a URL, without the `#` that no server is to be sent. */
const QUERY = /^[!"$-~]*$/;

/** What is asked for, as it is written; `null`: nothing that could be declared. */
function targetOf(request: FastifyRequest): Target | null {
  const { url = '' } = request.raw;
  const at = url.indexOf('?');
  const [path, query] = at < 0 ? [url, ''] : [url.slice(0, at), url.slice(at)];
  return QUERY.test(query) ? { path, query } : null;
}

/** The declared route and who asks for it; `null`: there is none. Throws what keeps a caller from one that there is. */
async function admitted(
  request: FastifyRequest,
  { catalogs, principals }: Deps,
): Promise<{ route: Passthrough; target: Target; principal: Principal } | null> {
  const target = targetOf(request);
  if (target === null) return null;
  const lookUp = () => catalogs.current.passthroughAt(request.method, target.path);
  const known = lookUp();
  if (known !== null) return { route: known, target, principal: await authenticate(request, principals, 'inference') };
  // It may have been declared since: only who has a key makes us look.
  const reader = await authenticateReader(request, principals, 'inference').catch(nobody);
  if (reader === null) return null;
  await catalogFor(catalogs, reader);
  const route = lookUp();
  return route === null ? null : { route, target, principal: accept(reader, 'inference', request) };
}

/** Whoever has no good key is told of nothing, not even that. */
function nobody(error: unknown): null {
  if (error instanceof TollgateError && error.status < 500) return null;
  throw error;
}

function endpointOf({ name, method, path }: Passthrough, target: Target): Endpoint {
  return {
    name: path,
    declared: name,
    method: method as NonNullable<Endpoint['method']>,
    // The base URL of a provider ends where `/v1` does. Its parts are the template's, or plain characters (catalog/passthrough.ts).
    upstreamPath: target.path.slice('/v1'.length) + target.query,
    requests: opaqueRequests(name),
    dialect: opaque,
    ends: answerEnds,
  };
}
