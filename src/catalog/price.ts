/**
 * The price of a model: a table of units, what they cost instead for long inputs, multiples for service tiers, and pictures by
 * size and quality. Written in one form everywhere, in the catalog's file, the database and the receipts: decimals of USD.
 */
import { formatDecimal, parseDecimal } from '../lib/money.ts';
import { isInput, isOutput, isUnit, type Unit } from './units.ts';

/** Yocto-USD (10⁻²⁴): 12 decimals of a price, times 6 of a markup, times 6 of a service tier, stay exact. */
export const PRICE_DECIMALS = 24;
const MULTIPLE_DECIMALS = 6;
/** A multiple of 1. */
export const MULTIPLE_SCALE = 10n ** BigInt(MULTIPLE_DECIMALS);

/** Yocto-USD per million tokens or characters, or each. A unit that is absent has no price of its own. */
export type PriceTable = Partial<Record<Unit, bigint>>;

/** What a request costs whose input has more tokens than this: the units named stand over those of the price itself. */
export interface Tier {
  aboveInputTokens: number;
  units: PriceTable;
}

/** Pictures by size, then by quality. `default` stands for those not named; without it, the dearest does. */
export type ImagePrices = Readonly<Record<string, bigint | Readonly<Record<string, bigint>>>>;

export interface Price {
  units: PriceTable;
  /** By rising `aboveInputTokens`. */
  tiers: readonly Tier[];
  /** By the name that the provider gives the tier in its answer; scaled by 10⁶. */
  serviceTiers: Readonly<Record<string, bigint>>;
  /** `null`: pictures cost what `units.image` says, if anything. */
  images: ImagePrices | null;
}

type WrittenUnits = { [unit in Exclude<Unit, 'image'>]?: string | undefined };
/** The form in which prices are written. */
export type WrittenPrice = WrittenUnits & {
  image?: string | Record<string, string | Record<string, string>> | undefined;
  tiers?: readonly WrittenTier[] | undefined;
  service_tiers?: Record<string, string> | undefined;
};
export type WrittenTier = WrittenUnits & { above_input_tokens: number; image?: string | undefined };

/** What bears on a price beside the usage: as the provider's answer says it. */
export interface Terms {
  serviceTier?: string | undefined;
  imageSize?: string | undefined;
  imageQuality?: string | undefined;
  /** The model whose price stands for pictures that a tool drew, and the version of its entry. */
  painter?: { model: string; priceVersion: number } | undefined;
}

/** A price that is a table of units alone. */
export function flatPrice(units: PriceTable): Price {
  return { units, tiers: [], serviceTiers: {}, images: null };
}

/** Reads a price that has passed the catalog's schema, times a markup scaled by 10⁶: exact, because prices have at most 12 decimals. */
export function readPrice(written: WrittenPrice, markup: bigint = MULTIPLE_SCALE): Price {
  const usd = (text: string): bigint => (parseDecimal(text, PRICE_DECIMALS)! * markup) / MULTIPLE_SCALE;
  const tiers = (written.tiers ?? []).map((tier) => ({
    aboveInputTokens: tier.above_input_tokens,
    units: readUnits(tier, usd),
  }));
  const { image } = written;
  return {
    units: readUnits(written, usd),
    tiers: tiers.sort((a, b) => a.aboveInputTokens - b.aboveInputTokens),
    serviceTiers: mapValues<string, bigint>(written.service_tiers ?? {}, readMultiple),
    images:
      typeof image === 'object'
        ? mapValues(image, (price) => (typeof price === 'string' ? usd(price) : mapValues(price, usd)))
        : null,
  };
}

/** A multiple as it is written → scaled by 10⁶. */
export function readMultiple(written: string): bigint {
  return parseDecimal(written, MULTIPLE_DECIMALS)!;
}

/** The price as it is written. */
export function writePrice(price: Price): WrittenPrice {
  const usd = (yocto: bigint): string => formatDecimal(yocto, PRICE_DECIMALS);
  const written: WrittenPrice = mapValues(price.units as Record<string, bigint>, usd) as WrittenUnits;
  if (price.tiers.length > 0) {
    written.tiers = price.tiers.map(({ aboveInputTokens, units }) => ({
      above_input_tokens: aboveInputTokens,
      ...mapValues(units as Record<string, bigint>, usd),
    }));
  }
  if (Object.keys(price.serviceTiers).length > 0) {
    written.service_tiers = mapValues(price.serviceTiers, (multiple) => formatDecimal(multiple, MULTIPLE_DECIMALS));
  }
  if (price.images !== null) {
    written.image = mapValues(price.images, (one) => (typeof one === 'bigint' ? usd(one) : mapValues(one, usd)));
  }
  return written;
}

/** The units that such an answer costs by. The same tables serve all requests, so each is made once. */
export function unitsFor(price: Price, inputTokens: number, terms: Terms): PriceTable {
  if (price.tiers.length === 0 && price.images === null && !hasTier(price, terms)) return price.units;
  let tier = 0;
  while (tier < price.tiers.length && inputTokens > price.tiers[tier]!.aboveInputTokens) tier++;
  // Only names that stand in the price are part of the key: what a provider says cannot fill the memory.
  const multiple = serviceMultiple(price, terms.serviceTier);
  const image = price.images === null ? undefined : imagePrice(price.images, terms);
  return madeOnce(price, `${tier} ${multiple} ${image}`, () => {
    const units = atTier(price, tier);
    if (image !== undefined) units.image = image;
    for (const unit in units) units[unit as Unit] = times(unit as Unit, units[unit as Unit]!, multiple);
    return units;
  });
}

const MADE = new WeakMap<Price, Map<string, PriceTable>>();

function madeOnce(price: Price, key: string, make: () => PriceTable): PriceTable {
  const made = MADE.get(price) ?? new Map<string, PriceTable>();
  MADE.set(price, made);
  let units = made.get(key);
  if (units === undefined) {
    units = make();
    made.set(key, units);
  }
  return units;
}

/**
 * The dearest price of each unit that a request may come to: of all tiers that so many input tokens can reach, at the service
 * tier asked for or the plain one. The same tables serve all requests, so each is made once.
 */
export function dearestUnits(price: Price, inputBound: number, serviceTier: string | undefined): PriceTable {
  const asked = serviceMultiple(price, serviceTier);
  const multiple = asked > MULTIPLE_SCALE ? asked : MULTIPLE_SCALE;
  if (price.tiers.length === 0 && price.images === null && multiple === MULTIPLE_SCALE) return price.units;
  let reached = 0;
  while (reached < price.tiers.length && inputBound > price.tiers[reached]!.aboveInputTokens) reached++;
  // Only multiples that stand in the price are part of the key: what is asked for cannot fill the memory.
  const key = `dearest ${reached} ${multiple}`;
  return madeOnce(price, key, () => {
    const dearest: PriceTable = {};
    const consider = (unit: Unit, yocto: bigint): void => {
      const cost = times(unit, yocto, multiple);
      if (cost > (dearest[unit] ?? -1n)) dearest[unit] = cost;
    };
    for (let tier = 0; tier <= reached; tier++) {
      for (const [unit, yocto] of Object.entries(atTier(price, tier))) consider(unit as Unit, yocto!);
    }
    if (price.images !== null) consider('image', dearestImage(price.images));
    return dearest;
  });
}

/** The table of the price itself, with the tiers up to the n-th laid over it: each repeats what it changes. */
function atTier(price: Price, tier: number): PriceTable {
  return tier === 0 ? { ...price.units } : { ...price.units, ...price.tiers[tier - 1]!.units };
}

function hasTier(price: Price, { serviceTier }: Terms): boolean {
  return serviceMultiple(price, serviceTier) !== MULTIPLE_SCALE;
}

/** What a service tier multiplies prices by. One that has no price of its own costs what the plain one does. */
function serviceMultiple({ serviceTiers }: Price, name: string | undefined): bigint {
  return name !== undefined && Object.hasOwn(serviceTiers, name) ? serviceTiers[name]! : MULTIPLE_SCALE;
}

/** A service tier is about the model's own work: a call of a tool, and a fee for the request, cost the same in each. */
function times(unit: Unit, yocto: bigint, multiple: bigint): bigint {
  const ofTheModel = isInput(unit) || isOutput(unit) || unit === 'image';
  return ofTheModel ? (yocto * multiple) / MULTIPLE_SCALE : yocto;
}

function imagePrice(images: ImagePrices, { imageSize, imageQuality }: Terms): bigint {
  const bySize = named(images, imageSize) ?? images.default;
  if (typeof bySize === 'bigint') return bySize;
  if (bySize === undefined) return dearestImage(images);
  return named(bySize, imageQuality) ?? bySize.default ?? dearestOf(Object.values(bySize));
}

function named<T>(table: Readonly<Record<string, T>>, name: string | undefined): T | undefined {
  return name !== undefined && Object.hasOwn(table, name) ? table[name] : undefined;
}

function dearestImage(images: ImagePrices): bigint {
  return dearestOf(Object.values(images).flatMap((one) => (typeof one === 'bigint' ? [one] : Object.values(one))));
}

function dearestOf(prices: readonly bigint[]): bigint {
  return prices.reduce((most, price) => (price > most ? price : most), 0n);
}

function readUnits(written: object, usd: (text: string) => bigint): PriceTable {
  const table: PriceTable = {};
  for (const [name, text] of Object.entries(written)) {
    if (isUnit(name) && typeof text === 'string') table[name] = usd(text);
  }
  return table;
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
