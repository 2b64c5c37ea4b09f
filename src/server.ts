/**
 * The process: configuration, database, listening, signals, drain.
 *
 *   starting ──▶ listening ──SIGTERM, SIGINT──▶ draining ──all settled──▶ closed (exit 0)
 *      │                                           └──second signal──▶ exit 1 at once: holds are recovered later
 *      └──fault──▶ exit 1, with the reason
 *
 * The embedded Postgres is stopped last: everything before it settles into it.
 */
import { mkdirSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { type App, createApp } from './app.ts';
import { adminKeyOf, demoKeyOf } from './bootstrap.ts';
import { readCatalogFile } from './catalog/file.ts';
import { applyCatalog } from './catalog/store.ts';
import { type Config, loadConfig } from './config.ts';
import { type EmbeddedPostgres, startEmbedded } from './db/embedded/index.ts';
import { migrate } from './db/migrate.ts';
import { assertServer, createPool } from './db/pool.ts';
import { forgetOwner, formerOwners, recordOwner } from './ledger/former-owners.ts';
import { endOwner } from './ledger/owners.ts';
import { assertCreditScale } from './ledger/wallets.ts';
import { type Clock, skewedClock, systemClock } from './lib/clock.ts';
import { createLogger, type Logger } from './observe/log.ts';

export interface Running {
  url: string;
  demo: { key: string; path: string } | null;
  adminKeyPath: string | null;
  /** Drains and closes everything; resolves when nothing is left. */
  close(): Promise<void>;
}

/** Starts the gateway. Resolves once it listens; throws, with everything closed again, when it cannot. */
export async function start(config: Config, log: Logger): Promise<Running> {
  const clock: Clock = config.clockOffsetMs === 0 ? systemClock : skewedClock(config.clockOffsetMs);
  mkdirSync(config.dataDir, { recursive: true });
  const embedded = config.databaseUrl === null ? await startEmbedded({ dataDir: config.dataDir, log }) : null;
  const databaseUrl = embedded?.url ?? config.databaseUrl!.reveal();
  let pool: Pool | null = null;
  try {
    pool = createPool({ url: databaseUrl, max: config.databasePool, applicationName: 'tollgate', log });
    await assertServer(pool);
    await migrate(config.databaseMigrateUrl?.reveal() ?? databaseUrl, log);
    return await open(config, { clock, log, pool, databaseUrl, embedded });
  } catch (error) {
    await pool?.end();
    await embedded?.stop();
    throw error;
  }
}

interface Parts {
  clock: Clock;
  log: Logger;
  pool: Pool;
  databaseUrl: string;
  embedded: EmbeddedPostgres | null;
}

async function open(config: Config, parts: Parts): Promise<Running> {
  const { pool, log, clock, embedded, databaseUrl } = parts;
  await assertCreditScale(pool, BigInt(config.credits.perUsd));
  await applyCatalog(pool, readCatalogFile(config.catalogPath, config.env), { force: false, prune: false });
  for (const owner of formerOwners(config.dataDir)) {
    const holds = await endOwner(pool, owner);
    if (holds > 0) log.warn({ holds }, 'ended the holds of a former run that died');
    forgetOwner(config.dataDir, owner);
  }
  const generated = embedded !== null && config.adminKey === null ? adminKeyOf(config.dataDir) : null;
  const adminKey = config.adminKey?.reveal() ?? generated?.key ?? null;
  if (adminKey === null) log.warn('the admin API is off: set TOLLGATE_ADMIN_KEY to switch it on');
  const app: App = await createApp({ config, pool, databaseUrl, adminKey, clock, log });
  recordOwner(config.dataDir, app.owner);
  await app.start();
  const demo =
    embedded === null
      ? null
      : await demoKeyOf(config.dataDir, {
          pool,
          writer: app.writer,
          clock,
          creditsPerUsd: BigInt(config.credits.perUsd),
        });
  await app.http.listen({ host: config.server.host, port: config.server.port });
  const address = app.http.server.address() as AddressInfo;
  const url = `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  return {
    url,
    demo,
    adminKeyPath: generated?.path ?? null,
    close: async () => {
      await app.drain(config.server.drainSeconds * 1000);
      forgetOwner(config.dataDir, app.owner);
      await pool.end();
      await embedded?.stop();
    },
  };
}

/** `tollgate serve`: runs until a signal; resolves with the exit status. `print` writes to the person who started it. */
export async function serve(print: (line: string) => void): Promise<number> {
  const config = loadConfig();
  const log = createLogger(config.logLevel);
  const signal = nextSignal();
  const running = await start(config, log);
  for (const line of banner(running)) print(line);
  log.info({ signal: await signal }, 'draining: no new requests; what runs is finished and settled');
  const outcome = await Promise.race([running.close().then(() => 0), nextSignal().then(() => 1)]);
  log.info({ outcome }, 'stopped');
  log.flush();
  await sleep(0);
  return outcome;
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const heard = (signal: NodeJS.Signals): void => {
      process.off('SIGTERM', heard);
      process.off('SIGINT', heard);
      resolve(signal);
    };
    process.on('SIGTERM', heard);
    process.on('SIGINT', heard);
  });
}

/** What a newcomer needs: where it listens, and curl lines that work as pasted. */
function banner(running: Running): string[] {
  const lines = ['', `Tollgate listens on ${running.url}`];
  if (running.adminKeyPath !== null) lines.push(`The admin key is in ${running.adminKeyPath}`);
  if (running.demo === null) return lines;
  const key = `"authorization: Bearer $(cat ${running.demo.path})"`;
  const chat = (stream: string): string =>
    `'{"model":"demo/chat","messages":[{"role":"user","content":"Hello, Tollgate!"}]${stream}}'`;
  return [
    ...lines,
    'A demo account with 100 credits is ready. Try, in another terminal:',
    '',
    `  curl -i ${running.url}/v1/chat/completions -H ${key} -H 'content-type: application/json' -d ${chat('')}`,
    '',
    `  curl -N ${running.url}/v1/chat/completions -H ${key} -H 'content-type: application/json' -d ${chat(',"stream":true')}`,
    '',
    `  curl ${running.url}/account/v1/balance -H ${key}`,
    '',
    '  # the receipt of the last request:',
    `  curl ${running.url}/account/v1/requests?limit=1 -H ${key}`,
    '',
  ];
}
