/** The customer API, `/account/v1/*`: what an account may see of itself, with its own API keys that have the scope `read`. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Pool } from 'pg';
import { authenticateReader } from '../accounts/authenticate.ts';
import type { Principals } from '../accounts/principals.ts';
import { TollgateError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { RateLimit } from '../lib/rate-limit.ts';
import { balanceView, forCustomers, ledgerView, requestsView, requestView } from '../metering/account-views.ts';
import { usageBody, usageView } from '../metering/usage-view.ts';

export interface CustomerDeps {
  pool: Pool;
  principals: Principals;
  clock: Clock;
  creditsPerUsd: bigint;
}

const CALLS_PER_MINUTE = 120;

export async function registerCustomer(app: FastifyInstance, deps: CustomerDeps): Promise<void> {
  const { pool, creditsPerUsd } = deps;
  const limit = new RateLimit<string>(CALLS_PER_MINUTE, 60_000, deps.clock);

  /** The account of the key, read afresh; takes one call of its limit, which a service key has for each account. */
  const accountOf = async (request: FastifyRequest): Promise<bigint> => {
    const { account, key } = await authenticateReader(request, deps.principals, 'read');
    const retryAfterMs = limit.take(`${key} ${account}`);
    if (retryAfterMs > 0) throw new TollgateError('rate_limit_exceeded', { retryAfterMs });
    return account;
  };

  await app.register(
    async (scope) => {
      scope.addHook('onRequest', async (request, reply) => {
        reply.header('x-request-id', request.id);
      });
      scope.get('/balance', async (request) => found(await balanceView(pool, await accountOf(request))));
      scope.get('/ledger', async (request) => ledgerView(pool, await accountOf(request), request.query));
      scope.get('/requests', async (request) =>
        requestsView(pool, await accountOf(request), request.query, creditsPerUsd, forCustomers),
      );
      scope.get<{ Params: { id: string } }>('/requests/:id', async (request) =>
        found(await requestView(pool, await accountOf(request), request.params.id, creditsPerUsd, forCustomers)),
      );
      scope.get('/usage', async (request, reply) => {
        const report = found(await usageView(pool, await accountOf(request), request.query));
        const { type, body } = usageBody(report, request.headers.accept);
        return reply.type(type).send(body);
      });
    },
    { prefix: '/account/v1' },
  );
}

function found<T>(value: T | null): T {
  if (value === null) throw new TollgateError('not_found');
  return value;
}
