/** Declared routes: how they are written, what is refused of them, and which one takes a path. */
import { expect, test } from 'vitest';
import { buildCatalog } from '../../src/catalog/build.ts';
import { readCatalogFile } from '../../src/catalog/file.ts';
import { catalogSource } from '../../src/config.ts';
import { environment, faultsOf } from '../config/support.ts';

function read(yaml: string) {
  const { catalogPath, env } = catalogSource(environment('', {}, yaml));
  return readCatalogFile(catalogPath, env);
}

/** The paths of the faults. */
const faults = (yaml: string) => Object.keys(faultsOf(() => read(yaml)));
const price = 'price: { request: 0.001 }';

test('a route is written as the contract has it, or in lines, with its braces quoted or not', () => {
  const body = { provider: 'openai', feature: 'custom', price: { request: '0.001' } };
  const entry = { kind: 'passthrough', name: 'POST /v1/custom/{id}', body };
  const fields = 'provider: openai, feature: custom, price: { request: 0.001 }';
  expect(read(`passthrough: [{ method: POST, path: /v1/custom/{id}, ${fields} }]`)).toEqual([entry]);
  expect(read(`passthrough: [{ ${fields}, method: POST, path: /v1/custom/{id} }]`)).toEqual([entry]);
  expect(read(`passthrough: [{${fields}, method: POST, path: /v1/custom/{id}}]`)).toEqual([entry]);
  expect(read(`passthrough: [{ method: POST, path: "/v1/custom/{id}", ${fields} }]`)).toEqual([entry]);
  const lines = ['method: POST', 'path: /v1/custom/{id}', 'provider: openai', 'feature: custom', price];
  expect(read(`passthrough:\n  - ${lines.join('\n    ')}\n`)).toEqual([entry]);
});

test.each([
  ['method: HEAD, path: /v1/x', 'method'],
  ['method: post, path: /v1/x', 'method'],
  ['method: POST, path: /x', 'path'],
  ['method: POST, path: /v1', 'path'],
  ['method: POST, path: /v1/', 'path'],
  ['method: POST, path: /v1/x/', 'path'],
  ['method: POST, path: //v1/x', 'path'],
  ['method: POST, path: "/v1//x"', 'path'],
  ['method: POST, path: /v1/../x', 'path'],
  ['method: POST, path: /v1/./x', 'path'],
  ['method: POST, path: /v1/a..b', 'path'],
  ['method: POST, path: /v1/%2e', 'path'],
  ['method: POST, path: "/v1/x?y=1"', 'path'],
  ['method: POST, path: "/v1/x*"', 'path'],
  ['method: POST, path: "/v1/a{id}"', 'path'],
  ['method: POST, path: "/v1/{i d}"', 'path'],
  ['method: POST, path: "https://x/v1/y"', 'path'],
  [`method: POST, path: "/v1${'/x'.repeat(20)}"`, 'path'],
  ['method: POST, path: /v1/chat/completions', 'path'],
  ['method: GET, path: /v1/responses/{id}', 'path'],
  ['method: GET, path: /v1/models/{id}', 'path'],
])('%s is refused', (route, field) => {
  expect(faults(`passthrough: [{ ${route}, provider: p, ${price} }]`)).toEqual([`catalog.yaml.passthrough.0.${field}`]);
});

test('a route needs a price a request, and nothing but that: what is not read cannot be metered', () => {
  const of = (fields: string) => faults(`passthrough: [{ method: POST, path: /v1/x, provider: p${fields} }]`);
  expect(of('')).toEqual(['catalog.yaml.passthrough.0.price']);
  expect(of(', price: {}')).toEqual(['catalog.yaml.passthrough.0.price.request']);
  expect(of(', price: { request: -1 }')).toEqual(['catalog.yaml.passthrough.0.price.request']);
  expect(of(', price: { request: 1, input: 1 }')).toEqual(['catalog.yaml.passthrough.0.price.input']);
  expect(of(`, ${price}, models: [x]`)).toEqual(['catalog.yaml.passthrough.0.models']);
  expect(read('passthrough: [{ method: POST, path: /v1/x, provider: p, price: { request: 0 } }]')).toHaveLength(1);
});

test('two routes that take the same paths are refused', () => {
  const [a, b] = ['{ method: GET, path: "/v1/x/{a}"', '{ method: GET, path: "/v1/x/{b}"'];
  const rest = `, provider: p, ${price} }`;
  expect(faultsOf(() => read(`passthrough: [${a}${rest}, ${b}${rest}]`))).toEqual({
    'catalog.yaml.passthrough.1.path': '"GET /v1/x/{b}" is declared already, as "GET /v1/x/{a}"',
  });
});

function catalogOf(...names: string[]) {
  const body = { provider: 'p', price: { request: '1' } };
  const entries = names.map((name) => ({ kind: 'passthrough', name, version: 1, body }));
  return buildCatalog(1n, entries, { providers: new Set(['p']), markup: 1_000_000n });
}

test('of several routes that take a path, the plainest from the left does', () => {
  const { passthroughAt } = catalogOf(
    ...['GET /v1/{a}/{b}', 'GET /v1/{a}/y', 'GET /v1/x/{b}', 'GET /v1/x/y', 'POST /v1/x/y'],
  );
  const at = (path: string) => passthroughAt('GET', path)?.name ?? null;
  expect(at('/v1/x/y')).toBe('GET /v1/x/y');
  expect(at('/v1/x/z')).toBe('GET /v1/x/{b}');
  expect(at('/v1/z/y')).toBe('GET /v1/{a}/y');
  expect(at('/v1/z/z')).toBe('GET /v1/{a}/{b}');
  expect(at('/v1/x')).toBeNull();
  expect(at('/v1/x/y/z')).toBeNull();
  expect(passthroughAt('POST', '/v1/x/y')?.name).toBe('POST /v1/x/y');
  expect(passthroughAt('POST', '/v1/x/z')).toBeNull();
});

test('a parameter is plain characters, never a way around', () => {
  const { passthroughAt } = catalogOf('GET /v1/x/{id}');
  const plain = ['a', 'A-1_b~', 'ft:gpt-4.1:org', 'v1.2.3', 'x'.repeat(255)];
  for (const id of plain) expect(passthroughAt('GET', `/v1/x/${id}`), id).not.toBeNull();
  const others = [
    ...['', '.', '..', '...', '.a', 'a.', 'a..b', '%41', '%2f', 'a%2fb', 'a/b', 'a//b', '/a', 'a/', 'a;b', 'a\\b'],
    ...['a b', 'a+b', 'a@b', 'a?b', 'a#b', 'ä', 'a\0', 'a\r\n', '{id}', '*', 'x'.repeat(256)],
  ];
  for (const id of others) expect(passthroughAt('GET', `/v1/x/${id}`), JSON.stringify(id)).toBeNull();
  expect(passthroughAt('GET', 'http://other/v1/x/a')).toBeNull();
  expect(passthroughAt('GET', '/V1/x/a')).toBeNull();
});

test('a route whose provider is off, whose name is none, or whose paths another takes is left out, and said so', () => {
  const entry = (name: string, provider = 'p') => ({
    ...{ kind: 'passthrough', name, version: 1 },
    body: { provider, price: { request: '1' } },
  });
  const catalog = buildCatalog(
    1n,
    [entry('GET /v1/a'), entry('GET /v1/b', 'off'), entry('GET /v1/x/{a}'), entry('GET /v1/x/{b}'), entry('GET /x')],
    { providers: new Set(['p']), markup: 1_000_000n },
  );
  expect(catalog.passthroughAt('GET', '/v1/b')).toBeNull();
  expect([...catalog.leftOut]).toEqual([
    ['passthrough GET /v1/b', 'its provider is not on: off'],
    ['passthrough GET /x', 'this release serves no such route'],
    ['passthrough GET /v1/x/{b}', 'another route takes the same paths'],
  ]);
});
