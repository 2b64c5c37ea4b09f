/** Service keys: made and shown once, listed without their secrets, replaced, revoked. */
import type { FastifyInstance } from 'fastify';
import { createServiceKey, listServiceKeys, revokeServiceKey, rotateServiceKey } from '../accounts/service-keys.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { presentNewServiceKey, presentServiceKey, readNewServiceKey, readOverlap } from './key-forms.ts';
import { type AdminDeps, integerCursor, keyOf, noSuch } from './shared.ts';

interface ByKey {
  Params: { key: string };
}

export function registerServiceKeys(scope: FastifyInstance, { pool, clock }: AdminDeps): void {
  scope.post('/service-keys', async (request, reply) => {
    const made = await createServiceKey(pool, clock, readNewServiceKey(request.body));
    return reply.status(201).send(presentNewServiceKey(made));
  });

  scope.get('/service-keys', async (request) => {
    const { limit, cursor } = readInput(pageQuery, request.query);
    const keys = await listServiceKeys(pool, { limit: limit + 1, after: readCursor(cursor, integerCursor) });
    return toPage(keys, limit, presentServiceKey, (key) => key.id.toString());
  });

  scope.post<ByKey>('/service-keys/:key/rotate', async (request, reply) => {
    const made = await rotateServiceKey(pool, clock, keyOf(request), readOverlap(request.body));
    if (made === null) throw noSuch('key', request.params.key);
    return reply.status(201).send(presentNewServiceKey(made));
  });

  scope.delete<ByKey>('/service-keys/:key', async (request) => {
    if (!(await revokeServiceKey(pool, keyOf(request)))) throw noSuch('key', request.params.key);
    return { id: request.params.key, revoked: true };
  });
}
