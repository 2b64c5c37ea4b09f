import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { environment, faultsOf } from './support.ts';

test('without any setting the defaults hold, and the demo provider is on', () => {
  const config = loadConfig({});
  expect(config).toMatchObject({
    server: {
      host: '127.0.0.1',
      port: 8080,
      maxBodyBytes: 33_554_432,
      trustedProxies: [],
      admin: 'same',
      drainSeconds: 30,
    },
    credits: { perUsd: 1000, markup: 1_000_000n },
    errors: { insufficientCreditsStatus: 429 },
    databaseUrl: null,
    databasePool: 8,
    redisUrl: null,
    logLevel: 'info',
    adminKey: null,
  });
  const dialect = ['openai', 'anthropic', 'gemini', 'xai', 'mistral', 'deepseek', 'groq'];
  expect(config.providers.map(({ name, kind, apiKey }) => [name, kind, apiKey])).toEqual([
    ...dialect.map((name) => [name, 'openai', undefined]),
    ['demo', 'demo', undefined],
  ]);
  expect(config.catalogPath).toBe(join(import.meta.dirname, '../../config/catalog.yaml'));
});

test('the file in the repository states the defaults: an empty one means the same', () => {
  const { providers: _ours, catalogPath: _path, env: _env, ...stated } = loadConfig({});
  const { providers, catalogPath: _empty, env: _none, ...defaults } = loadConfig(environment(''));
  expect(stated).toEqual(defaults);
  expect(providers.map(({ kind }) => kind)).toEqual(['demo']);
});

test('every setting of the file is read', () => {
  const config = loadConfig(
    environment(`
server: { host: "::", port: 0, max_body_bytes: 4096, spool_bytes: 1048576, trusted_proxies: [10.0.0.0/8, "::1"], admin: { host: 127.0.0.1, port: 9 }, headers_timeout_seconds: 1, request_timeout_seconds: 2, drain_seconds: 0, public_url: "https://pay.example.com/tollgate/", cors: { origins: ["https://app.example.com", "http://localhost:5173"] } }
stripe: { automatic_tax: true }
credits: { per_usd: 100, markup: 1.250001 }
errors: { insufficient_credits_status: 402 }
providers:
  main: { kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: key, connections: 5, connect_timeout_seconds: 1, headers_timeout_seconds: 2, body_timeout_seconds: 3, isolate_tenants: false, store: never }
`),
  );
  expect(config.server).toEqual({
    host: '::',
    port: 0,
    maxBodyBytes: 4096,
    spoolBytes: 1_048_576,
    trustedProxies: ['10.0.0.0/8', '::1'],
    admin: { host: '127.0.0.1', port: 9 },
    headersTimeoutMs: 1000,
    requestTimeoutMs: 2000,
    drainSeconds: 0,
    publicUrl: 'https://pay.example.com/tollgate',
    corsOrigins: ['https://app.example.com', 'http://localhost:5173'],
  });
  expect(config.stripe.automaticTax).toBe(true);
  expect(config.credits).toEqual({ perUsd: 100, markup: 1_250_001n });
  expect(config.errors.insufficientCreditsStatus).toBe(402);
  const { apiKey, ...provider } = config.providers[0]!;
  expect(apiKey?.reveal()).toBe('key');
  expect(provider).toEqual({
    name: 'main',
    kind: 'openai',
    baseUrl: 'http://127.0.0.1:9/v1',
    connections: 5,
    connectTimeoutMs: 1000,
    headersTimeoutMs: 2000,
    bodyTimeoutMs: 3000,
    isolateTenants: false,
    storesNothing: true,
  });
});

test('the environment wins over the file', () => {
  const config = loadConfig(environment('server: { host: a.example, port: 1 }', { HOST: 'b.example', PORT: '2' }));
  expect(config.server).toMatchObject({ host: 'b.example', port: 2 });
});

test('an empty variable counts as unset', () => {
  const config = loadConfig({
    HOST: '',
    PORT: '',
    DATABASE_URL: '',
    TOLLGATE_CONFIG: '',
    TOLLGATE_CATALOG: '',
    LOG_LEVEL: '',
  });
  expect(config).toMatchObject({ server: { host: '127.0.0.1', port: 8080 }, databaseUrl: null, logLevel: 'info' });
});

test('a variable is filled in; a setting that names an unset one counts as not given', () => {
  const yaml = `
server: { host: "\${H}.\${D}", port: "\${P}" }
providers:
  a: { kind: openai, base_url: "https://\${H}/v1", api_key: "\${A}" }
  b: { kind: openai, base_url: "https://h/v1", api_key: "\${B}" }`;
  const config = loadConfig(environment(yaml, { H: 'host', D: 'example', A: 'key-a' }));
  expect(config.server).toMatchObject({ host: 'host.example', port: 8080 });
  expect(config.providers.map(({ baseUrl, apiKey }) => [baseUrl, apiKey?.reveal()])).toEqual([
    ['https://host/v1', 'key-a'],
    ['https://h/v1', undefined],
  ]);
});

test('all faults of the file and the environment are reported at once, each with its path', () => {
  const yaml = `
server: { port: 99999, hots: x, admin: maybe, trusted_proxies: [10.0.0.0/33, "::1/128", 1.2.3.4, foo], cors: { origins: ["https://a.example/", "null", "ftp://a.example", "*"] } }
credits: { per_usd: 0.5, markup: 1.0000001 }
errors: { insufficient_credits_status: 500 }
providers:
  "a b": { kind: demo }
  bare: { kind: openai }
  other: { kind: unheard-of }
  plain: { kind: openai, base_url: "http://x.example/v1" }
  spaced: { kind: openai, base_url: "https://x.example/v1", api_key: "a b" }
  word: demo
extra: 1`;
  const env = {
    PORT: 'x',
    DATABASE_URL: 'mysql://',
    DATABASE_POOL: '0',
    TOLLGATE_ADMIN_KEY: 'short',
    LOG_LEVEL: 'loud',
  };
  const faults = faultsOf(() => loadConfig(environment(yaml, env)));
  expect(Object.keys(faults).sort()).toEqual([
    'environment.DATABASE_POOL',
    'environment.DATABASE_URL',
    'environment.LOG_LEVEL',
    'environment.PORT',
    'environment.TOLLGATE_ADMIN_KEY',
    'tollgate.yaml.credits.markup',
    'tollgate.yaml.credits.per_usd',
    'tollgate.yaml.errors.insufficient_credits_status',
    'tollgate.yaml.extra',
    'tollgate.yaml.providers.a b',
    'tollgate.yaml.providers.bare.base_url',
    'tollgate.yaml.providers.other.kind',
    'tollgate.yaml.providers.plain.base_url',
    'tollgate.yaml.providers.spaced.api_key',
    'tollgate.yaml.providers.word',
    'tollgate.yaml.server.admin',
    'tollgate.yaml.server.cors.origins.0',
    'tollgate.yaml.server.cors.origins.1',
    'tollgate.yaml.server.cors.origins.2',
    'tollgate.yaml.server.hots',
    'tollgate.yaml.server.port',
    'tollgate.yaml.server.trusted_proxies.0',
    'tollgate.yaml.server.trusted_proxies.3',
  ]);
  expect(faults['tollgate.yaml.extra']).toBe('unknown key; check its spelling');
  expect(faults['tollgate.yaml.server.port']).toBe('must be a whole number between 0 and 65535');
});

test('a settings file that was named and is not there is a fault; the message reads as sentences', () => {
  expect(() => loadConfig({ TOLLGATE_CONFIG: '/nowhere/t.yaml' })).toThrow(
    'The configuration has a fault:\n  environment.TOLLGATE_CONFIG: there is no file /nowhere/t.yaml',
  );
});

test.each([
  ['a: [', 'broken'],
  ['server: { port: 1, port: 2 }', 'a key given twice'],
  ['server: *nobody', 'an alias of nothing'],
  ['[]', 'a list'],
])('YAML that is no settings is a fault, not a crash: %s (%s)', (yaml) => {
  expect(Object.keys(faultsOf(() => loadConfig(environment(yaml))))).toEqual(['tollgate.yaml']);
});

test.each([
  ['http://127.0.0.1:8000/v1', '', true],
  ['http://localhost/v1', '', true],
  ['http://[::1]:1/v1', '', true],
  ['http://vllm.internal/v1', ', allow_http: true', true],
  ['http://vllm.internal/v1', '', false],
  ['http://127.0.0.1.example/v1', '', false],
  ['ftp://x.example/v1', ', allow_http: true', false],
  ['https://user:pw@x.example/v1', '', false],
  ['https://x.example/v1?key=1', '', false],
  ['x.example/v1', '', false],
])('base_url is https, loopback or allowed by name: %s%s → %s', (url, more, allowed) => {
  const yaml = `providers: { p: { kind: openai, base_url: "${url}"${more} } }`;
  expect(faultsOf(() => loadConfig(environment(yaml)))).toEqual(
    allowed ? {} : { 'tollgate.yaml.providers.p.base_url': expect.any(String) },
  );
});

test('secrets are carried, and nothing prints them', () => {
  const secrets = {
    OPENAI_API_KEY: 'planted-1',
    DATABASE_URL: 'postgres://u:planted-2@h/d',
    DATABASE_MIGRATE_URL: 'postgres://u:planted-3@h/d',
    REDIS_URL: 'redis://:planted-4@h',
    TOLLGATE_ADMIN_KEY: 'planted-5-which-is-long-enough',
    STRIPE_SECRET_KEY: 'sk_test_planted6',
    STRIPE_WEBHOOK_SECRET: 'planted-7, planted-8',
  };
  const config = loadConfig(secrets);
  expect(config.stripe.webhookSecrets.map((secret) => secret.reveal())).toEqual(['planted-7', 'planted-8']);
  expect(config.databaseUrl?.reveal()).toBe(secrets.DATABASE_URL);
  expect(config.providers[0]?.apiKey?.reveal()).toBe('planted-1');
  const bigintAsText = (_key: string, value: unknown) => (typeof value === 'bigint' ? `${value}` : value);
  const printed = [
    inspect(config, { depth: null, showHidden: true }),
    JSON.stringify(config, bigintAsText),
    `${config.adminKey} ${config.databaseUrl}`,
  ].join('\n');
  expect(printed).toContain('***');
  expect(printed).not.toContain('planted');
});

test.each([' ', ',', 'whsec_a,', 'whsec_a,,whsec_b', 'whsec_a, ,whsec_b', 'whsec a'])(
  'a blank webhook secret is refused, since anybody could sign with it: "%s"',
  (text) => {
    expect(faultsOf(() => loadConfig({ STRIPE_WEBHOOK_SECRET: text }))).toEqual({
      'environment.STRIPE_WEBHOOK_SECRET': expect.any(String),
    });
  },
);

test.each([' ', 'pk_test_1', 'sk_test_', 'sk_test_a b', 'whsec_1', 'sk_org_test_1'])(
  'a key that is no secret key of Stripe is refused: "%s"',
  (text) => {
    expect(faultsOf(() => loadConfig({ STRIPE_SECRET_KEY: text }))).toEqual({
      'environment.STRIPE_SECRET_KEY': expect.any(String),
    });
  },
);

test('faults never repeat the value that is at fault', () => {
  const env = environment('providers: { p: { kind: openai, base_url: "planted", api_key: "planted planted" } }', {
    DATABASE_URL: 'planted',
    REDIS_URL: 'planted',
    TOLLGATE_ADMIN_KEY: 'planted',
  });
  const faults = faultsOf(() => loadConfig(env));
  expect(Object.keys(faults)).toHaveLength(5);
  expect(JSON.stringify(faults)).not.toContain('planted');
});

test('the settings file in the repository documents every setting', () => {
  const text = readFileSync(join(import.meta.dirname, '../../config/tollgate.yaml'), 'utf8');
  const source = readFileSync(join(import.meta.dirname, '../../src/config.ts'), 'utf8');
  const names = [...source.matchAll(/^ {2,}([a-z]+(?:_[a-z]+)*): (?:z\b|whole|seconds)/gm)].map(([, name]) => name!);
  expect(names.length).toBeGreaterThan(15);
  expect(names.filter((name) => !text.includes(name))).toEqual([]);
});
