/**
 * The embedded Postgres: a real server from npm, in a process group of its own, with its data under the data folder.
 *
 *                     start                        our process ends, or stop()
 *   absent ───────────────────────▶ owned ──────────────────────────────────────▶ absent
 *     ▲                              │  ▲
 *     │ it dies                kill -9  │ start: adopted
 *     └────────────── orphaned ◀─────┘──┘
 *
 * Its owner is whoever holds an advisory lock in it, on a session that lives as long as the process: a dead owner's lock
 * is gone with its session, so that no pid has to be trusted. Commands join it without owning it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../../observe/log.ts';
import {
  findServer,
  ownerPid,
  type Paths,
  pathsOf,
  type Server,
  startServer,
  stopServer,
  urlOf,
  writeAccess,
} from './cluster.ts';

const OWNER_LOCK = 7_465_113_401;
const READY_MS = 60_000;
const POLL_MS = 50;

export interface EmbeddedPostgres {
  url: string;
  /** It ran before, and its owner was dead. */
  adopted: boolean;
  /** Stops it, if this process owns it. */
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
  const running = findServer(paths);
  const { server, url, session } = await connect(paths, running, options);
  const { rows } = await session.query<{ mine: boolean }>('SELECT pg_try_advisory_lock($1) AS mine', [OWNER_LOCK]);
  if (!rows[0]!.mine) {
    await session.end();
    const pid = ownerPid(paths);
    throw new Error(
      `Another Tollgate${pid === null ? '' : ` (process ${pid})`} runs on ${options.dataDir}. Stop it first, give this one another TOLLGATE_DATA_DIR, ` +
        'or set DATABASE_URL for both: several gateways share a Postgres of yours, not an embedded one.',
    );
  }
  writeAccess(paths, server, url);
  const adopted = server.child === null;
  if (adopted) options.log.warn({ pid: server.pid }, 'adopted the embedded Postgres of a process that died');
  let stopping = false;
  session.on('error', (error) => {
    if (!stopping) options.log.error({ err: error }, 'the embedded Postgres went away; restart Tollgate');
  });
  return {
    url,
    adopted,
    stop: async () => {
      stopping = true;
      await session.end().catch(() => {});
      await stopServer(server);
    },
  };
}

/** Joins the one that runs; starts it for the time being when none does. For commands. */
export async function joinEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const paths = pathsOf(options.dataDir);
  const server = findServer(paths);
  if (server === null) return startEmbedded(options);
  const { url, session } = await connect(paths, server, options);
  await session.end();
  return { url, adopted: false, stop: async () => {} };
}

/** A session with the server, which is started when none runs. Waits until it takes connections. */
async function connect(
  paths: Paths,
  running: Server | null,
  { log, settings = {} }: EmbeddedOptions,
): Promise<{ server: Server; url: string; session: pg.Client }> {
  let died: string | null = null;
  let server =
    running ??
    (await startServer(paths, settings, (reason) => {
      died = reason;
    }));
  for (let waited = 0; waited < READY_MS; waited += POLL_MS) {
    if (died !== null) {
      // Ours lost to one that another process started in the same moment, or really failed.
      const other = findServer(paths);
      if (other === null) throw new Error(`The embedded Postgres did not start: ${died}`);
      [server, died] = [other, null];
    }
    const session = new pg.Client({
      connectionString: urlOf(paths, server),
      application_name: 'tollgate-owner',
      connectionTimeoutMillis: 2_000,
      keepAlive: true,
    });
    try {
      await session.connect();
      return { server, url: urlOf(paths, server), session };
    } catch (error) {
      log.debug({ err: error }, 'waiting for the embedded Postgres');
      await session.end().catch(() => {});
      await sleep(POLL_MS);
    }
  }
  throw new Error(`The embedded Postgres took no connection within ${READY_MS / 1000} s; see ${paths.log}`);
}
