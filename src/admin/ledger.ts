/** The ledger over all accounts: the proof that the books add up. */
import type { FastifyInstance } from 'fastify';
import { presentVerification } from '../ledger/audit/present.ts';
import { sharedVerification } from '../ledger/verify.ts';
import type { AdminDeps } from './shared.ts';

export function registerLedger(scope: FastifyInstance, { pool }: AdminDeps): void {
  const verify = sharedVerification(pool);
  scope.get('/ledger/verify', async () => presentVerification(await verify()));
}
