/** Credits of an account, and what became of them: grants, adjustments, balance, ledger, receipts. */
import type { FastifyInstance } from 'fastify';
import { findAccount } from '../accounts/accounts.ts';
import { adjustCredits } from '../accounts/corrections.ts';
import { grantCredits } from '../accounts/credits.ts';
import { advancePolicy } from '../accounts/plans.ts';
import { pageQuery } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { balanceView, forAdmins, ledgerView, requestsView } from '../metering/account-views.ts';
import { balance, ledgerPage } from '../metering/answers.ts';
import { about } from '../openapi/about.ts';
import * as answers from './answers.ts';
import { toldOnce } from './audited.ts';
import { newAdjustment, newGrant, presentCorrection, presentGrant, readNewAdjustment, readNewGrant } from './forms.ts';
import { type AdminDeps, accountOf, type ById, noSuch } from './shared.ts';

const CALLS = {
  grant: about({
    summary: 'Grants credits, once per reference.',
    body: newGrant,
    answer: answers.grant,
    statuses: [201, 200],
  }),
  adjust: about({
    summary: 'Adds credits or takes them, once per reference.',
    body: newAdjustment,
    answer: answers.correction,
    statuses: [201, 200],
  }),
  balance: about({ summary: 'Shows the credits of an account and its open lots.', answer: balance }),
  ledger: about({ summary: 'Lists the entries of an account.', query: pageQuery, answer: ledgerPage }),
  requests: about({
    summary: 'Lists the receipts of an account, with provider cost and margin.',
    query: pageQuery,
    answer: answers.costedReceiptPage,
  }),
};

export function registerCredits(scope: FastifyInstance, deps: AdminDeps): void {
  const { pool, creditsPerUsd } = deps;

  scope.post<ById>('/accounts/:id/credits', CALLS.grant, async (request, reply) => {
    const account = accountOf(request);
    const { lot, created } = await grantCredits(deps, account, readNewGrant(request.body));
    const after = presentGrant(lot);
    const { reference, reason } = after;
    await toldOnce(pool, request, 'credits.grant', reference, {
      account,
      target: publicId('acct', account),
      after,
      reason,
    });
    return reply.status(created ? 201 : 200).send(after);
  });

  scope.post<ById>('/accounts/:id/adjustments', CALLS.adjust, async (request, reply) => {
    const account = accountOf(request);
    const given = readNewAdjustment(request.body);
    const correction = await adjustCredits(deps, account, given);
    const after = presentCorrection(correction);
    const { reference, reason } = given;
    await toldOnce(pool, request, 'credits.adjust', reference, {
      account,
      target: publicId('acct', account),
      after,
      reason,
    });
    return reply.status(correction.created ? 201 : 200).send(after);
  });

  scope.get<ById>('/accounts/:id/balance', CALLS.balance, async (request) => {
    await advancePolicy(pool, accountOf(request));
    const balance = await balanceView(pool, accountOf(request));
    if (balance === null) throw noSuch('account', request.params.id);
    return balance;
  });

  scope.get<ById>('/accounts/:id/ledger', CALLS.ledger, async (request) =>
    notOfNobody(request, await ledgerView(pool, accountOf(request), request.query)),
  );

  scope.get<ById>('/accounts/:id/requests', CALLS.requests, async (request) =>
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
