/**
 * What an account may do, and why: as it is or as it was at an instant, and the statements that make it so. Overrides replace one
 * another by their key; blocks, grants and subscriptions are told apart by a reference of their own.
 */
import type { FastifyInstance } from 'fastify';
import { findAccount, requirePlan } from '../accounts/accounts.ts';
import {
  addStatement,
  databaseNow,
  type KeptStatement,
  keptStatements,
  lockStatement,
  setOverride,
  statementsAt,
  withdrawStatement,
} from '../accounts/entitlements.ts';
import { answer } from '../entitlements/check.ts';
import { presentAnswer, presentSpoken, spokenCursor } from '../entitlements/present.ts';
import { accessOf } from '../entitlements/resolve.ts';
import { readCursor } from '../errors-input.ts';
import { toPage } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { about } from '../openapi/about.ts';
import * as answers from './answers.ts';
import { audited, type Change } from './audited.ts';
import {
  entitlementsQuery,
  newStatement,
  override,
  presentStatement,
  readNewStatement,
  readOverride,
  readQuery,
  readSlot,
  removal,
  slotQuery,
} from './entitlement-forms.ts';
import { type AdminDeps, accountOf, actorOf, type ById, noSuch } from './shared.ts';

/** Keys may hold slashes, as names of models do, so they are the rest of the path. */
interface ByKey {
  Params: ById['Params'] & { '*': string };
}

const PATH = '/accounts/:id/entitlements';
const path = '/accounts/{id}/entitlements/{key}';
/** Of its history, as many of the newest as one answer holds; those before them are found by an earlier `at`. */
const MOST_STATEMENTS = 500;

const CALLS = {
  list: about({
    summary: 'Says what an account may do and why, now or at an instant of the past.',
    query: entitlementsQuery,
    answer: answers.entitlements,
  }),
  state: about({
    summary: 'States a grant, a block or a subscription, once per reference.',
    body: newStatement,
    answer: answers.statement,
    statuses: [201, 200],
  }),
  override: about({
    path,
    summary: 'States an override, which takes the place of the one before.',
    body: override,
    answer: answers.statement,
  }),
  withdraw: about({
    path,
    summary: 'Withdraws an override, or the statement that the query names.',
    query: slotQuery,
    body: removal,
    answer: answers.statement,
  }),
};

export function registerEntitlements(scope: FastifyInstance, deps: AdminDeps): void {
  const { pool, catalogAt } = deps;
  scope.get<ById>(PATH, CALLS.list, async (request) => {
    const account = accountOf(request);
    const { limit, cursor, at: given, asked } = readQuery(request.query);
    const found = await findAccount(pool, account);
    if (found === null) throw noSuch('account', request.params.id);
    const at = given ?? (await databaseNow(pool));
    const [catalog, statements] = await Promise.all([catalogAt(at), statementsAt(pool, account, at)]);
    // Of the account as it is stated: keys narrow it, and have no history. Nor has the state of the account.
    const suspended = given === null && found.status === 'suspended';
    const who = { account, key: 0n, statements, keyModels: null, keyLimits: null, prices: NO_PRICES, suspended };
    const head = { account_id: publicId('acct', account), at };
    if (asked !== null) return { ...head, ...presentAnswer(answer(catalog, who, asked)) };
    const spoken = presentSpoken(accessOf(catalog, who), readCursor(cursor, spokenCursor));
    const kept = await keptStatements(pool, account, { at: given, limit: MOST_STATEMENTS });
    return {
      ...head,
      ...toPage(
        spoken,
        limit,
        (one) => one,
        ({ key }) => key,
      ),
      statements: kept.map(presentStatement),
    };
  });
  registerStatements(scope, deps);
}

function registerStatements(scope: FastifyInstance, { pool, clock }: AdminDeps): void {
  scope.post<ById>(PATH, CALLS.state, async (request, reply) => {
    const account = accountOf(request);
    const made = readNewStatement(request.body, actorOf(request));
    if (made.key === 'plan') await requirePlan(pool, made.value as string, 'value');
    const { statement, created } = await audited(pool, request, 'entitlement.state', account, async (db) => {
      const answer = await addStatement(db, clock, account, made);
      return told(account, answer.created ? null : answer.statement, answer.statement, answer);
    });
    return reply.status(created ? 201 : 200).send(presentStatement(statement));
  });

  scope.put<ByKey>(`${PATH}/*`, CALLS.override, async (request) => {
    const account = accountOf(request);
    const made = readOverride(request.params['*'], request.body, actorOf(request));
    const set = await audited(pool, request, 'entitlement.override', account, async (db) => {
      const before = await lockStatement(db, account, made);
      const answer = await setOverride(db, clock, account, made);
      return told(account, before, answer, answer);
    });
    return presentStatement(set);
  });

  scope.delete<ByKey>(`${PATH}/*`, CALLS.withdraw, async (request) => {
    const account = accountOf(request);
    const { slot, reason } = readSlot(request.params['*'], request.query, request.body);
    const withdrawn = await audited(pool, request, 'entitlement.withdraw', account, async (db) => {
      const before = await lockStatement(db, account, slot);
      const answer = await withdrawStatement(db, clock, account, slot, { reason, author: actorOf(request) });
      if (answer === null) throw noSuch('entitlement', slot.key);
      return { ...told(account, before, null, answer), reason };
    });
    return presentStatement(withdrawn);
  });
}

/** The target is the account: keys of statements are told apart in what is shown. */
function told<T>(account: bigint, before: KeptStatement | null, after: KeptStatement | null, answer: T): Change<T> {
  const shown = (one: KeptStatement | null) => (one === null ? null : presentStatement(one));
  const reason = after?.reason ?? null;
  return { answer, target: publicId('acct', account), before: shown(before), after: shown(after), reason };
}

const NO_PRICES = new Map<string, never>();
