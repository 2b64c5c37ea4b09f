/**
 * What a chat request asks for beside tokens of text: the units and the service tier that its model must have a price for.
 * Nothing is asked for silently: without a price it is refused, and what it may come to is held for (../bounds.ts).
 */
import type { Price } from '../../catalog/price.ts';
import { isUnit, type Unit, type Usage } from '../../catalog/units.ts';
import { TollgateError } from '../../errors.ts';
import { isObject, type Json } from '../../lib/json.ts';
import { isMisread, type MessageParts } from './message-parts.ts';

/** A unit that a request may use. */
export interface AskedUnit {
  unit: Unit;
  /** The field that asks for it. */
  param: string;
  /** Of a unit that is not counted in tokens, how many at most; else 0. */
  most: number;
  /** It is used once, whatever the model decides: an answer that does not report it has used it all the same. */
  always?: true;
}

export interface Asks {
  units: readonly AskedUnit[];
  /** The tier, by the name that answers have for it; `null`: whichever the provider's account is set to. */
  serviceTier: string | null;
  /** Who draws pictures for a tool; absent: nobody does. */
  painter?: Painter;
}

/** A model that draws pictures for a tool. */
export interface Painter {
  /** By OpenAI's name. */
  model: string;
  /** Tokens of one picture, as it was asked for, where the answer does not count them. */
  likelyTokens: number;
}

/**
 * How often a provider runs a tool for one answer, at most, where the request does not say: the most that was measured is 24
 * searches. A model that calls a tool more often is charged for it, and what exceeds the hold is booked.
 */
export const MOST_CALLS = 30;
/** The tier of requests that want no other. */
const PLAIN_TIER = 'default';
/** Tiers that are answered under another name. */
const ANSWERED_AS: Readonly<Record<string, string>> = { fast: 'priority' };
const MOST_TIER_CHARS = 40;
/** Of a request that asks for nothing beside its text. */
export const NOTHING: Asks = { units: [], serviceTier: null };

/** Reads what is asked for. Throws `invalid_request` where a field has a form that nobody could price. */
export function readAsks(json: Json, parts: MessageParts, n: number): Asks {
  const units: AskedUnit[] = [];
  if (parts.sounds > 0) units.push({ unit: 'input_audio', param: 'messages', most: 0 });
  for (const field in READERS) {
    const value = json[field] ?? null;
    if (value !== null) READERS[field]!(value, units, n);
  }
  const serviceTier = readTier(json.service_tier ?? null);
  return units.length === 0 && serviceTier === null ? NOTHING : { units, serviceTier };
}

/** Of an endpoint that asks for nothing but a tier. */
export function readTierAlone(json: Json): Asks {
  const serviceTier = readTier(json.service_tier ?? null);
  return serviceTier === null ? NOTHING : { units: [], serviceTier };
}

/** By field: what its value asks for. `service_tier` is read apart. */
const READERS: Readonly<Record<string, (value: unknown, units: AskedUnit[], n: number) => void>> = {
  modalities: readModalities,
  audio: readAudio,
  // Models that search do so for every request, and report nothing of it.
  web_search_options: (_value, units, n) => void units.push(searches('web_search_options', MOST_CALLS * n, true)),
  enable_search: (value, units, n) => {
    if (value !== false) units.push(searches('enable_search', MOST_CALLS * n));
  },
  plugins: readPlugins,
  tools: readTools,
};

function searches(param: string, most: number, always = false): AskedUnit {
  return { unit: 'tool:web_search', param, most, ...(always ? { always } : {}) };
}

/** A voice that is named by an id is one that the provider has stored. */
function readAudio(value: unknown, units: AskedUnit[]): void {
  if (isObject(value) && (isMisread(value) || isObject(value.voice))) {
    throw unpriceable('audio.voice.id', 'this gateway does not know whose voice it is');
  }
  units.push({ unit: 'output_audio', param: 'audio', most: 0 });
}

function readModalities(value: unknown, units: AskedUnit[]): void {
  if (!Array.isArray(value)) throw unpriceable('modalities', 'must be an array');
  for (const modality of value) {
    if (modality === 'audio') units.push({ unit: 'output_audio', param: 'modalities', most: 0 });
    else if (modality === 'image') units.push({ unit: 'output_image', param: 'modalities', most: 0 });
    else if (modality !== 'text') throw unpriceable('modalities', 'this gateway knows "text", "audio" and "image"');
  }
}

function readPlugins(value: unknown, units: AskedUnit[], n: number): void {
  const plugins: unknown[] = Array.isArray(value) ? value : [value];
  for (const plugin of plugins) {
    if (!isObject(plugin) || isMisread(plugin) || plugin.id !== 'web') {
      throw unpriceable('plugins', 'this gateway knows the plugin "web" only');
    }
    units.push(searches('plugins', MOST_CALLS * n));
  }
}

/** Tools that the client runs are text to the model; the others are run, and billed, by the provider. */
function readTools(value: unknown, units: AskedUnit[], n: number): void {
  if (!Array.isArray(value)) throw unpriceable('tools', 'must be an array');
  for (const tool of value) {
    if (!isObject(tool) || isMisread(tool)) throw unpriceable('tools', 'each must be an object that has a type');
    const { type = isObject(tool.function) ? 'function' : null } = tool;
    if (type === 'function' || type === 'custom') continue;
    const unit = typeof type === 'string' ? `tool:${toolName(type)}` : '';
    if (!isUnit(unit)) throw unpriceable('tools', 'this gateway does not know this type of tool');
    units.push({ unit, param: 'tools', most: mostUses(tool) * n });
  }
}

/** The tool that a type names: without who runs it, without its version. */
export function toolName(type: string): string {
  return type
    .slice(type.indexOf(':') + 1)
    .replace(/_\d{4,8}(_\d\d)*$/, '')
    .replace(/_preview$/, '')
    .replaceAll('-', '_');
}

function mostUses({ max_uses }: Json): number {
  const stated = typeof max_uses === 'number' && Number.isSafeInteger(max_uses) && max_uses > 0;
  return stated ? Math.min(max_uses, MOST_CALLS) : MOST_CALLS;
}

/** The tier that is asked for, by the name that answers have for it; `null`: none. Throws `invalid_request`. */
export function readTier(value: unknown): string | null {
  if (value === null || value === 'auto') return null;
  if (typeof value !== 'string' || value === '' || value.length > MOST_TIER_CHARS) {
    throw unpriceable('service_tier', 'must be the name of a tier');
  }
  return Object.hasOwn(ANSWERED_AS, value) ? ANSWERED_AS[value]! : value;
}

function unpriceable(param: string, message: string): TollgateError {
  return new TollgateError('invalid_request', { param, message: `Invalid value for '${param}': ${message}.` });
}

/** Refuses what a model has no price for, by the field that asks for it. Throws `invalid_request`. */
export function refuseUnpriced({ units, serviceTier }: Asks, price: Price, model: string): void {
  for (const { unit, param } of units) {
    if (price.units[unit] === undefined) {
      throw unpriceable(param, `the model ${JSON.stringify(model)} has no price for ${unit} here`);
    }
  }
  if (serviceTier === null || serviceTier === PLAIN_TIER || Object.hasOwn(price.serviceTiers, serviceTier)) return;
  const priced = ['auto', PLAIN_TIER, ...Object.keys(price.serviceTiers)].map((tier) => JSON.stringify(tier));
  throw unpriceable('service_tier', `the model ${JSON.stringify(model)} has prices here for ${priced.join(', ')} only`);
}

/** Usage as it is billed: with what was used for certain and is not reported. */
export function withUnreported(usage: Usage, { units }: Asks): Usage {
  const missing = units.filter(({ always, unit }) => always === true && usage[unit] === undefined);
  return missing.length === 0 ? usage : { ...usage, ...Object.fromEntries(missing.map(({ unit }) => [unit, 1])) };
}
