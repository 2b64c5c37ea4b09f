/**
 * Usage as others report it, in the names that receipts have (`presentUsage`): totals include their parts. Read into units, of
 * which none is counted twice, and refused where the model has no price for one.
 */
import { type Price, unitsFor } from '../catalog/price.ts';
import { inputTokens } from '../catalog/rating.ts';
import { fallbacksOf, isSound, isUnit, type Unit, type Usage } from '../catalog/units.ts';
import { invalidField } from '../errors-input.ts';

export type NamedUsage = Readonly<Record<string, number>>;

/** A unit is what its name counts beyond the parts of that. `both`: what is a part of two of the parts, and so counts once. */
interface Named {
  unit: Unit;
  name: string;
  parts?: readonly string[];
  both?: readonly string[];
}

const CACHED_MEDIA = ['cached_input_audio_tokens', 'cached_input_image_tokens'];
const NAMED: readonly Named[] = [
  {
    unit: 'input',
    name: 'input_tokens',
    parts: ['cached_input_tokens', 'cache_write_tokens', 'input_audio_tokens', 'input_image_tokens'],
    both: CACHED_MEDIA,
  },
  { unit: 'cached_input', name: 'cached_input_tokens', parts: CACHED_MEDIA },
  { unit: 'cache_write', name: 'cache_write_tokens', parts: ['cache_write_1h_tokens'] },
  { unit: 'cache_write_1h', name: 'cache_write_1h_tokens' },
  { unit: 'input_audio', name: 'input_audio_tokens', parts: ['cached_input_audio_tokens'] },
  { unit: 'cached_input_audio', name: 'cached_input_audio_tokens' },
  { unit: 'input_image', name: 'input_image_tokens', parts: ['cached_input_image_tokens'] },
  { unit: 'cached_input_image', name: 'cached_input_image_tokens' },
  {
    unit: 'output',
    name: 'output_tokens',
    parts: ['reasoning_tokens', 'output_audio_tokens', 'output_image_tokens'],
  },
  { unit: 'reasoning', name: 'reasoning_tokens' },
  { unit: 'output_audio', name: 'output_audio_tokens' },
  { unit: 'output_image', name: 'output_image_tokens' },
  { unit: 'image', name: 'images' },
  { unit: 'second_input', name: 'input_seconds' },
  { unit: 'second_output', name: 'output_seconds' },
  { unit: 'character', name: 'characters' },
];
const NAMES: ReadonlySet<string> = new Set(NAMED.map(({ name }) => name));
const SECONDS: readonly string[] = ['input_seconds', 'output_seconds'];

/** Throws `invalid_request` naming the field below `usage` that is unknown, is not whole, or exceeds what it is part of. */
export function readUsage(named: NamedUsage): Usage {
  const tools = Object.keys(named).filter((name) => name.startsWith('tool:') && isUnit(name));
  for (const [name, quantity] of Object.entries(named)) {
    if (!NAMES.has(name) && !tools.includes(name)) throw invalidField(`usage.${name}`, 'there is no such unit');
    if (!Number.isInteger(quantity) && !SECONDS.includes(name)) {
      throw invalidField(`usage.${name}`, 'must be a whole number');
    }
  }
  const sum = (names: readonly string[]): number => names.reduce((all, name) => all + (named[name] ?? 0), 0);
  const usage: Usage = {};
  for (const { unit, name, parts = [], both = [] } of NAMED) {
    const quantity = sum([name]) - sum(parts) + sum(both);
    if (quantity < 0) {
      const used = parts.filter((part) => sum([part]) > 0);
      throw invalidField(`usage.${used[0]}`, `${used.join(', ')} are part of ${name}, which must be at least as much`);
    }
    if (quantity > 0) usage[unit] = quantity;
  }
  for (const name of tools) if (named[name]! > 0) usage[name as Unit] = named[name]!;
  return usage;
}

/** Throws `invalid_request` naming a unit that was used and that the price does not price: nothing is free by omission. */
export function refuseUnpricedUsage(usage: Usage, price: Price, model: string): void {
  const table = unitsFor(price, inputTokens(usage), {});
  for (const unit of Object.keys(usage) as Unit[]) {
    const priced = [unit, ...fallbacksOf(unit)].some((one) => table[one] !== undefined && isKin(one, unit));
    if (priced) continue;
    const name = NAMED.find((one) => one.unit === unit)?.name ?? unit;
    throw invalidField(`usage.${name}`, `the model ${JSON.stringify(model)} has no price for ${unit} here`);
  }
}

/** Whether the price of one may stand for the other: text does not price sound or pictures, which are dearer. */
function isKin(one: Unit, other: Unit): boolean {
  return isSound(one) === isSound(other) && one.endsWith('_image') === other.endsWith('_image');
}
