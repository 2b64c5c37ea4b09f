/** API keys of an account: made and shown once, listed without their secrets, narrowed, replaced, revoked. */
import type { FastifyInstance } from 'fastify';
import { findAccount } from '../accounts/accounts.ts';
import { changeKey, createKey, findKey, listKeys, revokeKey, rotateKey } from '../accounts/keys.ts';
import type { Db } from '../db/pool.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { about } from '../openapi/about.ts';
import { revoked } from '../openapi/shapes.ts';
import * as answers from './answers.ts';
import { audited } from './audited.ts';
import {
  keyChange,
  newKey,
  presentKey,
  presentNewKey,
  readKeyChange,
  readNewKey,
  readOverlap,
  rotation,
} from './key-forms.ts';
import { type AdminDeps, accountOf, type ById, integerCursor, keyOf, noSuch } from './shared.ts';

interface ByKey {
  Params: { id: string; key: string };
}

const CALLS = {
  make: about({
    summary: 'Makes a key, which is shown this once.',
    body: newKey,
    answer: answers.newKey,
    statuses: [201],
  }),
  list: about({ summary: 'Lists the keys of an account.', query: pageQuery, answer: answers.keyPage }),
  change: about({
    summary: 'Narrows a key or widens it again; null takes a field away.',
    body: keyChange,
    answer: answers.key,
  }),
  rotate: about({
    summary: 'Replaces a key, which may stay good beside the new one for a while.',
    body: rotation,
    answer: answers.newKey,
    statuses: [201],
  }),
  revoke: about({ summary: 'Revokes a key.', answer: revoked }),
};

export function registerKeys(scope: FastifyInstance, { pool, clock }: AdminDeps): void {
  scope.post<ById>('/accounts/:id/keys', CALLS.make, async (request, reply) => {
    const account = accountOf(request);
    const key = readNewKey(request.body, clock.now());
    const made = await audited(pool, request, 'key.create', account, async (db) => {
      const answer = await createKey(db, clock, account, key);
      return { answer, target: publicId('key', answer.id), before: null, after: presentKey(answer) };
    });
    return reply.status(201).send(presentNewKey(made));
  });

  scope.get<ById>('/accounts/:id/keys', CALLS.list, async (request) => {
    const account = accountOf(request);
    if ((await findAccount(pool, account)) === null) throw noSuch('account', request.params.id);
    const { limit, cursor } = readInput(pageQuery, request.query);
    const keys = await listKeys(pool, account, { limit: limit + 1, after: readCursor(cursor, integerCursor) });
    return toPage(keys, limit, presentKey, (key) => key.id.toString());
  });

  scope.patch<ByKey>('/accounts/:id/keys/:key', CALLS.change, async (request) => {
    const change = readKeyChange(request.body);
    return audited(pool, request, 'key.change', accountOf(request), async (db) => {
      const before = await shownKey(db, request);
      const after = presentKey((await changeKey(db, accountOf(request), keyOf(request), change))!);
      return { answer: after, target: before.id, before, after };
    });
  });

  scope.post<ByKey>('/accounts/:id/keys/:key/rotate', CALLS.rotate, async (request, reply) => {
    const overlap = readOverlap(request.body);
    const made = await audited(pool, request, 'key.rotate', accountOf(request), async (db) => {
      const before = await shownKey(db, request);
      const answer = (await rotateKey(db, clock, accountOf(request), keyOf(request), overlap))!;
      return { answer, target: before.id, before, after: await shownKey(db, request) };
    });
    return reply.status(201).send(presentNewKey(made));
  });

  scope.delete<ByKey>('/accounts/:id/keys/:key', CALLS.revoke, async (request) => {
    return audited(pool, request, 'key.revoke', accountOf(request), async (db) => {
      const before = await shownKey(db, request);
      await revokeKey(db, accountOf(request), keyOf(request));
      const answer = { id: before.id, revoked: true };
      return { answer, target: before.id, before, after: await shownKey(db, request) };
    });
  });
}

/** The key that a path names, as it can always be shown. Throws `not_found`. */
async function shownKey(db: Db, request: { params: ByKey['Params'] }) {
  const key = await findKey(db, accountOf(request), keyOf(request));
  if (key === null) throw noSuch('key', request.params.key);
  return presentKey(key);
}
