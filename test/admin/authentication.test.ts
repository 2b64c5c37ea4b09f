/** Who may use the admin API. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ADMIN_KEY, createCustomer, createRig, errorBody, type Rig } from './rig.ts';

let rig: Rig;
let off: Rig;
beforeAll(async () => {
  rig = await createRig();
  off = await createRig({ adminKey: null });
});
afterAll(() => Promise.all([rig.close(), off.close()]));

const PATHS: [string, string][] = [
  ['POST', '/accounts'],
  ['GET', '/accounts'],
  ['GET', '/accounts/acct_0000000000001'],
  ['PATCH', '/accounts/acct_0000000000001'],
  ['POST', '/accounts/acct_0000000000001/keys'],
  ['GET', '/accounts/acct_0000000000001/keys'],
  ['DELETE', '/accounts/acct_0000000000001/keys/key_0000000000001'],
  ['POST', '/accounts/acct_0000000000001/credits'],
  ['GET', '/accounts/acct_0000000000001/balance'],
  ['GET', '/accounts/acct_0000000000001/ledger'],
  ['GET', '/accounts/acct_0000000000001/requests'],
  ['GET', '/requests/req_00000000000070000000000000000000'],
  ['GET', '/ledger/verify'],
  ['DELETE', '/accounts/acct_0000000000001'],
  ['GET', '/admin-keys'],
  ['POST', '/admin-keys'],
  ['DELETE', '/admin-keys/adm_0000000000001'],
  ['GET', '/audit'],
  ['GET', '/models/demo/chat'],
  ['PUT', '/models/demo/chat'],
  ['GET', '/models/demo/chat/prices'],
];

test.each(PATHS)('%s %s needs the admin key', async (method, path) => {
  const { key } = await createCustomer(rig, null);
  for (const presented of [null, '', 'wrong', key, ADMIN_KEY.slice(0, -1), `${ADMIN_KEY}x`]) {
    const answer = await rig.admin(method, path, undefined, presented);
    expect(answer.status).toBe(401);
    expect(answer.body).toEqual(
      errorBody('invalid_admin_key', 'invalid_request_error', null, expect.stringContaining('admin key')),
    );
  }
});

test.each(PATHS)('%s %s is off without an admin key, whatever is presented', async (method, path) => {
  for (const presented of [null, '', 'null', ADMIN_KEY]) {
    const answer = await off.admin(method, path, undefined, presented);
    expect(answer.status).toBe(403);
    expect(answer.body).toEqual(
      errorBody('admin_disabled', 'permission_error', null, expect.stringContaining('TOLLGATE_ADMIN_KEY')),
    );
  }
});

test('the key is checked before the body is read', async () => {
  expect((await rig.admin('POST', '/accounts', '{', 'wrong')).status).toBe(401);
});

test('what is not there is unknown, never 405', async () => {
  for (const [method, path] of [
    ['DELETE', '/accounts'],
    ['POST', '/ledger/verify'],
    ['GET', '/nothing'],
  ] as const) {
    expect(await rig.admin(method, path)).toMatchObject({ status: 404, body: { error: { code: 'unknown_url' } } });
  }
});
