/** A walk over the description of both APIs: every call of it, on what one customer has, and what became of the database. */
import { pino } from 'pino';
import { ADMIN_API } from '../../src/admin/routes.ts';
import { CUSTOMER_API } from '../../src/customer/routes.ts';
import { systemClock } from '../../src/lib/clock.ts';
import {
  ADMIN_KEY,
  type Answer,
  type Customer,
  createCustomer,
  createRig,
  openRequest,
  type Rig,
} from '../admin/rig.ts';
import type { Schema } from './hostile.ts';

/** A call as it is described. */
export interface Operation {
  prefix: string;
  method: string;
  path: string;
  name: string;
  parameters: { name: string; in: string; schema: Schema }[];
  security: Record<string, string[]>[];
  body: Schema | undefined;
}

export interface Sent {
  key?: string | null;
  body?: unknown;
  query?: string;
  headers?: Record<string, string>;
  /** In the place of what the last parameter of the path names. */
  named?: string;
}

/** Something to send, of which a refusal is due that names the field; null: which it names does not matter. */
export interface Attempt {
  sent: Sent;
  field: string | null;
  what: string;
}

export interface Walk {
  rig: Rig;
  /** Whose things paths name. */
  ada: Customer;
  bob: Customer;
  operations: Operation[];
  /** Every answer, and every line of the log. */
  answers: string[];
  log: string[];
  /** A call of an operation on what is Ada's, with her key or the admin's unless it says otherwise. */
  send(operation: Operation, sent: Sent): Promise<Answer>;
  call(method: string, url: string, key: string | null, body?: unknown, headers?: object): Promise<Answer>;
  /** Makes the attempts at one operation, and tells what was not refused as it should, or changed something. */
  attempt(operation: Operation, all: Attempt[]): Promise<string[]>;
  /** The same of every operation. */
  attemptAll(some: (operation: Operation) => Attempt[]): Promise<string[]>;
}

export const SCOPES = ['inference', 'read', 'consume', 'billing'];

export async function createWalk(): Promise<Walk> {
  const log: string[] = [];
  const answers: string[] = [];
  // A second passes with each look, so that the calls of a minute are never used up.
  let seconds = 0;
  const clock = { ...systemClock, now: () => Date.now() + 1000 * seconds++ };
  const lines = pino({ level: 'debug' }, { write: (line: string) => log.push(line) });
  const rig = await createRig({ described: true, clock, log: lines });
  const [ada, bob] = [await createCustomer(rig, '100', SCOPES), await createCustomer(rig, '100', SCOPES)];
  const names = await prepare(rig, ada);
  const prefixes = [ADMIN_API.prefix, CUSTOMER_API.prefix];
  const operations = (await Promise.all(prefixes.map((prefix) => describedCalls(rig, prefix)))).flat();

  const call: Walk['call'] = async (method, url, key, body, more = {}) => {
    const { status, text, headers } = await inject(rig, { method, url, key, body, more });
    answers.push(text.slice(0, 20_000));
    return { status, body: JSON.parse(text) as Record<string, unknown>, headers };
  };
  const send: Walk['send'] = ({ prefix, method, path }, { key, body, query = '', named, headers }) => {
    const own = prefix === ADMIN_API.prefix ? ADMIN_KEY : ada.key;
    return call(method, `${prefix}${filled(path, names, named)}${query}`, key === undefined ? own : key, body, headers);
  };
  const attempt: Walk['attempt'] = async (operation, all) => {
    const before = await stateOf(rig);
    const faults: string[] = [];
    for (const { sent, field, what } of all) {
      const found = fault(await send(operation, sent), field);
      if (found !== null) faults.push(`${operation.name} ${what}: ${found}`);
    }
    const after = await stateOf(rig);
    const changed = after.split('\n').filter((line) => !before.includes(line));
    if (after !== before) faults.push(`${operation.name} changed something: ${changed}`);
    return faults;
  };
  const attemptAll: Walk['attemptAll'] = async (some) => {
    const faults: string[] = [];
    for (const one of operations) {
      const all = some(one);
      if (all.length > 0) faults.push(...(await attempt(one, all)));
    }
    return faults;
  };
  // Reads may fold what was booked: afterwards they change nothing.
  for (const one of operations) if (one.method === 'GET') await send(one, {});
  return { rig, ada, bob, operations, answers, log, send, call, attempt, attemptAll };
}

/** Something of each kind that a path can name, by the word before its name. */
async function prepare(rig: Rig, ada: Customer): Promise<Record<string, string>> {
  const request = await openRequest(rig, ada, '10');
  await request.settle('2');
  const entry = { routes: [{ provider: 'on', model: 'x' }], price: { input: '1', output: '2' } };
  await rig.admin('PUT', '/models/plain', entry);
  await rig.admin('PUT', '/plans/pro', { models: ['*'] });
  await rig.admin('PATCH', `/accounts/${ada.id}`, { plan: 'pro' });
  await rig.admin('PUT', '/packs/starter', { credits: '5' });
  await rig.admin('PUT', '/operations/video', { credits: '5' });
  await rig.admin('PUT', '/passthrough/POST%20/v1/custom/x', { provider: 'on', price: { request: '1' } });
  await rig.admin('PUT', `/accounts/${ada.id}/prices/plain`, { price: { multiple: '0.9' }, reason: 'early' });
  await rig.admin('PUT', `/accounts/${ada.id}/entitlements/feature:video`, { value: true, reason: 'early' });
  await rig.http.inject({
    method: 'POST',
    url: '/account/v1/holds',
    headers: { authorization: `Bearer ${ada.key}`, 'content-type': 'application/json' },
    payload: { id: 'mine', credits: '1', ttl_seconds: 3600 },
  });
  const { body: service } = await rig.admin('POST', '/service-keys', { name: 'app' });
  const { body: named } = await rig.admin('POST', '/admin-keys', { name: 'Eve' });
  return {
    accounts: ada.id,
    requests: request.id,
    holds: 'mine',
    keys: ada.keyId,
    'service-keys': service.id as string,
    'admin-keys': named.id as string,
    entitlements: 'feature:video',
    models: 'plain',
    prices: 'plain',
    plans: 'pro',
    packs: 'starter',
    operations: 'video',
    passthrough: 'POST /v1/custom/x',
  };
}

/** A path with its names; `named`: the last of them, as it is. */
function filled(path: string, names: Record<string, string>, named: string | undefined): string {
  const parts = path.split('/');
  const last = parts.findLastIndex((part) => part.startsWith('{'));
  const own = (i: number): string => encodeURIComponent(names[parts[i - 1]!]!);
  return parts.map((part, i) => (!part.startsWith('{') ? part : i === last ? (named ?? own(i)) : own(i))).join('/');
}

async function inject(
  rig: Rig,
  { method, url, key, body, more }: { method: string; url: string; key: string | null; body: unknown; more: object },
) {
  const payload = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const response = await rig.http.inject({
    method: method as 'GET',
    url,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...more,
    },
    ...(body === undefined ? {} : { payload }),
  });
  return { status: response.statusCode, text: response.body, headers: response.headers };
}

async function describedCalls(rig: Rig, prefix: string): Promise<Operation[]> {
  const document = (await rig.http.inject(`${prefix}/openapi.json`)).json() as { paths: Record<string, object> };
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods as Record<string, never>).map(([method, one]) => {
      const { parameters, security, requestBody } = one as Pick<Operation, 'parameters' | 'security'> & {
        requestBody?: { content: { 'application/json': { schema: Schema } } };
      };
      const body = requestBody?.content['application/json'].schema;
      return {
        prefix,
        method: method.toUpperCase(),
        path,
        name: `${method.toUpperCase()} ${prefix}${path}`,
        parameters,
        security,
        body,
      };
    }),
  );
}

/** All that the database holds, as one text. */
async function stateOf(rig: Rig): Promise<string> {
  const { rows: tables } = await rig.database.pool.query<{ name: string }>(
    `SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = 'tollgate' ORDER BY 1`,
  );
  const sums = tables.map(
    ({ name }) => `SELECT '${name}' AS name, md5(string_agg(t::text, '|' ORDER BY t::text)) FROM ${name} t`,
  );
  // In an order of its own: the tables are read by several processes, and come as they are done.
  const { rows } = await rig.database.pool.query(`${sums.join(' UNION ALL ')} ORDER BY 1`);
  return rows.map((row: object) => Object.values(row).join(' ')).join('\n');
}

/** What is wrong with a refusal; `null`: nothing. `field`: what it must name, as far as it names one. */
function fault({ status, body }: Answer, field: string | null): string | null {
  const error = body.error as Record<string, unknown> | undefined;
  if (status < 400 || status >= 500 || error === undefined)
    return `answered ${status} ${JSON.stringify(body).slice(0, 300)}`;
  if (Object.keys(error).join() !== 'message,type,param,code') return `has the keys ${Object.keys(error)}`;
  const named = String(error.param).split('.')[0];
  if (field !== null && named !== field)
    return `names ${named} and not ${field}: ${String(error.message).slice(0, 200)}`;
  return null;
}
