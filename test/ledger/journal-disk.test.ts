/** A disk that is full, or fails: what space was taken for is kept, and a start that finds none says so. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Journal } from '../../src/ledger/journal/journal.ts';
import { decodeRecord } from '../../src/ledger/journal/record.ts';
import { readSlots, SLOT_BYTES } from '../../src/ledger/journal/slots.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { newId, settle } from './rig.ts';

const SLOTS = 64;
const BYTES = SLOTS * SLOT_BYTES;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tollgate-disk-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (dataDir: string, owner = 1n): Promise<Journal> =>
  Journal.open({ dataDir, owner, bytes: BYTES, clock: systemClock, log: silentLogger });

const operations = (count: number) => Array.from({ length: count }, () => settle(5n, newId(), 7n));

async function idsIn(journal: Journal): Promise<string[]> {
  const { records } = await readSlots(join(journal.folder, (await journal.fileName())!));
  return records.map((record) => decodeRecord(record).id);
}

/** A disk of its own with room for one journal and a half; `null`, said aloud, where we may not mount one. */
function mountSmallDisk(): string | null {
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${1.5 * BYTES}`, 'tmpfs', disk]);
  if (status === 0) return disk;
  const why = `a full disk: none can be mounted here: ${String(stderr).trim() || 'there is no mount'}`;
  if (process.env.CI === 'true') throw new Error(`not run, which CI does not allow: ${why}`);
  console.warn(`SKIPPED: ${why}`);
  return null;
}

it('a disk that fills up later stops no record; a start that finds no room says what to do', async (test) => {
  const disk = mountSmallDisk();
  if (disk === null) return test.skip();
  try {
    const journal = await open(disk);
    expect(() => writeFileSync(join(disk, 'filler'), Buffer.alloc(BYTES))).toThrow('ENOSPC');
    await expect(open(disk, 2n)).rejects.toThrow(/settlement journal needs \d+ bytes .*ENOSPC.* ledger\.journal_bytes/);
    expect(readdirSync(journal.folder), 'what was begun is gone again').toHaveLength(1);
    const [refused, ...others] = operations(SLOTS);
    await Promise.all(others.map((operation) => journal.append(operation)));
    // It cannot have a file of its own, so it stays.
    await journal.refuse(refused!);
    expect((await idsIn(journal)).sort()).toEqual([refused!, ...others].map(({ id }) => id).sort());
    expect(journal.waiting).toBe(SLOTS);
    await journal.close();
    expect(readdirSync(journal.folder)).toContainEqual(expect.stringMatching(/^0-claimed-/));
  } finally {
    spawnSync('umount', ['-l', disk]);
  }
});

describe('a journal whose file is gone', () => {
  it('writes to a new one what it was about to write', async () => {
    const journal = await open(folder);
    const [first, second] = operations(2);
    await journal.append(first!);
    rmSync(join(journal.folder, (await journal.fileName())!));
    await journal.append(second!);
    expect(await idsIn(journal)).toEqual([second!.id]);
    expect(journal.waiting).toBe(2);
    await journal.close();
  });

  it('and whose folder is gone too has space for nothing, until it is back', async () => {
    const journal = await open(folder);
    rmSync(journal.folder, { recursive: true });
    const lost = await journal.append(operations(1)[0]!);
    lost.forget();
    expect([journal.waiting, journal.capacity]).toEqual([0, 0]);
    mkdirSync(journal.folder);
    await journal.beat();
    expect(journal.capacity).toBe(SLOTS);
    await journal.append(operations(1)[0]!);
    expect(await idsIn(journal)).toHaveLength(1);
    await journal.close();
  });
});

it('what gathers while the disk is busy is kept in one go, each in a slot of its own', async () => {
  const journal = await open(folder);
  const all = operations(SLOTS);
  const kept = await Promise.all(all.map((operation) => journal.append(operation)));
  expect((await idsIn(journal)).sort()).toEqual(all.map(({ id }) => id).sort());
  for (const record of kept) record.forget();
  expect(journal.waiting).toBe(0);
  await journal.close();
  expect(readdirSync(journal.folder)).toEqual([]);
});
