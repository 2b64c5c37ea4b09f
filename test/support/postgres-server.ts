/**
 * A Postgres of one's own that can be made to fail: it comes back on the same port, so that whoever was connected finds it
 * again.
 *
 *             crash                    freeze
 *   running ──────────▶ down   running ──────────▶ frozen
 *           ◀── start ──               ◀── thaw ───
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { findBinaries, identity, userFor } from '../../src/db/embedded/binaries.ts';
import { ensureCluster, pathsOf, urlOf } from '../../src/db/embedded/cluster.ts';
import { dropPostgresFolder, makePostgresFolder } from './postgres-folder.ts';

const READY_MS = 30_000;
const POLL_MS = 10;

export interface PostgresServer {
  url: string;
  /** As `pg_ctl stop -m immediate`: no session is ended in order, the next start recovers from the log. */
  crash(): Promise<void>;
  /** Starts it again, and waits until it takes connections. */
  start(): Promise<void>;
  /** SIGSTOP to all of its processes: connections stay, and nothing answers. */
  freeze(): void;
  thaw(): void;
  /** Stops it and deletes its folder. */
  drop(): Promise<void>;
}

/** A new cluster, durable as a real one: what it committed is there after a crash. */
export async function startPostgresServer(): Promise<PostgresServer> {
  const dataDir = makePostgresFolder();
  const paths = pathsOf(dataDir);
  const binaries = findBinaries();
  const user = userFor(paths.folder);
  ensureCluster(paths, binaries, user);
  const port = await freePort();
  const url = urlOf(paths, port);
  const settings = { port, listen_addresses: '127.0.0.1', unix_socket_directories: '', max_connections: 60 };
  const args = ['-D', paths.folder, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  let child: ChildProcess;
  const server: PostgresServer = {
    url,
    crash: async () => {
      child.kill('SIGQUIT');
      await once(child, 'exit');
    },
    start: async () => {
      const log = openSync(paths.log, 'a', 0o600);
      child = spawn(binaries.postgres, args, { cwd: '/', stdio: ['ignore', log, log], ...identity(user) });
      await accepts(url);
    },
    freeze: () => signalAll(child.pid!, 'SIGSTOP'),
    thaw: () => signalAll(child.pid!, 'SIGCONT'),
    drop: async () => {
      if (child.exitCode === null && child.signalCode === null) server.thaw();
      await dropPostgresFolder(dataDir);
    },
  };
  await server.start();
  return server;
}

/** The postmaster first, so that no process is born that is missed. Each has a session of its own: no group has them all. */
function signalAll(postmaster: number, signal: NodeJS.Signals): void {
  process.kill(postmaster, signal);
  const children = readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8');
  for (const pid of children.trim().split(' ').filter(Boolean)) {
    try {
      process.kill(Number(pid), signal);
    } catch (error) {
      // It has ended since the list was read: a thawed postmaster goes on at once.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

async function accepts(url: string): Promise<void> {
  for (let waited = 0; waited < READY_MS; waited += POLL_MS) {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    try {
      await client.connect();
      return;
    } catch {
      await sleep(POLL_MS);
    } finally {
      await client.end();
    }
  }
  throw new Error(`Postgres took no connection within ${READY_MS / 1000} s`);
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  return port;
}
