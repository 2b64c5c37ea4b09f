/** The ledger over all accounts: the proof that the books add up, and the usage with them. */
import type { FastifyInstance } from 'fastify';
import { presentVerification } from '../ledger/audit/present.ts';
import { sharedVerification } from '../ledger/verify.ts';
import { verifyBooks } from '../metering/usage-audit.ts';
import { about } from '../openapi/about.ts';
import { verification } from './answers.ts';
import type { AdminDeps } from './shared.ts';

export function registerLedger(scope: FastifyInstance, { pool }: AdminDeps): void {
  const verify = sharedVerification(pool, verifyBooks);
  scope.get(
    '/ledger/verify',
    about({ summary: 'Proves that the books of all accounts add up.', answer: verification }),
    async () => presentVerification(await verify()),
  );
}
