/**
 * Rating: usage × price → nano-credits. Pure and exact; one rounding, up, per request.
 *
 * Prices are atto-USD (10⁻¹⁸ USD) per million tokens, or each. With `creditsPerUsd` credits to the dollar and 10⁹
 * nano-credits to the credit, a charge is Σ quantity × price ÷ per × creditsPerUsd × 10⁹ ÷ 10¹⁸. Everything is brought
 * over the common denominator 10⁶ × 10⁹ first, so that nothing is lost before the one division.
 */
import { ceilDiv, formatCredits, formatDecimal } from '../lib/money.ts';
import { FALLBACKS, perOf, UNITS, type Unit, type Usage } from './units.ts';

/** Atto-USD per million tokens, or per request. A unit that is absent has no price. */
export type PriceTable = Partial<Record<Unit, bigint>>;

export const PRICE_DECIMALS = 18;
const PER_MILLION = 1_000_000n;
const DENOMINATOR = PER_MILLION * 1_000_000_000n;

/** One line of a receipt. */
export interface ChargeLine {
  unit: Unit;
  quantity: number;
  unit_price_usd: string;
  per: number;
  credits: string;
}

/** The price of a unit: its own, or that of the unit it falls back to; `undefined`: it has none. */
export function priceOf(unit: Unit, price: PriceTable): bigint | undefined {
  const own = price[unit];
  if (own !== undefined) return own;
  for (const fallback of FALLBACKS[unit]) if (price[fallback] !== undefined) return price[fallback];
  return undefined;
}

/**
 * A unit that a provider reports although the model has no price for it. It was served, so it is not free: audio and
 * image tokens cost at least what text tokens do.
 */
function priceOfServed(unit: Unit, price: PriceTable): bigint {
  return priceOf(unit, price) ?? (unit.includes('output') ? price.output : price.input) ?? 0n;
}

function numerator(unit: Unit, quantity: number, price: PriceTable): bigint {
  return BigInt(quantity) * priceOfServed(unit, price) * (PER_MILLION / perOf(unit));
}

/** What usage costs, in nano-credits, rounded up once. `request` is charged once for every request that has a price for it. */
export function charge(usage: Usage, price: PriceTable, creditsPerUsd: bigint): bigint {
  let sum = price.request === undefined ? 0n : price.request * PER_MILLION;
  for (const unit in usage) {
    const quantity = usage[unit as Unit]!;
    if (quantity > 0 && unit !== 'request') sum += numerator(unit as Unit, quantity, price);
  }
  return ceilDiv(sum * creditsPerUsd, DENOMINATOR);
}

/** The same with its lines. Each line gets what the rounded running sum grows by, so that they add up to the charge. */
export function rate(usage: Usage, price: PriceTable, creditsPerUsd: bigint): { charge: bigint; lines: ChargeLine[] } {
  const lines: ChargeLine[] = [];
  let sum = 0n;
  let charged = 0n;
  for (const unit of UNITS) {
    const quantity = unit === 'request' ? (price.request === undefined ? 0 : 1) : (usage[unit] ?? 0);
    if (quantity === 0) continue;
    sum += numerator(unit, quantity, price);
    const upTo = ceilDiv(sum * creditsPerUsd, DENOMINATOR);
    lines.push({
      unit,
      quantity,
      unit_price_usd: formatDecimal(priceOfServed(unit, price), PRICE_DECIMALS),
      per: Number(perOf(unit)),
      credits: formatCredits(upTo - charged),
    });
    charged = upTo;
  }
  return { charge: charged, lines };
}

/**
 * The most that so many input and output tokens can cost, however the provider splits them into cached, written,
 * audio or reasoning tokens: each at the dearest price of its side.
 */
export function boundCharge(input: number, output: number, price: PriceTable, creditsPerUsd: bigint): bigint {
  const { inputs, outputs } = dearest(price);
  const request = price.request === undefined ? 0n : price.request * PER_MILLION;
  return ceilDiv((BigInt(input) * inputs + BigInt(output) * outputs + request) * creditsPerUsd, DENOMINATOR);
}

const DEAREST = new WeakMap<PriceTable, { inputs: bigint; outputs: bigint }>();

function dearest(price: PriceTable): { inputs: bigint; outputs: bigint } {
  let found = DEAREST.get(price);
  if (found === undefined) {
    found = { inputs: 0n, outputs: 0n };
    for (const unit of UNITS) {
      const own = price[unit] ?? 0n;
      if (unit === 'request') continue;
      if (unit.includes('output') || unit === 'reasoning') {
        if (own > found.outputs) found.outputs = own;
      } else if (own > found.inputs) found.inputs = own;
    }
    DEAREST.set(price, found);
  }
  return found;
}
