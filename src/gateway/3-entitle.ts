/** Step 3: may this principal use this model? A denial is confirmed with fresh policy and catalog before it is sent. */

import type { Principals } from '../accounts/principals.ts';
import type { CatalogCache } from '../catalog/cache.ts';
import type { Price } from '../catalog/price.ts';
import { decideModel, type ModelDecision } from '../entitlements/resolve.ts';
import { TollgateError } from '../errors.ts';
import { refuseUnpriced } from '../metering/request-asks.ts';
import { type Context, need } from './context.ts';

/** Fills `catalog` and `model`. Throws `model_not_found`, `model_not_entitled`, or `invalid_request` for what has no price. */
export function entitle(context: Context, catalogs: CatalogCache): void {
  context.catalog = catalogs.current;
  const name = need(context, 'request').model;
  const decision = decideModel(context.catalog, need(context, 'principal').plan, name);
  if (!decision.allowed) throw denial(decision, name);
  if (!pricesText(decision.model.price)) throw denial({ allowed: false, reason: 'model_not_found' }, name);
  refuseUnpriced(need(context, 'request').asks, decision.model.price, name);
  context.model = decision.model;
}

/** The same after policy and catalog were read again: after a denial, and when the ledger called them stale. */
export async function entitleAfresh(context: Context, catalogs: CatalogCache, principals: Principals): Promise<void> {
  const [principal] = await Promise.all([principals.reload(need(context, 'principal')), catalogs.refresh()]);
  if (principal === null || principal.keyEnded) throw new TollgateError('invalid_api_key');
  if (principal.suspended) throw new TollgateError('account_suspended');
  context.principal = principal;
  entitle(context, catalogs);
}

/**
 * Whether text going in and coming out has a price: either each has one, or the request as a whole and tokens none. A
 * model with only one side priced would give the other away.
 */
function pricesText({ units }: Price): boolean {
  const sides = [units.input, units.output].filter((side) => side !== undefined).length;
  return sides === 2 || (sides === 0 && units.request !== undefined);
}

function denial(decision: Exclude<ModelDecision, { allowed: true }>, name: string): TollgateError {
  if (decision.reason === 'model_not_found') {
    return new TollgateError('model_not_found', {
      param: 'model',
      message: `The model ${JSON.stringify(name)} does not exist or you do not have access to it. GET /v1/models lists the models this key may use.`,
    });
  }
  const hint = decision.publicPlan === null ? '' : ` The plan "${decision.publicPlan}" includes it.`;
  return new TollgateError('model_not_entitled', {
    param: 'model',
    message: `The plan of this account does not include the model ${JSON.stringify(name)}.${hint}`,
  });
}
