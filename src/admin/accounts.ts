/** Accounts: created once per external id, listed, changed, suspended. */
import type { FastifyInstance } from 'fastify';
import {
  changeAccount,
  createAccount,
  eraseAccount,
  findAccount,
  listAccounts,
  requirePlan,
} from '../accounts/accounts.ts';
import type { Db } from '../db/pool.ts';
import { TollgateError } from '../errors.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, text, toPage } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { about } from '../openapi/about.ts';
import { liveSubscriptions } from '../payments/live-subscriptions.ts';
import * as answers from './answers.ts';
import { audited } from './audited.ts';
import {
  accountChange,
  accountStatus,
  newAccount,
  presentAccount,
  readAccountChange,
  readNewAccount,
} from './forms.ts';
import { type AdminDeps, accountOf, actorOf, type ById, integerCursor, noSuch } from './shared.ts';

const accountQuery = pageQuery.extend({
  external_id: text(255).optional(),
  plan: text(200).optional(),
  status: accountStatus.optional(),
});

const CALLS = {
  make: about({
    summary: 'Makes an account, once per external id.',
    body: newAccount,
    answer: answers.account,
    statuses: [201, 200],
  }),
  list: about({
    summary: 'Lists accounts, all or those of an external id, a plan, a status.',
    query: accountQuery,
    answer: answers.accountPage,
  }),
  show: about({ summary: 'Shows an account.', answer: answers.account }),
  change: about({
    summary: 'Changes the fields that are given; null takes one away.',
    body: accountChange,
    answer: answers.account,
  }),
  erase: about({
    summary: "Makes an account nobody's: revokes its keys, erases what is told of a person, and keeps its entries.",
    answer: answers.erasure,
  }),
};

export function registerAccounts(scope: FastifyInstance, { pool, clock }: AdminDeps): void {
  scope.post('/accounts', CALLS.make, async (request, reply) => {
    const given = readNewAccount(request.body);
    if (given.plan !== null) await requirePlan(pool, given.plan);
    const { account, created } = await audited(pool, request, 'account.create', null, async (db) => {
      const made = await createAccount(db, clock, given, actorOf(request));
      const { id } = made.account;
      const after = presentAccount(made.account);
      return { answer: made, account: id, target: after.id, before: made.created ? null : after, after };
    });
    return reply.status(created ? 201 : 200).send(presentAccount(account));
  });

  scope.get('/accounts', CALLS.list, async (request) => {
    const { limit, cursor, external_id: externalId, ...filter } = readInput(accountQuery, request.query);
    const page = { limit: limit + 1, after: readCursor(cursor, integerCursor) };
    const accounts = await listAccounts(pool, { externalId, ...filter }, page);
    return toPage(accounts, limit, presentAccount, (account) => account.id.toString());
  });

  scope.get<ById>('/accounts/:id', CALLS.show, async (request) => {
    const account = await findAccount(pool, accountOf(request));
    if (account === null) throw noSuch('account', request.params.id);
    return presentAccount(account);
  });

  scope.patch<ById>('/accounts/:id', CALLS.change, async (request) => {
    const id = accountOf(request);
    const change = readAccountChange(request.body);
    if (typeof change.plan === 'string') await requirePlan(pool, change.plan);
    return audited(pool, request, 'account.change', id, async (db) => {
      const before = presentAccount((await findAccount(db, id))!);
      const after = presentAccount((await changeAccount(db, clock, id, change, actorOf(request)))!);
      return { answer: after, target: after.id, before, after };
    });
  });

  scope.delete<ById>('/accounts/:id', CALLS.erase, async (request) => {
    const id = accountOf(request);
    const target = publicId('acct', id);
    return audited(pool, request, 'account.erase', target, async (db) => {
      const before = await findAccount(db, id);
      if (before?.erasedAt === null) await refuseWhileCharged(db, id);
      const erased = await eraseAccount(db, id);
      if (before === null || erased === null) throw noSuch('account', target);
      const erased_at = erased.erasedAt.toISOString();
      return {
        answer: { id: target, erased: true, erased_at, revoked_keys: erased.revokedKeys },
        account: id,
        target,
        before: { status: before.status, erased_at: before.erasedAt?.toISOString() ?? null },
        after: { status: 'suspended', erased_at },
      };
    });
  });
}

/** Stripe would go on charging whoever was erased here. */
async function refuseWhileCharged(db: Db, account: bigint): Promise<void> {
  const live = await liveSubscriptions(db, account);
  if (live.length === 0) return;
  throw new TollgateError('conflict', {
    message: `This account is still subscribed at Stripe (${live.join(', ')}) and would be charged on. Cancel that there first.`,
  });
}
