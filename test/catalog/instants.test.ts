/** Versions that wait for their instant: in force exactly then, by the database's clock, and never undone by what changes meanwhile. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { applyCatalog } from '../../src/catalog/apply.ts';
import {
  catalogChanged,
  changeEntry,
  entryVersions,
  insertVersion,
  latestEntries,
  loadCatalog,
  putEntries,
  putEntry,
} from '../../src/catalog/store.ts';
import { grant, hold, type LedgerRig, newId, openLedger } from '../ledger/rig.ts';
import { eventually } from '../support/gateway.ts';

let ledger: LedgerRig;
beforeAll(async () => {
  ledger = await openLedger();
});
afterAll(() => ledger.close());

let serial = 0;
let name: string;
beforeEach(() => {
  name = `m${++serial}`;
});

const ROUTES = [{ provider: 'on', model: 'x' }];
/** Far enough that no test comes to it by itself; each test has its own, so that none puts another's in force. */
const hours = (n: number): Date => new Date(START + serial * 86_400_000 + n * 3_600_000);
const START = Math.ceil(Date.now() / 3_600_000) * 3_600_000 + 3_600_000;

interface Set {
  price?: string;
  cost?: string;
}

/** What `POST models/{model}/prices` does: sets one price or both, now or later. */
async function set({ price, cost }: Set, at: Date | null = null, model = name): Promise<number> {
  const given = {
    ...(price === undefined ? {} : { price: { input: price } }),
    ...(cost === undefined ? {} : { cost: { input: cost } }),
  };
  const make = (base: { body: object } | null) => ({ ...base!.body, ...given });
  const fields = Object.keys(given);
  return (await changeEntry(ledger.pool, { kind: 'model', name: model, author: 'me', at, fields, make })).version;
}

const put = (price: string, more: object = {}): Promise<number> =>
  putEntry(ledger.pool, 'model', name, { routes: ROUTES, price: { input: price }, ...more }, 'me');

interface Body {
  price?: { input: string };
  cost?: { input: string };
  routes: unknown[];
}

/** The body in force at an instant; the database's clock is moved there. */
async function at(instant: Date | null, model = name): Promise<Body & { version: number }> {
  const { rows } = await ledger.pool.query<{ body: Body; version: number }>(
    `SELECT body, version FROM catalog_in_force($1) WHERE kind = 'model' AND name = $2`,
    [instant, model],
  );
  return { ...rows[0]!.body, version: rows[0]!.version };
}

/** The same as it is found by whoever explains that instant, without moving any clock. */
async function replayed(instant: Date | null): Promise<Body & { version: number }> {
  const { rows } = await ledger.pool.query<{ body: Body; version: number }>(
    `SELECT body, version FROM catalog_at(coalesce($1, clock_timestamp())) WHERE kind = 'model' AND name = $2`,
    [instant, name],
  );
  return { ...rows[0]!.body, version: rows[0]!.version };
}

const load = () => loadCatalog(ledger.pool, { providers: new Set(['on']), markup: 1_000_000n });
const listed = async () =>
  (await entryVersions(ledger.pool, 'model', name)).map((one) => [one.version, one.waits, one.body.price]);

describe('a price that waits', () => {
  test('makes every gateway’s catalog old at its instant, to the microsecond, though nobody has read it since', async () => {
    await put('1');
    const due = hours(1);
    await set({ price: '2' }, due);
    const { version } = await load();
    const account = await ledger.newAccount();
    await ledger.one(grant(account, 100n));
    const budgeted = await ledger.newAccount();
    await ledger.one(grant(budgeted, 100n));
    await ledger.setBudget(budgeted, 0n, 100n, 'total');
    const before = new Date(due.getTime() - 1);
    // The plain way and the other, whose rules are written twice.
    for (const [who, policyVersion] of [
      [account, 1n],
      [budgeted, 9n],
    ] as const) {
      const ask = () => hold(who, newId(), 1n, { catalogVersion: version, policyVersion });
      expect(await outcomeAt(ask(), before)).toBe('done');
      expect(await outcomeAt(ask(), due, -1)).toBe('done');
      expect(await outcomeAt(ask(), due)).toBe('stale_policy');
      expect(await outcomeAt({ ...ask(), catalogVersion: version + 1n }, due)).toBe('done');
    }
    expect(await claimAt(account, version, before)).toBe('claimed');
    expect(await claimAt(account, version, due)).toBe('stale_policy');
    expect(await claimAt(account, version + 1n, due)).toBe('claimed');
    expect((await load()).version).toBe(version);
    expect((await load()).models.get(name)?.priceVersion).toBe(1);
  });

  /** Judges a hold at an instant, and microseconds beside it, which a `Date` cannot say. */
  async function outcomeAt(operation: ReturnType<typeof hold>, instant: Date, microseconds = 0): Promise<string> {
    const { account, id, key, want, policyVersion, catalogVersion } = operation;
    const { rows } = await ledger.pool.query<{ outcome: number[] }>(
      `SELECT outcome FROM ledger_apply('{4}', ARRAY[$1::bigint], ARRAY[$2::uuid], ARRAY[$3::bigint], ARRAY[$4::bigint], ARRAY[$4::bigint], '{0}',
         ARRAY[$5::bigint], ARRAY[$6::bigint], '{0}', '{0}', '{1}', '{1}', '\\x00', 7, $7::timestamptz + $8 * interval '1 microsecond')`,
      [account, id, key, want, policyVersion, catalogVersion, instant, microseconds],
    );
    return rows[0]!.outcome[0] === 30
      ? 'stale_policy'
      : rows[0]!.outcome[0] === 1
        ? 'done'
        : String(rows[0]!.outcome[0]);
  }

  async function claimAt(account: bigint, catalog: bigint, instant: Date): Promise<string> {
    const { rows } = await ledger.pool.query<{ outcome: string }>(
      `SELECT outcome FROM idempotency_claim($1, 1, $2, $2, $3, 7, 1, $4, 1000, $5)`,
      [account, randomBytes(32), newId(), catalog, instant],
    );
    return rows[0]!.outcome;
  }

  test('is in force from its instant on and not before; each instant raises the catalog’s version once', async () => {
    await put('1');
    await set({ price: '2' }, hours(1));
    await set({ price: '3' }, hours(2));
    // What earlier tests left waiting is put in force on the way.
    expect((await at(new Date(hours(1).getTime() - 1))).price).toEqual({ input: '1' });
    const { version } = await load();
    expect((await at(hours(1))).price).toEqual({ input: '2' });
    expect((await load()).version).toBe(version + 1n);
    expect((await at(hours(2))).price).toEqual({ input: '3' });
    expect((await load()).version).toBe(version + 2n);
    expect((await at(hours(3))).price).toEqual({ input: '3' });
    expect((await load()).version).toBe(version + 2n);
  });

  test('is not taken back where the database’s clock steps back', async () => {
    await put('1');
    await set({ price: '2' }, hours(1));
    await at(hours(1));
    expect((await at(new Date(hours(1).getTime() - 5_000))).price).toEqual({ input: '2' });
  });

  test('stays when a route is mended meanwhile, and has it too', async () => {
    await put('1', { cost: { input: '1' } });
    await set({ price: '2' }, hours(1));
    await put('1', { cost: { input: '0.9' }, on_disconnect: 'drain' });
    expect(await at(null)).toMatchObject({ price: { input: '1' }, cost: { input: '0.9' } });
    expect(await at(hours(1))).toMatchObject({ price: { input: '2' }, cost: { input: '0.9' }, on_disconnect: 'drain' });
  });

  test('is replaced by another for the same instant, and keeps of it what that does not set', async () => {
    await put('1', { cost: { input: '1' } });
    await set({ price: '2' }, hours(1));
    await set({ cost: '5' }, hours(1));
    await set({ price: '3' }, hours(1));
    expect(await listed()).toEqual([
      [4, true, { input: '3' }],
      [1, false, { input: '1' }],
    ]);
    expect(await at(hours(1))).toMatchObject({ price: { input: '3' }, cost: { input: '5' } });
  });

  test('the end of a promotion may be set before its beginning', async () => {
    await put('1');
    await set({ price: '1' }, hours(2));
    await set({ price: '0.5' }, hours(1));
    expect((await at(hours(1))).price).toEqual({ input: '0.5' });
    expect((await at(hours(2))).price).toEqual({ input: '1' });
  });

  test.each([0, -1])('cannot begin %i hours from now', async (n) => {
    await put('1');
    const past = new Date(Date.now() + n * 3_600_000);
    await expect(set({ price: '2' }, past)).rejects.toMatchObject({ code: 'invalid_request', param: 'effective_at' });
    expect(await listed()).toEqual([[1, false, { input: '1' }]]);
  });

  test('is one of 20 at most', async () => {
    await put('1');
    for (let i = 1; i <= 20; i++) await set({ price: String(i + 1) }, hours(i));
    await expect(set({ price: '2' }, hours(21))).rejects.toMatchObject({ code: 'conflict' });
    await set({ price: '30' }, hours(20));
    expect((await at(hours(20))).price).toEqual({ input: '30' });
  });
});

test('whatever is set, in whatever order: at each instant that holds which was set last for it or before it', async () => {
  const moments = [null, 1, 2, 3] as const;
  const digit = fc.integer({ min: 1, max: 4 }).map(String);
  const change = fc.record({ moment: fc.constantFrom(...moments), price: fc.option(digit), cost: fc.option(digit) });
  const changes = fc.array(change, { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(changes, async (sets) => {
      name = `m${++serial}`;
      await put('9', { cost: { input: '9' } });
      for (const { moment, price, cost } of sets) {
        const given = { ...(price === null ? {} : { price }), ...(cost === null ? {} : { cost }) };
        await set(given, moment === null ? null : hours(moment));
      }
      for (const [i, moment] of moments.entries()) {
        const last = (field: 'price' | 'cost'): string => {
          const told = moments
            .slice(0, i + 1)
            .map((one) => sets.findLast((s) => s.moment === one && s[field] !== null)?.[field]);
          return told.findLast((one) => one !== undefined) ?? '9';
        };
        const inForce = await at(moment === null ? null : hours(moment));
        expect([inForce.price?.input, inForce.cost?.input]).toEqual([last('price'), last('cost')]);
        expect(await replayed(moment === null ? null : hours(moment))).toEqual(inForce);
      }
    }),
    { numRuns: 30 },
  );
});

describe('what else writes versions', () => {
  const file = (price: string) => ({ kind: 'model' as const, name, body: { routes: ROUTES, price: { input: price } } });
  const apply = (price: string, force = false) => applyCatalog(ledger.pool, [file(price)], { force, prune: false });

  test('a file leaves an entry alone in which a version of the API waits; forced, it gives that up', async () => {
    await apply('1');
    await set({ price: '2' }, hours(1));
    expect(await apply('3')).toMatchObject({ applied: [], skipped: [`model ${name}`] });
    expect((await apply('3', true)).applied).toEqual([`model ${name}`]);
    expect(await listed()).toEqual([
      [3, false, { input: '3' }],
      [1, false, { input: '1' }],
    ]);
    expect((await at(hours(1))).price).toEqual({ input: '3' });
  });

  test('an import changes costs now, from the version in force, and leaves the price that waits', async () => {
    await put('1', { cost: { input: '1' } });
    await set({ price: '2' }, hours(1));
    const made = (await latestEntries(ledger.pool, 'model')).find((one) => one.name === name)!;
    expect(made).toMatchObject({ version: 2, body: { price: { input: '1' } } });
    const body = { ...(made.body as object), cost: { input: '0.7' } };
    await putEntries(ledger.pool, [{ kind: 'model', name, body, version: made.version }], 'import');
    expect(await at(null)).toMatchObject({ price: { input: '1' }, cost: { input: '0.7' } });
    expect(await at(hours(1))).toMatchObject({ price: { input: '2' }, cost: { input: '0.7' } });
  });

  test('an import is refused where a version that waits was made since it looked', async () => {
    await put('1');
    const body = { routes: ROUTES, price: { input: '1' } };
    await set({ price: '2' }, hours(1));
    const stale = putEntries(ledger.pool, [{ kind: 'model', name, body, version: 1 }], 'import');
    await expect(stale).rejects.toMatchObject({ code: 'conflict' });
  });
});

test('ten gateways that read at the instant put it in force once', async () => {
  await put('1');
  await set({ price: '2' }, hours(1));
  const { version } = await load();
  const prices = await Promise.all(Array.from({ length: 10 }, async () => (await at(hours(1))).price));
  expect(prices).toEqual(Array.from({ length: 10 }, () => ({ input: '2' })));
  expect((await load()).version).toBe(version + 1n);
});

test('what is written while a gateway waits to put in force what is due is not missed', async () => {
  await put('1');
  await set({ price: '2' }, hours(1));
  const writer = await ledger.pool.connect();
  try {
    await writer.query('BEGIN');
    const { rows } = await writer.query<{ now: string }>('SELECT catalog_lock()::text AS now');
    const body = { routes: ROUTES, price: { input: '3' } };
    const made = { kind: 'model' as const, name, body, version: 3, source: 'api' as const, digest: null, author: 'me' };
    await insertVersion(writer, { ...made, effectiveAt: hours(2) });
    await catalogChanged(writer, rows[0]!.now);
    const reading = at(hours(1));
    await eventually(
      async () => (await ledger.pool.query('SELECT FROM pg_locks WHERE NOT granted')).rowCount === 1,
      'a wait',
    );
    await writer.query('COMMIT');
    expect((await reading).price).toEqual({ input: '2' });
  } finally {
    writer.release();
  }
  const { rows } = await ledger.pool.query<{ next_change_at: Date }>('SELECT next_change_at FROM catalog_state');
  expect(rows[0]!.next_change_at).toEqual(hours(2));
});
