/** The catalog's rule: a file changes what it changed; what was changed through the API stays, unless forced. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Applied, applyCatalog } from '../../src/catalog/apply.ts';
import type { FileEntry } from '../../src/catalog/file.ts';
import { entryVersions, loadCatalog, putEntry } from '../../src/catalog/store.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

/** Entries are never deleted, so that each test works on names of its own. */
let serial = 0;
let name: string;
beforeEach(() => {
  name = `m${++serial}`;
});

const body = (input: string) => ({ routes: [{ provider: 'on', model: 'x' }], price: { input } });
const model = (input: string, as = name): FileEntry => ({ kind: 'model', name: as, body: body(input) });
const apply = (entries: FileEntry[], options: { force?: boolean; prune?: boolean } = {}): Promise<Applied> =>
  applyCatalog(database.pool, entries, { force: false, prune: false, ...options });
const put = (input: string): Promise<number> => putEntry(database.pool, 'model', name, body(input), 'someone');
const load = () => loadCatalog(database.pool, { providers: new Set(['on']), markup: 1_000_000n });
const nothing: Applied = { applied: [], unchanged: [], skipped: [], pruned: [], questions: [] };

async function versions(): Promise<unknown[]> {
  const rows = await entryVersions(database.pool, 'model', name);
  return rows.map(({ version, source, deleted, body }) => {
    const { price } = body as { price?: { input: string } };
    return [version, source, deleted ? 'deleted' : price?.input];
  });
}

describe('applying a file', () => {
  test('a new entry is applied, the same again is unchanged, a changed one is a new version', async () => {
    expect(await apply([model('1')])).toEqual({ ...nothing, applied: [`model ${name}`] });
    expect(await apply([model('1')])).toEqual({ ...nothing, unchanged: [`model ${name}`] });
    expect(await apply([model('2')])).toEqual({ ...nothing, applied: [`model ${name}`] });
    expect(await versions()).toEqual([
      [2, 'file', '2'],
      [1, 'file', '1'],
    ]);
  });

  test('an entry that was changed through the API stays while the file says nothing new', async () => {
    await apply([model('1')]);
    expect(await put('5')).toBe(2);
    expect(await apply([model('1')])).toEqual({ ...nothing, unchanged: [`model ${name}`] });
    expect((await versions())[0]).toEqual([2, 'api', '5']);
  });

  test('when the file changes too, it is skipped and listed, each time, until it is forced', async () => {
    await apply([model('1')]);
    await put('5');
    expect(await apply([model('2')])).toEqual({ ...nothing, skipped: [`model ${name}`] });
    expect(await apply([model('2')])).toEqual({ ...nothing, skipped: [`model ${name}`] });
    expect(await apply([model('2')], { force: true })).toEqual({ ...nothing, applied: [`model ${name}`] });
    expect(await apply([model('2')])).toEqual({ ...nothing, unchanged: [`model ${name}`] });
    expect((await versions())[0]).toEqual([3, 'file', '2']);
  });

  test('force brings back what the file says, also when the file did not change', async () => {
    await apply([model('1')]);
    await put('5');
    expect(await apply([model('1')], { force: true })).toEqual({ ...nothing, applied: [`model ${name}`] });
    expect((await versions())[0]).toEqual([3, 'file', '1']);
    expect(await apply([model('1')], { force: true })).toEqual({ ...nothing, unchanged: [`model ${name}`] });
  });

  test('an entry made through the API is not overwritten by a file that comes to name it', async () => {
    await put('5');
    expect(await apply([model('1')])).toEqual({ ...nothing, skipped: [`model ${name}`] });
    expect((await load()).models.get(name)?.price.units.input).toBe(5n * 10n ** 24n);
  });
});

describe('what is not in the file', () => {
  test('stays; prune deletes it, and the file can bring it back', async () => {
    await apply([model('1')]);
    expect(await apply([])).toEqual(nothing);
    expect((await load()).models.has(name)).toBe(true);
    const others = await namesExcept(name);
    expect((await apply(others, { prune: true })).pruned).toEqual([`model ${name}`]);
    expect((await apply(others, { prune: true })).pruned).toEqual([]);
    expect((await load()).models.has(name)).toBe(false);
    expect(await apply([model('1')])).toEqual({ ...nothing, applied: [`model ${name}`] });
    expect((await load()).models.get(name)?.priceVersion).toBe(3);
    expect(await versions()).toEqual([
      [3, 'file', '1'],
      [2, 'file', 'deleted'],
      [1, 'file', '1'],
    ]);
  });

  test('is spared by prune, and listed, when it was made through the API; force deletes it too', async () => {
    await put('5');
    const others = await namesExcept(name);
    const spared = await apply(others, { prune: true });
    expect([spared.pruned, spared.skipped.includes(`model ${name}`)]).toEqual([[], true]);
    expect((await apply(others, { prune: true, force: true })).pruned).toEqual([`model ${name}`]);
  });

  /** The live entries of other tests, so that a prune concerns this one's alone. */
  async function namesExcept(spared: string): Promise<FileEntry[]> {
    const { models } = await load();
    return [...models.keys()].filter((other) => other !== spared).map((other) => model('1', other));
  }
});

describe('the version of the catalog', () => {
  test('rises with each change, through a file or the API, and with nothing else', async () => {
    const { version: before } = await load();
    await apply([model('1')]);
    expect((await load()).version).toBe(before + 1n);
    await apply([model('1')]);
    expect((await load()).version).toBe(before + 1n);
    await put('2');
    expect((await load()).version).toBe(before + 2n);
    await apply([model('3')]);
    expect((await load()).version).toBe(before + 2n);
  });
});

describe('several at once', () => {
  test('ten processes that apply the same file make one version', async () => {
    const results = await Promise.all(Array.from({ length: 10 }, () => apply([model('1')])));
    expect(results.flatMap(({ applied }) => applied)).toEqual([`model ${name}`]);
    expect(results.flatMap(({ unchanged }) => unchanged)).toHaveLength(9);
    expect(await versions()).toEqual([[1, 'file', '1']]);
  });

  test('changes through the API and files each get a version of their own', async () => {
    await Promise.all([put('1'), apply([model('2')]), put('3'), apply([model('4')], { force: true }), put('5')]);
    const numbers = (await versions()).map((version) => (version as [number])[0]);
    expect(numbers).toEqual(numbers.map((_, i) => numbers.length - i));
    expect(numbers.length).toBeGreaterThanOrEqual(4);
  });
});

test('a file with an entry the database refuses changes nothing at all', async () => {
  const broken = { ...model('1'), name: `${name}-broken`, body: [] };
  await expect(apply([model('1'), broken])).rejects.toThrow('catalog_body_is_an_object');
  expect(await versions()).toEqual([]);
});

test.each(['UPDATE catalog_entries SET version = 9', 'DELETE FROM catalog_entries', 'TRUNCATE catalog_entries'])(
  'the database refuses to change history: %s',
  async (sql) => {
    await apply([model('1')]);
    await expect(database.pool.query(sql)).rejects.toThrow('catalog entries are versions and never change');
  },
);

test('plans are loaded with their models, and the default one is found', async () => {
  await apply([
    { kind: 'plan', name: 'first', body: { default: true, models: ['a*'] } },
    { kind: 'plan', name: 'second', body: { models: ['b*'] } },
  ]);
  expect((await load()).defaultPlan?.name).toBe('first');
  await apply([{ kind: 'plan', name: 'second', body: { default: true, models: ['b*'] } }]);
  const { plans, defaultPlan } = await load();
  expect(defaultPlan?.name).toBe('second');
  expect(plans.get('first')?.allowsModel('abc')).toBe(true);
});

test('a price that looks like a slip holds, and is asked about once: of a model, and of a plan', async () => {
  await apply([model('2')]);
  const prices = { [name]: { input: '3' }, '*': { multiple: '1000' } };
  const plan: FileEntry = { kind: 'plan', name, body: { models: ['*'], features: [], prices } };
  const applied = await apply([model('2000'), plan]);
  expect(applied.questions.map(({ entry, param, message }) => `${entry}: ${param}: ${message}`)).toEqual([
    `model ${name}: price.input: 2000 is 1000 times what it was, 2`,
    `plan ${name}: prices.${name}.input: 3 is 1/666 of what it was, 2000`,
    `plan ${name}: prices.*.multiple: 1000 is above 100: it multiplies the price, and 1 leaves it as it is`,
  ]);
  expect((await versions())[0]).toEqual([2, 'file', '2000']);
  expect((await apply([model('2000'), plan])).questions).toEqual([]);
});
