/** The data folder of the embedded Postgres: made once, started, found running, stopped. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertReachable, type Binaries, findBinaries, type RunAs, systemUser } from './binaries.ts';

const USER = 'tollgate';
const PASSWORD_FILE = 'tollgate-password';
const FAST_STOP_MS = 20_000;

/** For a laptop or a small server: enough memory to keep the hot tables, WAL that is not flushed by checkpoints all the time. */
const SETTINGS: Record<string, string> = {
  fsync: 'on',
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '60',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  wal_compression: 'on',
  checkpoint_completion_target: '0.9',
  autovacuum_naptime: '15s',
  log_min_messages: 'warning',
};

export interface Paths {
  dataDir: string;
  folder: string;
  log: string;
}

export function pathsOf(dataDir: string): Paths {
  return { dataDir, folder: join(dataDir, 'postgres'), log: join(dataDir, 'postgres.log') };
}

/** A running server, ours or found. */
export interface Server {
  pid: number;
  port: number;
  /** The child, when this process started it. */
  child: ChildProcess | null;
}

/** The server that runs in the folder, by the file that Postgres itself keeps there; `null`: none. */
export function findServer(paths: Paths): Server | null {
  let lines: string[];
  try {
    lines = readFileSync(join(paths.folder, 'postmaster.pid'), 'utf8').split('\n');
  } catch {
    return null;
  }
  const [pid, port] = [Number(lines[0]), Number(lines[3])];
  return Number.isInteger(pid) && port > 0 && isAlive(pid) ? { pid, port, child: null } : null;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Makes the cluster if there is none, and starts it. When another process is quicker, its server is returned. */
export async function startServer(
  paths: Paths,
  more: Record<string, string>,
  onExit: (reason: string) => void,
): Promise<Server> {
  const binaries = findBinaries();
  const user = systemUser();
  mkdirSync(paths.dataDir, { recursive: true });
  assertReachable(binaries.postgres, user);
  assertReachable(paths.dataDir, user);
  if (!existsSync(join(paths.folder, 'PG_VERSION'))) createCluster(paths, binaries, user);
  assertMajor(paths, binaries);
  const port = await freePort();
  const log = openSync(paths.log, 'a', 0o600);
  const settings = Object.entries({ ...SETTINGS, ...more, port: String(port) }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
  const child = spawn(binaries.postgres, ['-D', paths.folder, ...settings], {
    // A group of its own: Ctrl-C in the terminal must not stop it before what runs has settled into it.
    detached: true,
    stdio: ['ignore', log, log],
    ...identity(user),
  });
  child.unref();
  child.on('error', (error) => onExit(error.message));
  child.on('exit', (code, signal) => onExit(`exit ${signal ?? code}; see ${paths.log}`));
  return { pid: child.pid!, port, child };
}

function identity(user: RunAs | null): { uid?: number; gid?: number } {
  return user === null ? {} : { uid: user.uid, gid: user.gid };
}

/** Into a folder beside its place, and moved there when it is whole: an interrupted first start leaves no half cluster. */
function createCluster(paths: Paths, binaries: Binaries, user: RunAs | null): void {
  const parent = mkdtempSync(join(paths.dataDir, 'postgres-new-'));
  const folder = join(parent, 'cluster');
  const password = randomBytes(24).toString('base64url');
  try {
    const passwordFile = join(parent, PASSWORD_FILE);
    writeFileSync(passwordFile, password, { mode: 0o600 });
    if (user !== null) for (const path of [parent, passwordFile]) chownSync(path, user.uid, user.gid);
    const made = spawnSync(
      binaries.initdb,
      [
        '-D',
        folder,
        '-U',
        USER,
        '-A',
        'scram-sha-256',
        `--pwfile=${passwordFile}`,
        '-E',
        'UTF8',
        '--locale=C',
        '--no-instructions',
      ],
      { encoding: 'utf8', ...identity(user) },
    );
    if (made.status !== 0) throw new Error(`Postgres could not be set up: ${made.stderr || made.error?.message}`);
    renameSync(passwordFile, join(folder, PASSWORD_FILE));
    renameSync(folder, paths.folder);
  } catch (error) {
    // Another process may have been quicker: then its cluster is used.
    if (!existsSync(join(paths.folder, 'PG_VERSION'))) throw error;
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
}

function assertMajor(paths: Paths, binaries: Binaries): void {
  const found = readFileSync(join(paths.folder, 'PG_VERSION'), 'utf8').trim();
  if (found === binaries.major) return;
  throw new Error(
    `${paths.folder} was made by Postgres ${found}, and this release brings Postgres ${binaries.major}, which cannot read it. ` +
      `Dump it with the release that made it (pg_dump) and restore it into a new TOLLGATE_DATA_DIR, or start that release again.`,
  );
}

export function urlOf(paths: Paths, server: Server): string {
  const password = readFileSync(join(paths.folder, PASSWORD_FILE), 'utf8');
  return `postgres://${USER}:${password}@127.0.0.1:${server.port}/postgres`;
}

/** For people and scripts that want to look into it: port and password, readable by the owner alone. */
export function writeAccess(paths: Paths, server: Server, url: string): void {
  const path = join(paths.dataDir, 'postgres.json');
  rmSync(path, { force: true });
  writeFileSync(path, `${JSON.stringify({ port: server.port, user: USER, url, owner_pid: process.pid }, null, 2)}\n`, {
    mode: 0o600,
  });
}

/** The process that wrote the access file last; `null`: nobody. */
export function ownerPid(paths: Paths): number | null {
  try {
    return (JSON.parse(readFileSync(join(paths.dataDir, 'postgres.json'), 'utf8')) as { owner_pid: number }).owner_pid;
  } catch {
    return null;
  }
}

/** Stops it: fast (sessions are ended), and after 20 s at once (recovery then runs at the next start). */
export async function stopServer(server: Server): Promise<void> {
  for (const [signal, wait] of [
    ['SIGINT', FAST_STOP_MS],
    ['SIGQUIT', FAST_STOP_MS],
  ] as const) {
    if (!stillRuns(server)) return;
    process.kill(server.pid, signal);
    for (let waited = 0; waited < wait && stillRuns(server); waited += 25) await sleep(25);
  }
}

function stillRuns(server: Server): boolean {
  return server.child === null
    ? isAlive(server.pid)
    : server.child.exitCode === null && server.child.signalCode === null;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
