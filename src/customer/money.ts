/** What an account sees of its money: balance, ledger, receipts, usage. */
import type { Pool } from 'pg';
import { balanceView, forCustomers, ledgerView, requestsView, requestView } from '../metering/account-views.ts';
import { usageBody, usageView } from '../metering/usage-view.ts';
import { type Call, found, reading } from './calls.ts';

export interface MoneyDeps {
  pool: Pool;
  creditsPerUsd: bigint;
}

export function moneyCalls({ pool, creditsPerUsd }: MoneyDeps): Call[] {
  return [
    reading('/balance', async ({ principal }) => found(await balanceView(pool, principal.account))),
    reading('/ledger', ({ principal, request }) => ledgerView(pool, principal.account, request.query)),
    reading('/requests', ({ principal, request }) =>
      requestsView(pool, principal.account, request.query, creditsPerUsd, forCustomers),
    ),
    reading('/requests/:id', async ({ principal, request }) => {
      const { id } = request.params as { id: string };
      return found(await requestView(pool, principal.account, id, creditsPerUsd, forCustomers));
    }),
    reading('/usage', async ({ principal, request, reply }) => {
      const report = found(await usageView(pool, principal.account, request.query));
      const { type, body } = usageBody(report, request.headers.accept);
      return reply.type(type).send(body);
    }),
  ];
}
