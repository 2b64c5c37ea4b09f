/** Parameters as the `stripe` library sends them: `a[b][0]=x`, decoded into nested hashes and lists of strings, and read from there. */
import { missing, StripeFault } from './fault.ts';

export type Value = string | Form | Value[];
export interface Form {
  [key: string]: Value;
}

/** Decodes a query string or form body. Keys that are all numbers make a list, but for those of `metadata`. */
export function decode(text: string): Form {
  const root: Form = {};
  if (text === '') return root;
  for (const [key, value] of new URLSearchParams(text)) {
    const path = key.replaceAll(']', '').split('[');
    let at: Form = root;
    for (const part of path.slice(0, -1)) {
      const next = at[part];
      at[part] = typeof next === 'object' && !Array.isArray(next) ? next : {};
      at = at[part] as Form;
    }
    const last = path[path.length - 1] as string;
    at[last === '' ? String(Object.keys(at).length) : last] = value;
  }
  for (const key of Object.keys(root)) root[key] = listed(key, root[key] as Value);
  return root;
}

function listed(name: string, value: Value): Value {
  if (typeof value === 'string' || Array.isArray(value)) return value;
  const keys = Object.keys(value);
  const isList = name !== 'metadata' && keys.length > 0 && keys.every((key) => /^\d+$/.test(key));
  if (isList) return keys.sort((a, b) => Number(a) - Number(b)).map((key) => listed(key, value[key] as Value));
  for (const key of keys) value[key] = listed(key, value[key] as Value);
  return value;
}

/** A string, undefined when absent. Stripe's way to unset a field is the empty string: it is given as it is. */
export function text(form: Form, key: string): string | undefined {
  const value = form[key];
  if (value === undefined || typeof value === 'string') return value;
  throw new StripeFault(`Invalid string: ${JSON.stringify(value)}`, { param: key });
}

/** A string that must be there. */
export function needed(form: Form, key: string): string {
  const value = text(form, key);
  if (value === undefined || value === '') throw missing(key);
  return value;
}

/** An integer, undefined when absent or unset. */
export function whole(form: Form, key: string): number | undefined {
  const value = text(form, key);
  if (value === undefined || value === '') return undefined;
  if (!/^-?\d{1,15}$/.test(value)) {
    throw new StripeFault(`Invalid integer: ${value}`, { code: 'parameter_invalid_integer', param: key });
  }
  return Number(value);
}

/** A boolean, undefined when absent or unset. */
export function flag(form: Form, key: string): boolean | undefined {
  const value = text(form, key);
  if (value === undefined || value === '') return undefined;
  if (value !== 'true' && value !== 'false') throw new StripeFault(`Invalid boolean: ${value}`, { param: key });
  return value === 'true';
}

/** A nested hash, undefined when absent or unset. */
export function hash(form: Form, key: string): Form | undefined {
  const value = form[key];
  if (value === undefined || value === '') return undefined;
  if (typeof value === 'object' && !Array.isArray(value)) return value;
  throw new StripeFault('Invalid object', { param: key });
}

/** A list of hashes, empty when absent or unset. */
export function hashes(form: Form, key: string): Form[] {
  return list(form, key).map((item) => {
    if (typeof item === 'object' && !Array.isArray(item)) return item;
    throw new StripeFault('Invalid object', { param: key });
  });
}

/** A list of strings, undefined when absent. */
export function texts(form: Form, key: string): string[] | undefined {
  if (form[key] === undefined) return undefined;
  return list(form, key).map((item) => {
    if (typeof item === 'string') return item;
    throw new StripeFault('Invalid string', { param: key });
  });
}

/** `metadata` after an update: keys merge, an empty value removes its key, an empty `metadata` removes all. */
export function metadata(form: Form, before: Record<string, string> = {}): Record<string, string> {
  if (form.metadata === '') return {};
  const after = { ...before };
  for (const [key, value] of Object.entries(hash(form, 'metadata') ?? {})) {
    if (typeof value !== 'string') throw new StripeFault('Metadata values must be strings', { param: 'metadata' });
    if (value === '') delete after[key];
    else after[key] = value;
  }
  return after;
}

function list(form: Form, key: string): Value[] {
  const value = form[key];
  if (value === undefined || value === '') return [];
  if (Array.isArray(value)) return value;
  throw new StripeFault('Invalid array', { param: key });
}
