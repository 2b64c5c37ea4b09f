/** What an account used. */
import type { FastifyInstance } from 'fastify';
import { usage } from '../metering/answers.ts';
import { usageBody, usageQuery, usageView } from '../metering/usage-view.ts';
import { about } from '../openapi/about.ts';
import { type AdminDeps, accountOf, type ById, noSuch } from './shared.ts';

export function registerUsage(scope: FastifyInstance, { pool }: AdminDeps): void {
  scope.get<ById>(
    '/accounts/:id/usage',
    about({ summary: 'Sums what an account used in some days.', query: usageQuery, answer: usage, alsoAs: 'text/csv' }),
    async (request, reply) => {
      const report = await usageView(pool, accountOf(request), request.query);
      if (report === null) throw noSuch('account', request.params.id);
      const { type, body } = usageBody(report, request.headers.accept);
      return reply.type(type).send(body);
    },
  );
}
