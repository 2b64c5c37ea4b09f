import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compareSchema, dumpSchema } from '../../scripts/schema.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let databases: TestDatabase[];

beforeAll(async () => {
  databases = [await createTestDatabase(), await createTestDatabase()];
});
afterAll(async () => {
  for (const database of databases) await database.drop();
});

async function dump(database: TestDatabase, change = 'SELECT 1'): Promise<string> {
  const client: pg.PoolClient = await database.pool.connect();
  try {
    await client.query(change);
    return await dumpSchema(client);
  } finally {
    client.release(true);
  }
}

test('the same migrations give the same dump, in whichever month it is made', async () => {
  const [first, second] = databases as [TestDatabase, TestDatabase];
  const expected = await dump(first);
  expect(await dump(second, 'SELECT tollgate.make_partitions(30)')).toBe(expected);
});

test.each([
  ['a column', 'ALTER TABLE owners ADD COLUMN planted text', /planted text/],
  ['a default', 'ALTER TABLE owners ALTER COLUMN started_at SET DEFAULT now()', /DEFAULT now\(\)/],
  ['a storage option', 'ALTER TABLE owners SET (fillfactor = 51)', /fillfactor=51/],
  ['a constraint', 'ALTER TABLE owners ADD CONSTRAINT planted CHECK (owner > 0)', /CONSTRAINT planted CHECK/],
  ['an index', 'CREATE INDEX planted_index ON owners (lease_until)', /CREATE INDEX planted_index/],
  [
    'a partition',
    `CREATE TABLE planted_partition PARTITION OF entries FOR VALUES FROM (MINVALUE) TO ('00000000-0000-0000-0000-000000000001')`,
    /planted_partition PARTITION OF entries FOR VALUES FROM \(MINVALUE\)/,
  ],
  [
    'a trigger',
    'CREATE TRIGGER planted_trigger BEFORE UPDATE ON owners FOR EACH ROW EXECUTE FUNCTION refuse_change()',
    /TRIGGER planted_trigger/,
  ],
  [
    'a function',
    `CREATE FUNCTION planted_function() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
    /FUNCTION tollgate\.planted_function/,
  ],
  ['a view', 'CREATE VIEW planted_view AS SELECT owner FROM owners', /CREATE VIEW planted_view/],
  ['a type', `CREATE TYPE planted_type AS ENUM ('a', 'b')`, /CREATE TYPE planted_type AS ENUM \('a', 'b'\)/],
  [
    'a domain',
    'CREATE DOMAIN planted_domain AS bigint NOT NULL CHECK (VALUE > 0)',
    /CREATE DOMAIN planted_domain AS bigint NOT NULL CONSTRAINT \S+ CHECK/,
  ],
  ['a sequence', 'CREATE SEQUENCE planted_sequence', /CREATE SEQUENCE planted_sequence/],
])('%s that no migration makes shows in the comparison', async (_what, change, shown) => {
  const database = databases[0]!;
  const before = await dump(database);
  const after = await dump(database, change);
  expect(after).toMatch(shown);
  expect(compareSchema(before, after)).toMatch(/differs .* from line \d+ on\. Run npm run schema/);
  expect(compareSchema(after, after)).toBeNull();
});
