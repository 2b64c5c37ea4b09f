/** Serves an API's description, and a page to try it from. Neither needs a key: shapes are no secret. */
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance, RouteOptions } from 'fastify';
import { stringify } from 'yaml';
import { TollgateError } from '../errors.ts';
import { type Api, type Call, documentOf } from './document.ts';

/** All that the page loads is ours, and nobody may frame it: the key is typed into it. It sets styles of its own. */
const POLICY = {
  'default-src': ["'none'"],
  'script-src': ["'self'"],
  'style-src': ["'self'", "'unsafe-inline'"],
  'img-src': ["'self'", 'data:'],
  'connect-src': ["'self'"],
  'base-uri': ["'none'"],
  'form-action': ["'none'"],
  'frame-ancestors': ["'none'"],
};

/**
 * Serves `<prefix>/openapi.json` and `<prefix>/docs`, of the calls that are registered after this. Resolves with the calls as far
 * as they are known.
 */
export async function serveDescription(app: FastifyInstance, api: Api): Promise<readonly Call[]> {
  const calls: Call[] = [];
  app.addHook('onRoute', (route) => {
    calls.push(...callsOf(route, api.prefix));
  });
  let made: object | null = null;
  const document = (): object => (made ??= documentOf(api, calls));
  await app.register(async (scope) => {
    scope.get(`${api.prefix}/openapi.json`, async () => document());
    // The page asks for this plugin, by which others describe their routes: ours describe themselves.
    await scope.register(Object.assign(async () => {}, { [Symbol.for('plugin-meta')]: { name: '@fastify/swagger' } }));
    scope.decorate('swagger', ((form?: { yaml?: boolean }) =>
      form?.yaml ? stringify(document()) : document()) as never);
    // A file that is not there, or not the page's: nothing else of this scope fails.
    scope.setErrorHandler((cause) => {
      throw new TollgateError('unknown_url', { cause });
    });
    scope.addHook('onSend', async (_request, reply) => {
      reply.headers({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
    });
    await scope.register(swaggerUi, {
      routePrefix: `${api.prefix}/docs`,
      staticCSP: POLICY,
      theme: { title: api.title },
      // Without the bar on top, which would load the description of any other place.
      uiConfig: { layout: 'BaseLayout', docExpansion: 'list', tryItOutEnabled: true },
    });
  });
  return calls;
}

function callsOf({ method, url, config }: RouteOptions, prefix: string): Call[] {
  if (config?.about === undefined || !url.startsWith(`${prefix}/`)) return [];
  const { calls, scopes } = config.about;
  const own = url.slice(prefix.length).replace(/:(\w+)/g, '{$1}');
  return calls.map((about) => ({ method: String(method), path: about.path ?? own, scopes, about }));
}
