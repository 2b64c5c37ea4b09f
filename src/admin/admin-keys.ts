/** Named keys of the admin API: made and shown once, listed without their secrets, revoked. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import {
  type AdminKey,
  createAdminKey,
  findAdminKey,
  listAdminKeys,
  RESERVED_NAMES,
  revokeAdminKey,
} from '../accounts/admin-keys.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, text, toPage } from '../lib/http-json.ts';
import { parsePublicId, publicId } from '../lib/ids.ts';
import { about } from '../openapi/about.ts';
import * as answers from './answers.ts';
import { audited } from './audited.ts';
import { type AdminDeps, integerCursor, noSuch } from './shared.ts';

interface ByKey {
  Params: { key: string };
}

const newAdminKey = z.strictObject({
  name: text(100).refine((name) => !RESERVED_NAMES.includes(name), `must not be one of ${RESERVED_NAMES.join(', ')}`),
});

const CALLS = {
  make: about({
    summary: 'Makes an admin key, which is shown this once. What it changes bears its name.',
    body: newAdminKey,
    answer: answers.newAdminKey,
    statuses: [201],
  }),
  list: about({
    summary: 'Lists admin keys, but for the one of the settings.',
    query: pageQuery,
    answer: answers.adminKeyPage,
  }),
  revoke: about({ summary: 'Revokes an admin key.', answer: answers.revokedAdminKey }),
};

export function registerAdminKeys(scope: FastifyInstance, { pool, clock }: AdminDeps): void {
  scope.post('/admin-keys', CALLS.make, async (request, reply) => {
    const { name } = readInput(newAdminKey, request.body);
    const made = await audited(pool, request, 'admin_key.create', null, async (db) => {
      const key = await createAdminKey(db, clock, name);
      return { answer: key, target: publicId('adm', key.id), before: null, after: present(key) };
    });
    const { id, ...rest } = present(made);
    return reply.status(201).send({ id, key: made.text, ...rest });
  });

  scope.get('/admin-keys', CALLS.list, async (request) => {
    const { limit, cursor } = readInput(pageQuery, request.query);
    const keys = await listAdminKeys(pool, { limit: limit + 1, after: readCursor(cursor, integerCursor) });
    return toPage(keys, limit, present, (key) => key.id.toString());
  });

  scope.delete<ByKey>('/admin-keys/:key', CALLS.revoke, async (request) => {
    const target = request.params.key;
    const id = parsePublicId('adm', target);
    if (id === null) throw noSuch('key', target);
    return audited(pool, request, 'admin_key.revoke', target, async (db) => {
      const before = await findAdminKey(db, id);
      if (before === null) throw noSuch('key', target);
      await revokeAdminKey(db, id);
      const after = present((await findAdminKey(db, id))!);
      return { answer: { id: target, revoked: true }, target, before: present(before), after };
    });
  });
}

function present({ id, name, createdAt, revokedAt }: AdminKey) {
  return {
    id: publicId('adm', id),
    name,
    created_at: createdAt.toISOString(),
    revoked_at: revokedAt?.toISOString() ?? null,
  };
}
