/** What a request cost us and what it left, for the owner of the gateway. What is not known is `null`, never 0. */
import type { Pool } from 'pg';
import { costOf, type EntryVersion, readModelEntries, versionKey } from '../catalog/cost.ts';
import type { ModelEntry } from '../catalog/file.ts';
import { type Price, unitsFor } from '../catalog/price.ts';
import { type ChargeLine, inputTokens, rate } from '../catalog/rating.ts';
import { fallbacksOf, type Unit } from '../catalog/units.ts';
import { ceilDiv, formatCredits, formatDecimal, parseCredits } from '../lib/money.ts';
import { decodeReceipt, type ReceiptFacts } from './receipt.ts';
import { type ReceiptSource, servedFacts } from './receipt-view.ts';

export interface CostLine extends Omit<ChargeLine, 'credits'> {
  usd: string;
}

export interface Margin {
  /** Rounded up to nano-dollars, as the charge is to nano-credits. */
  provider_cost_usd: string | null;
  provider_cost: CostLine[];
  /** What was charged and not given back, less the cost. */
  margin: { credits: string; usd: string } | null;
}

const UNKNOWN: Margin = { provider_cost_usd: null, provider_cost: [], margin: null };
const NANO_DECIMALS = 9;
/** A dollar as if it were a credit: rating then tells nano-dollars. */
const USD = 1n;

/** The margin of each request, by the costs that the catalog had at the version which its hold froze. One query for all. */
export async function readMargins(
  pool: Pool,
  sources: readonly ReceiptSource[],
  creditsPerUsd: bigint,
): Promise<Margin[]> {
  const versions = new Map(sources.map((source) => versionOf(source)).map((one) => [versionKey(one), one]));
  const entries = await readModelEntries(pool, [...versions.values()]);
  return sources.map((source) => marginOf(source, entries.get(versionKey(versionOf(source))), creditsPerUsd));
}

function versionOf(source: ReceiptSource): EntryVersion {
  const { model, priceVersion } = decodeReceipt(source.bytes);
  return { name: model, version: priceVersion };
}

/** What usage cost us by the route that served it, in nano-dollars, rounded up; `null`: that is not known of all of it. */
export function providerCost(entry: ModelEntry, served: ReceiptFacts): { nanoUsd: bigint; lines: ChargeLine[] } | null {
  const last = served.attempts.at(-1);
  const cost = last === undefined ? null : costOf(entry, last.provider, last.model ?? served.model);
  if (cost === null || !pricesAll(cost, served)) return null;
  const { charge: nanoUsd, lines } = rate(served.usage, cost, USD, served.terms);
  return { nanoUsd, lines };
}

function marginOf(source: ReceiptSource, entry: ModelEntry | undefined, creditsPerUsd: bigint): Margin {
  const served = servedFacts(source);
  const cost = served === null || entry === undefined ? null : providerCost(entry, served);
  if (cost === null) return UNKNOWN;
  const { nanoUsd, lines } = cost;
  const refunded = source.refund === null ? 0n : parseCredits(source.refund.credits)!;
  const left = source.charged - refunded - nanoUsd * creditsPerUsd;
  return {
    provider_cost_usd: formatDecimal(nanoUsd, NANO_DECIMALS),
    provider_cost: lines.map(({ credits, ...line }) => ({ ...line, usd: credits })),
    margin: { credits: formatCredits(left), usd: formatDecimal(-ceilDiv(-left, creditsPerUsd), NANO_DECIMALS) },
  };
}

/** Whether a cost is known of all that was used: rating takes what has no price for free. */
function pricesAll(cost: Price, { usage, terms = {} }: ReceiptFacts): boolean {
  const table = unitsFor(cost, inputTokens(usage), terms);
  const used = (Object.keys(usage) as Unit[]).filter((unit) => unit !== 'request' && usage[unit]! > 0);
  return used.every((unit) => [unit, ...fallbacksOf(unit)].some((one) => table[one] !== undefined));
}
