/**
 * Is a price what was meant? Someone who types a price per token where one per million belongs, or slips by three places, is
 * asked before it holds. Nothing here refuses: who asks decides what a confirmation is. Pure.
 */
import { parseDecimal } from '../lib/money.ts';
import type { ModelEntry } from './file.ts';
import { PRICE_DECIMALS, type Price, type PriceTable, readPrice, type WrittenPrice } from './price.ts';
import { isInput, isOutput, type Unit } from './units.ts';

/** A price that is likely a slip. `message` completes "<param>: ", and says what it was compared with. */
export interface Question {
  /** As the entry's fields are named: `cost.input`, `price.tiers.0.output`. */
  param: string;
  message: string;
}

export interface Doubts {
  /** To be confirmed before the price holds. */
  questions: Question[];
  /** To be told of, and no more. */
  warnings: Question[];
}

type Priced = Pick<ModelEntry, 'price' | 'cost'>;
type Section = 'price' | 'cost';

/** Slips are by 1,000 or by 1,000,000; real changes, and real distances of price and cost, stay far below 100. */
const TOO_FAR = 100n;
/** Of the dearest and cheapest prices that were seen anywhere; USD per million tokens or characters, or each. */
const USUAL: Readonly<Record<'token' | 'character' | 'second' | 'piece', readonly [least: string, most: string]>> = {
  token: ['0.0005', '2000'],
  character: ['0.1', '2000'],
  second: ['0.000001', '10'],
  piece: ['0.00001', '100'],
};

/**
 * What to ask about a model's entry before it holds. `previous` is the entry it takes the place of, or `null`. Asked are: 100
 * times more or less than before, or than the provider's cost; far outside of what any provider asks; free, where it was not,
 * or where it costs us something.
 */
export function questionPrice(entry: Priced, previous: Priced | null): Doubts {
  const doubts: Doubts = { questions: [], warnings: [] };
  const cost = entry.cost ?? null;
  for (const section of ['cost', 'price'] as const) {
    const now = cellsOf(section, entry[section]);
    // A price that is new stands beside what was asked until now: the cost, but for the markup.
    const before = new Map(cellsOf(section, previous?.[section] ?? previous?.cost));
    for (const [param, cell] of now) {
      const message = doubtOf(cell, before.get(param));
      if (message !== null) doubts.questions.push({ param, message });
    }
    doubts.warnings.push(...dearerCache(section, entry[section]));
  }
  if (cost !== null && entry.price !== undefined)
    compareWithCost(entry.price as WrittenPrice, cost as WrittenPrice, doubts);
  return doubts;
}

interface Cell {
  unit: Unit | 'multiple';
  text: string;
  yocto: bigint;
}

/** Every price of a table, by the path of its field. */
function cellsOf(section: Section, written: unknown): Map<string, Cell> {
  const cells = new Map<string, Cell>();
  const visit = (value: unknown, path: readonly string[], unit: Cell['unit'] | null): void => {
    if (typeof value === 'string' && unit !== null) {
      cells.set([section, ...path].join('.'), { unit, text: value, yocto: parseDecimal(value, PRICE_DECIMALS) ?? 0n });
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) visit(inner, [...path, key], unit ?? unitOf(key, path));
    }
  };
  visit(written, [], null);
  return cells;
}

/** What a key stands for, where it is a price's; `null`: something that holds prices, or none. */
function unitOf(key: string, path: readonly string[]): Cell['unit'] | null {
  if (path.length === 0 && key === 'service_tiers') return 'multiple';
  if (key === 'tiers' || key === 'above_input_tokens' || (path[0] === 'tiers' && path.length === 1)) return null;
  return key as Unit;
}

function doubtOf({ unit, text, yocto }: Cell, before: Cell | undefined): string | null {
  if (before !== undefined && before.yocto > 0n) {
    if (yocto === 0n) return `it was ${before.text}, and would be free`;
    const times = far(yocto, before.yocto);
    if (times !== null) return `${text} is ${times} what it was, ${before.text}`;
    return null;
  }
  if (unit === 'multiple' || yocto === 0n) return null;
  const [least, most] = USUAL[kindOf(unit)];
  if (yocto < usd(least)) return `${text} is below ${least}, less than any provider asks${perMillion(unit)}`;
  if (yocto > usd(most)) return `${text} is above ${most}, more than any provider asks${perMillion(unit)}`;
  return null;
}

const usd = (text: string): bigint => parseDecimal(text, PRICE_DECIMALS)!;

function kindOf(unit: Unit): keyof typeof USUAL {
  if (isInput(unit) || isOutput(unit)) return 'token';
  if (unit === 'character') return 'character';
  return unit.startsWith('second_') ? 'second' : 'piece';
}

function perMillion(unit: Unit): string {
  const kind = kindOf(unit);
  return kind === 'token' || kind === 'character' ? `: prices are per million ${kind}s` : '';
}

/** How far one is from the other, where that is too far; both above 0. */
function far(now: bigint, before: bigint): string | null {
  if (now >= before * TOO_FAR) return `${now / before} times`;
  return now * TOO_FAR <= before ? `1/${before / now} of` : null;
}

function compareWithCost(price: WrittenPrice, cost: WrittenPrice, doubts: Doubts): void {
  const costs = cellsOf('price', cost);
  for (const [param, { unit, text, yocto }] of cellsOf('price', price)) {
    const ours = costs.get(param);
    if (unit === 'multiple' || ours === undefined || ours.yocto === 0n) continue;
    const times = yocto === 0n ? null : far(yocto, ours.yocto);
    if (yocto === 0n) {
      doubts.questions.push({ param, message: `it would be free, and costs us ${ours.text}` });
    } else if (times !== null) {
      doubts.questions.push({ param, message: `${text} is ${times} the cost, ${ours.text}` });
    } else if (yocto < ours.yocto) {
      doubts.warnings.push({ param, message: `${text} is below the cost, ${ours.text}` });
    }
  }
}

/** Input that was read from a cache is the cheapest there is: dearer than input or output, it stands in the wrong place. */
function dearerCache(section: Section, written: unknown): Question[] {
  if (written === undefined) return [];
  const price: Price = readPrice(written as WrittenPrice);
  const { cached_input: cached, input, output }: PriceTable = price.units;
  const warnings: Question[] = [];
  const warn = (message: string): void => void warnings.push({ param: `${section}.cached_input`, message });
  if (cached !== undefined && input !== undefined && cached > input) warn('it is above the price of input');
  if (cached !== undefined && output !== undefined && output > 0n && cached > output)
    warn('it is above the price of output');
  return warnings;
}
