/** API keys of an account: made and shown once, listed without their secrets, given another budget, revoked. */
import type { FastifyInstance } from 'fastify';
import { findAccount } from '../accounts/accounts.ts';
import { changeKey, createKey, listKeys, revokeKey } from '../accounts/keys.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { parsePublicId } from '../lib/ids.ts';
import { presentKey, presentNewKey, readKeyChange, readNewKey } from './forms.ts';
import { type AdminDeps, accountOf, type ById, integerCursor, noSuch } from './shared.ts';

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

/** The key that a path names. Throws `not_found` on what is no key's id. */
function keyOf(request: { params: ByKey['Params'] }): bigint {
  const key = parsePublicId('key', request.params.key);
  if (key === null) throw noSuch('key', request.params.key);
  return key;
}
