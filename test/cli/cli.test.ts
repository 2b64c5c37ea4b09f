/** The commands, each in a process of its own, on a database of ours and on the embedded one. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { errorBody, type Json } from '../admin/rig.ts';
import { compileCache } from '../support/compile-cache.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const LAUNCHER = join(import.meta.dirname, '../../bin/tollgate.js');

let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await createTestDatabase();
  folder = mkdtempSync(join(tmpdir(), 'tollgate-cli-'));
  // As root, the embedded Postgres runs as another user, who must be able to enter.
  chmodSync(folder, 0o755);
});
afterAll(async () => {
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

interface Run {
  status: number | null;
  out: string;
  err: string;
}

function tollgate(args: string[], env: Record<string, string> = { DATABASE_URL: database.url }): Promise<Run> {
  const child = spawn(process.execPath, [LAUNCHER, ...args], {
    env: { PATH: process.env.PATH ?? '', ...compileCache, TOLLGATE_DATA_DIR: join(folder, 'data'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const run: Run = { status: null, out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    run.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    run.err += chunk;
  });
  return new Promise((resolve) => child.on('close', (status) => resolve({ ...run, status })));
}

/** Runs a command with --json that must succeed. */
async function json(...args: string[]): Promise<Json> {
  const { status, out, err } = await tollgate([...args, '--json']);
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out.trimEnd()).not.toContain('\n');
  return JSON.parse(out) as Json;
}

const COMMANDS = [
  'serve',
  'migrate',
  'catalog apply',
  'prices import',
  'account create',
  'key create',
  'credits grant',
  'ledger verify',
  'ledger rebuild',
  'recordings verify',
  'stripe setup',
  'stripe replay',
  'stripe reconcile',
];

test('--help lists the commands, without a database', async () => {
  const { status, out, err } = await tollgate(['--help'], {});
  expect({ status, err }).toEqual({ status: 0, err: '' });
  for (const command of COMMANDS) expect(out).toContain(`\n  ${command} `);
});

test('what is no command has exit status 2, and gets the list', async () => {
  const { status, out, err } = await tollgate(['stripe', 'refund']);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toContain('There is no command "stripe refund".');
  for (const command of COMMANDS) expect(err).toContain(command);
});

test('a line that makes no sense has exit status 2, and gets the help of its command', async () => {
  const { status, out, err } = await tollgate(['account', 'create', '--external-id', 'x']);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toContain('--name NAME is missing');
  expect(err).toContain('Usage: npx tollgate account create');
});

test('an account, its key and its credits are made, and the ledger is proved', async () => {
  const given = ['--name', 'Acme', '--external-id', 'crm-1', '--overdraft', '2.5', '--budget', '1000/total'];
  const account = await json('account', 'create', ...given);
  expect(account).toMatchObject({ name: 'Acme', external_id: 'crm-1', overdraft: '2.5', plan: null });
  expect(account.budget).toMatchObject({ credits: '1000', period: 'total', used: '0' });
  expect(await json('account', 'create', ...given)).toEqual(account);
  const id = account.id as string;
  const keyOptions = ['--scopes', 'read,inference', '--name', 'ci', '--budget', '0.5/day'];
  const key = await json('key', 'create', '--account', id, ...keyOptions);
  expect(key.budget).toMatchObject({ credits: '0.5', period: 'day', remaining: '0.5' });
  expect(key).toMatchObject({ key: expect.stringMatching(/^sk-tg-/), scopes: ['read', 'inference'], name: 'ci' });
  const grant = ['credits', 'grant', '--account', 'ext:crm-1', '--credits', '100', '--reference', 'invoice-1'];
  const lot = await json(...grant);
  expect(lot).toMatchObject({ granted: '100', kind: 'topup', reference: 'invoice-1', expires_at: null });
  expect(await json(...grant)).toEqual(lot);
  const text = await tollgate(grant);
  expect(text).toMatchObject({ status: 0, out: expect.stringContaining('Nothing new') });
  expect(await json('ledger', 'verify')).toEqual({ ok: true, entries: 1, accounts: 1, differences: [] });
});

test.concurrent.each([
  [['key', 'create', '--account', 'acct_0000000000001'], 'There is no account "acct_0000000000001"'],
  [['key', 'create', '--account', 'ext:nobody'], 'There is no account "ext:nobody"'],
  [['key', 'create', '--account', 'ext:x', '--scopes', 'admin'], '--scopes'],
  [['account', 'create', '--name', 'x', '--plan', 'none'], '--plan'],
  [['account', 'create', '--name', 'x', '--overdraft', '1e9'], '--overdraft'],
  [['account', 'create', '--name', 'x', '--budget', '50'], '--budget'],
  [['key', 'create', '--account', 'ext:x', '--budget', '50/week'], '--budget'],
  [['credits', 'grant', '--account', 'ext:x', '--reference', 'r', '--credits', '0'], '--credits'],
  [['credits', 'grant', '--account', 'ext:x', '--reference', 'r', '--credits', '1', '--kind', 'x'], '--kind'],
  [['catalog', 'apply', 'no-such.yaml'], 'no-such.yaml'],
])('%j fails with exit status 1 and says why', async (args, message) => {
  const { status, out, err } = await tollgate(args);
  expect({ status, out }).toEqual({ status: 1, out: '' });
  expect(err).toContain(message);
  expect(err).not.toContain('at file:');
});

test('with --json a failure has the form of the APIs', async () => {
  const { status, out, err } = await tollgate(['key', 'create', '--account', 'ext:x', '--scopes', 'admin', '--json']);
  expect({ status, out }).toEqual({ status: 1, out: '' });
  expect(JSON.parse(err)).toEqual(
    errorBody('invalid_request', 'invalid_request_error', 'scopes.0', expect.stringContaining('inference, read')),
  );
});

test('a catalog is applied, and what the admin API changed is left unless forced', async () => {
  const file = join(folder, 'catalog.yaml');
  const write = (price: string) =>
    writeFileSync(
      file,
      `models:\n  m: { routes: [{ provider: demo, model: m }], price: { input: ${price}, output: 1 } }\n`,
    );
  write('1');
  const nothing = { applied: [], unchanged: [], skipped: [], pruned: [], questions: [] };
  expect(await json('catalog', 'apply', file)).toEqual({ ...nothing, applied: ['model m'] });
  expect(await json('catalog', 'apply', file)).toEqual({ ...nothing, unchanged: ['model m'] });
  await database.pool.query(
    `INSERT INTO catalog_entries (kind, name, version, body, source) SELECT kind, name, 2, body, 'api' FROM catalog_entries`,
  );
  write('2');
  expect(await json('catalog', 'apply', file)).toEqual({ ...nothing, skipped: ['model m'] });
  expect(await json('catalog', 'apply', file, '--force')).toEqual({ ...nothing, applied: ['model m'] });
  writeFileSync(file, 'plans:\n  p: { default: true, models: [m] }\n');
  expect(await json('catalog', 'apply', file, '--prune')).toEqual({
    ...nothing,
    applied: ['plan p'],
    pruned: ['model m'],
  });
});

test('migrate has nothing to do twice', async () => {
  expect(await json('migrate')).toEqual({ applied: [] });
});

test('a ledger that differs is named, with exit status 1', async () => {
  await database.pool.query('UPDATE wallets SET held = 1');
  const { status, out } = await tollgate(['ledger', 'verify', '--json']);
  expect(status).toBe(1);
  expect(JSON.parse(out)).toMatchObject({ ok: false, differences: [{ subject: 'wallet held', found: '1' }] });
  expect((await tollgate(['ledger', 'verify'])).out).toContain('NOT OK');

  const dry = await tollgate(['ledger', 'rebuild', '--dry-run']);
  expect(dry).toMatchObject({
    status: 1,
    out: expect.stringMatching(/^would change acct_.*: wallet held: expected 0, found 1$/m),
  });
  expect((await tollgate(['ledger', 'verify'])).status).toBe(1);
  const rebuilt = await json('ledger', 'rebuild');
  expect(rebuilt).toMatchObject({ changed: [{ subject: 'wallet held', expected: '0', found: '1' }], broken: [] });
  expect(await json('ledger', 'verify')).toMatchObject({ ok: true, differences: [] });
  expect(await tollgate(['ledger', 'rebuild'])).toMatchObject({
    status: 0,
    out: expect.stringContaining('0 accounts rebuilt'),
  });
});

test('a database that is not there is said to be away, without its password', async () => {
  const { status, err } = await tollgate(['ledger', 'verify'], { DATABASE_URL: 'postgres://me:hunter2@127.0.0.1:9/x' });
  expect(status).toBe(1);
  expect(err).toContain('DATABASE_URL');
  expect(err).not.toContain('hunter2');
});

test('without DATABASE_URL the embedded database is started for a command, and keeps what it did', async () => {
  const early = await tollgate(['account', 'create', '--name', 'Early'], {});
  expect(early).toMatchObject({ status: 1, err: expect.stringContaining('npx tollgate migrate') });
  expect((await tollgate(['migrate'], {})).out).toContain('Applied 0001-ledger-tables.');
  const made = await tollgate(['account', 'create', '--name', 'Kept', '--external-id', 'kept'], {});
  expect(made).toMatchObject({ status: 0, err: '' });
  expect((await tollgate(['key', 'create', '--account', 'ext:kept'], {})).out).toContain('sk-tg-');
});
