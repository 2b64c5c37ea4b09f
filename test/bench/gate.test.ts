/** The ledger gate passes when all is exact, and names what is not: a gate that cannot fail proves nothing. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keyIdOf, parseKey } from '../../src/accounts/key-format.ts';
import { WriterConnection } from '../../src/ledger/connection.ts';
import type { Hold } from '../../src/ledger/operations.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { uuidv7 } from '../../src/lib/ids.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { ledgerFaults } from './gate.ts';
import { seedAccounts } from './seed.ts';
import { INPUT_NANO, OUTPUT_NANO } from './workload.ts';

const NOTHING = Buffer.alloc(0);
const ONE = { requests: 1, input: 300, output: 20 };
let database: TestDatabase;
let connection: WriterConnection;
let writer: LedgerWriter;
let hold: Hold;

beforeAll(async () => {
  database = await createTestDatabase();
  connection = new WriterConnection(database.url, 1n, silentLogger);
  writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
  const keys = await seedAccounts(database.pool, database.url, 3);
  const key = keyIdOf(parseKey(keys[1]!)!.name)!;
  const { rows } = await database.pool.query<{ version: bigint }>('SELECT version FROM catalog_state');
  hold = {
    ...{ verb: 'hold', account: key, key, id: uuidv7(systemClock), want: 10n ** 9n, least: 1n, floor: 1n },
    ...{ policyVersion: 1n, catalogVersion: rows[0]!.version, onOrphan: 'release', ttlSeconds: null, frozen: NOTHING },
  };
});

afterAll(async () => {
  await connection.close();
  await database.drop();
});

test('a hold that is left open is named, and what was served and not charged', async () => {
  expect(await writer.hold(hold)).toMatchObject({ outcome: 'done' });
  const faults = await ledgerFaults(database.pool, ONE, 1);
  expect(faults).toEqual([
    'charges in the ledger: 0, expected 1',
    'credits charged: 0, expected 0.34',
    'open holds: 1, expected 0',
    'credits held: 1, expected 0',
    expect.stringContaining('expected a gateway with a lease'),
  ]);
});

test('nothing is at fault when served = charged', async () => {
  const amount = 300n * INPUT_NANO + 20n * OUTPUT_NANO;
  await writer.settle({ verb: 'settle', account: hold.account, id: hold.id, amount, receipt: NOTHING });
  expect(await ledgerFaults(database.pool, ONE, 1)).toEqual([]);
});

test('one token more than was charged is named, and an answer that no client got', async () => {
  expect(await ledgerFaults(database.pool, { ...ONE, output: 21 }, 1)).toEqual([
    'credits charged: 0.34, expected 0.342',
  ]);
  expect(await ledgerFaults(database.pool, ONE, 0)).toEqual(['requests that the upstream served: 1, expected 0']);
});

test('a ledger that does not verify is named', async () => {
  await database.pool.query('UPDATE wallets SET posted = posted + 1 WHERE account_id = $1', [hold.account]);
  expect((await ledgerFaults(database.pool, ONE, 1)).join()).toContain(`account ${hold.account}, `);
});
