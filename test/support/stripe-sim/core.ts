/**
 * The heart of the Stripe simulator: a virtual clock, seeded ids, the objects, the table of routes and the stream of
 * events. It knows no object of Stripe's by name; modules add those (`paymentRoutes`, `billingRoutes`).
 *
 *     API call ─▶ route ─▶ handler (synchronous, so atomic) ─▶ put / change ─▶ emit ─▶ delivery
 *     advance  ─▶ next due instant ─▶ steps of the modules  ─▶ put / change ─▶ emit ─▶ delivery
 */
import { Expander } from './expand.ts';
import { noSuch, StripeFault } from './fault.ts';
import { decode, type Form, hash, text, whole } from './params.ts';
import { Clock, compile, copied, copyOf, IdSource, type Matcher } from './parts.ts';

export { StripeFault } from './fault.ts';

export const API_VERSION = '2026-10-28.endive';

/** Anything that is kept: it has an id and says what it is. */
export interface Stored {
  id: string;
  object: string;
}

export interface EventObject extends Stored {
  object: 'event';
  api_version: string | null;
  created: number;
  data: { object: Stored; previous_attributes?: object };
  livemode: boolean;
  pending_webhooks: number;
  request: { id: string | null; idempotency_key: string | null } | null;
  type: string;
}

/** One API call, as a handler sees it. `params` are the parts of the path, `form` the body, `query` the query string. */
export interface Call {
  sim: Sim;
  method: Method;
  path: string;
  params: Record<string, string>;
  form: Form;
  query: Form;
  idempotencyKey: string | null;
}

export type Method = 'GET' | 'POST' | 'DELETE';
type Handler = (call: Call) => unknown;

/** What snapshot and restore carry. Plain data only. */
export interface State {
  clock: number;
  ids: number;
  kinds: Map<string, Map<string, Stored>>;
  side: Map<string, Map<string, unknown>>;
}

/** The request that a handler is answering: events carry it, objects take its mode. */
export interface Origin {
  livemode: boolean;
  request: { id: string | null; idempotency_key: string | null };
}

const NO_ORIGIN: Origin = { livemode: false, request: { id: null, idempotency_key: null } };
/** Steps of one advance, so that a module that never catches up is a failure and not a hang. */
const MAX_STEPS = 100_000;

/** A simulator without a server. `seed` decides every id and every chaos; random when not given. */
export class Sim {
  readonly seed: number;
  #state: State;
  #origin: Origin = NO_ORIGIN;
  readonly #clock = new Clock();
  readonly #ids = new IdSource();
  readonly #expander = new Expander();
  readonly #routes: Array<{ method: Method; matcher: Matcher; handler: Handler }> = [];
  readonly #steps: Array<() => void> = [];
  readonly #dues: Array<() => number | null> = [];
  readonly #listeners: Array<(event: EventObject) => void> = [];

  constructor(seed: number = Math.floor(Math.random() * 2 ** 32)) {
    this.seed = seed;
    this.#state = { clock: 0, ids: seed >>> 0, kinds: new Map(), side: new Map() };
  }

  /** Unix seconds, virtual. */
  now(): number {
    return this.#clock.now(this.#state.clock);
  }

  id(prefix: string): string {
    return `${prefix}_${this.#ids.take(this.#state)}`;
  }

  /** A number in [0, 1) of the seeded sequence. */
  random(): number {
    return this.#ids.random(this.#state);
  }

  /** The mode of the key of the call being answered (of the last one, between calls). */
  get livemode(): boolean {
    return this.#origin.livemode;
  }

  /** Keeps an object by what it is and its id. It is kept itself, not a copy. */
  put<T extends Stored>(object: T): T {
    this.#kind(object.object).set(object.id, object);
    return object;
  }

  /** Throws resource_missing: 404, or 400 when `param` says which parameter named it. */
  get<T extends Stored>(kind: string, id: string, param?: string): T {
    const object = this.find<T>(kind, id);
    if (object === undefined) throw noSuch(kind, id, param);
    return object;
  }

  find<T extends Stored>(kind: string, id: string): T | undefined {
    return this.#state.kinds.get(kind)?.get(id) as T | undefined;
  }

  /** Newest first. */
  all<T extends Stored>(kind: string): T[] {
    return [...(this.#state.kinds.get(kind)?.values() ?? [])].reverse() as T[];
  }

  remove(object: Stored): void {
    this.#state.kinds.get(object.object)?.delete(object.id);
  }

  /** What a module remembers beside Stripe's objects; part of snapshots, so ask for it anew at each use. */
  side<V>(name: string): Map<string, V> {
    const known = this.#state.side.get(name) ?? new Map<string, unknown>();
    this.#state.side.set(name, known);
    return known as Map<string, V>;
  }

  /** Sets fields and gives back what they held, those only that differ: `previous_attributes`. */
  change<T extends Stored>(object: T, fields: Partial<T>): Partial<T> {
    const previous: Partial<T> = {};
    for (const [key, value] of Object.entries(fields) as Array<[keyof T, T[keyof T]]>) {
      if (JSON.stringify(object[key]) === JSON.stringify(value)) continue;
      previous[key] = copyOf(object[key] ?? null) as T[keyof T];
      object[key] = value;
    }
    return previous;
  }

  /** Makes an event of the object as it is now and hands it to delivery. */
  emit(type: string, object: Stored, previous?: object): EventObject {
    const event: EventObject = {
      id: this.id('evt'),
      object: 'event',
      api_version: API_VERSION,
      created: this.now(),
      data: { object: copyOf(object) },
      livemode: 'livemode' in object ? object.livemode === true : this.livemode,
      pending_webhooks: 0,
      request: { ...this.#origin.request },
      type,
    };
    if (previous !== undefined) event.data.previous_attributes = copyOf(previous);
    this.put(event);
    for (const listener of this.#listeners) listener(event);
    return event;
  }

  onEvent(listener: (event: EventObject) => void): void {
    this.#listeners.push(listener);
  }

  /** `path` as Stripe documents it: `/v1/customers/:id`. The first that fits wins. */
  route(method: Method, path: string, handler: Handler): void {
    this.#routes.push({ method, matcher: compile(path), handler });
  }

  /** For `expand[]`: `field` (dots go into nested hashes) of objects of `kind` holds ids of `ofKind`. */
  link(kind: string, field: string, ofKind: string): void {
    this.#expander.link(kind, field, ofKind);
  }

  /** For `expand[]`: `field` is left out of answers unless asked for; `make` says what it holds. */
  part(kind: string, field: string, make: (object: Record<string, unknown>) => unknown): void {
    this.#expander.part(kind, field, make);
  }

  list<T extends Stored>(call: Call, kind: string, filter: (object: T) => boolean = () => true): unknown {
    return page(call, this.all<T>(kind).filter(filter));
  }

  /** Runs `act` as if this request had asked for it, at one instant. */
  as<R>(origin: Origin, act: () => R): R {
    this.#origin = origin;
    try {
      return this.#clock.during(this.#state.clock, act);
    } finally {
      this.#origin = { livemode: origin.livemode, request: NO_ORIGIN.request };
    }
  }

  /** Answers one call; throws StripeFault. Pure of HTTP: keys, faults and modes are the server's. */
  dispatch(method: Method, path: string, body: string, query: string, idempotencyKey: string | null): unknown {
    for (const route of this.#routes) {
      const params = route.method === method ? route.matcher(path) : null;
      if (params === null) continue;
      const call = { sim: this, method, path, params, form: decode(body), query: decode(query), idempotencyKey };
      const asked = method === 'GET' ? call.query.expand : call.form.expand;
      const paths = Array.isArray(asked) ? asked.map(String) : [];
      return this.#expander.expand(route.handler(call), paths, (kind, id) => this.find(kind, id));
    }
    throw new StripeFault(`Unrecognized request URL (${method}: ${path}).`, { status: 404 });
  }

  /** `step` runs after the clock has been moved, at each due instant and at the end. */
  onAdvance(step: () => void): void {
    this.#steps.push(step);
  }

  /** `next` says the Unix second at which its module has something to do, or null. */
  dueAt(next: () => number | null): void {
    this.#dues.push(next);
  }

  /** Moves the clock, stopping at each due instant. */
  advance(seconds: number): void {
    const target = this.now() + seconds;
    for (let count = 0; ; count += 1) {
      if (count > MAX_STEPS) throw new Error('stripe-sim: a module is due again and again at the same instant');
      const next = Math.min(...this.#dues.map((due) => due() ?? Number.POSITIVE_INFINITY));
      if (next > target) break;
      this.#clock.freeze(Math.max(next, this.now()));
      for (const step of this.#steps) step();
    }
    this.#clock.freeze(target);
    for (const step of this.#steps) step();
    this.#state.clock = this.#clock.thaw();
  }

  snapshot(): State {
    return copied(this.#state);
  }

  restore(saved: State): void {
    this.#state = copied(saved);
  }

  #kind(name: string): Map<string, Stored> {
    const known = this.#state.kinds.get(name) ?? new Map<string, Stored>();
    this.#state.kinds.set(name, known);
    return known;
  }
}

/** One page of a list, newest first: `limit`, `starting_after`, `ending_before`, `created`. */
export function page<T extends Stored>(call: Call, objects: T[]): unknown {
  const limit = whole(call.query, 'limit') ?? 10;
  if (limit < 1 || limit > 100) throw new StripeFault('This value must be between 1 and 100.', { param: 'limit' });
  const fits = objects.filter((object) => withinRange(call.query, 'created', object));
  const after = text(call.query, 'starting_after');
  const before = text(call.query, 'ending_before');
  const url = call.path;
  if (before !== undefined) {
    const end = position(fits, before, 'ending_before');
    const start = Math.max(0, end - limit);
    return { object: 'list', data: fits.slice(start, end), has_more: start > 0, url };
  }
  const start = after === undefined ? 0 : position(fits, after, 'starting_after') + 1;
  return { object: 'list', data: fits.slice(start, start + limit), has_more: fits.length > start + limit, url };
}

function position(objects: Stored[], id: string, param: string): number {
  const index = objects.findIndex((object) => object.id === id);
  if (index < 0) throw noSuch('object', id, param);
  return index;
}

function withinRange(query: Form, field: string, object: Stored): boolean {
  if (query[field] === undefined || query[field] === '') return true;
  const at = (object as unknown as Record<string, unknown>)[field] as number;
  if (typeof query[field] === 'string') return at === whole(query, field);
  const range = hash(query, field) ?? {};
  const { gt, gte, lt, lte } = {
    gt: whole(range, 'gt'),
    gte: whole(range, 'gte'),
    lt: whole(range, 'lt'),
    lte: whole(range, 'lte'),
  };
  return (
    (gt === undefined || at > gt) &&
    (gte === undefined || at >= gte) &&
    (lt === undefined || at < lt) &&
    (lte === undefined || at <= lte)
  );
}
