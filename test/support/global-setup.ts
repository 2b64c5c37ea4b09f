/**
 * One Postgres for the whole run, with a migrated database that each test file clones. TEST_DATABASE_URL names one of
 * yours instead (its user must be allowed to create databases).
 */
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { startEmbedded } from '../../src/db/embedded/index.ts';
import { migrate } from '../../src/db/migrate.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { warmCompileCache } from './compile-cache.ts';
import { databaseUrl, TEMPLATE } from './database.ts';
import { clearLeftovers, dropPostgresFolder, makePostgresFolder } from './postgres-folder.ts';

declare module 'vitest' {
  interface ProvidedContext {
    serverUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.TEST_DATABASE_URL;
  const warm = warmCompileCache();
  await clearLeftovers();
  const folder = given === undefined ? makePostgresFolder() : null;
  // Tests do not outlive a crash of the machine: without fsync they take half the time.
  const settings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '200' };
  const server = folder === null ? null : await startEmbedded({ dataDir: folder, log: silentLogger, settings });
  const url = given ?? server!.url;
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`DROP DATABASE IF EXISTS ${TEMPLATE}`);
  await client.query(`CREATE DATABASE ${TEMPLATE}`);
  await client.end();
  await migrate(databaseUrl(url, TEMPLATE), silentLogger);
  await warm;
  project.provide('serverUrl', url);
  return async () => {
    await server?.stop();
    if (folder !== null) await dropPostgresFolder(folder);
  };
}
