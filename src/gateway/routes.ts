/**
 * The data plane, `/v1/*`: the endpoints of endpoints.ts, and what the catalog declares (passthrough/). All else is `unknown_url`:
 * what is not metered is not served. Authentication runs before a body is read.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Principal, Scope } from '../accounts/principals.ts';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { accessOf } from '../entitlements/resolve.ts';
import { TollgateError } from '../errors.ts';
import { parsePublicUuid } from '../lib/ids.ts';
import { authenticate, authenticateReader } from './1-authenticate.ts';
import type { Sent } from './2-parse.ts';
import { openContext } from './context.ts';
import { deploymentOf } from './deployments.ts';
import { ENDPOINTS, type Endpoint } from './endpoints.ts';
import { registerOwned } from './owned/routes.ts';
import { registerPassthrough } from './passthrough/routes.ts';
import { type GatewayDeps, serve } from './pipeline.ts';
import { readUpload } from './upload.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether its requests may be forms. */
    takesForms?: boolean;
  }
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
    // Fastify remembers the parser of a type that it knows by name; the type of any other it takes apart each time.
    scope.addContentTypeParser(['application/json', '*'], { parseAs: 'buffer' }, (_request, body, done) =>
      done(null, body),
    );
    scope.addContentTypeParser(/^multipart\/form-data/i, async (request: FastifyRequest, payload: IncomingMessage) =>
      sentForm(request, payload, deps),
    );
    for (const [url, endpoint] of ENDPOINTS) {
      const config = { takesForms: endpoint.requests.readForm !== undefined };
      scope.post(url, { onRequest: authentication(deps, 'inference'), config }, (request, reply) => {
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
  await registerPassthrough(app, deps, (request, reply, endpoint) => meteredRequest(request, reply, endpoint, deps));
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

/** A form; what it is refused with where it is read to no end of use. Fails where nobody is there to be told. */
async function sentForm(request: FastifyRequest, payload: IncomingMessage, deps: GatewayDeps): Promise<Sent> {
  const { 'content-type': contentType = '', 'idempotency-key': key } = request.headers;
  if (!request.routeOptions.config.takesForms) return new TollgateError('invalid_json');
  const { spool, maxBodyBytes: maxBytes } = deps;
  try {
    const { account } = request.principal!;
    return await readUpload(payload, contentType, { spool, account, maxBytes, fingerprint: key !== undefined });
  } catch (error) {
    if (error instanceof TollgateError) return error;
    throw new TollgateError('invalid_request', { message: 'The form broke off before its end.', cause: error });
  }
}

function meteredRequest(request: FastifyRequest, reply: FastifyReply, endpoint: Endpoint, deps: GatewayDeps): void {
  reply.hijack();
  const response = reply.raw;
  const id = parsePublicUuid('req', request.id)!;
  const context = openContext(id, request.id, endpoint, deps.clock.now(), request, response);
  context.principal = request.principal;
  context.deployment = deploymentOf(request);
  // A form takes a while to be read.
  context.clientGone = response.destroyed;
  response.on('close', () => {
    if (response.writableFinished) return;
    context.clientGone = true;
    deps.inFlight.clientGone(context);
  });
  const sent = (request.body as Sent | undefined) ?? NO_BODY;
  // What is left of a form that was not read to its end is no next request.
  if (sent instanceof TollgateError) response.setHeader('connection', 'close');
  void serve(context, sent, deps);
}

/** What the key may use now: read afresh, because no hold will verify it. */
async function modelsOf(request: FastifyRequest, deps: GatewayDeps) {
  const principal = await authenticateReader(request, deps.principals, 'inference', 'read');
  return accessOf(await catalogFor(deps.catalogs, principal), principal).models();
}

function presentModel(model: { name: string; routes: readonly { provider: string }[] }) {
  return { id: model.name, object: 'model', created: 0, owned_by: model.routes[0]!.provider };
}
