/**
 * The data plane, `/v1/*`: the endpoints of endpoints.ts. One that is not there is `unknown_url`: what is not metered is not
 * served. Authentication runs before a body is read.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Principal, Scope } from '../accounts/principals.ts';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { accessOf } from '../entitlements/resolve.ts';
import { TollgateError } from '../errors.ts';
import { parsePublicUuid } from '../lib/ids.ts';
import { authenticate, authenticateReader } from './1-authenticate.ts';
import { openContext } from './context.ts';
import { deploymentOf } from './deployments.ts';
import { ENDPOINTS, type Endpoint } from './endpoints.ts';
import { registerOwned } from './owned/routes.ts';
import { type GatewayDeps, serve } from './pipeline.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the data plane's authentication. */
    principal: Principal | null;
  }
}

const NO_BODY = Buffer.alloc(0);

/** Registers the data plane's routes. Its errors, and those of unknown URLs, are answered by the server in OpenAI's form. */
export async function registerGateway(app: FastifyInstance, deps: GatewayDeps): Promise<void> {
  app.decorateRequest('principal', null);
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    for (const [url, endpoint] of ENDPOINTS) {
      scope.post(url, { onRequest: authentication(deps, 'inference') }, (request, reply) => {
        meteredRequest(request, reply, endpoint, deps);
      });
    }
    registerOwned(scope, deps);
    scope.get('/v1/models', async (request, reply) => {
      reply.header('x-request-id', request.id);
      return { object: 'list', data: (await modelsOf(request, deps)).map(presentModel) };
    });
    scope.get('/v1/models/*', async (request, reply) => {
      reply.header('x-request-id', request.id);
      const name = (request.params as { '*': string })['*'];
      const model = (await modelsOf(request, deps)).find((candidate) => candidate.name === name);
      if (model === undefined) throw new TollgateError('model_not_found', { param: 'model' });
      return presentModel(model);
    });
  });
}

function authentication(deps: GatewayDeps, scope: Scope) {
  return (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void => {
    const accept = (principal: Principal): void => {
      request.principal = principal;
      done();
    };
    try {
      const principal = authenticate(request, deps.principals, scope);
      if (principal instanceof Promise) principal.then(accept, done);
      else accept(principal);
    } catch (error) {
      done(error as Error);
    }
  };
}

function meteredRequest(request: FastifyRequest, reply: FastifyReply, endpoint: Endpoint, deps: GatewayDeps): void {
  reply.hijack();
  const response = reply.raw;
  const id = parsePublicUuid('req', request.id)!;
  const context = openContext(id, request.id, endpoint, deps.clock.now(), request, response);
  context.principal = request.principal;
  context.deployment = deploymentOf(request);
  response.on('close', () => {
    if (response.writableFinished) return;
    context.clientGone = true;
    deps.inFlight.clientGone(context);
  });
  void serve(context, (request.body as Buffer | undefined) ?? NO_BODY, deps);
}

/** What the key may use now: read afresh, because no hold will verify it. */
async function modelsOf(request: FastifyRequest, deps: GatewayDeps) {
  const principal = await authenticateReader(request, deps.principals, 'inference', 'read');
  return accessOf(await catalogFor(deps.catalogs, principal), principal).models();
}

function presentModel(model: { name: string; routes: readonly { provider: string }[] }) {
  return { id: model.name, object: 'model', created: 0, owned_by: model.routes[0]!.provider };
}
