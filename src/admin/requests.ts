/** Requests by their id alone, whosever they are: the receipt, and giving back what was charged. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { refundRequest } from '../accounts/corrections.ts';
import { TollgateError } from '../errors.ts';
import { readInput } from '../errors-input.ts';
import { findAccountOfRequest } from '../ledger/requests.ts';
import { parsePublicId, parsePublicUuid, type Uuid } from '../lib/ids.ts';
import { forAdmins, requestView } from '../metering/account-views.ts';
import { about } from '../openapi/about.ts';
import * as answers from './answers.ts';
import { toldOnce } from './audited.ts';
import { newRefund, presentCorrection, readNewRefund } from './forms.ts';
import { type AdminDeps, type ById, noSuch } from './shared.ts';

/** Accounts probed for a request whose account is not named: seconds of index look-ups. */
const MOST_ACCOUNTS_PROBED = 100_000;
const requestQuery = z.strictObject({ account: z.string('must be an account id').optional() });

const CALLS = {
  show: about({
    summary: 'Shows the receipt of a request, with provider cost and margin.',
    query: requestQuery,
    answer: answers.costedReceipt,
  }),
  refund: about({
    summary: 'Gives back what a request was charged, or part of it, once.',
    query: requestQuery,
    body: newRefund,
    answer: answers.correction,
    statuses: [201, 200],
  }),
};

export function registerRequests(scope: FastifyInstance, deps: AdminDeps): void {
  const { pool, creditsPerUsd } = deps;

  scope.get<ById>('/requests/:id', CALLS.show, async (request) => {
    const { account } = await requestOf(request);
    const receipt = await requestView(pool, account, request.params.id, creditsPerUsd, forAdmins);
    if (receipt === null) throw noSuch('request', request.params.id);
    return receipt;
  });

  scope.post<ById>('/requests/:id/refund', CALLS.refund, async (request, reply) => {
    const refund = readNewRefund(request.body);
    const { account, id } = await requestOf(request);
    const correction = await refundRequest(deps, account, id, refund);
    const after = presentCorrection(correction);
    const { reason } = refund;
    await toldOnce(pool, request, 'request.refund', 'once', { account, target: request.params.id, after, reason });
    return reply.status(correction.created ? 201 : 200).send(after);
  });

  /** The request that a path names, and whose it is: the account that the query names, else it is looked for. */
  async function requestOf(request: FastifyRequest<ById>): Promise<{ account: bigint; id: Uuid }> {
    const { account: named } = readInput(requestQuery, request.query);
    const id = parsePublicUuid('req', request.params.id);
    if (id === null) throw noSuch('request', request.params.id);
    const account =
      named === undefined ? await findAccountOfRequest(pool, id, MOST_ACCOUNTS_PROBED) : parsePublicId('acct', named);
    if (account !== null) return { account, id };
    if (named !== undefined) throw noSuch('request', request.params.id);
    throw new TollgateError('not_found', {
      message:
        `None of the newest ${MOST_ACCOUNTS_PROBED} accounts has the request "${request.params.id}". ` +
        'If it is of an older account, name that: ?account=acct_….',
    });
  }
}
