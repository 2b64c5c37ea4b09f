/** Service keys: made and shown once, listed without their secrets, replaced, revoked. */
import type { FastifyInstance } from 'fastify';
import {
  createServiceKey,
  findServiceKey,
  listServiceKeys,
  revokeServiceKey,
  rotateServiceKey,
} from '../accounts/service-keys.ts';
import type { Db } from '../db/pool.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { about } from '../openapi/about.ts';
import { revoked } from '../openapi/shapes.ts';
import * as answers from './answers.ts';
import { audited } from './audited.ts';
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
    const key = readNewServiceKey(request.body);
    const made = await audited(pool, request, 'service_key.create', null, async (db) => {
      const answer = await createServiceKey(db, clock, key);
      return { answer, target: publicId('key', answer.id), before: null, after: presentServiceKey(answer) };
    });
    return reply.status(201).send(presentNewServiceKey(made));
  });

  scope.get('/service-keys', CALLS.list, async (request) => {
    const { limit, cursor } = readInput(pageQuery, request.query);
    const keys = await listServiceKeys(pool, { limit: limit + 1, after: readCursor(cursor, integerCursor) });
    return toPage(keys, limit, presentServiceKey, (key) => key.id.toString());
  });

  scope.post<ByKey>('/service-keys/:key/rotate', CALLS.rotate, async (request, reply) => {
    const overlap = readOverlap(request.body);
    const made = await audited(pool, request, 'service_key.rotate', publicId('key', keyOf(request)), async (db) => {
      const before = await shownKey(db, request);
      const answer = (await rotateServiceKey(db, clock, keyOf(request), overlap))!;
      return { answer, target: before.id, before, after: await shownKey(db, request) };
    });
    return reply.status(201).send(presentNewServiceKey(made));
  });

  scope.delete<ByKey>('/service-keys/:key', CALLS.revoke, async (request) => {
    return audited(pool, request, 'service_key.revoke', publicId('key', keyOf(request)), async (db) => {
      const before = await shownKey(db, request);
      await revokeServiceKey(db, keyOf(request));
      const answer = { id: before.id, revoked: true };
      return { answer, target: before.id, before, after: await shownKey(db, request) };
    });
  });
}

/** The service key that a path names, as it can always be shown. Throws `not_found`. */
async function shownKey(db: Db, request: { params: ByKey['Params'] }) {
  const key = await findServiceKey(db, keyOf(request));
  if (key === null) throw noSuch('key', request.params.key);
  return presentServiceKey(key);
}
