/**
 * The configuration: `tollgate.yaml`, then the environment, which wins. The only reader of `process.env`. All faults are
 * reported at once, with their path; secrets are typed so that nothing prints them.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { parseDecimal } from './lib/money.ts';
import { ConfigError, check, type Fault, readYaml, Secret } from './lib/settings.ts';
import type { LogLevel } from './observe/log.ts';

const ROOT = join(import.meta.dirname, '..');

export interface ProviderSettings {
  name: string;
  kind: 'openai' | 'demo';
  baseUrl: string | undefined;
  apiKey: Secret | undefined;
  connections: number | undefined;
  connectTimeoutMs: number | undefined;
  headersTimeoutMs: number | undefined;
  bodyTimeoutMs: number | undefined;
}

export interface Config {
  server: {
    host: string;
    port: number;
    maxBodyBytes: number;
    trustedProxies: readonly string[];
    admin: 'same' | 'off' | { host: string; port: number };
    headersTimeoutMs: number;
    requestTimeoutMs: number;
    drainSeconds: number;
  };
  /** `markup` scaled by 10⁶. */
  credits: { perUsd: number; markup: bigint };
  errors: { insufficientCreditsStatus: 402 | 429 };
  providers: readonly ProviderSettings[];
  databaseUrl: Secret | null;
  databaseMigrateUrl: Secret | null;
  databasePool: number;
  redisUrl: Secret | null;
  dataDir: string;
  catalogPath: string;
  logLevel: LogLevel;
  adminKey: Secret | null;
  stripe: { secretKey: Secret | null; webhookSecrets: readonly Secret[]; apiBase: string | null };
  /** Added to this machine's clock; for tests of gateways whose clocks disagree. */
  clockOffsetMs: number;
  /** For `${ENV}` in the catalog. */
  env: NodeJS.ProcessEnv;
}

const whole = (least: number, most: number) =>
  z
    .string()
    .regex(/^-?\d{1,12}$/, 'must be a whole number')
    .transform(Number)
    .refine((n) => n >= least && n <= most, `must be between ${least} and ${most}`);

const seconds = whole(1, 86_400).transform((s) => s * 1000);

const provider = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('demo') }),
  z
    .strictObject({
      kind: z.literal('openai'),
      base_url: z.string(),
      api_key: z.string().nullish(),
      allow_http: z.boolean().optional(),
      connections: whole(1, 10_000).optional(),
      connect_timeout_seconds: seconds.optional(),
      headers_timeout_seconds: seconds.optional(),
      body_timeout_seconds: seconds.optional(),
    })
    .superRefine((value, context) => {
      const message = baseUrlFault(value.base_url, value.allow_http ?? false);
      if (message !== null) context.addIssue({ code: 'custom', path: ['base_url'], message });
    }),
]);

const schema = z.strictObject({
  server: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      port: whole(0, 65_535).default(8080),
      max_body_bytes: whole(1024, 1_073_741_824).default(33_554_432),
      trusted_proxies: z.array(z.string()).default([]),
      admin: z
        .union([z.literal('same'), z.literal('off'), z.strictObject({ host: z.string(), port: whole(0, 65_535) })])
        .default('same'),
      headers_timeout_seconds: seconds.default(20_000),
      request_timeout_seconds: seconds.default(300_000),
      drain_seconds: whole(0, 3_600).default(30),
    })
    .prefault({}),
  credits: z
    .strictObject({
      per_usd: whole(1, 10_000).default(1000),
      markup: z
        .string()
        .transform((text) => parseDecimal(text, 6))
        .refine((markup) => markup !== null && markup > 0n, 'must be a decimal above 0 with at most 6 decimals')
        .default(1_000_000n),
    })
    .prefault({}),
  errors: z.strictObject({ insufficient_credits_status: z.enum(['402', '429']).default('429') }).prefault({}),
  providers: z.record(z.string().regex(/^[a-z0-9][a-z0-9_-]*$/i, 'is no name for a provider'), provider).default({
    demo: { kind: 'demo' },
  }),
});

const LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const;
const environment = z.object({
  HOST: z.string().min(1).optional(),
  PORT: whole(0, 65_535).optional(),
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must begin with postgres://')
    .optional(),
  DATABASE_MIGRATE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must begin with postgres://')
    .optional(),
  DATABASE_POOL: whole(1, 100).default(8),
  REDIS_URL: z
    .string()
    .regex(/^rediss?:\/\//, 'must begin with redis://')
    .optional(),
  TOLLGATE_DATA_DIR: z.string().default('./data'),
  TOLLGATE_CONFIG: z.string().optional(),
  TOLLGATE_CATALOG: z.string().optional(),
  TOLLGATE_ADMIN_KEY: z.string().min(24, 'must have at least 24 characters').optional(),
  TOLLGATE_CLOCK_OFFSET_MS: whole(-86_400_000, 86_400_000).default(0),
  STRIPE_SECRET_KEY: z.string().optional(),
  STRIPE_WEBHOOK_SECRET: z.string().optional(),
  STRIPE_API_BASE: z.url().optional(),
  LOG_LEVEL: z.enum(LEVELS).default('info'),
});

/** Reads and checks everything. Throws `ConfigError` with every fault. */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const faults: Fault[] = [];
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const vars = check(environment, given, 'environment', faults);
  const path = given.TOLLGATE_CONFIG ?? join(ROOT, 'config/tollgate.yaml');
  const file = check(
    schema,
    readSettings(path, given.TOLLGATE_CONFIG !== undefined, env, faults),
    'tollgate.yaml',
    faults,
  );
  if (vars === null || file === null || faults.length > 0) throw new ConfigError(faults);
  return {
    server: {
      host: vars.HOST ?? file.server.host,
      port: vars.PORT ?? file.server.port,
      maxBodyBytes: file.server.max_body_bytes,
      trustedProxies: file.server.trusted_proxies,
      admin: file.server.admin,
      headersTimeoutMs: file.server.headers_timeout_seconds,
      requestTimeoutMs: file.server.request_timeout_seconds,
      drainSeconds: file.server.drain_seconds,
    },
    credits: { perUsd: file.credits.per_usd, markup: file.credits.markup! },
    errors: { insufficientCreditsStatus: file.errors.insufficient_credits_status === '402' ? 402 : 429 },
    providers: Object.entries(file.providers).map(([name, settings]) => toProvider(name, settings)),
    databaseUrl: secret(vars.DATABASE_URL),
    databaseMigrateUrl: secret(vars.DATABASE_MIGRATE_URL),
    databasePool: vars.DATABASE_POOL,
    redisUrl: secret(vars.REDIS_URL),
    dataDir: resolve(vars.TOLLGATE_DATA_DIR),
    catalogPath: vars.TOLLGATE_CATALOG ?? join(ROOT, 'config/catalog.yaml'),
    logLevel: vars.LOG_LEVEL,
    adminKey: secret(vars.TOLLGATE_ADMIN_KEY),
    stripe: {
      secretKey: secret(vars.STRIPE_SECRET_KEY),
      webhookSecrets: (vars.STRIPE_WEBHOOK_SECRET ?? '')
        .split(',')
        .filter(Boolean)
        .map((text) => new Secret(text.trim())),
      apiBase: vars.STRIPE_API_BASE ?? null,
    },
    clockOffsetMs: vars.TOLLGATE_CLOCK_OFFSET_MS,
    env,
  };
}

function readSettings(path: string, required: boolean, env: NodeJS.ProcessEnv, faults: Fault[]): unknown {
  if (existsSync(path)) return readYaml(readFileSync(path, 'utf8'), 'tollgate.yaml', env, faults);
  if (required) faults.push({ path: 'environment.TOLLGATE_CONFIG', message: `there is no file ${path}` });
  return {};
}

function secret(text: string | undefined): Secret | null {
  return text === undefined ? null : new Secret(text);
}

function toProvider(name: string, settings: z.output<typeof provider>): ProviderSettings {
  const http = settings.kind === 'openai' ? settings : null;
  return {
    name,
    kind: settings.kind,
    baseUrl: http?.base_url,
    apiKey: http?.api_key == null || http.api_key === '' ? undefined : new Secret(http.api_key),
    connections: http?.connections,
    connectTimeoutMs: http?.connect_timeout_seconds,
    headersTimeoutMs: http?.headers_timeout_seconds,
    bodyTimeoutMs: http?.body_timeout_seconds,
  };
}

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** Why a base URL will not do; `null`: it will. */
function baseUrlFault(text: string, allowHttp: boolean): string | null {
  const url = URL.parse(text);
  if (url === null) return 'must be a URL such as https://api.example.com/v1';
  if (url.username !== '' || url.password !== '') return 'must not hold credentials: use api_key';
  if (url.search !== '' || url.hash !== '') return 'must not have a query or a fragment';
  if (url.protocol === 'https:') return null;
  if (url.protocol !== 'http:') return 'must begin with https://';
  return allowHttp || LOOPBACK.test(url.hostname) ? null : 'must begin with https:// unless allow_http: true';
}
