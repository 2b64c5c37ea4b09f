/** A real gateway in this process or in processes of its own, over a database of its own and a scripted upstream. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import type pg from 'pg';
import { createAccount } from '../../src/accounts/accounts.ts';
import { createKey, PLAIN_KEY } from '../../src/accounts/keys.ts';
import { loadSettings } from '../../src/catalog/file.ts';
import { WriterConnection } from '../../src/ledger/connection.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { publicId, uuidv7 } from '../../src/lib/ids.ts';
import { formatCredits, parseCredits } from '../../src/lib/money.ts';
import type { Receipt } from '../../src/metering/receipt-view.ts';
import { verifyBooks } from '../../src/metering/usage-audit.ts';
import { foldAll } from '../../src/metering/usage-fold.ts';
import { createLogger, silentLogger } from '../../src/observe/log.ts';
import { start } from '../../src/server.ts';
import { compileCache } from './compile-cache.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { chat, type ScriptedUpstream, startScriptedUpstream } from './scripted-upstream.ts';

export const ADMIN_KEY = 'test-admin-key-of-32-characters-or-more';
const PROVIDER_KEY = 'sk-provider-secret-0123456789';

export interface World {
  database: TestDatabase;
  pool: pg.Pool;
  upstream: ScriptedUpstream;
  folder: string;
  env: Record<string, string>;
}

/** Prices that make sums easy: at 1,000 credits per USD an input token costs 0.001 credits, an output token 0.002. */
export const CATALOG = `
models:
  plain: { routes: [{ provider: scripted, model: plain-upstream }], max_output_tokens: 1000, context_window: 100000, price: { input: 1, output: 2 } }
  strict: { routes: [{ provider: scripted, model: strict }], max_output_tokens: 1000, context_window: 100000, when_short: refuse, price: { input: 1, output: 2 } }
  drain: { routes: [{ provider: scripted, model: drain }], max_output_tokens: 1000, context_window: 100000, on_disconnect: drain, price: { input: 1, output: 2 } }
  long: { routes: [{ provider: scripted, model: long }], max_output_tokens: 100000, context_window: 200000, price: { input: 1, output: 2 } }
  counted: { routes: [{ provider: scripted, model: gpt-4o }], max_output_tokens: 1000, context_window: 100000, price: { input: 1, output: 2 } }
  counted-long: { routes: [{ provider: scripted, model: gpt-4o }], max_output_tokens: 100000, context_window: 200000, price: { input: 1, output: 2 } }
  two-routes: { routes: [{ provider: dead, model: x }, { provider: scripted, model: two }], max_output_tokens: 1000, price: { input: 1, output: 2 } }
  unstated: { routes: [{ provider: scripted, model: unstated }], price: { input: 1, output: 2 } }
  free: { routes: [{ provider: scripted, model: free }], max_output_tokens: 1000, price: { input: 0, output: 0 } }
  tiered: { routes: [{ provider: scripted, model: tiered }], max_output_tokens: 1000, price: { input: 1, output: 2, "tool:web_search": 0.01, service_tiers: { flex: 0.5 } } }
  forbidden: { routes: [{ provider: scripted, model: forbidden }], price: { input: 1, output: 2 } }
plans:
  standard: { default: true, models: [plain, strict, drain, long, counted, counted-long, two-routes, unstated, free, tiered], features: [] }
  premium: { models: ["*"], features: [] }
`;

/** A database, an upstream and the settings of gateways over them. `more` is added to the environment. */
export async function createWorld(more: Record<string, string> = {}, yaml = '', catalog = CATALOG): Promise<World> {
  const database = await createTestDatabase();
  const upstream = await startScriptedUpstream();
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-test-'));
  writeFileSync(
    join(folder, 'tollgate.yaml'),
    `providers:
  scripted: { kind: openai, base_url: "${upstream.url}", api_key: "${PROVIDER_KEY}" }
  dead: { kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: "${PROVIDER_KEY}" }
${yaml}`,
  );
  writeFileSync(join(folder, 'catalog.yaml'), catalog);
  const env = {
    DATABASE_URL: database.url,
    TOLLGATE_CONFIG: join(folder, 'tollgate.yaml'),
    TOLLGATE_CATALOG: join(folder, 'catalog.yaml'),
    TOLLGATE_DATA_DIR: join(folder, 'data'),
    TOLLGATE_ADMIN_KEY: ADMIN_KEY,
    HOST: '127.0.0.1',
    PORT: '0',
    LOG_LEVEL: 'info',
    ...more,
  };
  return { database, pool: database.pool, upstream, folder, env };
}

export async function closeWorld(world: World): Promise<void> {
  await world.upstream.close();
  await world.database.drop();
  rmSync(world.folder, { recursive: true, force: true });
}

export interface TestGateway {
  url: string;
  close(): Promise<void>;
}

/** A gateway in this process. `logFd`: where its log goes, for tests that read it. */
export async function startGateway(world: World, logFd: number | null = null): Promise<TestGateway> {
  const log = logFd === null ? silentLogger : createLogger('info', logFd);
  const running = await start(loadSettings(world.env), log);
  return {
    url: running.url,
    close: async () => {
      await running.close();
      log.flush();
    },
  };
}

export interface GatewayProcess {
  url: string;
  child: ChildProcess;
  logPath: string;
  /** Resolves with the exit status, or the signal's name. */
  exited: Promise<number | string>;
}

/** A gateway in a process of its own, as `tollgate serve` starts it. Resolves once it listens. */
export async function spawnGateway(world: World, more: Record<string, string> = {}): Promise<GatewayProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../bin/tollgate.js'), 'serve'], {
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...compileCache, ...world.env, ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const exited = once(child, 'exit').then(([code, signal]) => (signal as string | null) ?? (code as number));
  const url = await new Promise<string>((resolve, reject) => {
    const onData = (chunk: Buffer): void => {
      output += chunk.toString();
      const match = /listens on (http:\/\/\S+)/.exec(output);
      if (match !== null) resolve(match[1]!);
    };
    child.stdout!.on('data', onData);
    child.stderr!.on('data', onData);
    void exited.then((status) => reject(new Error(`the gateway exited with ${status}:\n${output}`)));
  });
  return {
    url,
    child,
    exited,
    get logPath() {
      return output;
    },
  };
}

export interface TestAccount {
  account: bigint;
  accountId: string;
  key: string;
  keyId: bigint;
}

/** An account with a key and, unless "0", that many credits. */
export async function createTestAccount(
  world: World,
  credits: string,
  plan: string | null = null,
): Promise<TestAccount> {
  const { account } = await createAccount(
    world.pool,
    systemClock,
    {
      name: 'Test',
      externalId: null,
      stripeCustomerId: null,
      email: null,
      plan,
      planQuantity: 1,
      overdraft: 0n,
      budget: null,
      metadata: {},
    },
    'test',
  );
  const key = await createKey(world.pool, systemClock, account.id, PLAIN_KEY);
  if (credits !== '0') await grantCredits(world, account.id, credits);
  return { account: account.id, accountId: publicId('acct', account.id), key: key.text, keyId: key.id };
}

export async function grantCredits(world: World, account: bigint, credits: string): Promise<void> {
  const connection = new WriterConnection(world.database.url, 1n, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  const id = uuidv7(systemClock);
  const result = await writer.apply({
    verb: 'grant',
    account,
    id,
    amount: parseCredits(credits)!,
    kind: 'topup',
    reference: id,
    priority: 0,
    startsAt: null,
    expiresAt: null,
    reason: null,
    paid: null,
    creditsPerUsd: 1000n,
  });
  await connection.close();
  if (result.outcome !== 'done') throw new Error(`grant: ${result.outcome}`);
}

/** The official client, unmodified but for its base URL. */
export function client(gateway: { url: string }, account: { key: string }, maxRetries = 2): OpenAI {
  return new OpenAI({ apiKey: account.key, baseURL: `${gateway.url}/v1`, maxRetries });
}

/** A raw request to the data plane. */
export function post(
  gateway: { url: string },
  key: string | null,
  body: string | Buffer<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...headers,
    },
    body,
  });
}

/**
 * Waits until this gateway counts text, where it would estimate it by its length: on a busy machine its tokeniser takes longer to
 * load than a count may.
 */
export async function warmTokens(world: World, gateway: TestGateway, model: string): Promise<void> {
  const account = await createTestAccount(world, '100');
  world.upstream.script(chat({ usage: null }));
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Say hello' }] });
  // Its text is three tokens, and as long as four.
  const exact = formatCredits(BigInt(Math.ceil(body.length / 4)) * 1_000_000n + 3n * 2_000_000n);
  const charged = async () => (await post(gateway, account.key, body)).headers.get('x-tollgate-charged');
  await eventually(async () => (await charged()) === exact, 'text is counted');
}

/** What the customer API says; asked again where a busy machine has no time for it, which it says with 503. */
export async function get(gateway: { url: string }, key: string, path: string): Promise<Record<string, unknown>> {
  let answer: Record<string, unknown> = {};
  const isTold = async (): Promise<boolean> => {
    const response = await fetch(gateway.url + path, { headers: { authorization: `Bearer ${key}` } });
    answer = (await response.json()) as Record<string, unknown>;
    return response.status !== 503;
  };
  await eventually(isTold, `GET ${path} is answered`);
  return answer;
}

/** The receipt of a request, whose id is in the header `x-request-id` of its answer. */
export async function receiptOf(gateway: { url: string }, key: string, id: string | null): Promise<Receipt> {
  return (await get(gateway, key, `/account/v1/requests/${id}`)) as unknown as Receipt;
}

/** What an account was charged in all, in nano-credits, by its entries. */
export async function chargedTo(world: World, account: bigint): Promise<bigint> {
  const { rows } = await world.pool.query<{ sum: string }>(
    'SELECT coalesce(-sum(amount), 0) AS sum FROM entries WHERE account_id = $1 AND kind IN (2, 3, 4, 5)',
    [account],
  );
  return BigInt(rows[0]!.sum);
}

/** The books balance, usage is what was charged, and nothing is held: what every test ends with. */
export async function expectSettled(world: World): Promise<void> {
  const held = await world.pool.query('SELECT id FROM holds');
  if (held.rowCount !== 0) throw new Error(`${held.rowCount} holds are left open`);
  await foldAll(world.pool, silentLogger, new AbortController().signal, 1);
  const { differences } = await verifyBooks(world.pool);
  if (differences.length > 0) throw new Error(`the ledger differs: ${JSON.stringify(differences, stringifyBigint)}`);
}

const stringifyBigint = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString() : value;

export function readLog(path: string): string {
  return readFileSync(path, 'utf8');
}

/** Waits until `check` holds, for at most 30 s. */
export async function eventually(check: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const seconds = 30;
  for (let i = 0; i < seconds * 20; i++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`waited ${seconds} s in vain: ${what}`);
}
