import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { migrate, SchemaNewerError } from '../../src/db/migrate.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { databaseUrl, onServer } from '../support/database.ts';
import { ask } from './rig.ts';

const FILES = readdirSync(join(import.meta.dirname, '../../src/db/migrations'))
  .map((file) => file.replace(/\.sql$/, ''))
  .sort();

let name: string;
let url: string;

beforeEach(async () => {
  name = `empty_${randomBytes(6).toString('hex')}`;
  url = databaseUrl(inject('serverUrl'), name);
  await onServer(`CREATE DATABASE ${name}`);
});
afterEach(() => onServer(`DROP DATABASE ${name} WITH (FORCE)`));

test('an empty database gets every file in order, and then nothing more', async () => {
  expect((await migrate(url, silentLogger)).applied).toEqual(FILES);
  expect((await migrate(url, silentLogger)).applied).toEqual([]);
  expect(await ask(url, `SELECT array_agg(name::text ORDER BY id) FROM tollgate.migrations`)).toEqual(FILES);
});

test('ten processes that start at once apply each file once, and all of them succeed', async () => {
  const migrator = join(import.meta.dirname, 'migrator.ts');
  const outputs = await Promise.all(
    Array.from({ length: 10 }, () => promisify(execFile)(process.execPath, [migrator, url])),
  );
  const applied = outputs.flatMap(({ stdout }) => JSON.parse(stdout) as string[]);
  expect(applied.sort()).toEqual(FILES);
});

test('a database that a newer release has migrated is refused, and left as it is', async () => {
  await migrate(url, silentLogger);
  await ask(url, `INSERT INTO tollgate.migrations (name, run_on) VALUES ('9999-of-the-future', now())`);
  const refused = migrate(url, silentLogger);
  await expect(refused).rejects.toThrow(SchemaNewerError);
  await expect(refused).rejects.toThrow(/9999-of-the-future.*Start the newer release/);
  expect(await ask(url, 'SELECT count(*)::int FROM tollgate.migrations')).toBe(FILES.length + 1);
});
