/** A heartbeat notes what a stream has metered, without the wallet's lock, while a batch ends the same hold. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import {
  grant,
  hold,
  type LedgerRig,
  NotedConnection,
  newId,
  OWNER,
  openLedger,
  settle,
  until,
  writerWaits,
} from './rig.ts';

let ledger: LedgerRig;
let connection: NotedConnection;
let writer: LedgerWriter;

beforeAll(async () => {
  ledger = await openLedger();
  connection = new NotedConnection(ledger.database.url, OWNER, silentLogger);
  writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger });
});
afterAll(async () => {
  await ledger.expectClean();
  await writer.close();
  await connection.close();
  await ledger.close();
});

it('a hold that is noted between the look at it and its end is ended all the same, once', async () => {
  const account = await ledger.newAccount();
  await writer.apply(grant(account, 100n));
  const id = newId();
  await writer.hold(hold(account, id, 40n));

  await ledger.client.query('BEGIN');
  await ledger.client.query('SELECT ledger_heartbeat($1, ARRAY[$2::bigint], ARRAY[$3::uuid], ARRAY[7::bigint])', [
    OWNER,
    account,
    id,
  ]);
  const settled = writer.settle(settle(account, id, 9n));
  await until('the settle waits for the noted hold', () => writerWaits(ledger.pool));
  await ledger.client.query('COMMIT');

  expect(await settled).toMatchObject({ outcome: 'done', amount: 9n, available: 91n, held: 0n });
  expect((await ledger.entries(account)).map(([kind, amount]) => [kind, amount])).toEqual([
    ['grant', 100n],
    ['charge', -9n],
  ]);
});
