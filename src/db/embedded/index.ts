/**
 * The embedded Postgres: a real server from npm, in a process group of its own, with its data under the data folder.
 *
 *              start                     stop()
 *   absent ──────────────▶ owned ─────────────────────▶ absent
 *     ▲                    │   ▲
 *     │ it dies    kill -9 │   │ start: adopted
 *     └──────────────── orphaned
 *
 * Its owner is whoever holds an advisory lock in it, on a session that lives as long as the process: a dead owner's lock
 * is gone with its session, so that no pid has to be trusted. Commands join it as guests, with a shared lock that an
 * owner who stops waits for.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../../observe/log.ts';
import { assertReachable, findBinaries, userFor } from './binaries.ts';
import { ensureCluster, ownerPid, type Paths, pathsOf, removeAccess, urlOf, writeAccess } from './cluster.ts';
import { findServer, isRunning, type Server, startServer, stopServer } from './process.ts';

const OWNER_LOCK = 7_465_113_401;
const GUEST_LOCK = 7_465_113_403;
/** Recovery after a crash replays up to 2 GB of WAL. */
const READY_MS = 120_000;
const POLL_MS = 50;
/** A start may lose its port to a stranger, or the folder to another process of ours. */
const STARTS = 3;
/** Postgres needs a moment to see that an owner has died, or to stop for one that is leaving. */
const CLAIM_MS = 3_000;
const LOCK_NOT_AVAILABLE = '55P03';
/** How long a stopping owner waits for commands that have joined. */
const GUESTS_MS = 5_000;

export interface EmbeddedPostgres {
  /** With the password: never to be logged. */
  url: string;
  /** It ran before, and its owner was dead. */
  adopted: boolean;
  /** Stops it if this process owns it, and leaves it otherwise. */
  stop(): Promise<void>;
}

export interface EmbeddedOptions {
  dataDir: string;
  log: Logger;
  /** Settings of the server over ours, when this call starts it. */
  settings?: Record<string, string>;
}

/** Starts it, or adopts one whose owner died. Throws, with the reason, while another process owns it. */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const paths = pathsOf(options.dataDir);
  const owned = await enter(paths, options, async (server, session) => {
    if (await claim(session)) return own(paths, server, session, options.log);
    await session.end();
    return null;
  });
  if (owned !== null) return owned;
  const pid = ownerPid(paths);
  throw new Error(
    `Another Tollgate${pid === null ? '' : ` (process ${pid})`} runs on ${paths.dataDir}. Stop it first, give this one another TOLLGATE_DATA_DIR, ` +
      'or set DATABASE_URL for both: several gateways share a Postgres of yours, not an embedded one.',
  );
}

/** Joins the one that runs; owns one for the time being when none does. For commands. */
export async function joinEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const paths = pathsOf(options.dataDir);
  return enter(paths, options, async (server, session) => {
    if (server.child !== null && (await claim(session))) return own(paths, server, session, options.log);
    await session.query('SELECT pg_advisory_lock_shared($1)', [GUEST_LOCK]);
    return { url: urlOf(paths, server.port), adopted: false, stop: () => session.end() };
  });
}

/** Takes a lock by `work`, and once more on a new server when the one that was found is just being stopped. */
async function enter<T>(
  paths: Paths,
  options: EmbeddedOptions,
  work: (server: Server, session: pg.Client) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    const { server, session } = await reach(paths, options);
    try {
      return await work(server, session);
    } catch (error) {
      await session.end();
      if (tries === STARTS) throw error;
      options.log.debug({ err: error }, 'the embedded Postgres was being stopped');
    }
  }
}

/** Whether this session owns the server from now on. Throws when the session is lost. */
async function claim(session: pg.Client): Promise<boolean> {
  await session.query(`SET lock_timeout = ${CLAIM_MS}`);
  try {
    await session.query('SELECT pg_advisory_lock($1)', [OWNER_LOCK]);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === LOCK_NOT_AVAILABLE) return false;
    throw error;
  }
}

function own(paths: Paths, server: Server, first: pg.Client, log: Logger): EmbeddedPostgres {
  let session = first;
  let stopping = false;
  const keep = (claimed: pg.Client): void => {
    session = claimed;
    claimed.once('end', () => void reclaim());
  };
  // Postgres ends all sessions when one of them crashes, and an administrator may end this one.
  const reclaim = async (): Promise<void> => {
    for (let waited = 0; waited < READY_MS && !stopping && isRunning(server); waited += POLL_MS) {
      const next = await trySession(paths, server, log).catch(() => null);
      if (next !== null && (await claim(next).catch(() => false))) return keep(next);
      await next?.end();
      await sleep(POLL_MS);
    }
    if (!stopping) log.error('the embedded Postgres went away, or another process took it over; restart Tollgate');
  };
  writeAccess(paths, server.port);
  keep(first);
  const adopted = server.child === null;
  if (adopted) log.warn({ pid: server.pid }, 'adopted the embedded Postgres of a process that died');
  const stop = async (): Promise<void> => {
    stopping = true;
    await session.query(`SET lock_timeout = ${GUESTS_MS}`).catch(() => {});
    await session.query('SELECT pg_advisory_lock($1)', [GUEST_LOCK]).catch(() => {});
    removeAccess(paths);
    // The lock ends with the server: whoever waits for it starts a new one instead of adopting this one.
    await stopServer(server);
    await session.end();
  };
  return { url: urlOf(paths, server.port), adopted, stop };
}

/** A session with the server, which is started when none runs. Waits until it takes connections. */
async function reach(paths: Paths, options: EmbeddedOptions): Promise<{ server: Server; session: pg.Client }> {
  let server: Server | null = null;
  let starts = 0;
  for (let waited = 0; waited < READY_MS; waited += POLL_MS) {
    if (server === null || !isRunning(server)) server = findServer(paths.folder);
    if (server === null) {
      if (starts++ === STARTS) throw new Error(`The embedded Postgres did not start: ${lastWords(paths)}`);
      server = await start(paths, options.settings ?? {});
    }
    const session = await trySession(paths, server, options.log);
    if (session !== null) return { server, session };
    await sleep(POLL_MS);
  }
  throw new Error(`The embedded Postgres took no connection within ${READY_MS / 1000} s: ${lastWords(paths)}`);
}

function start(paths: Paths, settings: Record<string, string>): Promise<Server> {
  mkdirSync(paths.dataDir, { recursive: true });
  const binaries = findBinaries();
  const user = userFor(paths.folder);
  assertReachable(binaries.postgres, user);
  assertReachable(paths.dataDir, user);
  ensureCluster(paths, binaries, user);
  return startServer(paths, binaries, user, settings);
}

/** `null`: it takes no connections yet, or any more. Throws when it refuses the password of this folder. */
async function trySession(paths: Paths, server: Server, log: Logger): Promise<pg.Client | null> {
  const session = new pg.Client({
    connectionString: urlOf(paths, server.port),
    application_name: 'tollgate-owner',
    connectionTimeoutMillis: 2_000,
    keepAlive: true,
  });
  session.on('error', (error) => log.debug({ err: error }, 'a session with the embedded Postgres was lost'));
  try {
    await session.connect();
    return session;
  } catch (error) {
    await session.end();
    const { code } = error as { code?: string };
    if (code === '28P01' || code === '28000') {
      throw new Error(`The Postgres on port ${server.port} does not take the password kept in ${paths.folder}.`, {
        cause: error,
      });
    }
    log.debug({ err: error }, 'waiting for the embedded Postgres');
    return null;
  }
}

/** The end of the server's log, and where the rest is. */
function lastWords(paths: Paths): string {
  const lines = readFileSync(paths.log, 'utf8').trimEnd().split('\n');
  return `${lines.slice(-3).join(' · ')} (see ${paths.log})`;
}
