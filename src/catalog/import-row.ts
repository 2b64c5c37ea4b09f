/**
 * One row of LiteLLM's price table → a price as the catalog writes it. Pure and exact: numbers come as their text, `1.25e-06`
 * too, and never pass through a float. What cannot be said exactly in the catalog is refused, with the reason, and what the
 * row says beside it stands.
 */

import { isObject, type Json } from '../lib/json.ts';
import { formatDecimal } from '../lib/money.ts';
import type { WrittenPrice, WrittenTier } from './price.ts';
import { compareUnits, fallbacksOf, isInput, isOutput, perOf, type Unit } from './units.ts';

/** A field of the table that is not imported. */
export interface Refused {
  field: string;
  why: string;
}

export interface RowPrice {
  /** `null`: the row has no price that could be imported. */
  price: WrittenPrice | null;
  refused: Refused[];
}

/** Pico-USD (10⁻¹²), as fine as the catalog's prices are. */
const PICO_DECIMALS = 12;
const MOST_PICO = 1_000_000n * 10n ** 12n;
const MULTIPLE_DECIMALS = 6;
const MOST_MULTIPLE = 1_000n * 10n ** 6n;

/** Fields by their names without `_above_200k_tokens`, `_flex` and `_priority`. All are for one token, second, and so on. */
const UNIT_OF: ReadonlyMap<string, Unit> = new Map([
  ['input_cost_per_token', 'input'],
  ['cache_read_input_token_cost', 'cached_input'],
  ['input_cost_per_token_cache_hit', 'cached_input'],
  ['cache_creation_input_token_cost', 'cache_write'],
  ['cache_creation_input_token_cost_above_1hr', 'cache_write_1h'],
  ['input_cost_per_audio_token', 'input_audio'],
  ['cache_read_input_audio_token_cost', 'cached_input_audio'],
  ['input_cost_per_image_token', 'input_image'],
  ['output_cost_per_token', 'output'],
  ['output_cost_per_reasoning_token', 'reasoning'],
  ['output_cost_per_audio_token', 'output_audio'],
  ['output_cost_per_image_token', 'output_image'],
  ['output_cost_per_image', 'image'],
  ['input_cost_per_second', 'second_input'],
  ['output_cost_per_second', 'second_output'],
  ['input_cost_per_character', 'character'],
  ['input_cost_per_request', 'request'],
]);
const PICTURES_MADE = 'input_cost_per_image';
const PICTURE_MODES: ReadonlySet<unknown> = new Set(['image_generation', 'image_edit']);
const QUERY = 'input_cost_per_query';
const SEARCH = 'search_context_cost_per_query';
const SEARCH_UNIT: Unit = 'tool:web_search';

const BEARS_ON_COST = /cost|multiplier|provider_specific_entry/;
/** Requests of the batch API do not pass through the gateway. */
const NOT_OURS = /_batches$/;
const BY_PLACE = /^regional_|^provider_specific_entry$/;
const BY_PLACE_WHY = 'it multiplies the cost by region or speed: set the cost by hand where you use that one';
const PARTS = /^(.+?)(?:_above_(\d{1,6})k_tokens)?(?:_(flex|priority))?$/;
const NO_TIER = 0;

type Table = Map<Unit, bigint>;
/** By service tier ('' is the plain one), then by the input tokens above which they hold. */
type Tables = Map<string, Map<number, Table>>;

/** Reads the prices of a row. `sized`: the table prices its pictures by size and quality too, in rows of their own. */
export function readRow(row: Json, { sized }: { sized: boolean }): RowPrice {
  const refused: Refused[] = [];
  const tables: Tables = new Map();
  for (const [field, value] of Object.entries(row)) {
    if (!BEARS_ON_COST.test(field) || NOT_OURS.test(field)) continue;
    const why = field === SEARCH ? addSearch(tables, value) : addField(tables, row, field, value, sized);
    if (why !== null) refused.push({ field, why });
  }
  refused.push(...withoutDoubles(tables, row));
  const plain = tables.get('') ?? new Map<number, Table>();
  const units = plain.get(NO_TIER) ?? new Map<Unit, bigint>();
  if (![...units.values()].some((pico) => pico > 0n)) {
    const why = 'it is 0 throughout, or lacks: a model is not made free by a table; set its cost by hand';
    return { price: null, refused: [...refused, { field: 'the price', why }] };
  }
  const multiples: Record<string, string> = {};
  for (const [service, served] of tables) {
    if (service === '') continue;
    const multiple = multipleOf(plain, served);
    if ('why' in multiple) refused.push({ field: `*_${service}`, why: multiple.why });
    else multiples[service] = formatDecimal(multiple.scaled, MULTIPLE_DECIMALS);
  }
  return { price: written(units, plain, multiples), refused };
}

/** Adds one field; `null`, or why not. */
function addField(tables: Tables, row: Json, field: string, value: unknown, sized: boolean): string | null {
  const [, base, above, service = ''] = PARTS.exec(field)!;
  const unit = base === PICTURES_MADE || base === QUERY ? elsewhere(base, row) : UNIT_OF.get(base!);
  if (unit === undefined) return BY_PLACE.test(field) ? BY_PLACE_WHY : 'the catalog has no unit for it';
  if (unit === 'image' && sized) return 'the price differs by size and quality: set image by hand';
  const pico = readDecimal(value, perOf(unit));
  if (typeof pico === 'string') return pico;
  if (pico === 0n && unit !== 'input' && unit !== 'output') {
    return 'it is 0, which in the table says that it is not billed apart';
  }
  const table = tableOf(tables, service, above === undefined ? NO_TIER : Number(above) * 1_000);
  if ((table.get(unit) ?? pico) !== pico) return 'another field says otherwise of the same unit';
  table.set(unit, pico);
  return null;
}

function tableOf(tables: Tables, service: string, tier: number): Table {
  const served = tables.get(service) ?? new Map<number, Table>();
  const table: Table = served.get(tier) ?? new Map();
  tables.set(service, served.set(tier, table));
  return table;
}

/** Fields whose unit depends on what the model is for. Where pictures made have a price, that of `input` is for those read. */
function elsewhere(base: string, { mode, output_cost_per_image: made }: Json): Unit | undefined {
  if (base === PICTURES_MADE) return PICTURE_MODES.has(mode) && made === undefined ? 'image' : undefined;
  return mode === 'rerank' ? 'tool:search_unit' : 'request';
}

/** One price of a search, where it does not depend on how much is read. */
function addSearch(tables: Tables, value: unknown): string | null {
  if (!isObject(value)) return 'it is not by the size of the context';
  const prices = Object.entries(value).map(([size, price]) => ({ size, pico: readDecimal(price, 1) }));
  const [first] = prices;
  if (first === undefined || typeof first.pico === 'string') return (first?.pico as string) ?? 'it is empty';
  if (prices.some(({ pico }) => pico !== first.pico)) {
    const by = Object.entries(value).map(([size, price]) => `${size.replace('search_context_size_', '')} ${price}`);
    return `the price differs by the size of the context (${by.join(', ')}): set ${SEARCH_UNIT} by hand`;
  }
  tableOf(tables, '', NO_TIER).set(SEARCH_UNIT, first.pico);
  return null;
}

/** The same work in two units would be charged twice: one of them goes, and is named. */
function withoutDoubles(tables: Tables, { mode, output_cost_per_image: made }: Json): Refused[] {
  const units = tables.get('')?.get(NO_TIER);
  if (units === undefined) return [];
  const refused: Refused[] = [];
  const drop = (unit: Unit, field: string, why: string): void => {
    if (units.delete(unit)) refused.push({ field, why });
  };
  if (units.has('output_image')) {
    drop(
      'image',
      made === undefined ? PICTURES_MADE : 'output_cost_per_image',
      'pictures are billed by their tokens already',
    );
  }
  const heard = mode === 'audio_transcription' && units.has('second_input');
  if (heard) drop('second_output', 'output_cost_per_second', 'a transcription is billed by the seconds heard already');
  if (units.has('output_audio'))
    drop('second_output', 'output_cost_per_second', 'audio is billed by its tokens already');
  return refused;
}

type Multiple = { scaled: bigint } | { why: string };

/**
 * What a service tier multiplies by, where it is one number for all tokens, long inputs included. A unit of which the tier
 * says nothing must cost what one does of which it speaks; of long inputs it may be silent.
 */
function multipleOf(plain: ReadonlyMap<number, Table>, served: ReadonlyMap<number, Table>): Multiple {
  const found = new Map<string, bigint>();
  for (const [tier, table] of served) {
    for (const [unit, pico] of table) {
      const from = plain.get(tier)?.get(unit);
      const label = tier === NO_TIER ? unit : `${unit} above ${tier} tokens`;
      if (from === undefined) return { why: `${label} has a price in this tier, and none outside of it` };
      if (from === 0n && pico === 0n) continue;
      const scaled = pico * 10n ** BigInt(MULTIPLE_DECIMALS);
      if (from === 0n || scaled % from !== 0n)
        return { why: `${label} is no multiple with ${MULTIPLE_DECIMALS} decimals` };
      found.set(label, scaled / from);
    }
  }
  const lacking = [...(plain.get(NO_TIER) ?? [])]
    .filter(([unit]) => !covers(unit, plain, served))
    .map(([unit]) => unit);
  if (lacking.length > 0) return { why: `it has no price for ${lacking.sort(compareUnits).join(', ')}` };
  const [scaled, ...others] = new Set(found.values());
  if (others.length > 0) {
    const each = [...found].map(([label, multiple]) => `${label} × ${formatDecimal(multiple, MULTIPLE_DECIMALS)}`);
    return { why: `it is not one multiple for all units: ${each.join(', ')}` };
  }
  if (scaled === undefined || scaled <= 0n || scaled > MOST_MULTIPLE)
    return { why: 'it is no multiple between 0 and 1000' };
  return { scaled };
}

function covers(unit: Unit, plain: ReadonlyMap<number, Table>, served: ReadonlyMap<number, Table>): boolean {
  const [all, told] = [plain.get(NO_TIER), served.get(NO_TIER)];
  if (!isInput(unit) && !isOutput(unit)) return true;
  return told?.has(unit) || fallbacksOf(unit).some((one) => told?.has(one) && all?.get(one) === all?.get(unit));
}

function written(units: Table, plain: ReadonlyMap<number, Table>, multiples: Record<string, string>): WrittenPrice {
  const price: WrittenPrice = texts(units);
  const tiers = [...plain].filter(([tier]) => tier !== NO_TIER).sort(([a], [b]) => a - b);
  if (tiers.length > 0) {
    price.tiers = tiers.map(([tier, table]): WrittenTier => ({ above_input_tokens: tier, ...texts(table) }));
  }
  if (Object.keys(multiples).length > 0) price.service_tiers = multiples;
  return price;
}

function texts(table: Table): Record<string, string> {
  const sorted = [...table].sort(([a], [b]) => compareUnits(a, b));
  return Object.fromEntries(sorted.map(([unit, pico]) => [unit, formatDecimal(pico, PICO_DECIMALS)]));
}

const NUMBER = /^(-?)(\d{1,40})(?:\.(\d{1,40}))?(?:e([+-]?\d{1,2}))?$/i;

/** A price for one, as pico-USD for `per`; or why it cannot be. Exact: what is finer than a pico-dollar is refused. */
function readDecimal(value: unknown, per: number): bigint | string {
  const match = typeof value === 'number' || typeof value === 'string' ? NUMBER.exec(String(value)) : null;
  if (match === null) return 'it is no number';
  const [, sign, whole = '', fraction = '', exponent = '0'] = match;
  const digits = BigInt(whole + fraction) * BigInt(per);
  const shift = PICO_DECIMALS + Number(exponent) - fraction.length;
  const scale = 10n ** BigInt(Math.abs(shift));
  if (shift < 0 && digits % scale !== 0n) {
    return `${value} has more than ${PICO_DECIMALS} decimals${per === 1 ? '' : ' per million'}, as a price that a float spoilt has`;
  }
  const pico = shift < 0 ? digits / scale : digits * scale;
  if (sign === '-' && pico > 0n) return `${value} is negative`;
  return pico > MOST_PICO ? `${value} is above 1000000 USD` : pico;
}
