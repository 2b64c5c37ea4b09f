/** The composition root: builds every part and hands each what it needs. No logic. */
import type { FastifyInstance } from 'fastify';
import type { Pool } from 'pg';
import { adminCheck } from './accounts/admin-key.ts';
import { Principals } from './accounts/principals.ts';
import { registerAdmin } from './admin/routes.ts';
import { CatalogCache } from './catalog/cache.ts';
import { loadCatalog } from './catalog/store.ts';
import type { Config } from './config.ts';
import { registerCustomer } from './customer/routes.ts';
import { entitleAfresh } from './gateway/3-entitle.ts';
import { costSoFar } from './gateway/7-settle.ts';
import { InFlight } from './gateway/in-flight.ts';
import type { GatewayDeps } from './gateway/pipeline.ts';
import { registerGateway } from './gateway/routes.ts';
import { createHttp } from './http.ts';
import { WriterConnection } from './ledger/connection.ts';
import { Owner } from './ledger/owners.ts';
import { LedgerWriter } from './ledger/writer.ts';
import type { Clock } from './lib/clock.ts';
import { mintId } from './lib/ids.ts';
import { TokenCounter } from './metering/tokens/counter.ts';
import { readiness } from './observe/health.ts';
import type { Logger } from './observe/log.ts';
import { Metrics } from './observe/metrics.ts';
import { createProviders } from './upstream/registry.ts';

export interface App {
  http: FastifyInstance;
  owner: bigint;
  writer: LedgerWriter;
  /** Takes the lease: before `http` listens. */
  start(): Promise<void>;
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

export async function createApp(options: AppOptions): Promise<App> {
  const { config, pool, clock, log } = options;
  const creditsPerUsd = BigInt(config.credits.perUsd);
  const owner = mintId(clock);
  const providers = createProviders(
    config.providers.map((settings) => ({ ...settings, apiKey: settings.apiKey?.reveal() })),
    { log, clock },
  );
  const readCatalog = () => loadCatalog(pool, { providers: new Set(providers.keys()), markup: config.credits.markup });
  const catalogs = new CatalogCache(await readCatalog(), readCatalog);
  const connection = new WriterConnection(options.databaseUrl, owner, log);
  const writer = new LedgerWriter({ connection, clock, log });
  const principals = new Principals(pool, clock);
  const tokens = new TokenCounter({ log });
  const inFlight = new InFlight(clock, (context, relay) => costSoFar(context, relay, creditsPerUsd));
  const leases = new Owner({ pool, owner, writer, clock, log, metered: () => inFlight.metered() });
  const metrics = new Metrics({
    tollgate_in_flight: { help: 'Requests being served.', read: () => inFlight.size },
    tollgate_ledger_queue: { help: 'Ledger operations waiting or in flight.', read: () => writer.depth },
  });
  const gateway: GatewayDeps = {
    principals,
    catalogs,
    providers,
    writer,
    tokens,
    inFlight,
    metrics,
    clock,
    log,
    creditsPerUsd,
    insufficientStatus: config.errors.insufficientCreditsStatus,
    draining: { value: false },
    entitleAfresh: (context) => entitleAfresh(context, catalogs, principals),
  };

  const http = createHttp({
    maxBodyBytes: config.server.maxBodyBytes,
    headersTimeoutMs: config.server.headersTimeoutMs,
    requestTimeoutMs: config.server.requestTimeoutMs,
    clock,
    log,
  });
  await registerGateway(http, gateway);
  await registerCustomer(http, { pool, principals, clock, creditsPerUsd });
  await registerAdmin(http, { pool, writer, clock, adminKey: options.adminKey, creditsPerUsd });
  const isAdmin = adminCheck(options.adminKey);
  http.get('/healthz', async () => ({ ok: true }));
  http.get('/readyz', async (_request, reply) => {
    const ready = await readiness(pool, clock);
    return reply.status(ready.ok && !gateway.draining.value ? 200 : 503).send(ready);
  });
  http.get('/metrics', async (request, reply) => {
    isAdmin(request.headers.authorization);
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });

  return {
    http,
    owner,
    writer,
    start: () => leases.start(),
    drain: async (limitMs) => {
      gateway.draining.value = true;
      const closed = http.close();
      await inFlight.drain(limitMs);
      // A connection that was busy when the server closed stays open once it is idle: clients keep it for the next request.
      const reaper = setInterval(() => http.server.closeIdleConnections(), REAP_MS);
      await closed;
      clearInterval(reaper);
      await writer.close();
      await leases.stop();
      await connection.close();
      await tokens.close();
      await Promise.all([...providers.values()].map((provider) => provider.close()));
    },
  };
}
