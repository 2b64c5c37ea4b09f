/**
 * What a request names of a provider's store must be its account's. An id of another account is refused in the same words as one that
 * nobody has, and the attempt is logged. What is owned is at one provider: the request is sent to no other.
 */

import { promptly } from '../../db/pool.ts';
import { TollgateError } from '../../errors.ts';
import { publicId } from '../../lib/ids.ts';
import { invalid } from '../../metering/requests/json-body.ts';
import type { StoredId } from '../../metering/requests/types.ts';
import type { Logger } from '../../observe/log.ts';
import { type Context, need } from '../context.ts';
import { namedContext } from './follow-up.ts';
import type { OwnedId, OwnedIds } from './ids.ts';

export interface CheckDeps {
  owned: OwnedIds;
  log: Logger;
}

/** So much of an id is logged: enough to find its like, too little to use it. */
const LOGGED_CHARS = 12;

/**
 * Fills `onlyProvider`, and `named` of the request. `null`: the request names nothing that is stored. Throws
 * `previous_response_not_found`, `invalid_request` with `param`, and `ledger_unavailable`.
 */
export function checkOwned(context: Context, deps: CheckDeps): Promise<void> | null {
  const { storedIds } = need(context, 'request');
  return storedIds === undefined || storedIds.length === 0 ? null : check(context, deps, storedIds);
}

async function check(context: Context, deps: CheckDeps, named: readonly StoredId[]): Promise<void> {
  const { account } = need(context, 'principal');
  const found = await promptly(deps.owned.find(named.map(({ id }) => id)));
  const own = Map.groupBy(
    found.filter((one) => one.account === account),
    ({ id }) => id,
  );
  const missing = named.find(({ id }) => !own.has(id));
  if (missing !== undefined) {
    logDenied(deps.log, context, missing, found);
    throw notOwned(missing);
  }
  let providers = new Set(found.map(({ provider }) => provider));
  for (const { id } of named) providers = providers.intersection(new Set(own.get(id)!.map(({ provider }) => provider)));
  const routes = need(context, 'model').routes.filter(({ provider }) => providers.has(provider));
  if (routes.length === 0) throw elsewhere(named[0]!);
  const { provider } = routes[0]!;
  context.onlyProvider = provider;
  const answers = new Map(found.filter((one) => one.provider === provider).map((one) => [one.id, one]));
  const models = routes.filter((route) => route.provider === provider).map(({ model }) => model);
  const request = need(context, 'request');
  request.named = namedContext(named, answers, models, request.recalls === true);
}

/** Says who asked for what is not theirs, and whether it is another's. */
export function logDenied(
  log: Logger,
  asker: Pick<Context, 'publicId' | 'principal'>,
  { id, param }: { id: string; param: string },
  found: readonly OwnedId[],
): void {
  const { account, key } = asker.principal!;
  const ids = { acct: publicId('acct', account), key: publicId('key', key) };
  const foreign = found.some((one) => one.id === id && one.account !== account);
  const cut = id.slice(0, LOGGED_CHARS);
  log.warn({ req: asker.publicId, ...ids, param, id: cut, foreign }, 'an account named what it does not own');
}

function notOwned({ id, param, kind }: StoredId): TollgateError {
  if (kind === 'item') return invalid(param, 'there is no such thing in an answer to this account');
  return new TollgateError('previous_response_not_found', {
    param,
    message: `Previous response with id ${JSON.stringify(id.slice(0, 200))} not found.`,
  });
}

/** All that is named is the account's, but not at one provider that has the model. */
function elsewhere({ param }: StoredId): TollgateError {
  return invalid(param, 'no provider of this model has all that the request names; use the model that made it');
}
