/** Accounts: created once per external id, listed, changed, suspended. */
import type { FastifyInstance } from 'fastify';
import { changeAccount, createAccount, findAccount, listAccounts, requirePlan } from '../accounts/accounts.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, toPage } from '../lib/http-json.ts';
import { presentAccount, readAccountChange, readNewAccount } from './forms.ts';
import { type AdminDeps, accountOf, actorOf, type ById, integerCursor, noSuch } from './shared.ts';

export function registerAccounts(scope: FastifyInstance, { pool, clock }: AdminDeps): void {
  scope.post('/accounts', async (request, reply) => {
    const given = readNewAccount(request.body);
    if (given.plan !== null) await requirePlan(pool, given.plan);
    const { account, created } = await createAccount(pool, clock, given, actorOf(request));
    return reply.status(created ? 201 : 200).send(presentAccount(account));
  });

  scope.get('/accounts', async (request) => {
    const { limit, cursor } = readInput(pageQuery, request.query);
    const accounts = await listAccounts(pool, { limit: limit + 1, after: readCursor(cursor, integerCursor) });
    return toPage(accounts, limit, presentAccount, (account) => account.id.toString());
  });

  scope.get<ById>('/accounts/:id', async (request) => {
    const account = await findAccount(pool, accountOf(request));
    if (account === null) throw noSuch('account', request.params.id);
    return presentAccount(account);
  });

  scope.patch<ById>('/accounts/:id', async (request) => {
    const id = accountOf(request);
    const change = readAccountChange(request.body);
    if (typeof change.plan === 'string') await requirePlan(pool, change.plan);
    const account = await changeAccount(pool, clock, id, change, actorOf(request));
    if (account === null) throw noSuch('account', request.params.id);
    return presentAccount(account);
  });
}
