/**
 * Walks the description of both APIs and sends to every call what is missing, wrong or hostile. It is refused by name, nothing is
 * changed, and nothing that is secret is told, in an answer or in the log. And no scope of a key can do more than it says.
 */
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
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
import { ABSENT, hostileCases, type Schema, validOf, withCase } from './hostile.ts';

interface Operation {
  prefix: string;
  method: string;
  path: string;
  name: string;
  parameters: { name: string; in: string; schema: Schema }[];
  security: Record<string, string[]>[];
  body: Schema | undefined;
}

const SCOPES = ['inference', 'read', 'consume', 'billing'];

let rig: Rig;
let ada: Customer;
let bob: Customer;
let operations: Operation[];
/** What paths name, of Ada's; by the parameter, or by the parameter after what it is of. */
let names: Record<string, string>;
const log: string[] = [];
const answers: string[] = [];
/** A second passes with each look, so that the calls of a minute are never used up. */
let seconds = 0;
const clock = { ...systemClock, now: () => Date.now() + 1000 * seconds++ };

beforeAll(async () => {
  const lines = pino({ level: 'debug' }, { write: (line: string) => log.push(line) });
  rig = await createRig({ described: true, clock, log: lines });
  [ada, bob] = [await createCustomer(rig, '100', SCOPES), await createCustomer(rig, '100', SCOPES)];
  const request = await openRequest(rig, ada, '10');
  await request.settle('2');
  await prepare();
  names = {
    accounts: ada.id,
    requests: request.id,
    holds: 'mine',
    keys: ada.keyId,
    'service-keys': (await rig.admin('POST', '/service-keys', { name: 'app' })).body.id as string,
    entitlements: 'feature:video',
    models: 'plain',
    prices: 'plain',
    plans: 'pro',
    packs: 'starter',
    operations: 'video',
  };
  operations = (await Promise.all([ADMIN_API, CUSTOMER_API].map(({ prefix }) => described(prefix)))).flat();
  // Reads may fold what was booked: afterwards they change nothing.
  for (const one of operations) if (one.method === 'GET') await send(one, {});
}, 60_000);
afterAll(() => rig.close());

/** Something of each kind that a path can name. */
async function prepare(): Promise<void> {
  const entry = { routes: [{ provider: 'on', model: 'x' }], price: { input: '1', output: '2' } };
  await rig.admin('PUT', '/models/plain', entry);
  await rig.admin('PUT', '/plans/pro', { models: ['*'] });
  await rig.admin('PUT', '/packs/starter', { credits: '5' });
  await rig.admin('PUT', '/operations/video', { credits: '5' });
  await rig.admin('PUT', `/accounts/${ada.id}/prices/plain`, { price: { multiple: '0.9' }, reason: 'early' });
  await rig.admin('PUT', `/accounts/${ada.id}/entitlements/feature:video`, { value: true, reason: 'early' });
  await call('POST', '/account/v1/holds', ada.key, { id: 'mine', credits: '1', ttl_seconds: 3600 });
}

async function described(prefix: string): Promise<Operation[]> {
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

async function call(method: string, url: string, key: string | null, body?: unknown): Promise<Answer> {
  const response = await rig.http.inject({
    method: method as 'GET',
    url,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined
      ? {}
      : { payload: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
  });
  answers.push(response.body.slice(0, 20_000));
  return { status: response.statusCode, body: response.json() as Record<string, unknown>, headers: response.headers };
}

interface Sent {
  key?: string | null;
  body?: unknown;
  query?: string;
  /** In the place of what the last parameter of the path names. */
  named?: string;
}

/** A call of an operation on what is Ada's, with her key or the admin's unless it says otherwise. */
function send({ prefix, method, path }: Operation, { key, body, query = '', named }: Sent): Promise<Answer> {
  const parts = path.split('/');
  const last = parts.findLastIndex((part) => part.startsWith('{'));
  const filled = parts.map((part, i) => {
    if (!part.startsWith('{')) return part;
    return i === last && named !== undefined ? named : encodeURIComponent(names[parts[i - 1]!]!);
  });
  const own = prefix === ADMIN_API.prefix ? ADMIN_KEY : ada.key;
  return call(method, `${prefix}${filled.join('/')}${query}`, key === undefined ? own : key, body);
}

/** All that the database holds, as one text. */
async function state(): Promise<string> {
  const { rows: tables } = await rig.database.pool.query<{ name: string }>(
    `SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = 'tollgate' ORDER BY 1`,
  );
  const sums = tables.map(
    ({ name }) => `SELECT '${name}' AS name, md5(string_agg(t::text, '|' ORDER BY t::text)) FROM ${name} t`,
  );
  const { rows } = await rig.database.pool.query(sums.join(' UNION ALL '));
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

/** Sends all of them to one operation, and tells what was not refused as it should. */
async function refusals(
  operation: Operation,
  all: { sent: Sent; field: string | null; what: string }[],
): Promise<string[]> {
  const before = await state();
  const faults: string[] = [];
  for (const { sent, field, what } of all) {
    const found = fault(await send(operation, sent), field);
    if (found !== null) faults.push(`${operation.name} ${what}: ${found}`);
  }
  if ((await state()) !== before) faults.push(`${operation.name} changed something`);
  return faults;
}

async function ofAll(
  some: (one: Operation) => { sent: Sent; field: string | null; what: string }[],
): Promise<string[]> {
  const faults: string[] = [];
  for (const one of operations) {
    const all = some(one);
    if (all.length > 0) faults.push(...(await refusals(one, all)));
  }
  return faults;
}

/** Entries of the catalog, of which a number is as good as its text. */
const TAKES_NUMBERS = /\/(models|plans|packs|operations|prices)\//;

const short = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 60);

/** Bodies that fit together, where what the schema needs does not. */
const SAMPLES: Record<string, object> = {
  'POST /account/v1/usage': { usage_id: 'u', credits: '1' },
  'POST /account/v1/entitlements/check': { limit: 'seats' },
  'POST /admin/v1/accounts/{id}/entitlements': {
    source: 'grant',
    key: 'feature:video',
    value: true,
    reference: 'r',
    reason: 'x',
  },
  'PUT /admin/v1/accounts/{id}/entitlements/{key}': { value: true, reason: 'x' },
  'PUT /admin/v1/accounts/{id}/prices/{model}': { price: { multiple: '0.9' }, reason: 'x' },
  'PUT /admin/v1/models/{model}': { routes: [{ provider: 'on', model: 'x' }], price: { input: '1', output: '2' } },
  'POST /admin/v1/models/{model}/prices': { price: { input: '1', output: '2' } },
  'POST /admin/v1/models/{model}/prices/preview': { price: { input: '1', output: '2' } },
};

test('a body that lacks a field, or has one of a wrong kind, size or name, is refused by its name', async () => {
  const faults = await ofAll(({ name, body }) => {
    if (body === undefined) return [];
    const sample = SAMPLES[name] ?? validOf(body);
    return hostileCases(body)
      .filter(({ value }) => !TAKES_NUMBERS.test(name) || typeof value !== 'number')
      .map((one) => ({
        sent: { body: withCase(sample, body, one) },
        field: String(one.path[0]),
        what: `${one.path.join('.')} = ${one.value === ABSENT ? 'absent' : short(one.value)}`,
      }));
  });
  expect(faults).toEqual([]);
}, 60_000);

test('a body that is not one JSON object is refused, however deep, broken, long or odd it is', async () => {
  const odd: [unknown, string][] = [
    ['{', 'broken'],
    ['{"name":"a"} x', 'trailing'],
    ['[]', 'a list'],
    ['"x"', 'a text'],
    ['5', 'a number'],
    ['null', 'null'],
    ['true', 'a truth value'],
    [Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), 'not UTF-8'],
    ['['.repeat(100_000), 'deep'],
    [`{"a":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}`, 'deep objects'],
    [`{"name":"${'m'.repeat(2_000_000)}"}`, 'too long'],
    ['{"__proto__":{"isAdmin":true}}', '__proto__'],
    ['{"nonsense":{"__proto__":{"isAdmin":true}}}', 'a hidden __proto__'],
  ];
  const faults = await ofAll(({ body }) =>
    body === undefined ? [] : odd.map(([one, what]) => ({ sent: { body: one }, field: null, what })),
  );
  expect(faults).toEqual([]);
  expect(({} as Record<string, unknown>).isAdmin).toBeUndefined();
}, 60_000);

test('a name in a path that nobody has, or nobody can have, is refused, and so is what is somebody else’s', async () => {
  const odd = [
    '..%2f..%2fadmin',
    '%2e%2e',
    '%00',
    'a%00b',
    '%ff',
    'm'.repeat(3_000),
    'acct_0',
    'acct_-1',
    'key_99999999999999999999',
    '%27%20OR%201=1--',
    'req_00000000-0000-0000-0000-000000000000',
  ];
  const faults = await ofAll((one) => {
    if (!one.path.includes('{')) return [];
    const body = one.body === undefined ? undefined : (SAMPLES[one.name] ?? validOf(one.body));
    // What is put under a name of the catalog, or of a key of entitlements, may be called almost anything.
    const names = one.method === 'PUT' ? ['%00', 'a%00b', '%ff', 'm'.repeat(3_000)] : odd;
    return names.map((named) => ({ sent: { named, body }, field: null, what: named.slice(0, 40) }));
  });
  for (const one of operations.filter(({ prefix, path }) => prefix === CUSTOMER_API.prefix && path.includes('{'))) {
    const body = one.body === undefined ? undefined : validOf(one.body);
    const found = await refusals(one, [{ sent: { key: bob.key, body }, field: null, what: 'of somebody else' }]);
    faults.push(...found);
  }
  const others = await call('DELETE', `/admin/v1/accounts/${bob.id}/keys/${ada.keyId}`, ADMIN_KEY);
  expect(faults).toEqual([]);
  expect(others.status).toBe(404);
}, 60_000);

test('a query that is wrong, hostile or not known is refused by its name', async () => {
  const faults = await ofAll((one) => {
    const known = one.parameters.filter((parameter) => parameter.in === 'query');
    if (known.length === 0) return [];
    const body = one.body === undefined ? undefined : (SAMPLES[one.name] ?? validOf(one.body));
    const some = known.flatMap(({ name, schema }) => oddQueries(name, schema));
    return [...some, 'nonsense=1', '__proto__=1', 'constructor=1'].map((query) => ({
      sent: { query: `?${query}`, body },
      field: query.split('=')[0]!,
      what: query.slice(0, 60),
    }));
  });
  expect(faults).toEqual([]);
}, 60_000);

/** Of names almost any text is one, which may be nobody's. */
function oddQueries(name: string, schema: Schema): string[] {
  const twice = `${name}=1&${name}=2`;
  if (name === 'cursor') return ['cursor=x', 'cursor=%00', 'cursor=Li4vLi4v', twice];
  if (schema.enum !== undefined)
    return ['', 'nonsense', '..%2f', '%00'].map((value) => `${name}=${value}`).concat(twice);
  if (schema.type === 'integer')
    return ['', '-1', '0', '1.5', '1e19', '10000000000000000000', 'x'].map((value) => `${name}=${value}`).concat(twice);
  return [twice];
}

test('each call needs a key of its own API: none, a wrong one, or the other API’s is refused before anything is read', async () => {
  const faults: string[] = [];
  for (const one of operations) {
    const wrong = [
      null,
      'sk-tg-0000000000000-wrong',
      'x'.repeat(5_000),
      one.prefix === ADMIN_API.prefix ? ada.key : ADMIN_KEY,
    ];
    for (const key of wrong) {
      const { status, body } = await send(one, { key, body: '{' });
      if (status !== 401)
        faults.push(`${one.name} with ${String(key).slice(0, 10)}: ${status} ${JSON.stringify(body)}`);
    }
  }
  expect(faults).toEqual([]);
});

test('a scope can do what it says and nothing else', async () => {
  /** Which scope each call of the customer API needs: the contract's words. */
  const needed = ({ method, path }: Operation): string =>
    path.startsWith('/holds') || (path === '/usage' && method === 'POST') ? 'consume' : 'read';
  const faults: string[] = [];
  const keys = new Map<string, string>();
  for (const scope of SCOPES) {
    const made = await rig.admin('POST', `/accounts/${bob.id}/keys`, { scopes: [scope] });
    keys.set(scope, made.body.key as string);
  }
  for (const one of operations.filter(({ prefix }) => prefix === CUSTOMER_API.prefix)) {
    const said = one.security.flatMap(({ key }) => key!);
    if (said.join() !== needed(one)) faults.push(`${one.name} says that it needs ${said}`);
    for (const [scope, key] of keys) {
      const { body } = await send(one, { key, body: one.body === undefined ? undefined : { nonsense: 1 } });
      const refused = (body.error as { code?: string } | undefined)?.code === 'scope_missing';
      if (refused === (scope === needed(one))) faults.push(`${one.name} with ${scope}: ${JSON.stringify(body)}`);
    }
  }
  expect(faults).toEqual([]);
});

test('nothing secret was told, in any answer or in the log', async () => {
  const { rows } = await rig.database.pool.query<{ secret: string }>(
    `SELECT encode(secret_hash, 'hex') AS secret FROM api_keys UNION SELECT encode(secret_hash, 'hex') FROM service_keys`,
  );
  const secrets = [ADMIN_KEY, ada.key, bob.key, ...rows.map(({ secret }) => secret)];
  expect(answers.length).toBeGreaterThan(1_000);
  for (const text of [answers.join('\n'), log.join('\n')]) {
    for (const secret of secrets) expect(text.includes(secret), secret.slice(0, 12)).toBe(false);
    expect(text).not.toMatch(/sk-tg-[0-9A-Za-z]{13}-[0-9A-Za-z]{39}/);
  }
  expect(log.filter((line) => line.includes('"level":50'))).toEqual([]);
});
