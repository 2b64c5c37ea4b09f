/** Temporary data folders of an embedded Postgres: made, dropped, and cleared after a run that was interrupted. */
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findServer, isAlive, stopServer } from '../../src/db/embedded/process.ts';

const PREFIX = 'tollgate-postgres-of-';

/** A folder that bears our pid, and that Postgres's own user may enter when the tests run as root. */
export function makePostgresFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
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
  for (const name of readdirSync(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    const folder = join(tmpdir(), name);
    const uid = statSync(folder, { throwIfNoEntry: false })?.uid;
    if (uid === process.getuid?.()) await dropPostgresFolder(folder);
  }
}
