/**
 * Walks the description of both APIs and sends to every call what is missing, wrong or hostile. It is refused by name, nothing is
 * changed, and nothing that is secret is told, in an answer or in the log. And no scope of a key can do more than it says.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ADMIN_API } from '../../src/admin/routes.ts';
import { CUSTOMER_API } from '../../src/customer/routes.ts';
import { ADMIN_KEY } from '../admin/rig.ts';
import { ABSENT, hostileCases, type Schema, validOf, withCase } from './hostile.ts';
import { MORE, SAMPLES } from './samples.ts';
import { createWalk, type Operation, SCOPES, type Walk } from './walk.ts';

let walk: Walk;
beforeAll(async () => {
  walk = await createWalk();
});
afterAll(() => walk.rig.close());

/** Entries of the catalog, of which a number is as good as its text. */
const TAKES_NUMBERS = /\/(models|plans|packs|operations|passthrough|prices)\//;

const short = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 60);

test('a body that lacks a field, or has one of a wrong kind, size or name, is refused by its name', async () => {
  const faults = await walk.attemptAll(({ name, body }) => {
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
});

test('values of any kind, and fields that do not fit together, are refused by name', async () => {
  const faults = await walk.attemptAll(({ name }) =>
    Object.entries(MORE[name] ?? {}).flatMap(([field, bodies]) =>
      bodies.map((body) => ({ sent: { body }, field, what: short(body) })),
    ),
  );
  expect(faults).toEqual([]);
  expect(Object.keys(MORE).filter((name) => !walk.operations.some((one) => one.name === name))).toEqual([]);
});

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
  const faults = await walk.attemptAll(({ body }) =>
    body === undefined ? [] : odd.map(([one, what]) => ({ sent: { body: one }, field: null, what })),
  );
  expect(faults).toEqual([]);
  expect(({} as Record<string, unknown>).isAdmin).toBeUndefined();
});

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
  const faults = await walk.attemptAll((one) => {
    if (!one.path.includes('{')) return [];
    const body = one.body === undefined ? undefined : (SAMPLES[one.name] ?? validOf(one.body));
    // What is put under a name of the catalog, or of a key of entitlements, may be called almost anything.
    const names = one.method === 'PUT' ? ['%00', 'a%00b', '%ff', 'm'.repeat(3_000)] : odd;
    return names.map((named) => ({ sent: { named, body }, field: null, what: named.slice(0, 40) }));
  });
  for (const one of walk.operations.filter(
    ({ prefix, path }) => prefix === CUSTOMER_API.prefix && path.includes('{'),
  )) {
    const body = one.body === undefined ? undefined : validOf(one.body);
    const found = await walk.attempt(one, [
      { sent: { key: walk.bob.key, body }, field: null, what: 'of somebody else' },
    ]);
    faults.push(...found);
  }
  for (const [method, end, body] of [
    ['PATCH', '', { models: ['*'] }],
    ['POST', '/rotate', {}],
    ['DELETE', '', undefined],
  ] as const) {
    const path = `/admin/v1/accounts/${walk.bob.id}/keys/${walk.ada.keyId}${end}`;
    expect((await walk.call(method, path, ADMIN_KEY, body)).status, `${method} ${end}`).toBe(404);
  }
  expect(faults).toEqual([]);
});

test('a query that is wrong, hostile or not known is refused by its name', async () => {
  const faults = await walk.attemptAll((one) => {
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
});

test('a header that is wrong, or not for this key, is refused by its name', async () => {
  const odd: Record<string, string[]> = {
    'tollgate-account': ['', walk.bob.id, walk.ada.id, 'ext:../', 'acct_0', 'x'.repeat(5_000)],
    'idempotency-key': ['', 'x'.repeat(256)],
  };
  const faults = await walk.attemptAll((one) => {
    const body = one.body === undefined ? undefined : (SAMPLES[one.name] ?? validOf(one.body));
    const known = one.parameters.filter((parameter) => parameter.in === 'header');
    return known.flatMap(({ name }) =>
      odd[name]!.map((value) => ({
        sent: { headers: { [name]: value }, body },
        field: name === 'idempotency-key' ? 'Idempotency-Key' : name,
        what: `${name}: ${value.slice(0, 40)}`,
      })),
    );
  });
  expect(faults).toEqual([]);
});

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
  for (const one of walk.operations) {
    const wrong = [
      null,
      'sk-tg-0000000000000-wrong',
      'x'.repeat(5_000),
      one.prefix === ADMIN_API.prefix ? walk.ada.key : ADMIN_KEY,
    ];
    for (const key of wrong) {
      const { status, body } = await walk.send(one, { key, body: '{' });
      if (status !== 401)
        faults.push(`${one.name} with ${String(key).slice(0, 10)}: ${status} ${JSON.stringify(body)}`);
    }
  }
  expect(faults).toEqual([]);
});

test('a scope can do what it says and nothing else', async () => {
  /** Which scopes will do for each call of the customer API: the contract's words. */
  const needed = ({ method, path }: Operation): string[] => {
    if (path.startsWith('/holds') || (path === '/usage' && method === 'POST')) return ['consume'];
    if (path === '/auto_recharge') return method === 'GET' ? ['read', 'billing'] : ['billing'];
    return ['/checkout', '/portal'].includes(path) ? ['billing'] : ['read'];
  };
  const faults: string[] = [];
  const keys = new Map<string, string>();
  for (const scope of SCOPES) {
    const made = await walk.rig.admin('POST', `/accounts/${walk.bob.id}/keys`, { scopes: [scope] });
    keys.set(scope, made.body.key as string);
  }
  for (const one of walk.operations.filter(({ prefix }) => prefix === CUSTOMER_API.prefix)) {
    const said = one.security.flatMap(({ key }) => key!);
    if (said.join() !== needed(one).join()) faults.push(`${one.name} says that it needs ${said}`);
    for (const [scope, key] of keys) {
      const { body } = await walk.send(one, { key, body: one.body === undefined ? undefined : { nonsense: 1 } });
      const refused = (body.error as { code?: string } | undefined)?.code === 'scope_missing';
      if (refused === needed(one).includes(scope)) faults.push(`${one.name} with ${scope}: ${JSON.stringify(body)}`);
    }
  }
  expect(faults).toEqual([]);
});

test('nothing secret was told, in any answer or in the log', async () => {
  const { rows } = await walk.rig.database.pool.query<{ secret: string }>(
    `SELECT encode(secret_hash, 'hex') AS secret FROM api_keys UNION SELECT encode(secret_hash, 'hex') FROM service_keys`,
  );
  const secrets = [ADMIN_KEY, walk.ada.key, walk.bob.key, ...rows.map(({ secret }) => secret)];
  expect(walk.answers.length).toBeGreaterThan(1_000);
  for (const text of [walk.answers.join('\n'), walk.log.join('\n')]) {
    for (const secret of secrets) expect(text.includes(secret), secret.slice(0, 12)).toBe(false);
    expect(text).not.toMatch(/sk-tg-[0-9A-Za-z]{13}-[0-9A-Za-z]{39}/);
  }
  expect(walk.log.filter((line) => line.includes('"level":50'))).toEqual([]);
});
