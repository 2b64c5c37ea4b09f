/** What an account used. */
import type { FastifyInstance } from 'fastify';
import { usageBody, usageView } from '../metering/usage-view.ts';
import { type AdminDeps, accountOf, type ById, noSuch } from './shared.ts';

export function registerUsage(scope: FastifyInstance, { pool }: AdminDeps): void {
  scope.get<ById>('/accounts/:id/usage', async (request, reply) => {
    const report = await usageView(pool, accountOf(request), request.query);
    if (report === null) throw noSuch('account', request.params.id);
    const { type, body } = usageBody(report, request.headers.accept);
    return reply.type(type).send(body);
  });
}
