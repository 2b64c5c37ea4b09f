/** Step 3: may this principal use this model? A denial is confirmed with fresh policy and catalog before it is sent. */

import { isBehind, type Principals } from '../accounts/principals.ts';
import type { CatalogCache } from '../catalog/cache.ts';
import { flatPrice } from '../catalog/price.ts';
import type { Model } from '../catalog/types.ts';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { notEntitled } from '../entitlements/explain.ts';
import { accessOf } from '../entitlements/resolve.ts';
import type { ModelDecision } from '../entitlements/types.ts';
import { TollgateError } from '../errors.ts';
import { refuseUnpriced } from '../metering/requests/asks.ts';
import { withPainter } from '../metering/requests/painter.ts';
import type { MeteredRequest } from '../metering/requests/types.ts';
import { accept } from './1-authenticate.ts';
import { type Context, need } from './context.ts';
import { entitleDeclared } from './passthrough/entitle.ts';

/** Policy may change again while it is read again, but not for ever. */
const STALE_RETRIES = 3;
/** What an endpoint costs that is free: nothing, whatever is used. */
const FREE = flatPrice({});

/**
 * Fills `catalog`, and `model` at the price that this account pays. Throws `model_not_found`, `model_not_entitled`, or
 * `invalid_request` for what has no price; of a declared route what `entitleDeclared` throws.
 */
export function entitle(context: Context, catalogs: CatalogCache): void {
  context.catalog = catalogs.current;
  const principal = need(context, 'principal');
  if (isBehind(principal, context.catalog.version))
    throw new TollgateError('overloaded', { cause: 'what is known of the account is old' });
  const { declared } = context.endpoint;
  if (declared !== undefined) {
    context.model = entitleDeclared(context.catalog, principal, declared);
    return;
  }
  const request = need(context, 'request');
  const name = request.model;
  const access = accessOf(context.catalog, principal);
  const decision = access.model(name);
  if (!decision.allowed) throw decision.code === 'model_not_found' ? missing(request) : notEntitled('model', decision);
  const { isPriced, isFree } = context.endpoint.requests;
  const painted =
    request.asks.painter === undefined
      ? decision.model
      : withPainter(decision.model, request.asks, (other) => allowedModel(access.model(other)));
  const model = isFree ? { ...painted, price: FREE } : painted;
  if (!isPriced(model.price, request)) throw missing(request);
  refuseUnpriced(request.asks, model.price, name);
  context.endpoint.requests.refuseUnbounded?.(model.price, request);
  context.model = model;
}

function allowedModel(decision: ModelDecision): Model | null {
  return decision.allowed ? decision.model : null;
}

/** The same after policy was read again, and the catalog where it is old: after a denial, and when the ledger called them stale. */
export async function entitleAfresh(context: Context, catalogs: CatalogCache, principals: Principals): Promise<void> {
  let principal = await principals.reload(need(context, 'principal'));
  // The catalog may put in force what was waiting while the principal was read.
  for (let tries = 0; principal !== null && tries < STALE_RETRIES; tries++) {
    if (!isBehind(principal, (await catalogFor(catalogs, principal)).version)) break;
    principal = await principals.reload(principal);
  }
  context.principal = accept(principal, 'inference', context.caller);
  entitle(context, catalogs);
}

/** One that is not named was never asked for: it is missed in the request, and not in the catalog. */
function missing({ model, namesModel }: MeteredRequest): TollgateError {
  if (!namesModel) {
    return new TollgateError('invalid_request', {
      param: 'model',
      message:
        "Invalid value for 'model': must be the name of a model. GET /v1/models lists the models this key may use.",
    });
  }
  return new TollgateError('model_not_found', {
    param: 'model',
    message: `The model ${JSON.stringify(model)} does not exist or you do not have access to it. GET /v1/models lists the models this key may use.`,
  });
}
