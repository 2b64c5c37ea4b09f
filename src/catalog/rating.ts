/**
 * Rating: usage × price → nano-credits. Pure and exact; one rounding, up, per request.
 *
 * Prices are atto-USD (10⁻¹⁸ USD) per million tokens, or each. With `creditsPerUsd` credits to the dollar and 10⁹
 * nano-credits to the credit, a charge is Σ quantity × price ÷ per × creditsPerUsd × 10⁹ ÷ 10¹⁸. Everything is brought
 * over the common denominator 10⁶ × 10⁹ first, so that nothing is lost before the one division.
 */
import { ceilDiv, formatCredits, formatDecimal } from '../lib/money.ts';
import { FALLBACKS, isOutput, perOf, UNITS, type Unit, type Usage } from './units.ts';

/** Atto-USD per million tokens, or per request. A unit that is absent has no price of its own. */
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

/** What a unit costs: its own price, or that of the unit it falls back to; nothing where its side has no price at all. */
function priceOf(unit: Unit, price: PriceTable): bigint {
  const own = price[unit];
  if (own !== undefined) return own;
  for (const fallback of FALLBACKS[unit]) {
    const found = price[fallback];
    if (found !== undefined) return found;
  }
  return 0n;
}

/** A price per request stands beside prices per million. */
function requestFee(price: PriceTable): bigint {
  return (price.request ?? 0n) * PER_MILLION;
}

/**
 * What usage costs, in nano-credits, rounded up once. Quantities are whole. `request` is charged once, whatever the
 * usage says of it.
 */
export function charge(usage: Usage, price: PriceTable, creditsPerUsd: bigint): bigint {
  let sum = requestFee(price);
  for (const unit in usage) {
    const quantity = usage[unit as Unit]!;
    if (quantity > 0 && unit !== 'request') sum += BigInt(quantity) * priceOf(unit as Unit, price);
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
    if (quantity <= 0) continue;
    const unitPrice = priceOf(unit, price);
    sum += unit === 'request' ? requestFee(price) : BigInt(quantity) * unitPrice;
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

/**
 * The most that so many input and output tokens can cost, in nano-credits, however the provider splits them into
 * cached, written, audio or reasoning tokens: each at the dearest price of its side.
 */
export function boundCharge(input: number, output: number, price: PriceTable, creditsPerUsd: bigint): bigint {
  const { inputs, outputs } = dearest(price);
  const sum = BigInt(input) * inputs + BigInt(output) * outputs + requestFee(price);
  return ceilDiv(sum * creditsPerUsd, DENOMINATOR);
}

/** The same tables serve all requests, several times each. */
const DEAREST = new WeakMap<PriceTable, { inputs: bigint; outputs: bigint }>();

function dearest(price: PriceTable): { inputs: bigint; outputs: bigint } {
  let found = DEAREST.get(price);
  if (found === undefined) {
    found = { inputs: 0n, outputs: 0n };
    for (const unit of UNITS) {
      if (unit === 'request') continue;
      const side = isOutput(unit) ? 'outputs' : 'inputs';
      const own = price[unit] ?? 0n;
      if (own > found[side]) found[side] = own;
    }
    DEAREST.set(price, found);
  }
  return found;
}
