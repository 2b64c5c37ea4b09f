/** `prices import` in a process of its own: it shows first, changes what is confirmed, and asks about what looks like a slip. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { entryVersions, latestEntries, loadCatalog, putEntries, putEntry } from '../../src/catalog/store.ts';
import { compileCache } from '../support/compile-cache.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const LAUNCHER = join(import.meta.dirname, '../../bin/tollgate.js');

let database: TestDatabase;
let folder: string;
let file: string;
beforeAll(async () => {
  database = await createTestDatabase();
  folder = mkdtempSync(join(tmpdir(), 'tollgate-prices-'));
  file = join(folder, 'prices.json');
  writeFileSync(
    file,
    `{"sample_spec": {"input_cost_per_token": 0.0},
      "m": {"litellm_provider": "theirs", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07},
      "slip": {"litellm_provider": "theirs", "input_cost_per_token": 0.0002, "output_cost_per_token": 6e-07},
      "fresh-1": {"litellm_provider": "theirs", "input_cost_per_token": 1e-06, "ocr_cost_per_page": 0.001},
      "fresh-2": {"litellm_provider": "theirs", "input_cost_per_token": 1e-06, "ocr_cost_per_page": 0.001}}`,
  );
  writeFileSync(
    join(folder, 'tollgate.yaml'),
    'providers: { ours: { kind: openai, base_url: "https://example.com/v1" }, demo: { kind: demo } }',
  );
  await put('m', { input: '0.2', output: '0.60' });
  await put('slip', { input: '0.2', output: '0.6' });
});
afterAll(async () => {
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

const put = (name: string, cost: object) =>
  putEntry(database.pool, 'model', name, { routes: [{ provider: 'ours', model: name }], cost }, 'someone');
const costOf = async (name: string) =>
  ((await entryVersions(database.pool, 'model', name))[0]?.body as { cost?: object })?.cost;
const catalogVersion = async () =>
  (await loadCatalog(database.pool, { providers: new Set(['ours']), markup: 1_000_000n })).version;

function prices(...args: string[]): Promise<{ status: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [LAUNCHER, 'prices', 'import', ...args], {
    env: {
      PATH: process.env.PATH ?? '',
      ...compileCache,
      DATABASE_URL: database.url,
      TOLLGATE_DATA_DIR: join(folder, 'data'),
      TOLLGATE_CONFIG: join(folder, 'tollgate.yaml'),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, out, err })));
}
const OURS = ['--provider', 'ours=theirs'];

test('without --yes all is shown, and nothing changes', async () => {
  const before = await catalogVersion();
  const { status, out, err } = await prices(file, ...OURS, '--models', '*');
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out.split('\n')).toEqual([
    'not importable: fresh-1, fresh-2: ocr_cost_per_page: the catalog has no unit for it',
    'changed: m',
    '  cost.input: 0.2 → 0.15',
    'changed: slip, QUESTIONED, left as it is (--force applies it)',
    '  cost.input: 0.2 → 200',
    '  is this meant? cost.input: 200 is 1000 times what it was, 0.2',
    'new: fresh-1',
    '  cost.input: (none) → 1',
    'new: fresh-2',
    '  cost.input: (none) → 1',
    '2 to change, 2 new, 0 unchanged',
    'Customers follow: 4 of them have no price of their own, and are sold at cost × 1.',
    'Nothing was applied: --yes applies it.',
    '',
  ]);
  expect(await catalogVersion()).toBe(before);
});

test('with --yes it holds at the next request, as a new version; what is questioned is left, and the status says so', async () => {
  const before = await catalogVersion();
  const { status, out } = await prices(file, ...OURS, '--yes', '--json');
  expect(status).toBe(1);
  expect(JSON.parse(out)).toMatchObject({
    applied: ['m'],
    unchanged: [],
    planned: [{ model: 'm' }, { model: 'slip' }],
  });
  expect(await costOf('m')).toEqual({ input: '0.15', output: '0.60' });
  expect(await costOf('slip')).toEqual({ input: '0.2', output: '0.6' });
  expect(await costOf('fresh-1')).toBeUndefined();
  // Holds are checked against it, so that every gateway reloads.
  expect(await catalogVersion()).toBe(before + 1n);
  const [newest] = await entryVersions(database.pool, 'model', 'm');
  expect(newest).toMatchObject({ version: 2, source: 'api' });
});

test('--force applies what is questioned, and then there is nothing to do', async () => {
  expect(await prices(file, ...OURS, '--yes', '--force')).toMatchObject({ status: 0, err: '' });
  expect(await costOf('slip')).toMatchObject({ input: '200' });
  const version = await catalogVersion();
  const { status, out } = await prices(file, ...OURS, '--yes');
  expect({ status, out }).toEqual({ status: 0, out: '0 to change, 0 new, 2 unchanged\nNothing to apply.\n' });
  expect(await catalogVersion()).toBe(version);
});

test.concurrent.each([
  [['no-such.json'], 1, 'no-such.json'],
  [[import.meta.filename], 1, 'prices.test.ts'],
  [[LAUNCHER, '--provider', 'theirs'], 1, 'tollgate.js'],
])('%j fails with exit status %i and says why', async (args, status, message) => {
  const run = await prices(...args);
  expect(run).toMatchObject({ status, out: '' });
  expect(run.err).toContain(message);
});

test.concurrent.each([
  [['--models', 'no*,such'], 'Neither the catalog nor the table has a model no*, such of ours=theirs.'],
  [['--provider', 'ours'], 'not importable: m: ours/m: the table has no such model of this provider'],
])('what is not found is said: %j', async (args, said) => {
  const { status, out } = await prices(file, ...OURS, ...args);
  expect(status).toBe(0);
  expect(out).toContain(said);
  expect(out).toContain('Nothing to apply.');
});

test('a provider that the settings do not have is a line that makes no sense', async () => {
  const { status, err } = await prices(file, '--provider', 'theirs');
  expect(status).toBe(2);
  expect(err).toContain('no provider "theirs"; they have ours');
});

test('entries are set all or none: one that was changed meanwhile stops them', async () => {
  await put('x', { input: '1' });
  const found = (await latestEntries(database.pool, 'model')).find(({ name }) => name === 'x')!;
  await put('x', { input: '2' });
  const body = { routes: [{ provider: 'ours', model: 'x' }], cost: { input: '3' } };
  const entries = ['new', 'x'].map((name) => ({
    ...{ kind: 'model' as const, name, body, version: name === 'x' ? found.version : 0 },
  }));
  const before = await catalogVersion();
  await expect(putEntries(database.pool, entries, 'me')).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('model "x" was changed meanwhile'),
  });
  expect(await entryVersions(database.pool, 'model', 'new')).toEqual([]);
  expect(await costOf('x')).toEqual({ input: '2' });
  expect(await catalogVersion()).toBe(before);
});
