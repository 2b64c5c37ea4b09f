/**
 * Records that the ledger refused, or that this release cannot read: kept as files, for a person to look at. Each start
 * tries them again, since what was wrong may have been put right.
 *
 *   refused ──next start: answered──▶ deleted
 *      ▲───────────────── refused again
 *
 * One file for each refusal, of less than a slot. They are as many as there are holds that cannot be ended, which the
 * accounts' credits bound.
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from './slots.ts';

const FOLDER = 'refused';
const SUFFIX = '.json';

/** Keeps a record in the journal's folder, under a name of its own. Resolves once the disk has it. */
export async function keepRefused(journals: string, name: string, record: Buffer): Promise<void> {
  const folder = join(journals, FOLDER);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${name}${SUFFIX}`);
  // Under another name until it is whole: a name that counts never has half a record.
  const handle = await open(`${path}.new`, 'w', 0o600);
  try {
    await handle.writeFile(record);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${path}.new`, path);
  await syncFolder(folder);
  await syncFolder(journals);
}

/** The names of what was refused. */
export async function refusedNames(journals: string): Promise<string[]> {
  const names = await readdir(join(journals, FOLDER)).catch(() => []);
  return names.filter((name) => name.endsWith(SUFFIX)).map((name) => name.slice(0, -SUFFIX.length));
}

/** The record of that name. */
export function readRefused(journals: string, name: string): Promise<Buffer> {
  return readFile(join(journals, FOLDER, `${name}${SUFFIX}`));
}

/** Deletes a record that was answered after all. */
export async function forgetRefused(journals: string, name: string): Promise<void> {
  await rm(join(journals, FOLDER, `${name}${SUFFIX}`), { force: true });
}
