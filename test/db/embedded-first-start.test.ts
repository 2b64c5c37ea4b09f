/** First starts of the embedded Postgres that do not go as planned. Each test has a folder of its own. */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { hydrateSymlinks } from '../../src/db/embedded/binaries.ts';
import { startEmbedded } from '../../src/db/embedded/index.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { dropPostgresFolder, makePostgresFolder } from '../support/postgres-folder.ts';
import { ask, serverPid, spawnOwner } from './rig.ts';

const isRoot = process.getuid?.() === 0;

function folder(): string {
  const made = makePostgresFolder();
  onTestFinished(() => dropPostgresFolder(made));
  return made;
}

test('of four first starts in the same instant one wins, and the others are refused', async () => {
  const dataDir = folder();
  const owners = await Promise.all([1, 2, 3, 4].map(() => spawnOwner('start', dataDir)));
  const winners = owners.filter(({ refused }) => refused === undefined);
  expect(winners).toHaveLength(1);
  for (const { refused } of owners) expect(refused ?? 'Another Tollgate').toContain('Another Tollgate');
  expect(await ask(winners[0]!.url, 'SELECT 1')).toBe(1);
  expect(await winners[0]!.end('SIGTERM')).toBe(0);
  expect(serverPid(dataDir)).toBeUndefined();
  expect(readdirSync(dataDir).filter((name) => name.startsWith('postgres-new-'))).toEqual([]);
});

test('what an interrupted first start has left is cleared away, and hinders nothing', async () => {
  const dataDir = folder();
  const left = join(dataDir, 'postgres-new-4194399-abcdef'); // above the largest pid
  mkdirSync(join(left, 'cluster'), { recursive: true });
  writeFileSync(join(left, 'cluster/PG_VERSION'), '18\n');
  const postgres = await startEmbedded({ dataDir, log: silentLogger });
  await postgres.stop();
  expect(readdirSync(dataDir).sort()).toEqual(['postgres', 'postgres.log']);
});

test('symlinks that npm did not make are made, by several processes at once too', () => {
  const root = folder();
  mkdirSync(join(root, 'native/lib'), { recursive: true });
  const links = [{ source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so.5' }];
  writeFileSync(join(root, 'native/pg-symlinks.json'), JSON.stringify(links));
  hydrateSymlinks(root);
  hydrateSymlinks(root);
  expect(readlinkSync(join(root, 'native/lib/libpq.so.5'))).toBe('libpq.so.5.18');
});

test.runIf(isRoot)('as root it runs as a system user, and what grants access stays with root', async () => {
  const dataDir = folder();
  const postgres = await startEmbedded({ dataDir, log: silentLogger });
  expect(statSync(`/proc/${serverPid(dataDir)}`).uid).not.toBe(0);
  expect(statSync(join(dataDir, 'postgres')).uid).not.toBe(0);
  expect(statSync(join(dataDir, 'postgres.json')).uid).toBe(0);
  await postgres.stop();
});

test.runIf(isRoot)('as root, a folder that was made by a user is served as that user', async () => {
  const dataDir = folder();
  const first = await startEmbedded({ dataDir, log: silentLogger });
  await first.stop();
  giveTo(65_534, join(dataDir, 'postgres'));
  const again = await startEmbedded({ dataDir, log: silentLogger });
  expect(statSync(`/proc/${serverPid(dataDir)}`).uid).toBe(65_534);
  await again.stop();
});

test.runIf(isRoot)(
  'as root, a folder that the system user cannot enter is refused by its name, with ways out',
  async () => {
    const closed = mkdtempSync(join(tmpdir(), 'tollgate-closed-'));
    onTestFinished(() => rmSync(closed, { recursive: true }));
    chmodSync(closed, 0o700);
    await expect(startEmbedded({ dataDir: join(closed, 'data'), log: silentLogger })).rejects.toThrow(
      new RegExp(`cannot enter ${closed}\\. Either move .*; or start Tollgate as the owner`),
    );
  },
);

function giveTo(uid: number, path: string): void {
  chownSync(path, uid, uid);
  if (statSync(path).isDirectory()) for (const name of readdirSync(path)) giveTo(uid, join(path, name));
}
