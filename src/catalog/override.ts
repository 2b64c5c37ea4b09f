/**
 * Prices that stand for a model's own: of a plan, or of one account. Either a whole price, which then says all there is (a unit
 * that it leaves out has no price, whatever the model's says), or a multiple of the model's own as that is at the time. Pure.
 *
 * The strongest that is there holds: account × model, then plan, then the model's own.
 */
import { ceilDiv } from '../lib/money.ts';
import { priceOverride } from './file.ts';
import { MULTIPLE_SCALE, type Price, type PriceTable, readMultiple, readPrice, type WrittenPrice } from './price.ts';
import type { Model, Override, PriceSource } from './types.ts';

/** A price of a plan or an account, as it is written. */
export type WrittenOverride = WrittenPrice | { multiple: string };

/** Reads an override as it is kept; `null`: this release cannot read it, and then the model is not served at it. */
export function readOverride(written: unknown, source: PriceSource): Override | null {
  const read = priceOverride.safeParse(written);
  return read.success ? toOverride(read.data as WrittenOverride, source) : null;
}

/** The same of one that has passed the schema. */
export function toOverride(written: WrittenOverride, source: PriceSource): Override {
  if ('multiple' in written) return { source, multiple: readMultiple(written.multiple!) };
  return { source, price: readPrice(written) };
}

/** What the model costs under an override. */
export function overriddenPrice(model: Price, override: Override): Price {
  return 'price' in override ? override.price : multiplied(model, override.multiple);
}

/** The model at another price. The same models serve all requests at the same overrides, so each is made once. */
export function priced(model: Model, override: Override): Model {
  const made = MADE.get(model) ?? new WeakMap<Override, Model>();
  MADE.set(model, made);
  let other = made.get(override);
  if (other === undefined) {
    other = { ...model, price: overriddenPrice(model.price, override), priceSource: override.source };
    made.set(override, other);
  }
  return other;
}

const MADE = new WeakMap<Model, WeakMap<Override, Model>>();

/** 10⁻¹⁸ USD: what is left of the decimals of a price when a service tier has had its six, so that rating stays exact. */
const GRAIN = 10n ** 6n;

/** A price times a multiple, rounded up to 10⁻¹⁸ USD: from then on that is the price. */
function multiplied(price: Price, multiple: bigint): Price {
  const times = (yocto: bigint): bigint => ceilDiv(yocto * multiple, MULTIPLE_SCALE * GRAIN) * GRAIN;
  const all = (units: PriceTable): PriceTable =>
    Object.fromEntries(Object.entries(units).map(([unit, yocto]) => [unit, times(yocto!)]));
  const byQuality = (one: bigint | Readonly<Record<string, bigint>>) =>
    typeof one === 'bigint'
      ? times(one)
      : Object.fromEntries(Object.entries(one).map(([key, yocto]) => [key, times(yocto)]));
  const { images } = price;
  return {
    units: all(price.units),
    tiers: price.tiers.map(({ aboveInputTokens, units }) => ({ aboveInputTokens, units: all(units) })),
    serviceTiers: price.serviceTiers,
    images:
      images === null ? null : Object.fromEntries(Object.entries(images).map(([size, one]) => [size, byQuality(one)])),
  };
}
