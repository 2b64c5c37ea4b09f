/**
 * The configuration: `tollgate.yaml`, then the environment, which wins. The only reader of `process.env`. All faults are
 * reported at once, with their path; secrets are typed so that nothing prints them.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { isLoopback, linkFault } from './lib/links.ts';
import { parseDecimal } from './lib/money.ts';
import { isNetwork } from './lib/networks.ts';
import { ConfigError, check, type Fault, readYaml, Secret, type Variables, whole } from './lib/settings.ts';

const ROOT = join(import.meta.dirname, '..');
const DEFAULT_CONFIG = join(ROOT, 'config/tollgate.yaml');
const DEFAULT_CATALOG = join(ROOT, 'config/catalog.yaml');
const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const;

export interface ProviderSettings {
  name: string;
  kind: 'openai' | 'demo';
  baseUrl: string | undefined;
  apiKey: Secret | undefined;
  connections: number | undefined;
  connectTimeoutMs: number | undefined;
  headersTimeoutMs: number | undefined;
  bodyTimeoutMs: number | undefined;
  isolateTenants: boolean | undefined;
  storesNothing: boolean;
}

export interface Config {
  server: {
    host: string;
    port: number;
    maxBodyBytes: number;
    /** What all forms that are being served may take together, in memory and on the disk. */
    spoolBytes: number;
    trustedProxies: readonly string[];
    admin: 'same' | 'off' | { host: string; port: number };
    headersTimeoutMs: number;
    requestTimeoutMs: number;
    drainSeconds: number;
    /** Where browsers reach the gateway, without a slash at its end; `null`: not said. */
    publicUrl: string | null;
    /** Of pages that may call the data plane and the customer API from a browser; `*`: any. */
    corsOrigins: readonly string[];
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
  /** The space that each process takes on the disk for its settlement journal. */
  journalBytes: number;
  catalogPath: string;
  logLevel: (typeof LOG_LEVELS)[number];
  adminKey: Secret | null;
  stripe: {
    secretKey: Secret | null;
    webhookSecrets: readonly Secret[];
    apiBase: string | null;
    /** Whether checkouts ask Stripe to reckon taxes. */
    automaticTax: boolean;
  };
  /** Added to this machine's clock; for tests of gateways whose clocks disagree. */
  clockOffsetMs: number;
  /** For `${ENV}` in the catalog. */
  env: Variables;
}

const seconds = whole(1, 86_400).transform((s) => s * 1000);

const provider = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ kind: z.literal('demo') }),
    z
      .strictObject({
        kind: z.literal('openai'),
        base_url: z.string(),
        api_key: z
          .string()
          .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces: it is sent as a header')
          .optional(),
        allow_http: z.boolean().optional(),
        connections: whole(1, 10_000).optional(),
        connect_timeout_seconds: seconds.optional(),
        headers_timeout_seconds: seconds.optional(),
        body_timeout_seconds: seconds.optional(),
        isolate_tenants: z.boolean().optional(),
        store: z.enum(['as_sent', 'never']).optional(),
      })
      .superRefine((value, context) => {
        const message = baseUrlFault(value.base_url, value.allow_http ?? false);
        if (message !== null) context.addIssue({ code: 'custom', path: ['base_url'], message });
      }),
  ],
  'must be openai or demo',
);

/** Prices have at most 12 decimals, so that price × markup is exact in atto-USD. */
const MARKUP_DECIMALS = 6;
const MOST_MARKUP = 1_000n * 10n ** BigInt(MARKUP_DECIMALS);

const schema = z.strictObject({
  server: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      port: whole(0, 65_535).default(8080),
      max_body_bytes: whole(1024, 1_073_741_824).default(33_554_432),
      spool_bytes: whole(1_048_576, 1_099_511_627_776).default(1_073_741_824),
      trusted_proxies: z
        .array(z.string().refine(isNetwork, 'must be an IP address or a CIDR such as 10.0.0.0/8'))
        .default([]),
      admin: z
        .union(
          [z.literal('same'), z.literal('off'), z.strictObject({ host: z.string().min(1), port: whole(0, 65_535) })],
          'must be same, off or { host, port }',
        )
        .default('same'),
      headers_timeout_seconds: seconds.default(20_000),
      request_timeout_seconds: seconds.default(300_000),
      drain_seconds: whole(0, 3_600).default(30),
      cors: z
        .strictObject({
          origins: z
            .array(z.string().refine(isOrigin, 'must be an origin such as https://app.example.com, or "*"'))
            .default([]),
        })
        .prefault({}),
      public_url: z
        .string()
        .superRefine((text, context) => {
          const message = publicUrlFault(text);
          if (message !== null) context.addIssue({ code: 'custom', message });
        })
        .optional(),
    })
    .prefault({}),
  credits: z
    .strictObject({
      per_usd: whole(1, 10_000).default(1000),
      markup: z
        .string()
        .transform((text, context) => {
          const markup = parseDecimal(text, MARKUP_DECIMALS) ?? 0n;
          if (markup <= 0n || markup > MOST_MARKUP) {
            context.addIssue(`must be a decimal above 0, at most 1000, with at most ${MARKUP_DECIMALS} decimals`);
          }
          return markup;
        })
        .default(10n ** BigInt(MARKUP_DECIMALS)),
    })
    .prefault({}),
  stripe: z.strictObject({ automatic_tax: z.boolean().default(false) }).prefault({}),
  ledger: z.strictObject({ journal_bytes: whole(1_048_576, 1_073_741_824).default(33_554_432) }).prefault({}),
  errors: z.strictObject({ insufficient_credits_status: z.enum(['402', '429']).default('429') }).prefault({}),
  providers: z
    .record(z.string().regex(/^[a-z0-9][a-z0-9_-]{0,63}$/i, 'must be letters, digits, - and _, at most 64'), provider)
    .default({ demo: { kind: 'demo' } }),
});

const url = (schemes: RegExp, example: string) => z.string().regex(schemes, `must begin with ${example}`).optional();

const environment = z.object({
  HOST: z.string().optional(),
  PORT: whole(0, 65_535).optional(),
  DATABASE_URL: url(/^postgres(ql)?:\/\//, 'postgres://'),
  DATABASE_MIGRATE_URL: url(/^postgres(ql)?:\/\//, 'postgres://'),
  DATABASE_POOL: whole(1, 100).default(8),
  REDIS_URL: url(/^rediss?:\/\//, 'redis://'),
  TOLLGATE_DATA_DIR: z.string().default('./data'),
  TOLLGATE_ADMIN_KEY: z.string().min(24, 'must have at least 24 characters').optional(),
  TOLLGATE_CLOCK_OFFSET_MS: whole(-86_400_000, 86_400_000).default(0),
  STRIPE_SECRET_KEY: z
    .string()
    .regex(/^(sk|rk)_(test|live)_\w+$/, 'must be a secret or restricted key of Stripe: sk_test_…, sk_live_…, rk_…')
    .optional(),
  STRIPE_WEBHOOK_SECRET: z
    .string()
    .transform((text) => text.split(',').map((item) => item.trim()))
    // With a blank secret anybody could sign.
    .refine(
      (items) => items.every((item) => /^\S+$/.test(item)),
      'must be whsec_…, several separated by single commas: one is blank',
    )
    .default([]),
  STRIPE_API_BASE: url(/^https?:\/\//, 'https://'),
  LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
});

/** Where the catalog file is, and what its `${ENV}` stand for: known even when the settings are at fault. */
export function catalogSource(env: NodeJS.ProcessEnv = process.env): { catalogPath: string; env: Variables } {
  return { catalogPath: env.TOLLGATE_CATALOG || DEFAULT_CATALOG, env: (name) => env[name] };
}

/** Reads and checks the settings file and the environment. Throws `ConfigError` with every fault of both. */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const faults: Fault[] = [];
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const vars = check(environment, given, 'environment', faults);
  const file = readSettings(env, faults);
  if (vars === null || file === null || faults.length > 0) throw new ConfigError(faults);
  const { server, credits, errors } = file;
  return {
    server: {
      host: vars.HOST ?? server.host,
      port: vars.PORT ?? server.port,
      maxBodyBytes: server.max_body_bytes,
      spoolBytes: server.spool_bytes,
      trustedProxies: server.trusted_proxies,
      admin: server.admin,
      headersTimeoutMs: server.headers_timeout_seconds,
      requestTimeoutMs: server.request_timeout_seconds,
      drainSeconds: server.drain_seconds,
      publicUrl: server.public_url?.replace(/\/+$/, '') ?? null,
      corsOrigins: server.cors.origins,
    },
    credits: { perUsd: credits.per_usd, markup: credits.markup },
    errors: { insufficientCreditsStatus: errors.insufficient_credits_status === '402' ? 402 : 429 },
    providers: Object.entries(file.providers).map(([name, settings]) => toProvider(name, settings)),
    databaseUrl: secret(vars.DATABASE_URL),
    databaseMigrateUrl: secret(vars.DATABASE_MIGRATE_URL),
    databasePool: vars.DATABASE_POOL,
    redisUrl: secret(vars.REDIS_URL),
    dataDir: resolve(vars.TOLLGATE_DATA_DIR),
    journalBytes: file.ledger.journal_bytes,
    logLevel: vars.LOG_LEVEL,
    adminKey: secret(vars.TOLLGATE_ADMIN_KEY),
    stripe: {
      secretKey: secret(vars.STRIPE_SECRET_KEY),
      webhookSecrets: vars.STRIPE_WEBHOOK_SECRET.map((text) => new Secret(text)),
      apiBase: vars.STRIPE_API_BASE ?? null,
      automaticTax: file.stripe.automatic_tax,
    },
    clockOffsetMs: vars.TOLLGATE_CLOCK_OFFSET_MS,
    ...catalogSource(env),
  };
}

/** The settings file; without one at the default path, the defaults. `null`: it has faults. */
function readSettings(env: NodeJS.ProcessEnv, faults: Fault[]): z.output<typeof schema> | null {
  const path = env.TOLLGATE_CONFIG || DEFAULT_CONFIG;
  if (!existsSync(path)) {
    if (env.TOLLGATE_CONFIG) faults.push({ path: 'environment.TOLLGATE_CONFIG', message: `there is no file ${path}` });
    return check(schema, {}, basename(path), faults);
  }
  const settings = readYaml(readFileSync(path, 'utf8'), basename(path), (name) => env[name], faults);
  return settings === undefined ? null : check(schema, settings, basename(path), faults);
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
    apiKey: secret(http?.api_key) ?? undefined,
    connections: http?.connections,
    connectTimeoutMs: http?.connect_timeout_seconds,
    headersTimeoutMs: http?.headers_timeout_seconds,
    bodyTimeoutMs: http?.body_timeout_seconds,
    isolateTenants: http?.isolate_tenants,
    storesNothing: http?.store === 'never',
  };
}

/** As browsers write it, by which it is compared; `null`, which pages without an origin send, is none. */
function isOrigin(text: string): boolean {
  const url = URL.parse(text);
  return text === '*' || (url !== null && /^https?:$/.test(url.protocol) && url.origin === text);
}

/** Why the URL that browsers are sent to will not do; `null`: it will. */
function publicUrlFault(text: string): string | null {
  const fault = linkFault(text);
  return fault === null && /[?#]/.test(text) ? 'must not have a query or a fragment' : fault;
}

/** Why a base URL will not do; `null`: it will. */
function baseUrlFault(text: string, allowHttp: boolean): string | null {
  const url = URL.parse(text);
  if (url === null) return 'must be a URL such as https://api.example.com/v1';
  if (url.username !== '' || url.password !== '') return 'must not hold credentials: use api_key';
  if (url.search !== '' || url.hash !== '') return 'must not have a query or a fragment';
  if (url.protocol === 'https:') return null;
  if (url.protocol !== 'http:') return 'must begin with https://';
  return allowHttp || isLoopback(url) ? null : 'must begin with https:// unless allow_http: true';
}
