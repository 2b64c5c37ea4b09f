/**
 * Is a price what was meant? Someone who types a price per token where one per million belongs, or slips by three places, is
 * asked before it holds. Nothing here refuses: who asks decides what a confirmation is. Pure.
 */
import { parseDecimal } from '../lib/money.ts';
import type { ModelEntry, PlanEntry } from './file.ts';
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

type Priced = Pick<ModelEntry, 'price' | 'cost'> & Partial<Pick<ModelEntry, 'routes'>>;
type Section = 'price' | 'cost';

/** Slips are by 1,000 or by 1,000,000; real changes, and real distances of price and cost, stay far below 100. */
const TOO_FAR = 100n;
type Kind = 'token' | 'character' | 'second' | 'piece' | 'multiple';

/** Of the dearest and cheapest prices that were seen anywhere; USD per million tokens or characters, or each. */
const USUAL: Readonly<Record<Kind, readonly [least: string, most: string]>> = {
  token: ['0.0005', '2000'],
  character: ['0.1', '2000'],
  second: ['0.000001', '10'],
  piece: ['0.00001', '100'],
  // Of service tiers, and of plans and accounts.
  multiple: ['0.01', '100'],
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
    // A price that is new stands beside what was asked until now: the cost, but for the markup.
    doubts.questions.push(...compared(section, entry[section], previous?.[section] ?? previous?.cost));
    doubts.warnings.push(...dearerCache(section, entry[section]));
  }
  for (const [i, route] of (entry.routes ?? []).entries()) {
    const before = previous?.routes?.find(
      ({ provider, model }) => provider === route.provider && model === route.model,
    );
    doubts.questions.push(...compared(`routes.${i}.cost`, route.cost, before?.cost ?? previous?.cost ?? entry.cost));
  }
  if (cost !== null && entry.price !== undefined)
    compareWithCost(entry.price as WrittenPrice, cost as WrittenPrice, doubts);
  return doubts;
}

/**
 * The same of a plan's prices. One that is new is compared with the price of the model whose name it stands at, as `modelOf`
 * tells it; a multiple, and what stands at a glob, is looked at by itself.
 */
export function questionPlan(
  { prices = {} }: Pick<PlanEntry, 'prices'>,
  previous: Pick<PlanEntry, 'prices'> | null,
  modelOf: (name: string) => Priced | null,
): Question[] {
  const questions: Question[] = [];
  for (const [glob, written] of Object.entries(prices)) {
    const section = `prices.${glob}`;
    const model = modelOf(glob);
    questions.push(...compared(section, written, previous?.prices?.[glob] ?? model?.price ?? model?.cost));
  }
  return questions;
}

/** What to ask about each price of a table, beside that of the same path in another. */
function compared(section: string, now: unknown, before: unknown): Question[] {
  const known = cellsOf(section, before);
  return [...cellsOf(section, now)].flatMap(([param, cell]) => {
    const message = doubtOf(cell, known.get(param));
    return message === null ? [] : [{ param, message }];
  });
}

interface Cell {
  unit: Unit | 'multiple';
  text: string;
  yocto: bigint;
}

/** Every price of a table, by the path of its field. */
function cellsOf(section: string, written: unknown): Map<string, Cell> {
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
  return key as Cell['unit'];
}

function doubtOf({ unit, text, yocto }: Cell, before: Cell | undefined): string | null {
  if (before !== undefined && before.yocto > 0n) {
    if (yocto === 0n) return `it was ${before.text}, and would be free`;
    const times = far(yocto, before.yocto);
    if (times !== null) return `${text} is ${times} what it was, ${before.text}`;
    return null;
  }
  if (yocto === 0n) return null;
  const kind = kindOf(unit);
  const [least, most] = USUAL[kind];
  const isLow = yocto < usd(least);
  if (!isLow && yocto <= usd(most)) return null;
  const bound = isLow ? `${text} is below ${least}` : `${text} is above ${most}`;
  if (kind === 'multiple') return `${bound}: it multiplies the price, and 1 leaves it as it is`;
  return `${bound}, ${isLow ? 'less' : 'more'} than any provider asks${perMillion(kind)}`;
}

const usd = (text: string): bigint => parseDecimal(text, PRICE_DECIMALS)!;

function kindOf(unit: Cell['unit']): Kind {
  if (unit === 'multiple') return unit;
  if (isInput(unit) || isOutput(unit)) return 'token';
  if (unit === 'character') return 'character';
  return unit.startsWith('second_') ? 'second' : 'piece';
}

function perMillion(kind: Kind): string {
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
