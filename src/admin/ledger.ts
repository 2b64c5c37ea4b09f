/** The ledger over all accounts: the receipt of a request by its id alone, and the proof that the books add up. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { TollgateError } from '../errors.ts';
import { readInput } from '../errors-input.ts';
import { findAccountOfRequest } from '../ledger/requests.ts';
import { verifyLedger } from '../ledger/verify.ts';
import { parsePublicId, parsePublicUuid } from '../lib/ids.ts';
import { requestView } from '../metering/account-views.ts';
import { presentVerification } from './forms.ts';
import { type AdminDeps, type ById, noSuch } from './shared.ts';

/** Accounts probed for a request whose account is not named: seconds of index look-ups. */
const MOST_ACCOUNTS_PROBED = 100_000;
const requestQuery = z.strictObject({ account: z.string('must be an account id').optional() });

export function registerLedger(scope: FastifyInstance, { pool, creditsPerUsd }: AdminDeps): void {
  scope.get<ById>('/requests/:id', async (request) => {
    const { account: named } = readInput(requestQuery, request.query);
    const { id } = request.params;
    const account = named === undefined ? await accountOfRequest(id) : parsePublicId('acct', named);
    const receipt = account === null ? null : await requestView(pool, account, id, creditsPerUsd);
    if (receipt === null) throw noSuch('request', id);
    return receipt;
  });

  scope.get('/ledger/verify', async () => presentVerification(await verifyLedger(pool)));

  async function accountOfRequest(requestId: string): Promise<bigint> {
    const id = parsePublicUuid('req', requestId);
    if (id === null) throw noSuch('request', requestId);
    const account = await findAccountOfRequest(pool, id, MOST_ACCOUNTS_PROBED);
    if (account !== null) return account;
    throw new TollgateError('not_found', {
      message:
        `None of the newest ${MOST_ACCOUNTS_PROBED} accounts has the request "${requestId}". ` +
        'If it is of an older account, name that: ?account=acct_….',
    });
  }
}
