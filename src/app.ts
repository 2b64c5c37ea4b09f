/** The composition root: builds every part and hands each what it needs. No logic. */
import type { FastifyInstance } from 'fastify';
import type { Pool } from 'pg';
import { adminCheck } from './accounts/admin-keys.ts';
import { outboxJobs } from './accounts/outbox.ts';
import { keepPoliciesAdvanced } from './accounts/plans.ts';
import { Principals } from './accounts/principals.ts';
import { ADMIN_API, registerAdmin } from './admin/routes.ts';
import { CatalogCache } from './catalog/cache.ts';
import { catalogAt, loadCatalog } from './catalog/store.ts';
import type { Catalog } from './catalog/types.ts';
import type { Config } from './config.ts';
import { CUSTOMER_API, registerCustomer } from './customer/routes.ts';
import { installationSecret } from './db/installation-secret.ts';
import { promptly } from './db/pool.ts';
import { Limits } from './entitlements/limits/limits.ts';
import { costSoFar } from './gateway/7-settle.ts';
import { backgroundJob } from './gateway/background/job.ts';
import { BackgroundRows } from './gateway/background/rows.ts';
import { allowOrigins } from './gateway/cors.ts';
import { canonicalUrl } from './gateway/deployments.ts';
import { Claims } from './gateway/idempotency/claims.ts';
import { Replays } from './gateway/idempotency/replays.ts';
import { InFlight } from './gateway/in-flight.ts';
import { OwnedIds, ownedIdsJob } from './gateway/owned/ids.ts';
import type { GatewayDeps } from './gateway/pipeline.ts';
import { admitAfresh } from './gateway/rate-limits.ts';
import { registerGateway } from './gateway/routes.ts';
import { Spool } from './gateway/spool.ts';
import { Tenants } from './gateway/tenancy.ts';
import { countFailedKeys, createHttp, type FailedKeys, type HttpOptions } from './http.ts';
import { DedicatedConnection, WriterConnection } from './ledger/connection.ts';
import { formerOwners } from './ledger/former-owners.ts';
import { Journal } from './ledger/journal/journal.ts';
import { Takeover } from './ledger/journal/takeover.ts';
import { Owner } from './ledger/owners.ts';
import { keepPartitions } from './ledger/partitions.ts';
import { readBudgets } from './ledger/wallets.ts';
import { LedgerWriter } from './ledger/writer.ts';
import type { Clock } from './lib/clock.ts';
import { mintId } from './lib/ids.ts';
import { TokenCounter } from './metering/tokens/counter.ts';
import { keepUsageFolded } from './metering/usage-fold.ts';
import { readiness } from './observe/health.ts';
import type { Logger } from './observe/log.ts';
import { Metrics } from './observe/metrics.ts';
import { serveDescription } from './openapi/serve.ts';
import { openPayments, type Payments } from './payments/payments.ts';
import { createProviders } from './upstream/registry.ts';
import { measureJobs } from './workers/metrics.ts';
import { Workers } from './workers/run.ts';

export interface App {
  owner: bigint;
  writer: LedgerWriter;
  /** Charges what gateways that died left in their journals, for which it waits a few seconds at most. */
  takeOver(): Promise<void>;
  /** Takes the lease, then listens. Resolves with the URL of the data plane. */
  listen(): Promise<string>;
  /** Takes no new request, lets what runs finish for at most `limitMs`, settles it, and closes every part. */
  drain(limitMs: number): Promise<void>;
}

export interface AppOptions {
  config: Config;
  pool: Pool;
  databaseUrl: string;
  adminKey: string | null;
  clock: Clock;
  log: Logger;
}

const REAP_MS = 20;
/** How long clients may take to read their last bytes once all is settled. */
const PATIENCE_MS = 5_000;

/** Builds a whole gateway, which serves nothing yet. Throws when the catalog cannot be read, or the journal has no space. */
export async function createApp(options: AppOptions): Promise<App> {
  const { config, pool, log } = options;
  const parts = await createParts(options);
  const { gateway, owner, leases, takeover } = parts;
  const failedKeys = countFailedKeys(options.clock);
  const http = createServer(options, failedKeys, canonicalUrl);
  allowOrigins(http, config.server.corsOrigins);
  await registerGateway(http, gateway);
  await serveDescription(http, CUSTOMER_API);
  await registerCustomer(http, { ...gateway, pool, selling: parts.payments?.deps ?? null });
  await parts.payments?.register(http);
  registerHealth(http, options, parts);
  const { admin } = config.server;
  const adminHttp = typeof admin === 'object' ? createServer(options, failedKeys) : http;
  if (admin !== 'off') await registerOwnersPlane(adminHttp, options, parts);
  const servers = [...new Set([http, adminHttp])];
  let endJobs: () => Promise<void> = async () => {};

  return {
    owner,
    writer: gateway.writer,
    takeOver: () => takeover.start(),
    listen: async () => {
      await Promise.all([leases.start(), parts.limits.start()]);
      endJobs = startJobs(options, parts);
      gateway.claims.start();
      if (typeof admin === 'object') await adminHttp.listen(admin);
      return http.listen({ host: config.server.host, port: config.server.port });
    },
    drain: async (limitMs) => {
      gateway.draining.value = true;
      const jobs = endJobs();
      const closed = Promise.all(servers.map((server) => server.close()));
      await gateway.inFlight.drain(limitMs);
      // A connection that was busy when the server closed stays open once it is idle: clients keep it for the next request.
      // One whose client does not read its answer would never be idle.
      const reaper = setInterval(() => servers.map(({ server }) => server.closeIdleConnections()), REAP_MS);
      const patience = setTimeout(() => servers.map(({ server }) => server.closeAllConnections()), PATIENCE_MS);
      await closed;
      clearInterval(reaper);
      clearTimeout(patience);
      await gateway.claims.stop();
      await parts.limits.close();
      await closeLedger(parts);
      await jobs;
      await gateway.tokens.close();
      await Promise.all([...gateway.providers.values()].map((provider) => provider.close()));
      log.debug('all parts are closed');
    },
  };
}

/** Starts what runs beside the requests. Returns what ends it, which resolves when nothing of it runs. */
function startJobs({ pool, log }: AppOptions, { workers, payments, gateway }: Parts): () => Promise<void> {
  const ends = [keepPartitions(pool, log), keepUsageFolded(pool, log), keepPoliciesAdvanced(pool, log)];
  workers.start([...outboxJobs(pool), ownedIdsJob(pool), backgroundJob(gateway), ...(payments?.jobs ?? [])]);
  return async () => {
    await Promise.all([...ends.map((end) => end()), workers.stop()]);
  };
}

interface Parts {
  owner: bigint;
  connection: WriterConnection;
  heart: DedicatedConnection;
  leases: Owner;
  journal: Journal;
  takeover: Takeover;
  limits: Limits;
  workers: Workers;
  /** Null: nothing is sold. */
  payments: Payments | null;
  gateway: GatewayDeps;
  catalogAt: (at: string) => Promise<Catalog>;
}

async function createParts(options: AppOptions): Promise<Parts> {
  const { config, pool, clock, log } = options;
  const creditsPerUsd = BigInt(config.credits.perUsd);
  const owner = mintId(clock);
  const settings = config.providers.map((provider) => ({ ...provider, apiKey: provider.apiKey?.reveal() }));
  const providers = createProviders(settings, { log, clock });
  const { catalogs, catalogAt } = await openCatalogs(options, new Set(providers.keys()));
  const connection = new WriterConnection(options.databaseUrl, owner, log);
  const heart = new DedicatedConnection(options.databaseUrl, 'tollgate-heartbeat', log);
  const { dataDir } = config;
  const journal = await Journal.open({ dataDir, owner, bytes: config.journalBytes, clock, log });
  const writer = new LedgerWriter({ connection, clock, log, journal });
  const principals = new Principals(pool, clock);
  const inFlight = new InFlight(clock, (context, relay) => costSoFar(context, relay, creditsPerUsd));
  const leases = new Owner({ pool, heart, owner, writer, clock, log, metered: () => inFlight.metered() });
  const takeover = new Takeover({
    journal,
    owner,
    clock,
    log,
    gone: () => formerOwners(dataDir),
    answers: () => leases.isLeased,
    replay: (operation) => writer.replay(operation),
  });
  const limits = new Limits({ redisUrl: config.redisUrl?.reveal() ?? null, clock, log });
  const metrics = openMetrics({ inFlight, writer, journal, takeover, limits });
  const workers = new Workers({ log });
  measureJobs(workers, metrics.registry);
  const wake = (job: string): void => workers.wake(job);
  const sold = { config, registry: metrics.registry, wake };
  const payments = openPayments({ ...sold, pool, catalogs, clock, log });
  const limiting = { limits, principals, catalogs, metrics };
  const gateway: GatewayDeps = {
    ...limiting,
    providers,
    tenants: new Tenants(await promptly(installationSecret(pool, 'tenants'))),
    writer,
    tokens: new TokenCounter({ log }),
    claims: new Claims({ pool, owner, clock, log }),
    replays: new Replays(),
    owned: new OwnedIds(pool),
    background: new BackgroundRows(pool, owner),
    inFlight,
    spool: new Spool({ dataDir, mostBytes: config.server.spoolBytes, clock }),
    maxBodyBytes: config.server.maxBodyBytes,
    clock,
    log,
    creditsPerUsd,
    isLeased: () => leases.isLeased,
    insufficientStatus: config.errors.insufficientCreditsStatus,
    draining: { value: false },
    readBudgets: (account, key) => promptly(readBudgets(pool, account, key)),
    admitAfresh: (context) => admitAfresh(context, limiting),
  };
  return { owner, connection, heart, leases, journal, takeover, limits, workers, payments, gateway, catalogAt };
}

interface Measured extends Pick<Parts, 'journal' | 'takeover' | 'limits'> {
  inFlight: InFlight;
  writer: LedgerWriter;
}

function openMetrics({ inFlight, writer, journal, takeover, limits }: Measured): Metrics {
  return new Metrics({
    tollgate_in_flight: { help: 'Requests being served.', read: () => inFlight.size },
    tollgate_ledger_queue: { help: 'Ledger operations waiting or in flight.', read: () => writer.depth },
    tollgate_journal_records: {
      help: 'Settlements on disk that wait for the database.',
      read: () => journal.waiting + takeover.waiting,
    },
    tollgate_redis_down: {
      help: 'Whether Redis is away, so that this process limits requests by itself.',
      read: () => Number(limits.redis === 'down'),
    },
  });
}

/** The catalog as it is, and as it was at an instant. Logs what of it is not served. */
async function openCatalogs({ config, pool, log }: AppOptions, providers: ReadonlySet<string>) {
  const built = { providers, markup: config.credits.markup };
  const read = () => promptly(loadCatalog(pool, built));
  const catalogs = new CatalogCache(await read(), read);
  // Of one reason at once: without its key, a provider's many models are a line and not dozens.
  const leftOut = Map.groupBy(catalogs.current.leftOut, ([, reason]) => reason);
  for (const [reason, entries] of leftOut) {
    log.info({ entries: entries.map(([entry]) => entry), reason }, 'catalog entries are not served');
  }
  return { catalogs, catalogAt: (at: string) => promptly(catalogAt(pool, at, built)) };
}

/** What is not answered by now is on the disk, and the next gateway's. */
async function closeLedger({ gateway, takeover, leases, journal, connection, heart }: Parts): Promise<void> {
  await gateway.writer.close();
  await takeover.stop();
  await leases.stop();
  await journal.close();
  await connection.close();
  await heart.close();
}

function createServer(
  { config, clock, log }: AppOptions,
  failedKeys: FailedKeys,
  rewriteUrl?: HttpOptions['rewriteUrl'],
): FastifyInstance {
  const rewriting = rewriteUrl === undefined ? {} : { rewriteUrl };
  return createHttp({ ...config.server, ...rewriting, failedKeys, clock, log });
}

function registerHealth(http: FastifyInstance, { pool, clock }: AppOptions, parts: Parts): void {
  const { gateway, journal, takeover, limits } = parts;
  http.get('/healthz', async () => ({ ok: true }));
  http.get('/readyz', async (_request, reply) => {
    const ready = await readiness(pool, clock, {
      journal: journal.waiting + takeover.waiting,
      redis: await limits.check(),
    });
    return reply.status(ready.ok && !gateway.draining.value ? 200 : 503).send(ready);
  });
}

/** What only the owner may see: on the data plane's port, or on one of its own. */
async function registerOwnersPlane(http: FastifyInstance, options: AppOptions, parts: Parts): Promise<void> {
  const { pool, adminKey, config } = options;
  const { gateway, catalogAt } = parts;
  await serveDescription(http, ADMIN_API);
  await registerAdmin(http, {
    ...gateway,
    pool,
    adminKey,
    payments: parts.payments?.deps ?? null,
    markup: config.credits.markup,
    catalogAt,
  });
  const check = adminCheck(pool, adminKey);
  http.get('/metrics', async (request, reply) => {
    await check(request.headers.authorization);
    return reply.type(gateway.metrics.registry.contentType).send(await gateway.metrics.registry.metrics());
  });
}
