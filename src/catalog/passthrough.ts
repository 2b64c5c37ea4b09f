/**
 * Routes that the catalog declares: requests that are passed on to a provider unread, at a price for each. A template is of plain
 * parts and of `{parameters}`, each a part as a whole; it is filled with plain characters alone, so that no two spellings of a
 * path are taken for the same, and nothing reaches a provider but the template.
 */
import { z } from 'zod';
import { fitsReceipt, shortName, usd } from './fields.ts';
import { flatPrice, readPrice, type WrittenPrice } from './price.ts';
import type { Model, Passthrough } from './types.ts';

export const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

/** No percent sign, no `.` at either end, no two of them: a part is what it looks like. */
const PART = '[\\w~:-]+(?:\\.[\\w~:-]+)*';
const TEMPLATE = new RegExp(`^/v1(?:/(?:${PART}|\\{[A-Za-z]\\w*\\}))+$`);
const PATH = new RegExp(`^/v1(?:/${PART})+$`);
const PARAMETER = /^\{\w+\}$/;
const MOST_PARTS = 16;
const MOST_ROUTES = 200;
/** Of what is written in the place of a parameter. */
const MOST_PART_CHARS = 255;
/** What the gateway serves itself, or refuses since it would show what belongs to others: by the part that follows `/v1`. */
const OWN: ReadonlySet<string> = new Set([
  ...['audio', 'chat', 'completions', 'embeddings', 'images', 'models', 'moderations', 'responses'],
]);

const method = z.enum(METHODS);
const path = z
  .string()
  .regex(TEMPLATE, 'must begin with /v1/ and have parts of letters, digits and any of _ . ~ : - or of one {parameter}')
  .refine((text) => text.split('/').length <= MOST_PARTS, `must have at most ${MOST_PARTS} parts`)
  .refine((text) => !OWN.has(text.split('/')[2]!), 'is served, or refused, by the gateway itself: declare another');

/** Of each request, the only unit: nothing is read of it. 0 is a price. */
const price = z.strictObject({ request: usd });

export const passthroughEntry = z.strictObject({ provider: shortName, feature: shortName.optional(), price });
export type PassthroughEntry = z.output<typeof passthroughEntry>;

const listed = passthroughEntry.extend({ method, path });

/** As `catalog.yaml` has them. */
export const passthroughList = z
  .array(listed, 'must be a list of routes')
  .max(MOST_ROUTES, `must have at most ${MOST_ROUTES} routes`)
  .superRefine((routes, context) => {
    const seen = new Map<string, string>();
    for (const [at, { method, path }] of routes.entries()) {
      const name = `${method} ${path}`;
      const other = seen.get(shapeOf(name));
      const message = `"${name}" is declared already, as "${other}"`;
      if (other !== undefined) context.addIssue({ code: 'custom', path: [at, 'path'], message });
      seen.set(shapeOf(name), name);
    }
  })
  .default([]);

/** The name of an entry, by which it is kept: its method and its template. */
export const passthroughName = z.string().refine(
  (name) => {
    const [verb, template, ...more] = name.split(' ');
    return more.length === 0 && method.safeParse(verb).success && path.safeParse(template).success && fitsReceipt(name);
  },
  `must be a method (${METHODS.join(', ')}), a space, and a path such as /v1/custom/{id} that is not the gateway's own`,
);

/** A list as entries by their names. */
export function named(routes: z.output<typeof passthroughList>): Record<string, PassthroughEntry> {
  return Object.fromEntries(routes.map(({ method, path, ...entry }) => [`${method} ${path}`, entry]));
}

/**
 * The text of a file whose templates are quoted: braces would be YAML's own in `{ path: /v1/custom/{id} }`, which is how one writes
 * it.
 */
export function quotedPaths(yaml: string): string {
  return yaml.replace(/(\bpath:[ \t]+)((?:\/(?:[\w~:.-]+|\{\w+\}))+)(?=[ \t]*(?:[,}\]]|$))/gm, '$1"$2"');
}

/** What the names of two routes have in common that take the same requests. */
export function shapeOf(name: string): string {
  return name.replace(/\{\w+\}/g, '{}');
}

/** A kept entry as it is used. `version`: of the entry, and so of its price. */
export function toPassthrough(name: string, version: number, entry: PassthroughEntry): Passthrough {
  const [verb, template] = name.split(' ') as [string, string];
  return {
    name,
    method: verb,
    path: template,
    feature: entry.feature ?? null,
    model: modelOf(name, version, entry),
  };
}

/** What it is to the steps of a request: a model without tokens, at one provider. */
function modelOf(name: string, version: number, { provider, price }: PassthroughEntry): Model {
  return {
    name,
    routes: [{ provider, model: name }],
    maxOutputTokens: 0,
    statesMaxOutput: true,
    contextWindow: null,
    onDisconnect: 'abort',
    onUpstreamTimeout: 'free',
    whenShort: 'refuse',
    onOrphan: 'charge_metered',
    reasons: false,
    price: { ...flatPrice({}), ...readPrice(price as WrittenPrice) },
    priceSource: null,
    cost: null,
    priceVersion: version,
  };
}

/** Finds the route that takes a path as it is written; `null`: none does. */
export type FindPassthrough = (method: string, path: string) => Passthrough | null;

/**
 * The routes, to be found by method and path. Of several that take a path, the one with a plain part where the others have a
 * parameter, from the left. Those of one shape are one: the first stands; the others are returned too.
 */
export function passthroughTable(routes: Iterable<Passthrough>): { find: FindPassthrough; shadowed: Passthrough[] } {
  const byShape = new Map<string, Passthrough>();
  const shadowed: Passthrough[] = [];
  for (const route of routes) {
    const shape = shapeOf(route.name);
    if (byShape.has(shape)) shadowed.push(route);
    else byShape.set(shape, route);
  }
  const sorted = [...byShape.values()].map((route) => ({ route, parts: route.path.split('/') }));
  const key = (parts: readonly string[]): string => parts.map((part) => (PARAMETER.test(part) ? '1' : '0')).join('');
  sorted.sort((a, b) => (key(a.parts) < key(b.parts) ? -1 : Number(key(a.parts) > key(b.parts))));
  return {
    shadowed,
    find: (verb, path) => {
      if (sorted.length === 0 || !PATH.test(path)) return null;
      const given = path.split('/');
      if (given.some((part) => part.length > MOST_PART_CHARS)) return null;
      const takes = (parts: readonly string[]): boolean =>
        parts.length === given.length && parts.every((part, at) => part === given[at] || PARAMETER.test(part));
      return sorted.find(({ route, parts }) => route.method === verb && takes(parts))?.route ?? null;
    },
  };
}
