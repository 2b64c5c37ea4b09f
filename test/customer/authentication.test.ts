/** Who may read an account, and how often. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Clock } from '../../src/lib/clock.ts';
import { createCustomer, createRig, errorBody, openRequest, type Rig } from '../admin/rig.ts';

let rig: Rig;
let now = 1_800_000_000_000;
const clock: Clock = { now: () => now };
beforeAll(async () => {
  rig = await createRig({ clock });
});
afterAll(() => rig.close());

const PATHS = ['/balance', '/ledger', '/requests', '/requests/req_00000000000070000000000000000000'];
const REFUSED = errorBody('invalid_api_key', 'invalid_request_error', null, expect.stringContaining('sk-tg-'));

test.each(PATHS)('%s needs a key; no, bad, wrong and revoked keys are refused alike', async (path) => {
  const customer = await createCustomer(rig, null);
  expect((await rig.customer(path, customer.key)).status).not.toBe(401);
  await rig.admin('DELETE', `/accounts/${customer.id}/keys/${customer.keyId}`);
  const { key: other } = await createCustomer(rig, null);
  const wrong = `${other.slice(0, -1)}${other.endsWith('0') ? '1' : '0'}`;
  for (const key of [null, '', 'sk-tg-nonsense', wrong, customer.key]) {
    const { status, body } = await rig.customer(path, key);
    expect(status).toBe(401);
    expect(body).toEqual(REFUSED);
  }
});

test('an expired key is refused, though it was good when it was cached', async () => {
  const customer = await createCustomer(rig, null);
  expect((await rig.customer('/balance', customer.key)).status).toBe(200);
  await rig.database.pool.query(
    "UPDATE spenders SET expires_at = clock_timestamp() - interval '1 s' WHERE account_id = $1",
    [customer.account],
  );
  expect((await rig.customer('/balance', customer.key)).body).toEqual(REFUSED);
});

test.each(PATHS)('%s needs the scope read', async (path) => {
  const customer = await createCustomer(rig, null, ['inference']);
  const { status, body } = await rig.customer(path, customer.key);
  expect(status).toBe(403);
  expect(body).toEqual(errorBody('scope_missing', 'permission_error', null, expect.stringContaining('"read"')));
});

test('the headers api-key and x-api-key will do as well', async () => {
  const customer = await createCustomer(rig, null);
  for (const header of ['api-key', 'x-api-key']) {
    const response = await rig.http.inject({ url: '/account/v1/balance', headers: { [header]: customer.key } });
    expect(response.statusCode).toBe(200);
  }
});

test('a suspended account may still read', async () => {
  const customer = await createCustomer(rig, '5');
  const request = await openRequest(rig, customer, '1');
  await rig.admin('PATCH', `/accounts/${customer.id}`, { status: 'suspended' });
  for (const path of ['/balance', '/ledger', '/requests', `/requests/${request.id}`]) {
    expect((await rig.customer(path, customer.key)).status).toBe(200);
  }
});

test('a key has 120 calls a minute, whatever other keys do; then it is told how long to wait', async () => {
  const customer = await createCustomer(rig, null);
  const other = await createCustomer(rig, null);
  for (let i = 0; i < 120; i++) expect((await rig.customer('/balance', customer.key)).status).toBe(200);
  now += 18_500;
  const { status, body, headers } = await rig.customer('/ledger', customer.key);
  expect(status).toBe(429);
  expect(body).toEqual(
    errorBody('rate_limit_exceeded', 'rate_limit_error', null, expect.stringContaining('Please try again in 41.5s.')),
  );
  expect(headers['retry-after']).toBe('42');
  expect((await rig.customer('/balance', other.key)).status).toBe(200);
  now += 41_500;
  expect((await rig.customer('/balance', customer.key)).status).toBe(200);
});
