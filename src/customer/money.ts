/** What an account sees of its money: balance, ledger, receipts, usage. */
import type { Pool } from 'pg';
import { pageQuery } from '../lib/http-json.ts';
import { balanceView, forCustomers, ledgerView, requestsView, requestView } from '../metering/account-views.ts';
import * as answers from '../metering/answers.ts';
import { usageBody, usageQuery, usageView } from '../metering/usage-view.ts';
import { type Call, found, reading } from './calls.ts';

export interface MoneyDeps {
  pool: Pool;
  creditsPerUsd: bigint;
}

export function moneyCalls({ pool, creditsPerUsd }: MoneyDeps): Call[] {
  return [
    reading(
      '/balance',
      { summary: 'Shows the credits and the open lots.', answer: answers.balance },
      async ({ principal }) => found(await balanceView(pool, principal.account)),
    ),
    reading(
      '/ledger',
      { summary: 'Lists the entries.', query: pageQuery, answer: answers.ledgerPage },
      ({ principal, request }) => ledgerView(pool, principal.account, request.query),
    ),
    reading(
      '/requests',
      { summary: 'Lists the receipts.', query: pageQuery, answer: answers.receiptPage },
      ({ principal, request }) => requestsView(pool, principal.account, request.query, creditsPerUsd, forCustomers),
    ),
    reading(
      '/requests/:id',
      { summary: 'Shows the receipt of a request.', answer: answers.receipt },
      async ({ principal, request }) => {
        const { id } = request.params as { id: string };
        return found(await requestView(pool, principal.account, id, creditsPerUsd, forCustomers));
      },
    ),
    reading(
      '/usage',
      { summary: 'Sums what was used in some days.', query: usageQuery, answer: answers.usage, alsoAs: 'text/csv' },
      async ({ principal, request, reply }) => {
        const report = found(await usageView(pool, principal.account, request.query));
        const { type, body } = usageBody(report, request.headers.accept);
        return reply.type(type).send(body);
      },
    ),
  ];
}
