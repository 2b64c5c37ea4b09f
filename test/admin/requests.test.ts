/** Receipts by their id alone, and the proof of the ledger, through the admin API. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { publicUuid, uuidv7 } from '../../src/lib/ids.ts';
import { createCustomer, createRig, errorBody, openRequest, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

test('a receipt is found by its id among the accounts, running or ended', async () => {
  const customer = await createCustomer(rig, '10');
  const other = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '2');
  const held = await rig.admin('GET', `/requests/${request.id}`);
  expect(held).toMatchObject({
    status: 200,
    body: { request_id: request.id, status: 'held', held: '2', charged: '0' },
  });
  await request.settle('1', { usage: { input: 1000 } });
  const settled = await rig.admin('GET', `/requests/${request.id}`);
  expect(settled.body).toMatchObject({ account_id: customer.id, status: 'settled', charged: '1' });
  expect((await rig.admin('GET', `/requests/${request.id}?account=${customer.id}`)).body).toEqual(settled.body);
  expect((await rig.admin('GET', `/requests/${request.id}?account=${other.id}`)).status).toBe(404);
  const listed = await rig.admin('GET', `/accounts/${customer.id}/requests`);
  expect(listed.body).toEqual({ data: [settled.body], has_more: false, next_cursor: null });
});

test('accounts are probed by their index, slice by slice, also beyond the first thousand', async () => {
  const customer = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '1');
  await request.release();
  await rig.database.pool.query(
    'INSERT INTO wallets (account_id) SELECT $1::bigint + i FROM generate_series(1, 2500) i',
    [customer.account],
  );
  expect(await rig.admin('GET', `/requests/${request.id}`)).toMatchObject({
    status: 200,
    body: { status: 'released' },
  });
  const unknown = publicUuid('req', uuidv7(systemClock));
  const missing = await rig.admin('GET', `/requests/${unknown}`);
  expect(missing).toMatchObject({
    status: 404,
    body: errorBody('not_found', 'invalid_request_error', null, expect.stringContaining('?account=')),
  });
  await rig.database.pool.query(
    'DELETE FROM wallets w WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.account_id = w.account_id)',
  );
});

test.each([
  'req_nonsense',
  'lot_00000000000070000000000000000000',
  'req_00000000000070000000000000000000?account=acct_x',
])('no request is %s', async (path) => {
  const { status, body } = await rig.admin('GET', `/requests/${path}`);
  expect(status).toBe(404);
  expect(body).toEqual(
    errorBody('not_found', 'invalid_request_error', null, expect.stringContaining('There is no request')),
  );
});

test('verify proves every account, and names what differs', async () => {
  const customer = await createCustomer(rig, '5');
  const clean = await rig.admin('GET', '/ledger/verify');
  expect(clean).toMatchObject({ status: 200, body: { ok: true, differences: [] } });
  expect(clean.body.accounts).toBeGreaterThan(0);
  expect(clean.body.entries).toBeGreaterThan(0);
  await rig.database.pool.query('UPDATE wallets SET held = 1 WHERE account_id = $1', [customer.account]);
  expect((await rig.admin('GET', '/ledger/verify')).body).toMatchObject({
    ok: false,
    differences: [{ account_id: customer.id, subject: 'wallet held', expected: '0', found: '1' }],
  });
  await rig.database.pool.query('UPDATE wallets SET held = 0 WHERE account_id = $1', [customer.account]);
});
