/** The holds of gateways that died: what they are charged, when they are ended, and that the living are left alone. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { applyOperations, type Hold } from '../../src/ledger/operations.ts';
import type { OnOrphan, Result } from '../../src/ledger/outcomes.ts';
import { endOwner } from '../../src/ledger/owners.ts';
import type { Uuid } from '../../src/lib/ids.ts';
import { grant, hold, type LedgerRig, lockWallet, newId, OWNER, openLedger, settle } from './rig.ts';

let ledger: LedgerRig;
let account: bigint;
/** The gateway of this test. */
let gateway = 100n;

beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(async () => {
  await ledger.expectClean();
  await ledger.close();
});
beforeEach(async () => {
  gateway++;
  account = await ledger.newAccount();
  await now(grant(account, 100n));
  await beat();
});

/** By the database's own clock, in the name of this test's gateway. */
async function now(operation: Parameters<typeof applyOperations>[1][number]): Promise<Result> {
  return (await applyOperations(ledger.client, [operation], gateway))[0]!;
}

async function beat(metered: { id: Uuid; amount: bigint }[] = []): Promise<void> {
  await ledger.pool.query('SELECT ledger_heartbeat($1, $2::bigint[], $3::uuid[], $4::bigint[])', [
    gateway,
    metered.map(() => account),
    metered.map((m) => m.id),
    metered.map((m) => m.amount),
  ]);
}

const die = (): Promise<unknown> =>
  ledger.pool.query('UPDATE owners SET lease_until = clock_timestamp() WHERE owner = $1', [gateway]);

async function sweep(limit = 500): Promise<number> {
  const { rows } = await ledger.pool.query<{ ended: number }>('SELECT ledger_sweep($1, $2) AS ended', [limit, OWNER]);
  return rows[0]!.ended;
}

async function openHold(more: Partial<Hold> = {}): Promise<Uuid> {
  const id = newId();
  expect((await now(hold(account, id, 40n, { floor: 10n, ...more }))).outcome).toBe('done');
  return id;
}

async function hasLease(): Promise<boolean> {
  return (await ledger.pool.query('SELECT FROM owners WHERE owner = $1', [gateway])).rowCount === 1;
}

describe('a hold of 40 with a floor of 10, whose gateway died,', () => {
  it.each<[OnOrphan, metered: bigint, kind: string, charged: bigint]>([
    ['charge_metered', 0n, 'recovered', 10n],
    ['charge_metered', 7n, 'recovered', 10n],
    ['charge_metered', 25n, 'recovered', 25n],
    ['charge_metered', 99n, 'recovered', 40n],
    ['charge_hold', 25n, 'recovered', 40n],
    ['release', 25n, 'release', 0n],
  ])('as %s and with %d metered is ended as %3$s, charged %4$d', async (onOrphan, metered, kind, charged) => {
    const id = await openHold({ onOrphan });
    await beat([{ id, amount: metered }]);
    await die();
    expect(await sweep()).toBe(1);
    expect((await ledger.entries(account)).at(-1)!.slice(0, 2)).toEqual([kind, -charged]);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 100n - charged, held: 0n });
  });

  it('is charged exactly by one late transfer, when its gateway was alive after all', async () => {
    const id = await openHold();
    await die();
    await sweep();
    expect(await now(settle(account, id, 33n))).toMatchObject({ outcome: 'late', amount: 33n, available: 67n });
    expect(await now(settle(account, id, 33n))).toMatchObject({ outcome: 'repeated', amount: 33n });
    expect((await now(settle(account, id, 34n))).outcome).toBe('exists_with_different_amount');
    expect((await ledger.entries(account)).map((entry) => entry[0])).toEqual(['grant', 'recovered', 'late']);
  });

  it('is paid by a lot that expired since it was opened', async () => {
    const id = await openHold();
    // The lot expires after the hold was opened and before the sweep.
    await ledger.client.query('UPDATE holds SET opened_at = opened_at - interval $$1 minute$$ WHERE id = $1', [id]);
    await ledger.client.query('UPDATE lots SET expires_at = clock_timestamp() WHERE account_id = $1', [account]);
    await ledger.client.query('UPDATE wallets SET next_change_at = clock_timestamp() WHERE account_id = $1', [account]);
    await die();
    await sweep();
    expect((await ledger.entries(account)).slice(1).map((entry) => entry.slice(0, 3))).toEqual([
      ['recovered', -10n, 90n],
      ['expire', -90n, 0n],
    ]);
  });
});

describe('a sweep that meets trouble', () => {
  it('by one whose own lease ran out ends nothing: it was cut off, and so perhaps were all', async () => {
    await openHold();
    await die();
    const { rows } = await ledger.pool.query('SELECT ledger_sweep(500, $1) AS ended', [gateway]);
    expect(rows[0].ended).toBe(0);
    expect((await ledger.wallet(account)).held).toBe(40n);
    expect(await sweep()).toBe(1);
    expect((await ledger.entries(account)).at(-1)![0]).toBe('recovered');
  });

  it('passes over an account that cannot be brought right, and ends all others', async () => {
    await openHold();
    await die();
    const broken = account;
    account = await ledger.newAccount();
    gateway++;
    await now(grant(account, 100n));
    await beat();
    await openHold();
    await die();
    await ledger.client.query('UPDATE wallets SET held = 1 WHERE account_id = $1', [broken]);
    await sweep();
    expect((await ledger.wallet(account)).held).toBe(0n);
    await ledger.client.query('UPDATE wallets SET held = 40 WHERE account_id = $1', [broken]);
    await sweep();
    expect((await ledger.wallet(broken)).held).toBe(0n);
  });
});

describe('what a stream has metered', () => {
  it('only rises, and is noted for open holds alone', async () => {
    const id = await openHold();
    await beat([{ id, amount: 25n }]);
    await beat([
      { id, amount: 12n },
      { id: newId(), amount: 30n },
    ]);
    const { rows } = await ledger.pool.query<{ metered: bigint }>('SELECT metered FROM holds WHERE owner = $1', [
      gateway,
    ]);
    expect(rows).toEqual([{ metered: 25n }]);
  });

  it('is not waited for: a hold that is being settled is passed by', async () => {
    const id = await openHold();
    await ledger.client.query('BEGIN');
    await ledger.client.query('SELECT FROM holds WHERE id = $1 FOR UPDATE', [id]);
    await beat([{ id, amount: 25n }]);
    await ledger.client.query('ROLLBACK');
    const lock = await lockWallet(ledger.database.url, account);
    await beat([{ id, amount: 26n }]);
    await lock.unlock();
    const { rows } = await ledger.pool.query<{ metered: bigint }>('SELECT metered FROM holds WHERE id = $1', [id]);
    expect(rows[0]!.metered).toBe(26n);
  });
});

describe('a sweep', () => {
  it('leaves the holds of a gateway whose lease runs', async () => {
    await openHold();
    expect(await sweep()).toBe(0);
    expect((await ledger.wallet(account)).held).toBe(40n);
  });

  it('leaves them also when the lease was renewed while another sweeper looked', async () => {
    await openHold();
    await die();
    await ledger.client.query('BEGIN');
    await ledger.client.query('SELECT FROM owners WHERE owner = $1 FOR UPDATE', [gateway]);
    expect(await sweep(), 'somebody else has it').toBe(0);
    await ledger.client.query(`UPDATE owners SET lease_until = 'infinity' WHERE owner = $1`, [gateway]);
    await ledger.client.query('COMMIT');
    expect(await sweep()).toBe(0);
    expect((await ledger.wallet(account)).held).toBe(40n);
  });

  it('ends each hold once, however many sweep at once', async () => {
    for (let i = 0; i < 5; i++) await openHold({ want: 20n, least: 20n });
    await die();
    const ended = await Promise.all(Array.from({ length: 6 }, () => sweep()));
    expect(ended.reduce((sum, n) => sum + n)).toBe(5);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 50n, held: 0n });
  });

  it('ends at most its limit of one gateway at a time, and takes the lease away with the last hold', async () => {
    for (let i = 0; i < 3; i++) await openHold({ want: 20n, least: 20n });
    await die();
    expect([await sweep(2), await hasLease()]).toEqual([2, true]);
    expect([await sweep(2), await hasLease()]).toEqual([1, false]);
    expect(await sweep(2)).toBe(0);
  });

  it('ends holds whose gateway has no lease at all: committed after it was swept', async () => {
    await die();
    await sweep();
    expect(await hasLease()).toBe(false);
    await openHold();
    expect(await sweep()).toBe(1);
    expect(await ledger.wallet(account)).toMatchObject({ posted: 90n, held: 0n });
  });

  it('takes a lease that its gateway, being alive, takes again with the next beat', async () => {
    await die();
    await sweep();
    await beat();
    await openHold();
    expect(await sweep()).toBe(0);
  });
});

it('a former self is ended whole, whatever its lease says and however many holds it had', async () => {
  const holds = Array.from({ length: 501 }, () => hold(account, newId(), 0n));
  await applyOperations(ledger.client, holds, gateway);
  await openHold();
  expect(await endOwner(ledger.pool, gateway)).toBe(502);
  expect(await hasLease()).toBe(false);
  expect(await ledger.wallet(account)).toMatchObject({ posted: 90n, held: 0n });
});
