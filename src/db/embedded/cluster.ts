/** What the data folder of the embedded Postgres holds: the cluster, made once; its password; how to reach it. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { type Binaries, identity, type RunAs } from './binaries.ts';
import { isAlive } from './process.ts';

const USER = 'tollgate';
const PASSWORD_FILE = 'tollgate-password';
const UNFINISHED = /^postgres-new-(\d+)-/;

export interface Paths {
  dataDir: string;
  /** The cluster itself: what Postgres calls its data directory. */
  folder: string;
  /** What Postgres has to say. */
  log: string;
  /** Where a running one is reached, for people and scripts. */
  access: string;
}

export function pathsOf(dataDir: string): Paths {
  const root = resolve(dataDir);
  return {
    dataDir: root,
    folder: join(root, 'postgres'),
    log: join(root, 'postgres.log'),
    access: join(root, 'postgres.json'),
  };
}

/** Makes the cluster if there is none. Throws when there is one of another major version, or initdb fails. */
export function ensureCluster(paths: Paths, binaries: Binaries, user: RunAs | null): void {
  for (const name of readdirSync(paths.dataDir)) {
    const maker = UNFINISHED.exec(name)?.[1];
    if (maker !== undefined && !isAlive(Number(maker)))
      rmSync(join(paths.dataDir, name), { recursive: true, force: true });
  }
  if (!existsSync(join(paths.folder, 'PG_VERSION'))) createCluster(paths, binaries, user);
  const found = readFileSync(join(paths.folder, 'PG_VERSION'), 'utf8').trim();
  if (found === binaries.major) return;
  throw new Error(
    `${paths.folder} was made by Postgres ${found}, and this release brings Postgres ${binaries.major}, which cannot read it. ` +
      'Dump it with the release that made it (pg_dump) and restore it into a new TOLLGATE_DATA_DIR, or start that release again.',
  );
}

/** Into a folder beside its place, and moved there when it is whole: an interrupted first start leaves no half cluster. */
function createCluster(paths: Paths, binaries: Binaries, user: RunAs | null): void {
  const parent = mkdtempSync(join(paths.dataDir, `postgres-new-${process.pid}-`));
  const folder = join(parent, 'cluster');
  const passwordFile = join(parent, PASSWORD_FILE);
  try {
    writeFileSync(passwordFile, randomBytes(24).toString('base64url'), { mode: 0o600, flush: true });
    if (user !== null) for (const path of [parent, passwordFile]) chownSync(path, user.uid, user.gid);
    const access = ['--username', USER, '--auth', 'scram-sha-256', '--pwfile', passwordFile];
    const made = spawnSync(
      binaries.initdb,
      ['--pgdata', folder, ...access, '--encoding', 'UTF8', '--locale', 'C', '--no-instructions'],
      { cwd: '/', encoding: 'utf8', ...identity(user) },
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

/** How to reach the server of this folder at `port`: with its password, so never to be logged. */
export function urlOf(paths: Paths, port: number): string {
  const password = readFileSync(join(paths.folder, PASSWORD_FILE), 'utf8');
  return `postgres://${USER}:${password}@127.0.0.1:${port}/postgres`;
}

/** For people and scripts that want to look into it: port and password, readable by the owner alone. */
export function writeAccess(paths: Paths, port: number): void {
  rmSync(paths.access, { force: true });
  const access = { port, user: USER, url: urlOf(paths, port), owner_pid: process.pid };
  writeFileSync(paths.access, `${JSON.stringify(access, null, 2)}\n`, { mode: 0o600 });
}

export function removeAccess(paths: Paths): void {
  rmSync(paths.access, { force: true });
}

/** The process that wrote the access file; `null`: nobody. */
export function ownerPid(paths: Paths): number | null {
  try {
    return (JSON.parse(readFileSync(paths.access, 'utf8')) as { owner_pid: number }).owner_pid;
  } catch {
    return null;
  }
}
