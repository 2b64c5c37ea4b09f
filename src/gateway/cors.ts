/**
 * Pages of other origins that may call `/v1` and `/account/v1` from a browser: those that the settings list, none by default. The
 * other planes are never among them. Keys travel in a header that a page sets itself, so no cookie of ours is ever asked for, and
 * the mode with credentials is off. (@fastify/cors sets headers on Fastify's reply: it does not see answers that are relayed.)
 */
import type { FastifyInstance } from 'fastify';
import { RESPONSE_HEADERS } from '../upstream/headers.ts';

const PLANES = /^\/(?:v1|account\/v1)\//;
const METHODS = 'GET, POST, PUT, PATCH, DELETE';
/** Names of headers; more of them than any client sends is no answer worth giving. */
const HEADER_NAMES = /^[\w!#$%&'*+.^`|~, -]{1,4096}$/;
/** How long a browser need not ask again, in seconds. */
const MAX_AGE = '600';
/** What of an answer a page may see beside its content type. */
const EXPOSED = [
  ...['x-request-id', 'x-tollgate-charged', 'x-tollgate-available', 'x-tollgate-clamped', 'idempotent-replayed'],
  ...['retry-after', 'retry-after-ms', 'x-should-retry'],
  ...['limit', 'remaining', 'reset'].flatMap((what) => [`x-ratelimit-${what}-requests`, `x-ratelimit-${what}-tokens`]),
  ...RESPONSE_HEADERS,
].join(', ');

/** Lets pages of these origins call; `*`: of any. To be called before the routes are registered. */
export function allowOrigins(app: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return;
  const any = origins.includes('*');
  const listed = new Set(origins);
  app.addHook('onRequest', (request, reply, done) => {
    if (!PLANES.test(request.raw.url!)) return done();
    const { origin, ...headers } = request.headers;
    // Set on the response itself: what is relayed does not pass through Fastify's reply.
    const response = reply.raw;
    if (!any) response.setHeader('vary', 'origin');
    if (origin === undefined || !(any || listed.has(origin))) return done();
    response.setHeader('access-control-allow-origin', any ? '*' : origin);
    if (request.method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) {
      response.setHeader('access-control-expose-headers', EXPOSED);
      return done();
    }
    // A question before the request itself, which has no key; what it may do, the request with its key is told.
    const asked = headers['access-control-request-headers'];
    if (asked !== undefined && HEADER_NAMES.test(asked)) reply.header('access-control-allow-headers', asked);
    reply
      .status(204)
      .headers({
        'access-control-allow-methods': METHODS,
        'access-control-max-age': MAX_AGE,
        'x-request-id': request.id,
      })
      .send();
  });
}
