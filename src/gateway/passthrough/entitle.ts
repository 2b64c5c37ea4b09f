/** Step 3 of a request that is passed through: may this principal use this route? */
import type { Principal } from '../../accounts/principals.ts';
import { matcher } from '../../catalog/glob.ts';
import type { Catalog, Model } from '../../catalog/types.ts';
import { deniedByKey, notEntitled } from '../../entitlements/explain.ts';
import { accessOf } from '../../entitlements/resolve.ts';
import { TollgateError } from '../../errors.ts';
import { publicId } from '../../lib/ids.ts';

/**
 * What stands for the model of a declared route. A key that may use some models alone may use those routes whose names its list
 * has too: `POST /v1/custom/{id}`, or a glob. Throws `unknown_url` where the catalog declares it no more, `feature_not_entitled`, or
 * `model_not_entitled` of such a key.
 */
export function entitleDeclared(catalog: Catalog, principal: Principal, name: string): Model {
  const route = catalog.passthrough.get(name);
  if (route === undefined) throw new TollgateError('unknown_url');
  if (route.feature !== null) {
    const decision = accessOf(catalog, principal).feature(route.feature);
    if (!decision.allowed) throw notEntitled('feature', decision);
  }
  const { key, keyModels } = principal;
  if (keyModels !== null && !matcher(keyModels)(name)) {
    throw notEntitled('model', deniedByKey(publicId('key', key), keyModels, name), null);
  }
  return route.model;
}
