import { Writable } from 'node:stream';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { createProviders } from '../../src/upstream/registry.ts';
import type { ProviderConfig } from '../../src/upstream/types.ts';

function create(configs: ProviderConfig[]) {
  const lines: string[] = [];
  const sink = new Writable({
    write(line, _encoding, done) {
      lines.push(String(line));
      done();
    },
  });
  return { providers: createProviders(configs, { log: pino({}, sink), clock: systemClock }), lines };
}

const openai = { name: 'main', kind: 'openai', baseUrl: 'https://api.example.com/v1' };

test('each configured provider is there under its name', () => {
  const { providers, lines } = create([
    { ...openai, apiKey: 'sk-secret' },
    { name: 'demo', kind: 'demo' },
  ]);
  expect([...providers].map(([name, { kind, dialect }]) => [name, kind, dialect])).toEqual([
    ['main', 'openai', 'chat'],
    ['demo', 'demo', 'chat'],
  ]);
  expect(lines).toEqual([]);
});

test.each([
  ['https://api.openai.com/v1', 'max_completion_tokens'],
  ['https://eu.api.openai.com/v1', 'max_completion_tokens'],
  ['https://mine.openai.azure.com/openai/v1', 'max_completion_tokens'],
  ['https://api.mistral.ai/v1', 'max_tokens'],
  ['https://notapi.openai.com.example/v1', 'max_tokens'],
])('the output of %s is limited by %s', (baseUrl, field) => {
  const { providers } = create([{ ...openai, baseUrl, apiKey: 'sk-secret' }]);
  expect(providers.get('main')!.outputLimitField).toBe(field);
});

test.each([
  ['https://api.mistral.ai/v1', true],
  ['https://codestral.mistral.ai/v1', true],
  ['https://api.openai.com/v1', false],
  ['https://notmistral.ai/v1', false],
])('whether %s is known to tell usage unasked: %s', (baseUrl, unasked) => {
  const { providers } = create([{ ...openai, baseUrl, apiKey: 'sk-secret' }]);
  expect(providers.get('main')!.tellsUsageUnasked).toBe(unasked);
});

test.each([
  ['https://api.openai.com/v1', undefined, 'set'],
  ['https://eu.api.openai.com/v1', undefined, 'set'],
  ['https://mine.openai.azure.com/openai/v1', undefined, 'replaced'],
  ['https://api.mistral.ai/v1', undefined, 'replaced'],
  ['https://api.openai.com.example/v1', undefined, 'replaced'],
  ['https://api.mistral.ai/v1', true, 'set'],
  ['https://api.openai.com/v1', false, 'as_sent'],
] as const)('at %s with isolate_tenants %s, whose a request is is %s', (baseUrl, isolateTenants, tenants) => {
  const { providers } = create([{ ...openai, baseUrl, isolateTenants, apiKey: 'sk-secret' }]);
  expect(providers.get('main')!.tenants).toBe(tenants);
});

test.each([undefined, ''])('a provider whose key is %j is off, and said so once', (apiKey) => {
  const { providers, lines } = create([
    { ...openai, apiKey },
    { name: 'demo', kind: 'demo' },
  ]);
  expect([...providers.keys()]).toEqual(['demo']);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('"provider":"main"');
});

test('an unknown kind and a missing base URL are refused by their path', () => {
  expect(() => create([{ name: 'x', kind: 'telepathy' }])).toThrow('providers.x.kind');
  expect(() => create([{ name: 'x', kind: 'openai', apiKey: 'k' }])).toThrow('providers.x.base_url');
});
