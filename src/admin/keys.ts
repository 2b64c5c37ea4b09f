/** API keys of an account: made and shown once, listed without their secrets, narrowed, replaced, revoked. */
import type { FastifyInstance } from 'fastify';
import { findAccount } from '../accounts/accounts.ts';
import { changeKey, createKey, listKeys, revokeKey, rotateKey } from '../accounts/keys.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { presentKey, presentNewKey, readKeyChange, readNewKey, readOverlap } from './key-forms.ts';
import { type AdminDeps, accountOf, type ById, integerCursor, keyOf, noSuch } from './shared.ts';

interface ByKey {
  Params: { id: string; key: string };
}

export function registerKeys(scope: FastifyInstance, { pool, clock }: AdminDeps): void {
  scope.post<ById>('/accounts/:id/keys', async (request, reply) => {
    const account = await existingAccount(request);
    const key = readNewKey(request.body, clock.now());
    return reply.status(201).send(presentNewKey(await createKey(pool, clock, account, key)));
  });

  scope.get<ById>('/accounts/:id/keys', async (request) => {
    const account = await existingAccount(request);
    const { limit, cursor } = readInput(pageQuery, request.query);
    const keys = await listKeys(pool, account, { limit: limit + 1, after: readCursor(cursor, integerCursor) });
    return toPage(keys, limit, presentKey, (key) => key.id.toString());
  });

  scope.patch<ByKey>('/accounts/:id/keys/:key', async (request) => {
    const change = readKeyChange(request.body);
    const key = await changeKey(pool, accountOf(request), keyOf(request), change);
    if (key === null) throw noSuch('key', request.params.key);
    return presentKey(key);
  });

  scope.post<ByKey>('/accounts/:id/keys/:key/rotate', async (request, reply) => {
    const overlap = readOverlap(request.body);
    const made = await rotateKey(pool, clock, accountOf(request), keyOf(request), overlap);
    if (made === null) throw noSuch('key', request.params.key);
    return reply.status(201).send(presentNewKey(made));
  });

  scope.delete<ByKey>('/accounts/:id/keys/:key', async (request) => {
    if (!(await revokeKey(pool, accountOf(request), keyOf(request)))) throw noSuch('key', request.params.key);
    return { id: request.params.key, revoked: true };
  });

  async function existingAccount(request: { params: ById['Params'] }): Promise<bigint> {
    const account = await findAccount(pool, accountOf(request));
    if (account === null) throw noSuch('account', request.params.id);
    return account.id;
  }
}
