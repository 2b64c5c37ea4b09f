/** Temporary data folders of an embedded Postgres: made, dropped, and cleared after a run that was interrupted. */
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { findServer, isAlive, stopServer } from '../../src/db/embedded/process.ts';

const PREFIX = 'tollgate-postgres-of-';

/** Of a file system in memory: what all tests write is less. */
const ENOUGH_BYTES = 8 * 1024 ** 3;
const MEMORY = '/dev/shm';

/** In memory where there is room: to clone a database takes a third of the time, and so does to drop it. */
function parent(): string {
  if (!existsSync(MEMORY)) return tmpdir();
  const { bavail, bsize } = statfsSync(MEMORY);
  return bavail * bsize > ENOUGH_BYTES ? MEMORY : tmpdir();
}

/** A folder that bears our pid, and that Postgres's own user may enter when the tests run as root. */
export function makePostgresFolder(): string {
  const folder = mkdtempSync(join(parent(), `${PREFIX}${process.pid}-`));
  chmodSync(folder, 0o755);
  return folder;
}

/** Deletes it, and stops what still runs in it. */
export async function dropPostgresFolder(folder: string): Promise<void> {
  const left = findServer(join(folder, 'postgres'));
  if (left !== null) await stopServer(left);
  rmSync(folder, { recursive: true, force: true });
}

/** A run that was killed leaves its Postgres running, since that survives its owner: the next run ends it. */
export async function clearLeftovers(): Promise<void> {
  const folders = [tmpdir(), MEMORY].flatMap((at) =>
    existsSync(at) ? readdirSync(at).map((name) => join(at, name)) : [],
  );
  for (const folder of folders) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(basename(folder))?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    const uid = statSync(folder, { throwIfNoEntry: false })?.uid;
    if (uid === process.getuid?.()) await dropPostgresFolder(folder);
  }
}
