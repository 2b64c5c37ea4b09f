/** The admin API, `/admin/v1/*`: for the owner of the gateway, with the admin key. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { adminCheck } from '../accounts/admin-keys.ts';
import { parseJson } from '../lib/http-json.ts';
import type { Api } from '../openapi/document.ts';
import { registerAccountPrices } from './account-prices.ts';
import { registerAccounts } from './accounts.ts';
import { registerAdminKeys } from './admin-keys.ts';
import { registerAudit } from './audit.ts';
import { registerCatalog } from './catalog.ts';
import { registerCredits } from './credits.ts';
import { registerEntitlements } from './entitlements.ts';
import { registerEvents } from './events.ts';
import { registerKeys } from './keys.ts';
import { registerLedger } from './ledger.ts';
import { registerModels } from './models.ts';
import { registerReconcile } from './reconcile.ts';
import { registerRequests } from './requests.ts';
import { registerServiceKeys } from './service-keys.ts';
import type { AdminDeps } from './shared.ts';
import { registerStripe } from './stripe.ts';
import { registerUsage } from './usage.ts';

/** The API as its description introduces it. */
export const ADMIN_API: Api = {
  title: 'Tollgate admin API',
  description: 'For the owner of the gateway, with an admin key as `Authorization: Bearer …`.',
  prefix: '/admin/v1',
  errors: ['invalid_admin_key', 'admin_disabled', 'rate_limit_exceeded'],
};

const MAX_BODY_BYTES = 1024 * 1024;

export async function registerAdmin(app: FastifyInstance, deps: AdminDeps): Promise<void> {
  const check = adminCheck(deps.pool, deps.adminKey);
  await app.register(
    async (scope) => {
      scope.decorateRequest('admin', '');
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser(
        '*',
        { parseAs: 'buffer', bodyLimit: MAX_BODY_BYTES },
        async (_request: FastifyRequest, body: Buffer) => parseJson(body),
      );
      scope.addHook('onRequest', async (request, reply) => {
        reply.header('x-request-id', request.id);
        request.admin = await check(request.headers.authorization);
      });
      // A request without a body is one with an empty object: what it lacks is then named field by field.
      scope.addHook('preValidation', async (request) => {
        if (request.body === undefined) request.body = {};
      });
      registerAccounts(scope, deps);
      registerAccountPrices(scope, deps);
      registerEntitlements(scope, deps);
      registerKeys(scope, deps);
      registerServiceKeys(scope, deps);
      registerCredits(scope, deps);
      registerRequests(scope, deps);
      registerUsage(scope, deps);
      registerLedger(scope, deps);
      registerModels(scope, deps);
      registerCatalog(scope, deps);
      registerAdminKeys(scope, deps);
      registerStripe(scope, deps);
      registerAudit(scope, deps);
      registerEvents(scope, deps);
      registerReconcile(scope, deps);
    },
    { prefix: ADMIN_API.prefix },
  );
}
