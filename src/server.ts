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
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { type App, createApp } from './app.ts';
import { adminKeyOf, demoKeyOf } from './bootstrap.ts';
import { applyCatalog } from './catalog/apply.ts';
import { type FileEntry, loadSettings } from './catalog/file.ts';
import type { Config } from './config.ts';
import { type EmbeddedPostgres, startEmbedded } from './db/embedded/index.ts';
import { migrate } from './db/migrate.ts';
import { assertServer, createPool } from './db/pool.ts';
import { forgetOwner, formerOwners, recordOwner } from './ledger/former-owners.ts';
import { endOwner } from './ledger/owners.ts';
import { stateCreditScale } from './ledger/wallets.ts';
import { type Clock, skewedClock, systemClock } from './lib/clock.ts';
import { createLogger, type Logger } from './observe/log.ts';

const SAME_SIGNAL_MS = 1_000;

export interface Running {
  url: string;
  demo: { key: string; path: string } | null;
  adminKeyPath: string | null;
  /** Drains and closes everything; resolves when nothing is left. */
  close(): Promise<void>;
}

/** Starts the gateway. Resolves once it listens; throws, with everything closed again, when it cannot. */
export async function start(settings: { config: Config; entries: FileEntry[] }, log: Logger): Promise<Running> {
  const { config } = settings;
  const clock: Clock = config.clockOffsetMs === 0 ? systemClock : skewedClock(config.clockOffsetMs);
  mkdirSync(config.dataDir, { recursive: true });
  const embedded = config.databaseUrl === null ? await startEmbedded({ dataDir: config.dataDir, log }) : null;
  const databaseUrl = embedded?.url ?? config.databaseUrl!.reveal();
  let pool: Pool | null = null;
  try {
    pool = createPool({ url: databaseUrl, max: config.databasePool, applicationName: 'tollgate', log });
    await assertServer(pool);
    await migrate(config.databaseMigrateUrl?.reveal() ?? databaseUrl, log);
    return await open(settings, { clock, log, pool, databaseUrl, embedded });
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

async function open({ config, entries }: { config: Config; entries: FileEntry[] }, parts: Parts): Promise<Running> {
  const { pool, log, clock, embedded, databaseUrl } = parts;
  await stateCreditScale(pool, BigInt(config.credits.perUsd));
  const { applied, skipped, questions } = await applyCatalog(pool, entries, { force: false, prune: false });
  if (applied.length > 0) log.info({ applied }, 'applied the catalog file');
  if (skipped.length > 0)
    log.warn({ skipped }, 'entries changed through the admin API are left as they are; see --force');
  if (questions.length > 0) log.warn({ questions }, 'the catalog file has prices that look like a slip; they hold');
  const generated = embedded !== null && config.adminKey === null ? adminKeyOf(config.dataDir) : null;
  const adminKey = config.adminKey?.reveal() ?? generated?.key ?? null;
  if (adminKey === null) log.warn('the admin API is off: set TOLLGATE_ADMIN_KEY to switch it on');
  const app: App = await createApp({ config, pool, databaseUrl, adminKey, clock, log });
  const leave = async (limitMs: number): Promise<void> => {
    await app.drain(limitMs);
    forgetOwner(config.dataDir, app.owner);
  };
  try {
    recordOwner(config.dataDir, app.owner);
    await endFormer(app, config.dataDir, parts);
    const creditsPerUsd = BigInt(config.credits.perUsd);
    const demo =
      embedded === null ? null : await demoKeyOf(config.dataDir, { pool, writer: app.writer, clock, creditsPerUsd });
    return {
      url: await app.listen(),
      demo,
      adminKeyPath: generated?.path ?? null,
      close: async () => {
        await leave(config.server.drainSeconds * 1000);
        await pool.end();
        await embedded?.stop();
      },
    };
  } catch (error) {
    await leave(0);
    throw error;
  }
}

/** Ends what former runs on this data folder left: first what they served and had in their journals, then their holds. */
async function endFormer(app: App, dataDir: string, { pool, log }: Parts): Promise<void> {
  const former = formerOwners(dataDir);
  await app.takeOver();
  for (const owner of former) {
    const holds = await endOwner(pool, owner);
    if (holds > 0) log.warn({ holds }, 'ended the holds of a former run that died');
    forgetOwner(dataDir, owner);
  }
}

/** `tollgate serve`: runs until a signal; resolves with the exit status. `print` writes to the person who started it. */
export async function serve(print: (line: string) => void): Promise<number> {
  const settings = loadSettings();
  const log = createLogger(settings.config.logLevel);
  const signal = nextSignal();
  const running = await start(settings, log);
  for (const line of banner(running)) print(line);
  log.info({ signal: await signal }, 'draining: no new requests; what runs is finished and settled');
  // A terminal and npm may both pass on the same Ctrl-C: what follows at once is no second wish.
  const second = sleep(SAME_SIGNAL_MS).then(nextSignal);
  const outcome = await Promise.race([running.close().then(() => 0), second.then(() => 1)]);
  log.info({ outcome }, 'stopped');
  log.flush();
  await sleep(0);
  return outcome;
}

/** The next SIGTERM or SIGINT. The listeners stay: without one, a signal would end the process on the spot. */
function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    process.on('SIGTERM', resolve);
    process.on('SIGINT', resolve);
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
    `  curl '${running.url}/account/v1/requests?limit=1' -H ${key}`,
    '',
  ];
}
