/**
 * A statement that sits in a half-open connection reaches Postgres after its process is dead and its hold has ended: nothing
 * is revived, nothing is charged twice, and what it opens is ended by the next sweep.
 */
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { applyOperations, type Operation } from '../../../src/ledger/operations.ts';
import type { Uuid } from '../../../src/lib/ids.ts';
import { grant, hold, type LedgerRig, newId, OWNER, openLedger, release, settle } from '../../ledger/rig.ts';
import { type Struck, startWireProxy, type WireProxy } from '../../support/wire-proxy.ts';

let ledger: LedgerRig;
let proxy: WireProxy;
let account: bigint;
let id: Uuid;

beforeAll(async () => {
  ledger = await openLedger();
  proxy = await startWireProxy(ledger.database.url);
});
afterAll(async () => {
  await ledger.expectClean();
  await proxy.close();
  await ledger.close();
});
beforeEach(async () => {
  account = await ledger.newAccount();
  id = newId();
  await ledger.one(grant(account, 1_000n));
});

/** Runs `call` on a connection that freezes as the call leaves, and whose process dies then. */
async function zombie(statement: RegExp, call: (client: pg.Client) => Promise<unknown>): Promise<Struck> {
  const client = new pg.Client({ connectionString: proxy.url, options: '-c search_path=tollgate' });
  client.on('error', () => {});
  await client.connect();
  const struck = proxy.strike({ statement, point: 'arrived', fate: 'freeze' });
  call(client).catch(() => {});
  const frozen = await struck;
  await client.end();
  return frozen;
}

const zombieOf = (operation: Operation, owner = OWNER): Promise<Struck> =>
  zombie(/ledger_apply/, (client) => applyOperations(client, [operation], owner));

const charged = async (): Promise<bigint> => {
  const entries = await ledger.entries(account);
  return -entries.filter(([kind]) => kind !== 'grant').reduce((sum, [, amount]) => sum + amount, 0n);
};

const theHold = (): Operation => hold(account, id, 100n, { floor: 10n });
const held = async (): Promise<bigint> => (await ledger.wallet(account)).held;

const verbs: Record<string, () => Operation> = {
  hold: theHold,
  extend: () => ({ verb: 'extend', account, id, want: 200n, least: 200n }),
  settle: () => settle(account, id, 70n),
  release: () => release(account, id),
};

const endings: Record<string, { end: () => Promise<unknown>; costs: bigint }> = {
  settled: { end: () => ledger.one(settle(account, id, 70n)), costs: 70n },
  released: { end: () => ledger.one(release(account, id)), costs: 0n },
  recovered: { end: () => ledger.recover(account, id), costs: 10n },
};

const cases = Object.keys(verbs).flatMap((verb) => Object.keys(endings).map((ending) => ({ verb, ending })));

describe.each(cases)('a $verb that arrives once its hold is $ending', ({ verb, ending }) => {
  it('revives nothing, and what was served is charged once', async () => {
    const { end, costs } = endings[ending]!;
    await ledger.one(theHold());
    const zombies = [await zombieOf(verbs[verb]!()), await zombieOf(verbs[verb]!())];
    await end();
    for (const { deliver } of zombies) {
      await deliver();
      expect(await held()).toBe(0n);
      // A settle says what was served: it is charged late where that was not known.
      expect(await charged()).toBe(verb === 'settle' ? 70n : costs);
    }
  });
});

describe('what arrives once its gateway was swept', () => {
  const DEAD = 1_002n;
  beforeEach(async () => {
    await ledger.pool.query("INSERT INTO owners VALUES ($1, clock_timestamp() - interval '1 second', now())", [DEAD]);
  });
  const sweep = (): Promise<unknown> => ledger.pool.query('SELECT ledger_sweep(100, $1)', [OWNER]);
  const leases = async (): Promise<number> =>
    (await ledger.pool.query('SELECT FROM owners WHERE owner = $1', [DEAD])).rowCount!;

  it('a new hold: the next sweep ends it, for its floor', async () => {
    const { deliver } = await zombieOf(theHold(), DEAD);
    await sweep();
    await deliver();
    expect(await held()).toBe(100n);
    await sweep();
    expect(await held()).toBe(0n);
    expect(await charged()).toBe(10n);
  });

  it('a heartbeat: it gets a lease that runs out, and no hold', async () => {
    await applyOperations(ledger.client, [theHold()], DEAD);
    const { deliver } = await zombie(/ledger_heartbeat/, (client) =>
      client.query('SELECT ledger_heartbeat($1, $2, $3, $4)', [DEAD, [account], [id], [60n]]),
    );
    await sweep();
    expect(await charged()).toBe(10n);
    await deliver();
    expect([await leases(), await held(), await charged()]).toEqual([1, 0n, 10n]);
    await ledger.pool.query('UPDATE owners SET lease_until = clock_timestamp() WHERE owner = $1', [DEAD]);
    await sweep();
    expect([await leases(), await held(), await charged()]).toEqual([0, 0n, 10n]);
  });
});
