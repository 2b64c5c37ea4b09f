/** `GET usage` says exactly what the entries say, whenever it is asked, and costs requests nothing. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readChanges } from '../../src/ledger/changes.ts';
import { endOwner } from '../../src/ledger/owners.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { mintId, parsePublicId } from '../../src/lib/ids.ts';
import { formatCredits } from '../../src/lib/money.ts';
import { foldAll, foldUsage } from '../../src/metering/usage-fold.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { createRig, errorBody, type Json, type Rig } from '../admin/rig.ts';
import { CREDIT, openPast, type Past } from './usage-rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

const day = (date: number, hour = 12): Date => new Date(Date.UTC(2026, 0, date, hour));
const JANUARY = 'from=2026-01-01&to=2026-02-01';
const usage = async (past: Past, query = JANUARY): Promise<Json> =>
  (await rig.customer(`/usage?${query}`, past.customer.key)).body;
const row = (key: string, requests: number, input: number, output: number, credits: string) => ({
  ...{ key, requests, input_tokens: input, output_tokens: output, credits },
});
const never = new AbortController().signal;

/** What the account was charged by its entries, less what was given back. */
async function chargedBy(account: bigint): Promise<string> {
  const { rows } = await rig.database.pool.query<{ sum: string }>(
    'SELECT coalesce(-sum(amount), 0) AS sum FROM entries WHERE account_id = $1 AND kind IN (2, 3, 4, 5, 8, 9)',
    [account],
  );
  return formatCredits(BigInt(rows[0]!.sum));
}

describe('usage', () => {
  test('is told by model, by key and by day, with a total', async () => {
    const past = await openPast(rig, day(1));
    const other = parsePublicId('key', past.otherKey)!;
    await past.charge(day(2), CREDIT / 2n, { usage: { input: 10, cached_input: 4, output: 5, reasoning: 6 } });
    await past.charge(day(2), CREDIT / 4n, { model: 'fine', key: other, usage: { input: 1, output: 2, image: 1 } });
    await past.charge(day(4), CREDIT / 4n, { key: other });
    const { key, ...total } = row('', 3, 25, 18, '1');
    expect(await usage(past)).toEqual({
      data: [row('fine', 1, 1, 2, '0.25'), row('plain', 2, 24, 16, '0.75')],
      total,
    });
    expect(await usage(past, `${JANUARY}&group_by=key`)).toEqual({
      data: [row(past.customer.keyId, 1, 14, 11, '0.5'), row(past.otherKey, 2, 11, 7, '0.5')],
      total,
    });
    const byDay = { data: [row('2026-01-02', 2, 15, 13, '0.75'), row('2026-01-04', 1, 10, 5, '0.25')], total };
    expect(await usage(past, `${JANUARY}&group_by=day`)).toEqual(byDay);
    const admin = await rig.admin('GET', `/accounts/${past.customer.id}/usage?${JANUARY}&group_by=day`);
    expect(admin).toMatchObject({ status: 200, body: byDay });
  });

  test('is that of days in UTC, from the first until before the last', async () => {
    const past = await openPast(rig, day(1, 0));
    for (const at of [day(1, 0), new Date(day(2, 0).getTime() - 1), day(2, 0), day(3, 0)]) {
      await past.charge(at, CREDIT / 10n);
    }
    const days = async (query: string) =>
      ((await usage(past, `${query}&group_by=day`)).data as Json[]).map(({ key, requests }) => [key, requests]);
    expect(await days('from=2026-01-02&to=2026-01-03')).toEqual([['2026-01-02', 1]]);
    expect(await days('from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00.000%2B00:00')).toEqual([['2026-01-01', 2]]);
    expect(await days('from=2026-01-03')).toEqual([['2026-01-03', 1]]);
    expect(await days('')).toEqual([]);
  });

  test('without days is that of this month, and of nobody but who asks', async () => {
    const past = await openPast(rig, new Date());
    const other = await openPast(rig, new Date());
    await past.charge(new Date(), CREDIT);
    expect(await usage(past, '')).toMatchObject({ data: [{ key: 'plain', requests: 1 }], total: { credits: '1' } });
    expect(await usage(other, '')).toEqual({
      data: [],
      total: { requests: 0, input_tokens: 0, output_tokens: 0, credits: '0' },
    });
  });

  test('is CSV for who accepts that', async () => {
    const past = await openPast(rig, day(1));
    await past.charge(day(2), CREDIT, { model: 'a "fine", model' });
    const { payload, headers } = await rig.http.inject({
      url: `/account/v1/usage?${JANUARY}`,
      headers: { authorization: `Bearer ${past.customer.key}`, accept: 'text/csv' },
    });
    expect(headers['content-type']).toBe('text/csv; charset=utf-8');
    expect(payload).toBe('key,requests,input_tokens,output_tokens,credits\r\n"a ""fine"", model",1,10,5,1\r\n');
  });

  test.each([
    ['from=yesterday', 'from'],
    ['from=2026-02-30', 'from'],
    ['from=2026-01-01T12:00:00Z', 'from'],
    ['from=2026-01-01T00:00:00%2B01:00', 'from'],
    ['from=1969-12-31', 'from'],
    ['from=2026-01-01&from=2026-01-02', 'from'],
    ['from=9999-01-01', 'from'],
    ['to=2026-13-01', 'to'],
    ['from=2026-01-02&to=2026-01-02', 'to'],
    ['group_by=account', 'group_by'],
    ['limit=5', 'limit'],
  ])('asked with %s is refused by name', async (query, param) => {
    const past = await openPast(rig, day(1));
    const { status, body } = await rig.customer(`/usage?${query}`, past.customer.key);
    expect(status).toBe(400);
    expect(body).toEqual(
      errorBody('invalid_request', 'invalid_request_error', param, expect.stringContaining(`'${param}'`)),
    );
  });

  test('of an account that is not there is not there', async () => {
    expect(await rig.admin('GET', '/accounts/acct_0000000000001/usage')).toMatchObject({ status: 404 });
  });
});

describe('what counts as usage', () => {
  test('a release and a hold that lapsed are none; grants and adjustments are none', async () => {
    const past = await openPast(rig, day(1));
    await past.release(await past.hold(day(2)), day(2));
    await past.hold(day(2), { ttlSeconds: 60 });
    await past.adjust(day(3), CREDIT);
    await past.adjust(day(3), -CREDIT);
    expect(await usage(past)).toMatchObject({ data: [], total: { requests: 0, credits: '0' } });
  });

  test('a request that was free is one', async () => {
    const past = await openPast(rig, day(1));
    await past.charge(day(2), 0n);
    expect(await usage(past)).toMatchObject({ data: [row('plain', 1, 10, 5, '0')] });
  });

  test('a recovered one counts once, at its day; what a late settlement adds or returns counts at that of the settlement', async () => {
    const owner = mintId(systemClock);
    const past = await openPast(rig, day(1), owner);
    const [dearer, cheaper, released] = [
      await past.hold(day(2)),
      await past.hold(day(2)),
      await past.hold(day(2), { onOrphan: 'release', model: 'kind' }),
    ];
    await endOwner(rig.database.pool, owner);
    const today = new Date().toISOString().slice(0, 10);
    const all = `from=${today}&to=9999-01-01&group_by=day`;
    expect(await usage(past, all)).toMatchObject({ data: [row(today, 2, 0, 0, '0.2')] });
    const tomorrow = new Date(Date.now() + 86_400_000);
    await past.settle(dearer, tomorrow, CREDIT, 'plain', { input: 100, output: 1 });
    await past.settle(cheaper, tomorrow, CREDIT / 20n, 'plain', { input: 10 });
    await past.settle(released, tomorrow, CREDIT / 2n, 'kind', { input: 7 });
    expect(await usage(past, all)).toMatchObject({
      data: [row(today, 2, 0, 0, '0.2'), row(tomorrow.toISOString().slice(0, 10), 1, 117, 1, '1.35')],
      total: { requests: 3, credits: '1.55' },
    });
    expect(await usage(past, `from=${today}&to=9999-01-01`)).toMatchObject({
      data: [{ key: 'kind' }, { key: 'plain' }],
    });
  });

  test('a refund is taken off on its own day, from the model and the key that were charged, and is no request', async () => {
    const past = await openPast(rig, day(1));
    const id = await past.charge(day(2), CREDIT, { model: 'fine', key: parsePublicId('key', past.otherKey)! });
    await usage(past);
    await past.reverse(id, day(20), CREDIT / 4n);
    expect(await usage(past, `${JANUARY}&group_by=day`)).toMatchObject({
      data: [row('2026-01-02', 1, 10, 5, '1'), row('2026-01-20', 0, 0, 0, '-0.25')],
    });
    expect(await usage(past)).toMatchObject({ data: [row('fine', 1, 10, 5, '0.75')] });
    expect(await usage(past, `${JANUARY}&group_by=key`)).toMatchObject({
      data: [row(past.otherKey, 1, 10, 5, '0.75')],
    });
  });
});

test('in any history, read at any moment, the credits are those of the ledger and the requests those that were charged', async () => {
  const step = fc.record({
    what: fc.constantFrom('open', 'settle', 'settle', 'release', 'reverse', 'adjust', 'die', 'late', 'lapse', 'read'),
    which: fc.nat(30),
    credits: fc.bigInt(0n, 2n * CREDIT),
    model: fc.constantFrom('plain', 'fine'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const owner = mintId(systemClock);
      const past = await openPast(rig, new Date(), owner);
      const opened: { id: string; model: string }[] = [];
      for (const { what, which, credits, model } of steps) {
        const now = new Date();
        const one = opened[which % Math.max(1, opened.length)];
        if (what === 'open') opened.push({ id: await past.hold(now, { model }), model });
        else if (what === 'lapse') await past.hold(now, { ttlSeconds: 1 });
        else if (what === 'adjust') await past.adjust(now, credits + 1n);
        else if (what === 'die') await endOwner(rig.database.pool, owner);
        else if (what === 'read') await usage(past, '');
        else if (one === undefined) continue;
        else if (what === 'release') await past.release(one.id, now);
        else if (what === 'reverse') await past.reverse(one.id, now, null);
        else await past.settle(one.id, now, credits, one.model, { input: which, output: 1 });
      }
      const { account } = past.customer;
      const { rows } = await rig.database.pool.query<{ charged: bigint; settled: bigint }>(
        `SELECT count(DISTINCT id) FILTER (WHERE kind IN (2, 4, 5)) AS charged, count(*) FILTER (WHERE kind IN (2, 5)) AS settled
           FROM entries WHERE account_id = $1`,
        [account],
      );
      expect((await usage(past, 'from=2000-01-01&to=9999-01-01')).total).toMatchObject({
        ...{
          credits: await chargedBy(account),
          requests: Number(rows[0]!.charged),
          output_tokens: Number(rows[0]!.settled),
        },
      });
    }),
    { numRuns: 25 },
  );
});

test('however many fold at once while requests end, each entry counts once', async () => {
  const past = await openPast(rig, new Date());
  const { account } = past.customer;
  const charges = Array.from({ length: 60 }, () => past.charge(new Date(), CREDIT / 100n));
  const readers = Array.from({ length: 20 }, () => foldUsage(rig.database.pool, account));
  await Promise.all([...charges, ...readers]);
  await Promise.all(Array.from({ length: 5 }, () => foldUsage(rig.database.pool, account)));
  expect((await usage(past, '')).total).toEqual({
    requests: 60,
    input_tokens: 600,
    output_tokens: 300,
    credits: '0.6',
  });
});

test('the job folds who is far behind, leaves who is not to their readers, and passes over who cannot be folded', async () => {
  const [busy, idle, broken] = [await openPast(rig, day(1)), await openPast(rig, day(1)), await openPast(rig, day(1))];
  for (let i = 0; i < 5; i++) for (const past of [busy, broken]) await past.charge(day(2), CREDIT);
  await rig.database.pool.query(
    `BEGIN; SET LOCAL session_replication_role = replica;
     UPDATE entries SET receipt = '[9]' WHERE kind = 2 AND account_id = ${broken.customer.account}; COMMIT`,
  );
  await foldAll(rig.database.pool, silentLogger, never, 6);
  const { rows } = await rig.database.pool.query<{ account_id: bigint; seq: bigint }>(
    'SELECT account_id, seq FROM usage_folds WHERE account_id = ANY ($1)',
    [[busy, idle, broken].map(({ customer }) => customer.account)],
  );
  expect(rows).toEqual([{ account_id: busy.customer.account, seq: 6n }]);
});

test('a reader does not wait for an account that was never folded to be', async () => {
  const past = await openPast(rig, day(1));
  await past.charge(day(2), CREDIT);
  await expect(foldUsage(rig.database.pool, past.customer.account, { most: 1 })).rejects.toThrow(/overloaded|busy/i);
  expect(await foldUsage(rig.database.pool, past.customer.account, { most: 2 })).toBe(2n);
});

test('changes are found by their numbers, whatever the page, whatever the order of ids', async () => {
  const past = await openPast(rig, day(1));
  const { account } = past.customer;
  const ids: string[] = [];
  for (let i = 0; i < 12; i++) ids.push(await past.hold(day(2, i)));
  for (const [i, id] of ids.reverse().entries()) {
    if (i % 4 === 3) await past.release(id, day(3));
    else await past.settle(id, day(3), CREDIT / 10n, 'plain', { input: 1 });
  }
  await past.reverse(ids[0]!, day(4), null);
  await past.adjust(day(4), CREDIT);
  const last = 15n;
  await fc.assert(
    fc.asyncProperty(fc.bigInt(0n, last), fc.bigInt(0n, last), fc.integer({ min: 1, max: 20 }), async (a, b, page) => {
      const [after, through] = a < b ? [a, b] : [b, a];
      const found: bigint[] = [];
      for await (const changes of readChanges(rig.database.pool, account, after, through, page)) {
        found.push(...changes.map(({ seq }) => seq));
      }
      found.sort((x, y) => Number(x - y));
      expect(found).toEqual(Array.from({ length: Number(through - after) }, (_, i) => after + BigInt(i) + 1n));
    }),
    { numRuns: 60 },
  );
});
