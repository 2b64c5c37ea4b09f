/** Holds what an API answers against what its routes say of it. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { About } from '../../src/openapi/about.ts';

/** The header in which an answer tells how it differs from its description. */
export const BREACH = 'x-breach-of-description';

const DESCRIBES = /\/v1\/(openapi\.json|docs\b.*)$/;

/** Has every answer of the routes that are registered after this tell whether it is not as described. Returns those without a description. */
export function tellBreaches(http: FastifyInstance): string[] {
  const undescribed: string[] = [];
  http.addHook('onRoute', ({ method, url, config }) => {
    if (config?.about === undefined && !DESCRIBES.test(url)) undescribed.push(`${method} ${url}`);
  });
  http.addHook('onSend', async (request, reply, payload) => {
    const about = describedCall(request);
    if (about === undefined || reply.statusCode >= 300) return;
    const breach = breachOf(about, reply.statusCode, String(reply.getHeader('content-type')), payload);
    if (breach !== null) reply.header(BREACH, `${request.method} ${request.routeOptions.url}: ${breach}`);
  });
  return undescribed;
}

/** Which of the calls of a route with a wildcard this is, is told by how its path ends. */
function describedCall(request: FastifyRequest): About | undefined {
  const calls = request.routeOptions.config.about?.calls ?? [];
  const path = request.url.split('?', 1)[0]!;
  const ends = calls.toSorted((a, b) => (b.path ?? '').length - (a.path ?? '').length);
  return ends.find((about) => path.endsWith((about.path ?? '').split('}').at(-1)!));
}

function breachOf(about: About, status: number, type: string, payload: unknown): string | null {
  if (!(about.statuses ?? [200]).includes(status as 200)) return `it does not say that it answers ${status}`;
  if (about.alsoAs !== undefined && type.startsWith(about.alsoAs)) return null;
  const read = about.answer.safeParse(JSON.parse(String(payload)));
  return read.success ? null : JSON.stringify(read.error.issues).replace(/[^\x20-\x7e]/g, '?');
}
