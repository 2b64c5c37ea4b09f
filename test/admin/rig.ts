/** The customer and admin APIs over a real database and a real ledger, without the data plane. */
import type { FastifyInstance } from 'fastify';
import { Principals } from '../../src/accounts/principals.ts';
import { ADMIN_API, registerAdmin } from '../../src/admin/routes.ts';
import { CatalogCache } from '../../src/catalog/cache.ts';
import { readPrice } from '../../src/catalog/price.ts';
import { catalogAt, loadCatalog } from '../../src/catalog/store.ts';
import { CUSTOMER_API, registerCustomer } from '../../src/customer/routes.ts';
import { MemoryLimiter } from '../../src/entitlements/limits/memory.ts';
import { createHttp } from '../../src/http.ts';
import { WriterConnection } from '../../src/ledger/connection.ts';
import type { OnOrphan } from '../../src/ledger/outcomes.ts';
import { readBudgets } from '../../src/ledger/wallets.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { mintId, parsePublicId, publicUuid, uuidv7 } from '../../src/lib/ids.ts';
import { parseCredits } from '../../src/lib/money.ts';
import { encodeFrozen, encodeReceipt, type ReceiptFacts } from '../../src/metering/receipt.ts';
import { type Logger, silentLogger } from '../../src/observe/log.ts';
import { serveDescription } from '../../src/openapi/serve.ts';
import type { StripeApi } from '../../src/payments/stripe.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { BREACH, tellBreaches } from '../support/described.ts';

export const ADMIN_KEY = 'test-admin-key-of-32-characters-or-more';
const CREDITS_PER_USD = 1000n;
const BUILT = { providers: new Set(['on']), markup: 1_000_000n };
/** Newer than any policy or catalog: holds are not told stale_policy. */
const NEWEST = 1_000_000n;

export type Json = Record<string, unknown>;

export interface Answer {
  status: number;
  body: Json;
  headers: Record<string, unknown>;
}

export interface Rig {
  database: TestDatabase;
  http: FastifyInstance;
  writer: LedgerWriter;
  owner: bigint;
  /** Routes that do not say what they do. */
  undescribed: string[];
  /** A call of the admin API; `key` null: without one. */
  admin(method: string, path: string, body?: unknown, key?: string | null): Promise<Answer>;
  /** A call of the customer API. */
  customer(path: string, key: string | null): Promise<Answer>;
  close(): Promise<void>;
}

interface RigOptions {
  adminKey?: string | null;
  clock?: Clock;
  log?: Logger;
  /** Without it, nothing is sold. */
  stripe?: StripeApi;
  /** With the descriptions of both APIs, and their pages. */
  described?: boolean;
}

export async function createRig(options: RigOptions = {}): Promise<Rig> {
  const database = await createTestDatabase();
  const { pool } = database;
  const clock = options.clock ?? systemClock;
  const owner = mintId(systemClock);
  const connection = new WriterConnection(database.url, owner, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  const limits = { maxBodyBytes: 33_554_432, headersTimeoutMs: 20_000, requestTimeoutMs: 300_000 };
  const http = createHttp({ ...limits, clock: systemClock, log: options.log ?? silentLogger });
  const undescribed = tellBreaches(http);
  if (options.described) for (const api of [CUSTOMER_API, ADMIN_API]) await serveDescription(http, api);
  const adminKey = options.adminKey === undefined ? ADMIN_KEY : options.adminKey;
  const readCatalog = () => loadCatalog(pool, BUILT);
  const catalogs = new CatalogCache(await readCatalog(), readCatalog);
  await registerCustomer(http, {
    pool,
    catalogs,
    principals: new Principals(pool, clock),
    limits: new MemoryLimiter(clock),
    clock,
    creditsPerUsd: CREDITS_PER_USD,
    writer,
    insufficientStatus: 429,
    readBudgets: (account, key) => readBudgets(pool, account, key),
    selling: null,
  });
  await registerAdmin(http, {
    pool,
    writer,
    clock,
    adminKey,
    creditsPerUsd: CREDITS_PER_USD,
    markup: 1_000_000n,
    payments: options.stripe
      ? { pool, stripe: options.stripe, catalogs, clock, log: options.log ?? silentLogger }
      : null,
    catalogAt: (at) => catalogAt(pool, at, BUILT),
  });

  const call = async (method: string, url: string, key: string | null, body?: unknown): Promise<Answer> => {
    const response = await http.inject({
      method: method as 'GET',
      url,
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const breach = response.headers[BREACH];
    if (breach !== undefined) throw new Error(`not as described: ${breach}`);
    return { status: response.statusCode, body: response.json() as Json, headers: response.headers };
  };
  return {
    database,
    http,
    writer,
    owner,
    undescribed,
    admin: (method, path, body, key = ADMIN_KEY) => call(method, `/admin/v1${path}`, key, body),
    customer: (path, key) => call('GET', `/account/v1${path}`, key),
    close: async () => {
      await http.close();
      await writer.close();
      await connection.close();
      await database.drop();
    },
  };
}

export interface Customer {
  id: string;
  account: bigint;
  keyId: string;
  key: string;
}

/** An account with a key and, if any, credits. */
export async function createCustomer(rig: Rig, credits: string | null, scopes?: string[]): Promise<Customer> {
  const { body: account } = await rig.admin('POST', '/accounts', { name: 'Test' });
  const { body: key } = await rig.admin('POST', `/accounts/${account.id}/keys`, scopes === undefined ? {} : { scopes });
  if (credits !== null)
    await rig.admin('POST', `/accounts/${account.id}/credits`, { credits, kind: 'topup', reference: 'first' });
  const id = account.id as string;
  return { id, account: parsePublicId('acct', id)!, keyId: key.id as string, key: key.key as string };
}

const FROZEN = {
  endpoint: 'chat',
  model: 'plain',
  priceVersion: 3,
  stream: false,
  createdAt: Date.UTC(2026, 0, 2, 3, 4, 5),
};
/** 1 and 2 USD per million tokens: 0.001 and 0.002 credits each. */
const PRICE = readPrice({ input: '1', output: '2' });

export interface TestRequest {
  id: string;
  settle(credits: string, more?: Partial<ReceiptFacts>): Promise<void>;
  release(): Promise<void>;
}

/** A request as the gateway opens it: a hold of that many credits, with a floor of a tenth, that may end by itself. */
export async function openRequest(
  rig: Rig,
  customer: Customer,
  credits: string,
  ttlSeconds: number | null = null,
  onOrphan: OnOrphan = 'charge_metered',
): Promise<TestRequest> {
  const id = uuidv7(systemClock);
  const { account } = customer;
  const want = parseCredits(credits)!;
  const result = await rig.writer.hold({
    verb: 'hold',
    account,
    id,
    key: parsePublicId('key', customer.keyId)!,
    want,
    least: want,
    floor: want / 10n,
    policyVersion: NEWEST,
    catalogVersion: NEWEST,
    onOrphan,
    ttlSeconds,
    frozen: encodeFrozen({ ...FROZEN, price: PRICE }),
  });
  if (result.outcome !== 'done') throw new Error(`hold: ${result.outcome}`);
  const receipt = (more: Partial<ReceiptFacts>): Buffer =>
    encodeReceipt({
      ...FROZEN,
      price: PRICE,
      held: want,
      usage: {},
      usageSource: 'provider',
      clampedTo: null,
      disconnect: null,
      attempts: [{ provider: 'demo', status: 200, outcome: 'answered', ms: 12 }],
      ...more,
    } as ReceiptFacts);
  return {
    id: publicUuid('req', id),
    settle: async (charge, more = {}) => {
      const amount = parseCredits(charge)!;
      await rig.writer.settle({ verb: 'settle', account, id, amount, receipt: receipt(more) });
    },
    release: async () => {
      await rig.writer.release({ verb: 'release', account, id, receipt: receipt({}) });
    },
  };
}

/** Waits for another millisecond: ids are ordered by time, within one by chance. */
export function nextMillisecond(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2));
}

/** The whole body of an error. */
export function errorBody(code: string, type: string, param: string | null, message: unknown): Json {
  return { error: { message, type, param, code } };
}
