/** The customer API, `/account/v1/*`: what an account may see and do by itself, with its own API keys. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Principals } from '../accounts/principals.ts';
import type { ConsumptionDeps } from '../consumption/deps.ts';
import type { Clock } from '../lib/clock.ts';
import { parseJson } from '../lib/http-json.ts';
import type { Api } from '../openapi/document.ts';
import { autoRechargeCalls } from './auto-recharge.ts';
import { type BillingDeps, billingCalls } from './billing.ts';
import { registerCalls } from './calls.ts';
import { catalogCalls } from './catalog.ts';
import { consumptionCalls } from './consumption.ts';
import { type EntitlementDeps, entitlementCalls } from './entitlements.ts';
import { type LimitDeps, limitCalls } from './limits.ts';
import { type MoneyDeps, moneyCalls } from './money.ts';

export interface CustomerDeps extends MoneyDeps, EntitlementDeps, LimitDeps, ConsumptionDeps, BillingDeps {
  principals: Principals;
  clock: Clock;
}

/** The API as its description introduces it. */
export const CUSTOMER_API: Api = {
  title: 'Tollgate customer API',
  description: 'For an account and its host application, with the same API keys as `/v1`.',
  prefix: '/account/v1',
  headers: {
    'tollgate-account': 'Of a service key alone: the account it acts for, as `acct_…` or `ext:<external id>`.',
  },
  errors: ['invalid_api_key', 'scope_missing', 'ip_not_allowed', 'rate_limit_exceeded'],
};

const MAX_BODY_BYTES = 1024 * 1024;

export async function registerCustomer(app: FastifyInstance, deps: CustomerDeps): Promise<void> {
  const calls = [
    ...moneyCalls(deps),
    ...entitlementCalls(deps),
    ...limitCalls(deps),
    ...consumptionCalls(deps),
    ...catalogCalls(deps),
    ...billingCalls(deps),
    ...autoRechargeCalls(deps),
  ];
  await app.register(
    async (scope) => {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser(
        '*',
        { parseAs: 'buffer', bodyLimit: MAX_BODY_BYTES },
        async (_request: FastifyRequest, body: Buffer) => parseJson(body),
      );
      scope.addHook('onRequest', async (request, reply) => {
        reply.header('x-request-id', request.id);
      });
      // A request without a body is one with an empty object: what it lacks is then named field by field.
      scope.addHook('preValidation', async (request) => {
        if (request.body === undefined) request.body = {};
      });
      registerCalls(scope, calls, deps.principals, deps.limits);
    },
    { prefix: CUSTOMER_API.prefix },
  );
}
