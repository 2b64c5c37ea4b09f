/** A gateway knows its former self only where that is certain; anything else is left to the lease. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { forgetOwner, formerOwners, recordOwner } from '../../src/ledger/former-owners.ts';

/** Where the system does not say when a process started, its id alone decides. */
const itSaysWhen = it.skipIf(!existsSync('/proc/self/stat'));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tollgate-owners-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const noteOf = (owner: bigint): string => join(folder, 'gateways', `${owner}.json`);

/** Writes this process's note anew, with some of it changed. */
function alter(owner: bigint, more: Record<string, unknown>): void {
  writeFileSync(noteOf(owner), JSON.stringify({ ...JSON.parse(readFileSync(noteOf(owner), 'utf8')), ...more }));
}

it('a folder where no gateway ran has none', () => {
  expect(formerOwners(folder)).toEqual([]);
});

it('a process that is gone is a former self until it is forgotten', () => {
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  recordOwner(folder, 9_007_199_254_740_993n);
  alter(9_007_199_254_740_993n, { pid: gone });
  expect(formerOwners(folder)).toEqual([9_007_199_254_740_993n]);
  forgetOwner(folder, 9_007_199_254_740_993n);
  expect(formerOwners(folder)).toEqual([]);
});

itSaysWhen('a process that lives is none, be it this one or another', async () => {
  const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  recordOwner(folder, 1n);
  recordOwner(folder, 2n);
  const stat = readFileSync(`/proc/${other.pid}/stat`, 'utf8');
  alter(2n, { pid: other.pid, startedAt: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] });
  expect(formerOwners(folder)).toEqual([]);
  other.kill();
  await once(other, 'exit');
  expect(formerOwners(folder)).toEqual([2n]);
});

itSaysWhen('another process that got the same id since is not taken for it', () => {
  recordOwner(folder, 1n);
  alter(1n, { startedAt: '1' });
  expect(formerOwners(folder)).toEqual([1n]);
});

it('a note of another machine, or one that was torn by a crash, says nothing', () => {
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  recordOwner(folder, 1n);
  alter(1n, { pid: gone, host: 'another-machine' });
  recordOwner(folder, 2n);
  writeFileSync(noteOf(2n), '{"owner":"2","ho');
  expect(formerOwners(folder)).toEqual([]);
});

it('notes are for this user alone', () => {
  recordOwner(folder, 1n);
  expect(statSync(noteOf(1n)).mode & 0o777).toBe(0o600);
});
