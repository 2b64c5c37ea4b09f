/** What an account pays for a model instead of the price of its plan or the model: versions, some of which wait. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type AccountPrice, accountPrices, type NewAccountPrice, setAccountPrice } from '../accounts/prices.ts';
import { priceOf } from '../catalog/build.ts';
import { type ModelEntry, priceOverride } from '../catalog/file.ts';
import { overriddenPrice, toOverride, type WrittenOverride } from '../catalog/override.ts';
import { writePrice } from '../catalog/price.ts';
import { readInput } from '../errors-input.ts';
import { instant, text } from '../lib/http-json.ts';
import { publicId } from '../lib/ids.ts';
import { about } from '../openapi/about.ts';
import * as answers from './answers.ts';
import { audited } from './audited.ts';
import { confirmation, confirmed, modelInForce, numbersAsText, refuseDoubts } from './prices.ts';
import { type AdminDeps, accountOf, actorOf, type ById, noSuch } from './shared.ts';

/** Names of models may hold slashes, so they are the rest of the path. */
interface ByModel {
  Params: ById['Params'] & { '*': string };
}

const PATH = '/accounts/:id/prices/*';
const path = '/accounts/{id}/prices/{model}';
const newPrice = z.strictObject({
  price: priceOverride,
  reason: text(500),
  effective_at: instant.nullable().default(null),
});
const removal = z.strictObject({ reason: text(500).nullable().default(null) });

const CALLS = {
  list: about({
    path,
    summary: 'Lists the prices of its own that an account had, has and will have for a model.',
    answer: answers.accountPricePage,
  }),
  set: about({
    path,
    summary: 'Sets what an account pays for a model.',
    query: confirmation,
    body: newPrice,
    answer: answers.accountPrice,
  }),
  end: about({
    path,
    summary: 'Has an account pay the price of its plan or the model again.',
    body: removal,
    answer: answers.accountPrice,
  }),
};

export function registerAccountPrices(scope: FastifyInstance, { pool, markup }: AdminDeps): void {
  scope.get<ByModel>(PATH, CALLS.list, async (request) => {
    const model = request.params['*'];
    const versions = await versionsOf(accountOf(request), model);
    return { data: versions.map((one) => present(model, one)), has_more: false, next_cursor: null };
  });

  scope.put<ByModel>(PATH, CALLS.set, async (request) => {
    const model = request.params['*'];
    const { effective_at: at, reason, ...given } = readInput(newPrice, numbersAsText(request.body));
    const price = given.price as WrittenOverride;
    const entry = await modelInForce(pool, model);
    if (!confirmed(request.query)) refuseDoubts({ cost: entry.cost, price: asPaid(entry, price) }, entry);
    return change(request, 'account_price.set', { price, reason, at });
  });

  scope.delete<ByModel>(PATH, CALLS.end, async (request) => {
    const account = accountOf(request);
    const model = request.params['*'];
    const { reason } = readInput(removal, request.body);
    const versions = await versionsOf(account, model);
    const current = inForce(versions);
    if (!versions.some((one) => one.price !== null && (one.waits || one === current))) throw noSuch('price', model);
    return change(request, 'account_price.end', { price: null, reason, at: null });
  });

  async function change(
    request: FastifyRequest<ByModel>,
    action: string,
    given: Pick<NewAccountPrice, 'price' | 'reason' | 'at'>,
  ) {
    const account = accountOf(request);
    const model = request.params['*'];
    return audited(pool, request, action, account, async (db) => {
      const current = inForce(await accountPrices(db, account, model));
      const made = await setAccountPrice(db, account, model, { ...given, author: actorOf(request) });
      const after = present(model, made);
      const before = current === undefined ? null : present(model, current);
      return { answer: after, target: publicId('acct', account), before, after, reason: given.reason };
    });
  }

  async function versionsOf(account: bigint, model: string): Promise<AccountPrice[]> {
    const versions = model.includes('\0') ? [] : await accountPrices(pool, account, model);
    if (versions.length === 0) throw noSuch('price', model);
    return versions;
  }

  /** What the account would pay, in full: what is questioned is that, not a multiple. */
  function asPaid(entry: ModelEntry, given: WrittenOverride): ModelEntry['price'] {
    const override = toOverride(given, { kind: 'account', version: 0 });
    const written = 'price' in override ? given : writePrice(overriddenPrice(priceOf(entry, markup), override));
    return written as ModelEntry['price'];
  }
}

function inForce(versions: readonly AccountPrice[]): AccountPrice | undefined {
  return versions.find(({ waits }) => !waits);
}

function present(model: string, { version, price, reason, effectiveAt }: AccountPrice) {
  return { model, version, price, reason, effective_at: effectiveAt.toISOString() };
}
