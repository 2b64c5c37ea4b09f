/** A settle that nobody waits for any more is tried on as long as the process lives: what was served is charged. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.ts';
import { grant, hold, type LedgerRig, NotedConnection, newId, OWNER, openLedger, settle, until } from './rig.ts';

let ledger: LedgerRig;
let proxy: WireProxy;

beforeAll(async () => {
  ledger = await openLedger();
  proxy = await startWireProxy(ledger.database.url);
});
afterAll(async () => {
  await ledger.expectClean();
  await proxy.close();
  await ledger.close();
});

it('the caller hears ledger_unavailable at the deadline; the charge is booked when the database is back, once', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n));
  const connection = new NotedConnection(proxy.url, OWNER, silentLogger);
  const options = { connection, clock: systemClock, log: silentLogger, settleTimeoutMs: 300, holdTimeoutMs: 300 };
  const writer = new LedgerWriter(options);
  const [served, unserved] = [newId(), newId()];
  await writer.hold(hold(account, served, 10n));
  await writer.hold(hold(account, unserved, 10n));
  proxy.passes = 'nothing';
  const late = writer.settle(settle(account, served, 7n));
  await expect(late).rejects.toMatchObject({ code: 'ledger_unavailable' });
  await expect(writer.hold(hold(account, newId(), 1n))).rejects.toMatchObject({ code: 'ledger_unavailable' });
  expect(writer.isLive(served)).toBe(true);
  proxy.passes = 'all';
  await until('the charge is booked', async () => (await ledger.wallet(account)).posted === 993n);
  await until('it is live no more', () => !writer.isLive(served));
  expect(writer.isLive(unserved)).toBe(true);
  await writer.release({ verb: 'release', account, id: unserved, receipt: Buffer.alloc(0) });
  expect(await ledger.wallet(account)).toMatchObject({ posted: 993n, held: 0n });
  await writer.close();
  await connection.close();
});

it('a shutdown does not wait for a database that stays away', async () => {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 1_000n));
  const connection = new NotedConnection(proxy.url, OWNER, silentLogger);
  const writer = new LedgerWriter({ connection, clock: systemClock, log: silentLogger, settleTimeoutMs: 300 });
  const id = newId();
  await writer.hold(hold(account, id, 10n));
  proxy.passes = 'nothing';
  const late = writer.settle(settle(account, id, 7n)).catch((error: Error) => error.message);
  await writer.close();
  expect(await late).toContain('ledger');
  proxy.passes = 'all';
  await connection.close();
  // Without a journal the hold would be recovered when the lease runs out.
  expect(await ledger.wallet(account)).toMatchObject({ posted: 1_000n, held: 10n });
});
