/** The outbox: what happened, told once, in order, in the transaction that made it happen. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pruneOutbox, tellExpiring } from '../../src/accounts/outbox.ts';
import { type Customer, createCustomer, createRig, type Json, openRequest, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

interface Told {
  id: string;
  type: string;
  account_id: string;
  data: Json;
}

/** Waits until all that was written before is shown: transactions elsewhere on the server hold it back while they run. */
async function settled(): Promise<void> {
  const { rows } = await rig.database.pool.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
  for (;;) {
    const shown = await rig.database.pool.query<{ ok: boolean }>(
      'SELECT $1::text::xid8 < pg_snapshot_xmin(pg_current_snapshot()) AS ok',
      [rows[0]!.xid],
    );
    if (shown.rows[0]!.ok) return;
    await sleep(5);
  }
}

/** All that is told after an event, page by page. */
async function read(after: string | null = null, limit = 3): Promise<Told[]> {
  const all: Told[] = [];
  for (let at = after; ; ) {
    const { status, body } = await rig.admin('GET', `/events?limit=${limit}${at === null ? '' : `&after=${at}`}`);
    expect(status).toBe(200);
    all.push(...(body.data as Told[]));
    at = body.next_cursor as string | null;
    if (!body.has_more) return all;
  }
}

const of = async ({ id }: Customer, type?: string) => {
  await settled();
  return (await read()).filter((event) => event.account_id === id && (type === undefined || event.type === type));
};

test('each grant is told once, in order, and a reader goes on where it was', async () => {
  const customer = await createCustomer(rig, '100');
  const [first] = await of(customer);
  expect(first).toMatchObject({
    type: 'credits.granted',
    data: { kind: 'topup', credits: '100', reference: 'first', expires_at: null },
  });
  const grant = (reference: string) =>
    rig.admin('POST', `/accounts/${customer.id}/credits`, { credits: '0.000000001', kind: 'promo', reference });
  await grant('a');
  await grant('a');
  await grant('b');
  await settled();
  const next = await read(first!.id, 1);
  expect(next.map(({ data }) => [data.reference, data.credits])).toEqual([
    ['a', '0.000000001'],
    ['b', '0.000000001'],
  ]);
  expect(await read(next.at(-1)!.id)).toEqual([]);
});

test('what commits late is not passed over by a reader who was faster', async () => {
  const { account, id } = await createCustomer(rig, null);
  const tell = 'SELECT outbox_tell($1, $2, NULL, $3)';
  const slow = await rig.database.pool.connect();
  await slow.query('BEGIN');
  await slow.query(tell, [account, 'payment.failed', { who: 'slow' }]);
  await rig.database.pool.query(tell, [account, 'payment.failed', { who: 'quick' }]);
  const early = (await read()).filter((event) => event.account_id === id);
  expect(early).toEqual([]);
  await slow.query('COMMIT');
  slow.release();
  await settled();
  const told = (await read()).filter((event) => event.account_id === id);
  expect(told.map(({ data }) => data.who)).toEqual(['slow', 'quick']);
});

test('a balance that falls below what is low is told each time it does, and one that is gone', async () => {
  const customer = await createCustomer(rig, '100');
  await rig.database.pool.query('UPDATE wallets SET low_below = 50000000000 WHERE account_id = $1', [customer.account]);
  const spend = async (credits: string) => {
    const request = await openRequest(rig, customer, credits);
    await request.settle(credits);
  };
  await spend('40');
  expect(await of(customer, 'balance.low')).toEqual([]);
  await spend('20');
  await spend('10');
  expect(await of(customer, 'balance.low')).toMatchObject([{ data: { balance: '40', threshold: '50' } }]);
  await rig.admin('POST', `/accounts/${customer.id}/credits`, { credits: '50', kind: 'topup', reference: 'more' });
  await spend('40');
  await spend('40');
  await spend('0');
  expect(await of(customer, 'balance.low')).toHaveLength(2);
  expect(await of(customer, 'balance.exhausted')).toMatchObject([{ data: { balance: '0' } }]);
});

test('a balance that becomes low wants its recharge in the same transaction, where that is switched on', async () => {
  const wanted = async (enabled: boolean) => {
    const { account } = await createCustomer(rig, '100');
    const { pool } = rig.database;
    await pool.query(
      `INSERT INTO auto_recharge (account_id, enabled, threshold, pack, monthly_cap_minor) VALUES ($1, $2, 1, 'p', 1000)`,
      [account, enabled],
    );
    await pool.query('UPDATE wallets SET low_below = 200000000000 WHERE account_id = $1', [account]);
    return (await pool.query('SELECT FROM recharge_wanted WHERE account_id = $1', [account])).rowCount;
  };
  expect(await wanted(true)).toBe(1);
  expect(await wanted(false)).toBe(0);
});

test('a budget is told once a period that it is used up: by what was spent, or by the first that does not fit', async () => {
  const spent = await createCustomer(rig, '100');
  await rig.admin('PATCH', `/accounts/${spent.id}/keys/${spent.keyId}`, { budget: { credits: '10', period: 'day' } });
  const request = await openRequest(rig, spent, '10');
  expect(await of(spent, 'budget.reached')).toEqual([]);
  await request.settle('10');
  expect(await of(spent, 'budget.reached')).toMatchObject([
    { data: { key_id: spent.keyId, budget: '10', spent: '10', period: 'day' } },
  ]);
  const refused = await createCustomer(rig, '100');
  await rig.admin('PATCH', `/accounts/${refused.id}`, { budget: { credits: '10', period: 'total' } });
  for (let tries = 0; tries < 3; tries++) await expect(openRequest(rig, refused, '11')).rejects.toThrow();
  expect(await of(refused, 'budget.reached')).toMatchObject([
    { data: { key_id: null, budget: '10', spent: '0', period: 'total', since: null } },
  ]);
});

test('credits that expire within a week and are left are told of once', async () => {
  const customer = await createCustomer(rig, null);
  const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();
  for (const [reference, days] of [
    ['soon', 3],
    ['later', 30],
  ] as const)
    await rig.admin('POST', `/accounts/${customer.id}/credits`, {
      credits: '10',
      kind: 'promo',
      reference,
      expires_at: inDays(days),
    });
  await (await openRequest(rig, customer, '4')).settle('4');
  await tellExpiring(rig.database.pool);
  await tellExpiring(rig.database.pool);
  expect(await of(customer, 'credits.expiring')).toMatchObject([{ data: { credits: '6' } }]);
});

test('what is older than 90 days is deleted, and no younger', async () => {
  const customer = await createCustomer(rig, '1');
  await createCustomer(rig, '1');
  await rig.database.pool.query("UPDATE outbox SET at = at - interval '91 days' WHERE account_id = $1", [
    customer.account,
  ]);
  await settled();
  const before = (await read()).length;
  await pruneOutbox(rig.database.pool);
  expect(await read()).toHaveLength(before - 1);
});

test.each(['x', 'evt_1', 'evt_1_', 'evt_-1_2', `evt_1_${'9'.repeat(19)}`, 'evt_1_2%00'])(
  'an event id that is none is refused by name: %s',
  async (after) => {
    const answer = await rig.admin('GET', `/events?after=${after}`);
    expect(answer).toMatchObject({ status: 400, body: { error: { code: 'invalid_request', param: 'after' } } });
  },
);
