/**
 * Keeps the accounts of this gateway apart at a provider, where all of them are one account: what a request says of whose it
 * is becomes a MAC of the account and what it said. So no account can pass for another, share its cache, or be told of by a
 * name; and a provider that bans an abuser bans one account. See docs/tenants.md.
 */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { Principal } from '../accounts/principals.ts';
import type { FormPart, MeteredRequest } from '../metering/requests/types.ts';
import type { Provider } from '../upstream/types.ts';

/** What is set in a body: the field, and its value as JSON. */
export type SetField = readonly [field: string, json: string];

/** Of a MAC of 256 bits: OpenAI takes 64 characters, and these 32 are 192 bits. */
const NAME_CHARS = 32;
const NOTHING: readonly SetField[] = [];

/** What OpenAI's endpoints take, by the path at the provider: none other is added to a request, since unknown ones are refused. */
const TAKEN: Readonly<Record<string, readonly string[]>> = {
  '/chat/completions': ['safety_identifier', 'prompt_cache_key'],
  '/responses': ['safety_identifier', 'prompt_cache_key'],
  '/responses/compact': ['prompt_cache_key'],
  '/completions': ['user'],
  '/embeddings': ['user'],
  '/images/generations': ['user'],
  '/images/edits': ['user'],
  '/images/variations': ['user'],
};
/** In any request, where they are given. */
const REPLACED = ['safety_identifier', 'prompt_cache_key'];
/** `user` was both of them in one before, and is so still where it is all that is taken; elsewhere it has uses of its own. */
const ALL_REPLACED = [...REPLACED, 'user'];
const STORING = new Set(['/chat/completions', '/responses']);

export class Tenants {
  readonly #secret: KeyObject;
  /** Of a principal, the names of its account: it serves many requests. */
  readonly #names = new WeakMap<Principal, Map<string, string>>();

  /** `secret`: the installation's, so that all gateways give the same names. */
  constructor(secret: Buffer) {
    this.#secret = createSecretKey(secret);
  }

  /** The fields of a JSON body that this provider gets otherwise than the client sent them. */
  fieldsFor(
    provider: Pick<Provider, 'tenants' | 'storesNothing'>,
    path: string,
    principal: Principal,
    request: Pick<MeteredRequest, 'spans' | 'end'>,
    body: Buffer,
  ): readonly SetField[] {
    const { tenants, storesNothing } = provider;
    if ((tenants === 'as_sent' && !storesNothing) || request.end === null) return NOTHING;
    const fields: SetField[] = [];
    if (storesNothing && STORING.has(path)) fields.push(['store', 'false']);
    if (tenants === 'as_sent') return fields;
    const taken = tenants === 'set' ? (TAKEN[path] ?? []) : [];
    for (const field of tenants === 'set' ? ALL_REPLACED : REPLACED) {
      const span = request.spans.get(field);
      if (span !== undefined)
        fields.push([field, this.#replaced(principal, field, body.toString('utf8', span.start, span.end))]);
      else if (taken.includes(field)) fields.push([field, this.#nameOf(principal, field)]);
    }
    return fields;
  }

  /** The same of a form: what stands in every part of that name, or in one that is added. Values as they are. */
  partsFor(
    { tenants }: Pick<Provider, 'tenants'>,
    path: string,
    principal: Principal,
    parts: readonly FormPart[],
  ): readonly (readonly [name: string, value: string])[] {
    if (tenants !== 'set') return [];
    const given = parts.filter(({ name }) => ALL_REPLACED.includes(name));
    const names = new Set([...given.map(({ name }) => name), ...(TAKEN[path] ?? [])]);
    return [...names].map((field) => {
      const part = given.find(({ name }) => name === field);
      const json = part === undefined ? 'null' : JSON.stringify(part.text ?? '');
      return [field, JSON.parse(this.#replaced(principal, field, json)) as string];
    });
  }

  /** Whatever was sent, be it no text: none of it passes. `null` says no more than nothing. */
  #replaced(principal: Principal, field: string, json: string): string {
    const value = JSON.parse(json) as unknown;
    if (value === null) return this.#nameOf(principal, field);
    return this.#mac(`${field}\0${principal.account}\0${typeof value === 'string' ? value : json}`);
  }

  /** What stands for the account itself, where a request says no more. */
  #nameOf(principal: Principal, field: string): string {
    let names = this.#names.get(principal);
    if (names === undefined) {
      names = new Map();
      this.#names.set(principal, names);
    }
    let name = names.get(field);
    if (name === undefined) {
      name = this.#mac(`${field}\0${principal.account}`);
      names.set(field, name);
    }
    return name;
  }

  #mac(text: string): string {
    return `"${createHmac('sha256', this.#secret).update(text).digest('base64url').slice(0, NAME_CHARS)}"`;
  }
}
