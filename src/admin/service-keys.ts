/** Service keys: made and shown once, listed without their secrets, replaced, revoked. */
import type { FastifyInstance } from 'fastify';
import { createServiceKey, listServiceKeys, revokeServiceKey, rotateServiceKey } from '../accounts/service-keys.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { about } from '../openapi/about.ts';
import { revoked } from '../openapi/shapes.ts';
import * as answers from './answers.ts';
import {
  newServiceKey,
  presentNewServiceKey,
  presentServiceKey,
  readNewServiceKey,
  readOverlap,
  rotation,
} from './key-forms.ts';
import { type AdminDeps, integerCursor, keyOf, noSuch } from './shared.ts';

interface ByKey {
  Params: { key: string };
}

const CALLS = {
  make: about({
    summary: 'Makes a service key, which is shown this once.',
    body: newServiceKey,
    answer: answers.newServiceKey,
    statuses: [201],
  }),
  list: about({ summary: 'Lists service keys.', query: pageQuery, answer: answers.serviceKeyPage }),
  rotate: about({
    summary: 'Replaces a service key, which may stay good beside the new one for a while.',
    body: rotation,
    answer: answers.newServiceKey,
    statuses: [201],
  }),
  revoke: about({ summary: 'Revokes a service key.', answer: revoked }),
};

export function registerServiceKeys(scope: FastifyInstance, { pool, clock }: AdminDeps): void {
  scope.post('/service-keys', CALLS.make, async (request, reply) => {
    const made = await createServiceKey(pool, clock, readNewServiceKey(request.body));
    return reply.status(201).send(presentNewServiceKey(made));
  });

  scope.get('/service-keys', CALLS.list, async (request) => {
    const { limit, cursor } = readInput(pageQuery, request.query);
    const keys = await listServiceKeys(pool, { limit: limit + 1, after: readCursor(cursor, integerCursor) });
    return toPage(keys, limit, presentServiceKey, (key) => key.id.toString());
  });

  scope.post<ByKey>('/service-keys/:key/rotate', CALLS.rotate, async (request, reply) => {
    const made = await rotateServiceKey(pool, clock, keyOf(request), readOverlap(request.body));
    if (made === null) throw noSuch('key', request.params.key);
    return reply.status(201).send(presentNewServiceKey(made));
  });

  scope.delete<ByKey>('/service-keys/:key', CALLS.revoke, async (request) => {
    if (!(await revokeServiceKey(pool, keyOf(request)))) throw noSuch('key', request.params.key);
    return { id: request.params.key, revoked: true };
  });
}
