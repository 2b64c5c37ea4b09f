/** Credits of an account, and what became of them: grants, adjustments, balance, ledger, receipts. */
import type { FastifyInstance } from 'fastify';
import { findAccount } from '../accounts/accounts.ts';
import { adjustCredits } from '../accounts/corrections.ts';
import { grantCredits } from '../accounts/credits.ts';
import { advancePolicy } from '../accounts/plans.ts';
import { balanceView, forAdmins, ledgerView, requestsView } from '../metering/account-views.ts';
import { presentCorrection, presentGrant, readNewAdjustment, readNewGrant } from './forms.ts';
import { type AdminDeps, accountOf, type ById, noSuch } from './shared.ts';

export function registerCredits(scope: FastifyInstance, deps: AdminDeps): void {
  const { pool, creditsPerUsd } = deps;

  scope.post<ById>('/accounts/:id/credits', async (request, reply) => {
    const account = accountOf(request);
    const { lot, created } = await grantCredits(deps, account, readNewGrant(request.body));
    return reply.status(created ? 201 : 200).send(presentGrant(lot));
  });

  scope.post<ById>('/accounts/:id/adjustments', async (request, reply) => {
    const account = accountOf(request);
    const correction = await adjustCredits(deps, account, readNewAdjustment(request.body));
    return reply.status(correction.created ? 201 : 200).send(presentCorrection(correction));
  });

  scope.get<ById>('/accounts/:id/balance', async (request) => {
    await advancePolicy(pool, accountOf(request));
    const balance = await balanceView(pool, accountOf(request));
    if (balance === null) throw noSuch('account', request.params.id);
    return balance;
  });

  scope.get<ById>('/accounts/:id/ledger', async (request) =>
    notOfNobody(request, await ledgerView(pool, accountOf(request), request.query)),
  );

  scope.get<ById>('/accounts/:id/requests', async (request) =>
    notOfNobody(request, await requestsView(pool, accountOf(request), request.query, creditsPerUsd, forAdmins)),
  );

  /** An empty page may be that of an account that is not there. */
  async function notOfNobody<P extends { data: unknown[] }>(request: { params: ById['Params'] }, page: P): Promise<P> {
    if (page.data.length === 0 && (await findAccount(pool, accountOf(request))) === null) {
      throw noSuch('account', request.params.id);
    }
    return page;
  }
}
