/**
 * Rating: usage × price → nano-credits. Pure and exact; one rounding, up, per request.
 *
 * Prices are yocto-USD (10⁻²⁴ USD) per million tokens or characters, or each. With `creditsPerUsd` credits to the dollar
 * and 10⁹ nano-credits to the credit, a charge is Σ quantity × price ÷ per × creditsPerUsd × 10⁹ ÷ 10²⁴. Everything is
 * brought over the common denominator 10⁶ × 10¹⁵ first, so that nothing is lost before the one division.
 */
import { ceilDiv, formatCredits, formatDecimal } from '../lib/money.ts';
import { dearestUnits, PRICE_DECIMALS, type Price, type PriceTable, type Terms, unitsFor } from './price.ts';
import {
  compareUnits,
  fallbacksOf,
  isInput,
  isOutput,
  isPicture,
  isSound,
  perOf,
  type Unit,
  type Usage,
} from './units.ts';

const MICRO = 1_000_000;
const PER_MILLION = 1_000_000n;
const DENOMINATOR = PER_MILLION * 10n ** 15n;
const NO_TERMS: Terms = {};

/** One line of a receipt. */
export interface ChargeLine {
  unit: Unit;
  quantity: number;
  unit_price_usd: string;
  per: number;
  credits: string;
}

/** The most that a request can use. */
export interface Bounds {
  /** Tokens, however the provider splits them into cached, written, audio or reasoning ones. */
  input: number;
  output: number;
  /** All that is not counted in tokens: pictures, seconds, characters, calls of tools. */
  others?: Usage | undefined;
  /** The service tier asked for. */
  serviceTier?: string | undefined;
  /** Whether its input may have sound in it, and its output; `true` where they are absent. */
  hears?: boolean;
  speaks?: boolean;
  /** Whether its own tokens may be pictures; not where all that are drawn or looked at stand in `others`. `true` where it is absent. */
  draws?: boolean;
}

/** What a unit costs: its own price, or that of the unit it falls back to; nothing where its side has no price at all. */
function priceOf(unit: Unit, table: PriceTable): bigint {
  const own = table[unit];
  if (own !== undefined) return own;
  for (const fallback of fallbacksOf(unit)) {
    const found = table[fallback];
    if (found !== undefined) return found;
  }
  return 0n;
}

/** A quantity × its price, over the common denominator. Of seconds, a part counts: to the microsecond. */
function costOf(unit: Unit, quantity: number, yocto: bigint): bigint {
  if (perOf(unit) === MICRO) return BigInt(quantity) * yocto;
  return BigInt(Number.isInteger(quantity) ? quantity * MICRO : Math.round(quantity * MICRO)) * yocto;
}

/** Tokens of the input of all kinds: what decides the tier of the price. */
export function inputTokens(usage: Usage): number {
  let sum = 0;
  for (const unit in usage) if (isInput(unit as Unit)) sum += usage[unit as Unit]!;
  return sum;
}

/**
 * What usage costs, in nano-credits, rounded up once. `request` is charged once, whatever the usage says of it. `terms` are what
 * the answer says: its service tier, the size and quality of its pictures.
 */
export function charge(usage: Usage, price: Price, creditsPerUsd: bigint, terms: Terms = NO_TERMS): bigint {
  const table = unitsFor(price, inputTokens(usage), terms);
  let sum = costOf('request', 1, table.request ?? 0n);
  for (const unit in usage) {
    const quantity = usage[unit as Unit]!;
    if (quantity > 0 && unit !== 'request') {
      sum += costOf(unit as Unit, quantity, priceOf(unit as Unit, table));
    }
  }
  return ceilDiv(sum * creditsPerUsd, DENOMINATOR);
}

/** The same with its lines. Each line gets what the rounded running sum grows by, so that they add up to the charge. */
export function rate(
  usage: Usage,
  price: Price,
  creditsPerUsd: bigint,
  terms: Terms = NO_TERMS,
): { charge: bigint; lines: ChargeLine[] } {
  const table = unitsFor(price, inputTokens(usage), terms);
  const used: Usage = { ...usage, request: table.request === undefined ? 0 : 1 };
  const lines: ChargeLine[] = [];
  let sum = 0n;
  let charged = 0n;
  for (const unit of (Object.keys(used) as Unit[]).sort(compareUnits)) {
    const quantity = used[unit]!;
    if (quantity <= 0) continue;
    const unitPrice = priceOf(unit, table);
    sum += costOf(unit, quantity, unitPrice);
    const upTo = ceilDiv(sum * creditsPerUsd, DENOMINATOR);
    lines.push({
      unit,
      quantity,
      unit_price_usd: formatDecimal(unitPrice, PRICE_DECIMALS),
      per: perOf(unit),
      credits: formatCredits(upTo - charged),
    });
    charged = upTo;
  }
  return { charge: charged, lines };
}

/** The most that a request within these bounds can cost, in nano-credits: each token at the dearest price of its side. */
export function boundCharge(bounds: Bounds, price: Price, creditsPerUsd: bigint): bigint {
  const { input, output, others, serviceTier, hears = true, speaks = true, draws = true } = bounds;
  const units = dearestUnits(price, input, serviceTier);
  const { inputs, outputs } = dearestOfSides(units);
  let sum = BigInt(input) * inputs[kindsOf(hears, draws)]! + BigInt(output) * outputs[kindsOf(speaks, draws)]!;
  sum += costOf('request', 1, units.request ?? 0n);
  if (others !== undefined) {
    for (const unit in others) sum += costOf(unit as Unit, others[unit as Unit]!, priceOf(unit as Unit, units));
  }
  return ceilDiv(sum * creditsPerUsd, DENOMINATOR);
}

/** The dearest price of a token of each side, by which kinds of tokens may be among them (`kindsOf`). */
interface Dearest {
  inputs: bigint[];
  outputs: bigint[];
}

const DEAREST = new WeakMap<PriceTable, Dearest>();
const KINDS = [0, 1, 2, 3];

/** Text alone is 0; with sound, with pictures, with both. */
function kindsOf(sound: boolean, pictures: boolean): number {
  return (sound ? 1 : 0) + (pictures ? 2 : 0);
}

function dearestOfSides(units: PriceTable): Dearest {
  const known = DEAREST.get(units);
  if (known !== undefined) return known;
  const found: Dearest = { inputs: KINDS.map(() => 0n), outputs: KINDS.map(() => 0n) };
  for (const [unit, yocto] of Object.entries(units) as [Unit, bigint][]) {
    if (!isInput(unit) && !isOutput(unit)) continue;
    const side = isInput(unit) ? found.inputs : found.outputs;
    const own = kindsOf(isSound(unit), isPicture(unit));
    for (const kinds of KINDS) if ((kinds & own) === own && yocto > side[kinds]!) side[kinds] = yocto;
  }
  DEAREST.set(units, found);
  return found;
}
