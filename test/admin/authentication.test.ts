/** Who may use the admin API. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mintKey } from '../../src/accounts/key-format.ts';
import { parsePublicId } from '../../src/lib/ids.ts';
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

async function adminKey(name: string): Promise<{ id: string; key: string }> {
  const { status, body } = await rig.admin('POST', '/admin-keys', { name });
  expect(status).toBe(201);
  return body as { id: string; key: string };
}

test('a named admin key is shown once, may do what the owner may, and is refused at the next call once it is revoked', async () => {
  const made = await adminKey('Ada');
  expect(made).toEqual({
    id: expect.stringMatching(/^adm_/),
    key: expect.stringMatching(/^tg-admin-[0-9a-z]{13}-[0-9A-Za-z]{39}$/),
    name: 'Ada',
    created_at: expect.any(String),
    revoked_at: null,
  });
  const { body: listed } = await rig.admin('GET', '/admin-keys', undefined, made.key);
  expect(listed.data).toMatchObject([{ id: made.id, name: 'Ada' }]);
  const kept = await rig.database.pool.query(
    'SELECT t::text AS row FROM admin_keys t UNION ALL SELECT t::text FROM audit t',
  );
  for (const text of [JSON.stringify(listed), JSON.stringify(kept.rows)])
    expect(text).not.toContain(made.key.slice(-30));

  const { body: account } = await rig.admin('POST', '/accounts', { name: 'Hers' }, made.key);
  const told = async (target: unknown) => (await rig.admin('GET', `/audit?target=${target}`)).body.data;
  expect(await told(account.id)).toMatchObject([{ author: 'Ada', action: 'account.create' }]);

  const revoke = () => rig.admin('DELETE', `/admin-keys/${made.id}`);
  expect(await revoke()).toMatchObject({ status: 200, body: { id: made.id, revoked: true } });
  expect((await rig.admin('GET', '/accounts', undefined, made.key)).status).toBe(401);
  expect(await revoke()).toMatchObject({ status: 200, body: { id: made.id, revoked: true } });
  expect(await told(made.id)).toMatchObject([{ action: 'admin_key.revoke' }, { action: 'admin_key.create' }]);
});

test('a wrong key is refused with the same text as none, however near it is to a named one', async () => {
  const { id, key } = await adminKey('Near');
  const refusals = [
    key.slice(0, -1),
    `${key}x`,
    key.replace('tg-admin-', 'sk-tg-'),
    key.slice(0, -1) + (key.endsWith('0') ? '1' : '0'),
    'tg-admin-',
    mintKey(parsePublicId('adm', id)!, 'tg-admin-').text,
  ].map((wrong) => rig.admin('GET', '/accounts', undefined, wrong));
  const none = await rig.admin('GET', '/accounts', undefined, null);
  for (const refused of await Promise.all(refusals)) expect(refused).toMatchObject({ status: 401, body: none.body });
});

test('a name of an admin key is given once, and never that of the owner', async () => {
  const { id } = await adminKey('Once');
  await rig.admin('DELETE', `/admin-keys/${id}`);
  const taken = errorBody('conflict', 'invalid_request_error', 'name', expect.stringContaining('use another'));
  expect(await rig.admin('POST', '/admin-keys', { name: 'Once' })).toMatchObject({ status: 409, body: taken });
  for (const name of ['owner', 'cli', '', undefined, 'x'.repeat(101)]) {
    const { status, body } = await rig.admin('POST', '/admin-keys', { name });
    expect({ status, body }).toMatchObject({ status: 400, body: { error: { param: 'name' } } });
  }
});
