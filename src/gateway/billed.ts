/** From what was used to what is charged: with what is not reported, and of an estimate as much as the hold pays for. */
import type { Price, Terms } from '../catalog/price.ts';
import { charge } from '../catalog/rating.ts';
import { isInput, isOutput, type Unit, type Usage } from '../catalog/units.ts';
import { type Asks, withUnreported } from '../metering/requests/asks.ts';
import { withDrawn } from '../metering/requests/painter.ts';
import { mostCovered } from './slices.ts';

/** What was used, and where the number comes from. An estimate never charges more than the hold. */
export interface Metering {
  usage: Usage;
  source: 'provider' | 'estimated';
  /** What the answer says that bears on the price beside its usage. */
  terms?: Terms | undefined;
  /** The answer says that it failed: it is charged all the same, and is none to repeat. */
  failed?: true | undefined;
}

/** What of a request bears on its charge. */
export interface Billing {
  asks: Asks;
  /** What it asked for that bears on the price. */
  terms: Terms | undefined;
  /** Who draws for its tools. */
  painter: Terms['painter'];
  /** As it was frozen with the hold. */
  price: Price;
  /** Nano-credits. */
  held: bigint;
  creditsPerUsd: bigint;
}

/** What of the usage is charged. */
export function billed(
  metered: Metering,
  { asks, terms: asked, painter, price, held, creditsPerUsd }: Billing,
): Metering {
  const reported = withUnreported(metered.usage, asks);
  const drawn = withDrawn(reported, asks, price);
  const usage = drawn ?? reported;
  const terms = asked === undefined && painter === undefined ? metered.terms : { ...asked, ...metered.terms };
  if (terms !== undefined && painter !== undefined) terms.painter = painter;
  if (metered.source !== 'estimated' && drawn === null) return { ...metered, terms, usage };
  const costOfPart = (part: Usage): bigint => charge(part, price, creditsPerUsd, terms);
  return { ...metered, source: 'estimated', terms, usage: heldPart(usage, held, costOfPart) };
}

/**
 * The part of an estimate that the hold pays for, so that the lines of the receipt add up to its charge: what is cut is output,
 * then what is no tokens, then input.
 */
function heldPart(usage: Usage, held: bigint, costOf: (usage: Usage) => bigint): Usage {
  if (costOf(usage) <= held) return usage;
  const part = { ...usage };
  const place = (unit: Unit): number => (isOutput(unit) ? 0 : isInput(unit) ? 2 : 1);
  const units = Object.keys(usage) as Unit[];
  for (const unit of units.sort((a, b) => place(a) - place(b))) {
    if (costOf(part) <= held) break;
    part[unit] = mostCovered(held, Math.floor(part[unit]!), (count) => costOf({ ...part, [unit]: count }));
  }
  return part;
}
