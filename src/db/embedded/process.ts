/** The embedded Postgres as a process: found running, started, stopped. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Binaries, identity, type RunAs } from './binaries.ts';

/** How long it may take to end its sessions and write a checkpoint; then it is stopped at once, and recovers at the next start. */
const FAST_STOP_MS = 20_000;
const POLL_MS = 25;
const MIB = 1024 * 1024;
const LOG_BYTES = 16 * MIB;

/**
 * What Postgres keeps in memory: a quarter of what this process may use, from 128 MiB to 1 GiB. The part of the primary key
 * that a month of 10,000 busy accounts writes to is some 100 MB: a cache that it does not fit into costs each request a read
 * and a write of a page.
 *
 * @param memory bytes
 */
export function sharedBuffers(memory: number): string {
  return `${Math.floor(Math.min(Math.max(memory / 4, 128 * MIB), 1024 * MIB) / MIB)}MB`;
}

/** Of the machine, or of the container where that is less. */
function usableMemory(): number {
  return Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
}

/** For a laptop or a small server. */
const SETTINGS: Record<string, string> = {
  fsync: 'on',
  // Nobody but this machine, and nobody without the password: sockets would need a short path and their own rights.
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  // One gateway's pool and writers, the commands beside it, and a person who looks.
  max_connections: '60',
  shared_buffers: sharedBuffers(usableMemory()),
  // Under load, checkpoints come by time and not each time the default 1 GB of WAL is full; full-page images are compressed.
  max_wal_size: '2GB',
  wal_compression: 'on',
  // Holds come and go: their dead rows are cleaned up before they pile up.
  autovacuum_naptime: '15s',
  // Its log may be sent to us with a fault: it names what failed, without the statement.
  log_min_messages: 'warning',
  log_min_error_statement: 'panic',
};

/** A running server, ours or found. */
export interface Server {
  /** Its data directory. */
  folder: string;
  pid: number;
  port: number;
  /** The child, when this process started it. */
  child: ChildProcess | null;
}

/** The server that runs on the folder, by the file that Postgres itself keeps there; `null`: none. */
export function findServer(folder: string): Server | null {
  const [pid, port] = lockFile(folder);
  return pid > 0 && port > 0 && isPostgres(pid) ? { folder, pid, port, child: null } : null;
}

/** Pid and port in Postgres's own lock file; NaN where there is none. */
function lockFile(folder: string): [pid: number, port: number] {
  try {
    const lines = readFileSync(join(folder, 'postmaster.pid'), 'utf8').split('\n');
    return [Number(lines[0]), Number(lines[3])];
  } catch {
    return [Number.NaN, Number.NaN];
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** A pid that was used again after a crash names a stranger, and a zombie has no command any more. */
function isPostgres(pid: number): boolean {
  if (!isAlive(pid)) return false;
  if (process.platform === 'win32') return true;
  return basename(commandOf(pid)) === 'postgres';
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0]!;
  } catch {
    return spawnSync('ps', ['-o', 'comm=', '-p', String(pid)], { encoding: 'utf8' }).stdout?.trim() ?? '';
  }
}

/** Starts it on a whole cluster; it may yet fail, or lose to one that another process starts in the same moment. */
export async function startServer(
  paths: { folder: string; log: string },
  binaries: Binaries,
  user: RunAs | null,
  more: Record<string, string>,
): Promise<Server> {
  dropStaleLock(paths.folder);
  const port = await freePort();
  const settings = Object.entries({ ...SETTINGS, ...more, port: String(port) });
  if ((statSync(paths.log, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES) renameSync(paths.log, `${paths.log}.1`);
  const log = openSync(paths.log, 'a', 0o600);
  const args = ['-D', paths.folder, ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  const child = spawn(binaries.postgres, args, {
    // A group of its own: Ctrl-C in the terminal must not stop it before what runs has settled into it.
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
    ...identity(user),
  });
  closeSync(log);
  child.unref();
  // A failed spawn shows as an exit code, as any other failure does.
  child.on('error', () => {});
  return { folder: paths.folder, pid: child.pid ?? -1, port, child };
}

/** After a power cut the pid in the lock file may be a stranger's of our own user: Postgres would take it for a server. */
function dropStaleLock(folder: string): void {
  const [pid] = lockFile(folder);
  if (pid > 0 && isAlive(pid) && !isPostgres(pid)) rmSync(join(folder, 'postmaster.pid'), { force: true });
}

export function isRunning(server: Server): boolean {
  return server.child === null
    ? findServer(server.folder)?.pid === server.pid
    : server.child.exitCode === null && server.child.signalCode === null;
}

/** Stops it: fast (sessions are ended), and after 20 s at once. */
export async function stopServer(server: Server): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    if (!isRunning(server) || !send(server.pid, signal)) return;
    for (let waited = 0; waited < FAST_STOP_MS && isRunning(server); waited += POLL_MS) await sleep(POLL_MS);
  }
}

/** `false`: it is gone already. */
function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
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
