/** Holds that end by themselves: released at their own instant, without a gateway, and without a job. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readBalance } from '../../src/ledger/read.ts';
import { grant, hold, type LedgerRig, newId, openLedger, release, second, settle } from './rig.ts';
import { type StoppedClock, stopClock } from './stopped-clock.ts';

let ledger: LedgerRig;
let clock: StoppedClock;
beforeAll(async () => {
  ledger = await openLedger();
  clock = await stopClock(ledger.database);
});
afterAll(async () => {
  await ledger.expectClean();
  await clock.close();
  await ledger.close();
});

/** The kind, instant and receipt of the last entry. */
async function last(account: bigint): Promise<unknown> {
  const { rows } = await ledger.client.query(
    'SELECT kind, amount, at, key_id, receipt FROM entries WHERE account_id = $1 ORDER BY seq DESC LIMIT 1',
    [account],
  );
  return rows[0];
}

async function with100(): Promise<bigint> {
  const account = await ledger.newAccount();
  await ledger.one(grant(account, 100n));
  return account;
}

describe('a hold of ten seconds', () => {
  it.each([
    [9.999, 'credits_held'],
    [10, 'done'],
  ] as const)('at second %d: another hold of all is %s', async (at, outcome) => {
    const account = await with100();
    await ledger.one(hold(account, newId(), 60n, { ttlSeconds: 10 }));
    expect((await ledger.one(hold(account, newId(), 100n), at)).outcome).toBe(outcome);
  });

  it('ends as of its own instant, whenever that is noticed, and keeps what was frozen and how much it was', async () => {
    const account = await with100();
    await ledger.one(hold(account, newId(), 60n, { ttlSeconds: 10 }));
    await ledger.one(hold(account, newId(), 0n), 500);
    const amount = Buffer.alloc(8);
    amount.writeBigInt64BE(60n);
    const receipt = Buffer.concat([Buffer.from('frozen'), amount]);
    expect(await last(account)).toEqual({ kind: 9, amount: 0n, at: second(10), key_id: 1n, receipt });
  });

  it('is settled and released like any other until then', async () => {
    const account = await with100();
    const [a, b] = [newId(), newId()];
    await ledger.apply([hold(account, a, 40n, { ttlSeconds: 10 }), hold(account, b, 40n, { ttlSeconds: 10 })]);
    expect((await ledger.one(settle(account, a, 30n), 9.999)).outcome).toBe('done');
    expect((await ledger.one(release(account, b), 9.999)).outcome).toBe('done');
    expect(await ledger.one(hold(account, newId(), 0n), 10)).toMatchObject({ available: 70n, held: 0n });
    expect(await ledger.entries(account)).toHaveLength(3);
  });

  it('that is settled at that very instant is late: it had ended', async () => {
    const account = await with100();
    const id = newId();
    await ledger.one(hold(account, id, 40n, { ttlSeconds: 10 }));
    expect(await ledger.one(settle(account, id, 30n), 10)).toMatchObject({ outcome: 'late', amount: 30n, held: 0n });
    expect((await ledger.entries(account)).slice(1).map(([kind, amount]) => [kind, amount])).toEqual([
      ['lapse', 0n],
      ['late', -30n],
    ]);
  });
});

it('frees its credits for the holds of the batch that finds it', async () => {
  const account = await with100();
  await ledger.one(hold(account, newId(), 100n, { ttlSeconds: 10 }));
  const answers = await ledger.apply([hold(account, newId(), 60n), hold(account, newId(), 40n)], 10);
  expect(answers.map((answer) => answer.outcome)).toEqual(['done', 'done']);
});

it('several end in the order of their instants, each once', async () => {
  const account = await with100();
  const ids = [newId(), newId(), newId()];
  const ttls = [30, 10, 20];
  await ledger.apply(ids.map((id, i) => hold(account, id, 10n, { ttlSeconds: ttls[i]! })));
  await ledger.one(hold(account, newId(), 0n), 25);
  await ledger.one(hold(account, newId(), 0n), 30);
  const { rows } = await ledger.client.query<{ id: string }>(
    'SELECT id FROM entries WHERE account_id = $1 AND kind = 9 ORDER BY seq',
    [account],
  );
  expect(rows.map((row) => row.id)).toEqual([ids[1], ids[2], ids[0]]);
});

it('keeps a lot that expired meanwhile for itself only until its own end', async () => {
  const account = await ledger.newAccount();
  const id = newId();
  await ledger.one(grant(account, 10n, { reference: 'a', expiresAt: second(5) }));
  await ledger.one(hold(account, id, 10n, { ttlSeconds: 10 }));
  await ledger.one(release(account, newId()), 9);
  expect(await ledger.wallet(account)).toMatchObject({ posted: 0n, dormant: 10n });
  await ledger.one(release(account, newId()), 10);
  expect(await ledger.wallet(account)).toMatchObject({ posted: 0n, dormant: 0n });
  expect(await ledger.one(settle(account, id, 4n), 11)).toMatchObject({ outcome: 'late', available: -4n });
});

it('reads as ended from its instant on, before anything has looked', async () => {
  const account = await with100();
  await ledger.one(hold(account, newId(), 60n, { ttlSeconds: 10 }));
  for (const [at, held] of [
    [9.999, 60n],
    [10, 0n],
  ] as const) {
    await clock.set(at);
    expect(await readBalance(clock.pool, account)).toMatchObject({ held, available: 100n - held });
  }
});

it('belongs to nobody: no sweep ends it before its time, and it needs no lease', async () => {
  const account = await with100();
  const id = newId();
  await ledger.one(hold(account, id, 60n, { ttlSeconds: 3_000 }), 0, 12n);
  await ledger.client.query('SELECT ledger_end_owner(12, 100)');
  expect(await ledger.wallet(account)).toMatchObject({ held: 60n });
  await ledger.expectClean();
  await ledger.one(release(account, id));
});

it('the job ends those of idle accounts, in slices, and finds nothing more to do', async () => {
  await clock.set(1_000_000);
  await clock.pool.query('SELECT ledger_expire_due(1000)');
  const accounts = [await with100(), await with100(), await with100()];
  for (const account of accounts) await ledger.one(hold(account, newId(), 60n, { ttlSeconds: 10 }), 2_000_000);
  const due = async (at: number): Promise<unknown> => {
    await clock.set(at);
    return (await clock.pool.query('SELECT ledger_expire_due(2) AS ended')).rows[0];
  };
  expect(await due(2_000_009.999)).toEqual({ ended: 0 });
  expect([await due(2_000_010), await due(2_000_010), await due(2_000_010)]).toEqual([
    { ended: 2 },
    { ended: 1 },
    { ended: 0 },
  ]);
  for (const account of accounts) expect(await ledger.wallet(account)).toMatchObject({ held: 0n, posted: 100n });
});

it('the job passes over an account that cannot be brought to now, and ends those of all others', async () => {
  const [broken, ...others] = [await with100(), await with100(), await with100()];
  for (const [i, account] of [broken!, ...others].entries()) {
    await ledger.one(hold(account, newId(), 60n, { ttlSeconds: 10 + i }), 3_000_000);
  }
  await ledger.client.query('UPDATE wallets SET held = 0 WHERE account_id = $1', [broken]);
  await clock.set(3_000_060);
  const end = async (limit: number): Promise<unknown> =>
    (await clock.pool.query('SELECT ledger_expire_due($1) AS ended', [limit])).rows[0];
  // It is due first, and does not count: as many of those would stop the job.
  expect(await end(1)).toEqual({ ended: 1 });
  expect(await end(9)).toEqual({ ended: 1 });
  for (const account of others) expect(await ledger.wallet(account)).toMatchObject({ held: 0n, posted: 100n });
  expect(await ledger.entries(broken!)).toHaveLength(1); // nothing of what was begun on it
  await ledger.client.query('UPDATE wallets SET held = 60 WHERE account_id = $1', [broken]);
  expect(await end(9)).toEqual({ ended: 1 });
  expect(await ledger.wallet(broken!)).toMatchObject({ held: 0n, posted: 100n });
});
