/** The description of each API: it is of every route, and of nothing else, and says what the route takes. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ADMIN_API } from '../../src/admin/routes.ts';
import { CUSTOMER_API } from '../../src/customer/routes.ts';
import { createRig, type Json, type Rig } from '../admin/rig.ts';

interface Schema extends Json {
  properties?: Record<string, Schema>;
}
interface Operation {
  operationId: string;
  summary: string;
  parameters: { name: string; in: string }[];
  security: Record<string, string[]>[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { content: Record<string, { schema: Schema }> }>;
}
interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

let rig: Rig;
const documents: Record<string, Document> = {};
beforeAll(async () => {
  rig = await createRig({ described: true });
  for (const { prefix } of [ADMIN_API, CUSTOMER_API]) {
    const response = await rig.http.inject(`${prefix}/openapi.json`);
    expect(response.statusCode).toBe(200);
    documents[prefix] = response.json() as Document;
  }
});
afterAll(() => rig.close());

const both = [ADMIN_API.prefix, CUSTOMER_API.prefix];
const operations = (prefix: string): [string, Operation][] =>
  Object.entries(documents[prefix]!.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]): [string, Operation] => [`${method.toUpperCase()} ${path}`, one]),
  );

test('each route of both APIs is described, where it is registered', () => {
  expect(rig.undescribed).toEqual([]);
});

test.each(both)('every call of %s has a name of its own, a sentence, an answer and its refusals', (prefix) => {
  const all = operations(prefix);
  expect(all.length).toBeGreaterThan(10);
  expect(new Set(all.map(([, { operationId }]) => operationId)).size).toBe(all.length);
  for (const [name, { summary, parameters, responses }] of all) {
    expect(summary, name).toMatch(/^[A-Z].*\.$/);
    expect(Object.keys(responses), name).toEqual(expect.arrayContaining(['400', '401', '403', '429', '500']));
    expect(responses['200'] ?? responses['201'], name).toBeDefined();
    const inPath = parameters.filter((one) => one.in === 'path').map((one) => `{${one.name}}`);
    expect(name.match(/\{\w+\}/g) ?? [], name).toEqual(inPath);
  }
});

test.each(both)('every reference of %s leads somewhere, and no schema has a hole where a field is', (prefix) => {
  const document = documents[prefix]!;
  const text = JSON.stringify(document);
  for (const [, name] of text.matchAll(/"\$ref":"#\/([^"]*)"/g))
    expect(document, name).toHaveProperty(name!.split('/'));
  expect(text).not.toContain('$defs');
  for (const [name, { requestBody }] of operations(prefix)) {
    for (const [field, schema] of Object.entries(requestBody?.content['application/json']?.schema.properties ?? {})) {
      // Of a value of any kind nothing can be said.
      if (field !== 'value' && field !== 'price') expect(Object.keys(schema), `${name} ${field}`).not.toEqual([]);
    }
  }
});

test('amounts are described as credits, times as instants, whole numbers with their bounds', () => {
  const { schema } =
    documents['/admin/v1']!.paths['/accounts/{id}/credits']!.post!.requestBody!.content['application/json']!;
  expect(schema).toMatchObject({
    type: 'object',
    additionalProperties: false,
    required: ['credits', 'kind', 'reference'],
  });
  expect(schema.properties!.credits).toMatchObject({ format: 'credits', type: ['string', 'number'] });
  expect(schema.properties!.priority).toMatchObject({ type: 'integer', minimum: -1_000_000, maximum: 1_000_000 });
  expect(JSON.stringify(schema.properties!.expires_at)).toContain('"format":"date-time"');
  expect(schema.properties!.kind!.enum).toContain('topup');
});

test('a call says which scope of a key may make it', () => {
  const { paths } = documents['/account/v1']!;
  expect(paths['/balance']!.get!.security).toEqual([{ key: ['read'] }]);
  expect(paths['/usage']!.post!.security).toEqual([{ key: ['consume'] }]);
  expect(documents['/admin/v1']!.paths['/accounts']!.get!.security).toEqual([{ key: [] }]);
});

test('the page allows nothing but what comes from this gateway, and no other page may frame it', async () => {
  const page = await rig.http.inject('/admin/v1/docs/');
  expect(page.statusCode).toBe(200);
  const policy = String(page.headers['content-security-policy']);
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toContain('http');
  expect(page.headers['x-content-type-options']).toBe('nosniff');
  expect(page.body).not.toMatch(/(src|href)="(https?:)?\/\//);
  for (const path of ['static/../../../../package.json', 'static/%2e%2e%2fpackage.json', 'static/nothing', 'nothing']) {
    expect((await rig.http.inject(`/admin/v1/docs/${path}`)).statusCode, path).toBe(404);
  }
  expect((await rig.http.inject('/admin/v1/docs/yaml')).body).toMatch(/^openapi: 3\.1\.0\n/);
  // All else is without: it is no page.
  expect((await rig.admin('GET', '/accounts')).headers).not.toHaveProperty('content-security-policy');
});
