/** What consumption costs by a standing, and the receipt that explains it. Pure. */
import { flatPrice, type Price } from '../catalog/price.ts';
import { charge } from '../catalog/rating.ts';
import type { Catalog, Operation } from '../catalog/types.ts';
import { notEntitled } from '../entitlements/explain.ts';
import { accessOf } from '../entitlements/resolve.ts';
import type { Access } from '../entitlements/types.ts';
import { TollgateError } from '../errors.ts';
import { invalidField } from '../errors-input.ts';
import { MAX_NANO } from '../lib/money.ts';
import { encodeReceipt, type FrozenFacts, NO_ENTRY, type ReceiptFacts } from '../metering/receipt.ts';
import { readUsage, refuseUnpricedUsage } from '../metering/usage-names.ts';
import type { Consumed } from './forms.ts';
import type { Standing } from './standing.ts';

/** Credits that the app names have no price. */
const NO_PRICE: Price = flatPrice({});
/** What receipts and usage name them by, in the place of a model. */
const CREDITS = 'credits';

export interface Rated {
  /** Nano-credits. */
  amount: bigint;
  facts: Pick<ReceiptFacts, 'model' | 'price' | 'priceVersion' | 'priceSource' | 'fixed' | 'usage'>;
}

/**
 * Throws `not_found` (no such operation), `model_not_found`, `feature_not_entitled`, `model_not_entitled`, and `invalid_request` for a
 * unit that has no price, or more than can be charged at once.
 */
export function rateConsumed(consumed: Consumed, { principal, catalog }: Standing, creditsPerUsd: bigint): Rated {
  const access = accessOf(catalog, principal);
  switch (consumed.kind) {
    case 'operation':
      return rateOperation(operationOf(catalog, consumed.operation), consumed.quantity, access);
    case 'credits':
      return { amount: consumed.credits, facts: { ...namedCredits(consumed.credits), usage: {} } };
    case 'model':
      return rateModel(consumed, access, creditsPerUsd);
  }
}

function operationOf(catalog: Catalog, name: string): Operation {
  const operation = catalog.operations.get(name);
  if (operation !== undefined) return operation;
  throw new TollgateError('not_found', {
    param: 'operation',
    message: `There is no operation ${JSON.stringify(name)}. The catalog of this gateway names the operations it has a price for.`,
  });
}

function rateOperation({ name, version, credits, feature }: Operation, quantity: number, access: Access): Rated {
  const decision = feature === null ? null : access.feature(feature);
  if (decision !== null && !decision.allowed) throw notEntitled('feature', decision, 'operation');
  const amount = credits * BigInt(quantity);
  if (amount > MAX_NANO) throw invalidField('quantity', 'it comes to more than 10⁹ credits');
  const fixed = { credits, quantity };
  return { amount, facts: { model: `operation:${name}`, price: NO_PRICE, priceVersion: version, fixed, usage: {} } };
}

function rateModel({ model: name, usage: named }: Consumed & { kind: 'model' }, access: Access, perUsd: bigint): Rated {
  const decision = access.model(name);
  if (!decision.allowed) {
    if (decision.code !== 'model_not_found') throw notEntitled('model', decision, 'model');
    const message = `The model ${JSON.stringify(name)} does not exist or you do not have access to it.`;
    throw new TollgateError('model_not_found', { param: 'model', message });
  }
  const { price, priceVersion, priceSource } = decision.model;
  const usage = readUsage(named);
  refuseUnpricedUsage(usage, price, name);
  const amount = charge(usage, price, perUsd);
  if (amount > MAX_NANO) throw invalidField('usage', 'it comes to more than 10⁹ credits');
  return { amount, facts: { model: name, price, priceVersion, priceSource, usage } };
}

/** What is kept of credits that the app names itself. */
export function namedCredits(amount: bigint): Pick<FrozenFacts, 'model' | 'price' | 'priceVersion' | 'fixed'> {
  return { model: CREDITS, price: NO_PRICE, priceVersion: NO_ENTRY, fixed: { credits: amount, quantity: 1 } };
}

/** The receipt of what the app reported. `held`: in nano-credits. */
export function reportedReceipt(
  endpoint: 'usage' | 'hold',
  facts: Rated['facts'],
  { held, createdAt }: { held: bigint; createdAt: number },
): Buffer {
  const none = { stream: false, clampedTo: null, disconnect: null, attempts: [] };
  return encodeReceipt({ ...facts, ...none, endpoint, held, createdAt, usageSource: 'reported' });
}
