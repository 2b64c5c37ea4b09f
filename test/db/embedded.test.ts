/** The embedded Postgres on one data folder, through what a laptop does to it. Each test leaves it stopped. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { joinEmbedded, startEmbedded } from '../../src/db/embedded/index.ts';
import { sharedBuffers } from '../../src/db/embedded/process.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { eventually } from '../support/gateway.ts';
import { dropPostgresFolder, makePostgresFolder } from '../support/postgres-folder.ts';
import { access, ask, serverPid, spawnOwner } from './rig.ts';

let dataDir: string;
const start = () => startEmbedded({ dataDir, log: silentLogger });
const joinIt = () => joinEmbedded({ dataDir, log: silentLogger });

beforeAll(() => {
  dataDir = makePostgresFolder();
});
afterEach(() => expect(serverPid(dataDir), 'the test left Postgres running').toBeUndefined());
afterAll(() => dropPostgresFolder(dataDir));

test('the first start makes a durable cluster that only this machine reaches, with a password', async () => {
  const postgres = await start();
  const setting = (name: string) => ask(postgres.url, `SHOW ${name}`);
  expect(postgres.adopted).toBe(false);
  expect(await setting('fsync')).toBe('on');
  expect(await setting('synchronous_commit')).toBe('on');
  expect(await setting('listen_addresses')).toBe('127.0.0.1');
  expect(await setting('server_encoding')).toBe('UTF8');
  expect(await ask(postgres.url, 'SELECT datcollate FROM pg_database')).toBe('C');
  await expect(ask(postgres.url.replace(/:[^:@]+@/, ':wrong@'), 'SELECT 1')).rejects.toThrow(/password/);
  expect(access(dataDir)).toMatchObject({ url: postgres.url, owner_pid: process.pid });
  expect(statSync(join(dataDir, 'postgres.json')).mode & 0o777).toBe(0o600);
  expect(readFileSync(join(dataDir, 'postgres.log'), 'utf8')).not.toContain(new URL(postgres.url).password);
  await ask(postgres.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
  await postgres.stop();
  expect(existsSync(join(dataDir, 'postgres.json'))).toBe(false);
});

test('a restart keeps the data', async () => {
  const postgres = await start();
  expect(await ask(postgres.url, 'SELECT answer FROM kept')).toBe(42);
  await postgres.stop();
});

test('a second start is refused with the reason, the process and what to do', async () => {
  const owner = await spawnOwner('start', dataDir);
  await expect(start()).rejects.toThrow(
    new RegExp(`Another Tollgate \\(process ${owner.child.pid}\\) runs on ${dataDir}.*Stop it first.*DATABASE_URL`),
  );
  expect(await ask(owner.url, 'SELECT answer FROM kept'), 'the first one is unharmed').toBe(42);
  expect(await owner.end('SIGTERM')).toBe(0);
});

test('Ctrl-C in the terminal does not reach it', async () => {
  const owner = await spawnOwner('start', dataDir);
  process.kill(-owner.child.pid!, 'SIGINT');
  expect(await ask(owner.url, 'SELECT answer FROM kept')).toBe(42);
  expect(await owner.end('SIGTERM')).toBe(0);
});

test('kill -9 of its owner leaves it running, and the next start adopts it', async () => {
  const owner = await spawnOwner('start', dataDir);
  const pid = serverPid(dataDir);
  await ask(owner.url, 'INSERT INTO kept VALUES (43)');
  await owner.end('SIGKILL');
  const postgres = await start();
  expect(postgres).toMatchObject({ adopted: true, url: owner.url });
  expect(serverPid(dataDir)).toBe(pid);
  expect(await ask(postgres.url, 'SELECT max(answer) FROM kept')).toBe(43);
  await postgres.stop();
});

test('an owner whose session was ended owns it again, and a second start is still refused', async () => {
  const postgres = await start();
  const owners = `SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND granted`;
  await ask(
    postgres.url,
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tollgate-owner'`,
  );
  await eventually(async () => (await ask(postgres.url, owners)) === 1, 'the owner takes its lock again');
  await expect(start()).rejects.toThrow(/Another Tollgate/);
  await postgres.stop();
});

test('a command joins the one that runs, and leaves it running', async () => {
  const owner = await spawnOwner('start', dataDir);
  const joined = await joinIt();
  expect(joined).toMatchObject({ url: owner.url, adopted: false });
  await joined.stop();
  expect(await ask(owner.url, 'SELECT 1')).toBe(1);
  expect(await owner.end('SIGTERM')).toBe(0);
});

test('a command starts it when none runs, and stops it again', async () => {
  const joined = await joinIt();
  expect(await ask(joined.url, 'SELECT min(answer) FROM kept')).toBe(42);
  await joined.stop();
});

test('a command that started it waits for one that joined', async () => {
  const first = await joinIt();
  const second = await joinIt();
  const session = new pg.Client({ connectionString: second.url });
  await session.connect();
  const stopped = first.stop();
  await session.query('INSERT INTO kept VALUES (44)');
  await session.end();
  await second.stop();
  await stopped;
});

test('after a crash of Postgres itself the next start recovers', async () => {
  const owner = await spawnOwner('start', dataDir);
  await ask(owner.url, 'INSERT INTO kept VALUES (45)');
  const pid = serverPid(dataDir)!;
  await owner.end('SIGKILL');
  process.kill(pid, 'SIGKILL');
  const postgres = await start();
  expect(postgres.adopted).toBe(false);
  expect(await ask(postgres.url, 'SELECT max(answer) FROM kept')).toBe(45);
  await postgres.stop();
});

test('a lock file whose pid a stranger has now, as after a power cut, stops nobody', async () => {
  const lock = join(dataDir, 'postgres/postmaster.pid');
  writeFileSync(lock, `${process.pid}\n${dataDir}/postgres\n1\n5432\n\n127.0.0.1\n0 0\nready\n`, { mode: 0o600 });
  const postgres = await start();
  expect(postgres.adopted).toBe(false);
  await postgres.stop();
});

test('a start during a stop waits for it, and then starts anew', async () => {
  const first = await start();
  const pid = serverPid(dataDir);
  const [, second] = await Promise.all([first.stop(), start()]);
  expect(second.adopted).toBe(false);
  expect(serverPid(dataDir)).not.toBe(pid);
  expect(await ask(second.url, 'SELECT min(answer) FROM kept')).toBe(42);
  await second.stop();
});

test('a folder of another major version is refused with what to do', async () => {
  const file = join(dataDir, 'postgres/PG_VERSION');
  const major = readFileSync(file, 'utf8');
  writeFileSync(file, '15\n');
  await expect(start()).rejects.toThrow(/was made by Postgres 15.*pg_dump.*new TOLLGATE_DATA_DIR/);
  writeFileSync(file, major);
});

test('a Postgres that cannot start says why', async () => {
  const broken = startEmbedded({ dataDir, log: silentLogger, settings: { shared_buffers: 'none' } });
  await expect(broken).rejects.toThrow(/did not start:.*invalid value for parameter "shared_buffers".*postgres\.log/);
});

test('its cache is a quarter of the memory there is, within bounds', () => {
  expect([0.25, 1, 2, 3, 4, 64].map((gib) => sharedBuffers(gib * 2 ** 30))).toEqual([
    '128MB',
    '256MB',
    '512MB',
    '768MB',
    '1024MB',
    '1024MB',
  ]);
});
