/** API keys of an account: made and shown once, listed without their secrets, narrowed, replaced, revoked. */
import type { FastifyInstance } from 'fastify';
import { findAccount } from '../accounts/accounts.ts';
import { changeKey, createKey, listKeys, revokeKey, rotateKey } from '../accounts/keys.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { about } from '../openapi/about.ts';
import { revoked } from '../openapi/shapes.ts';
import * as answers from './answers.ts';
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
    const account = await existingAccount(request);
    const key = readNewKey(request.body, clock.now());
    return reply.status(201).send(presentNewKey(await createKey(pool, clock, account, key)));
  });

  scope.get<ById>('/accounts/:id/keys', CALLS.list, async (request) => {
    const account = await existingAccount(request);
    const { limit, cursor } = readInput(pageQuery, request.query);
    const keys = await listKeys(pool, account, { limit: limit + 1, after: readCursor(cursor, integerCursor) });
    return toPage(keys, limit, presentKey, (key) => key.id.toString());
  });

  scope.patch<ByKey>('/accounts/:id/keys/:key', CALLS.change, async (request) => {
    const change = readKeyChange(request.body);
    const key = await changeKey(pool, accountOf(request), keyOf(request), change);
    if (key === null) throw noSuch('key', request.params.key);
    return presentKey(key);
  });

  scope.post<ByKey>('/accounts/:id/keys/:key/rotate', CALLS.rotate, async (request, reply) => {
    const overlap = readOverlap(request.body);
    const made = await rotateKey(pool, clock, accountOf(request), keyOf(request), overlap);
    if (made === null) throw noSuch('key', request.params.key);
    return reply.status(201).send(presentNewKey(made));
  });

  scope.delete<ByKey>('/accounts/:id/keys/:key', CALLS.revoke, async (request) => {
    if (!(await revokeKey(pool, accountOf(request), keyOf(request)))) throw noSuch('key', request.params.key);
    return { id: request.params.key, revoked: true };
  });

  async function existingAccount(request: { params: ById['Params'] }): Promise<bigint> {
    const account = await findAccount(pool, accountOf(request));
    if (account === null) throw noSuch('account', request.params.id);
    return account.id;
  }
}
