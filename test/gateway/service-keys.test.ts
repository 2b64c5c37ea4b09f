/** Service keys: one key acts for any account that a request names, and may make it, once, at its first request. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ACCOUNT_HEADER } from '../../src/accounts/account-ref.ts';
import { mintKey } from '../../src/accounts/key-format.ts';
import { parsePublicId } from '../../src/lib/ids.ts';
import { admin, type Json } from '../support/admin.ts';
import {
  CATALOG,
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  post,
  startGateway,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

const ask = (model: string) => JSON.stringify({ model, max_tokens: 20, messages: [{ role: 'user', content: 'hi' }] });

let world: World;
let here: TestGateway;
let there: TestGateway;
let service: { id: string; key: string };
let maker: { id: string; key: string };
beforeAll(async () => {
  world = await createWorld();
  const included = 'default: true, included_credits: { credits: 5, every: month },';
  writeFileSync(join(world.folder, 'catalog.yaml'), CATALOG.replace('default: true,', included));
  here = await startGateway(world);
  there = await startGateway(world);
  service = await createServiceKey({ name: 'app' });
  maker = await createServiceKey({ name: 'sign-up', create_accounts: true });
});
afterAll(async () => {
  await here.close();
  await there.close();
  await expectSettled(world);
  await closeWorld(world);
});

async function createServiceKey(terms: Json) {
  return (await admin(here, 'POST', '/service-keys', terms)) as { id: string; key: string };
}

const naming = (account: string | null): Record<string, string> =>
  account === null ? {} : { [ACCOUNT_HEADER]: account };

/** How a request with the key, for that account, is answered. Header values are written as they are, in latin1. */
async function answerOf(gateway: TestGateway, key: string, account: string | null, model = 'plain'): Promise<string> {
  const response = await post(gateway, key, ask(model), naming(account));
  const { error } = (await response.json()) as { error?: { code: string; param: string } };
  return error === undefined ? 'ok' : `${response.status} ${error.code} ${error.param}`;
}

async function read(gateway: TestGateway, key: string, account: string | null, path: string) {
  const headers = { authorization: `Bearer ${key}`, ...naming(account) };
  const response = await fetch(`${gateway.url}/account/v1${path}`, { headers });
  return { status: response.status, body: (await response.json()) as Json };
}

it('a service key acts for the account that each request names, and its receipts name the key', async () => {
  const [one, two] = [await createTestAccount(world, '10'), await createTestAccount(world, '10')];
  await admin(here, 'PATCH', `/accounts/${two.accountId}`, { external_id: 'zwei, %/ä' });
  expect(await answerOf(here, service.key, one.accountId)).toBe('ok');
  expect(await answerOf(there, service.key, `ext:${encodeURIComponent('zwei, %/ä')}`)).toBe('ok');
  for (const account of [one, two]) {
    expect(await chargedTo(world, account.account)).toBe(18_000_000n);
    const { body } = await read(there, service.key, account.accountId, '/requests');
    expect(body.data).toMatchObject([{ key_id: service.id, account_id: account.accountId }]);
  }
  const sent = world.upstream.requests.at(-1)!.headers;
  expect(Object.keys(sent)).not.toContain(ACCOUNT_HEADER);
  expect(JSON.stringify(sent)).not.toContain('zwei');
});

it.each([
  ['no account', null, '400 invalid_request tollgate-account'],
  ['an empty name', 'ext:', '400 invalid_request tollgate-account'],
  ['a name without its kind', 'user-1', '400 invalid_request tollgate-account'],
  ['no id', 'acct_../../x', '400 invalid_request tollgate-account'],
  ['a broken encoding', 'ext:100%', '400 invalid_request tollgate-account'],
  ['a NUL', 'ext:%00', '400 invalid_request tollgate-account'],
  ['two accounts', 'ext:a, ext:b', '400 invalid_request tollgate-account'],
  ['what is not encoded', 'ext:ä', '400 invalid_request tollgate-account'],
  ['a name too long', `ext:${'x'.repeat(256)}`, '400 invalid_request tollgate-account'],
  ['an account that is not there', 'acct_0000000000001', '404 not_found tollgate-account'],
])('%s is refused by name, on both planes, and makes nothing', async (_what, account, answer) => {
  const count = async () => (await world.pool.query('SELECT count(*) FROM accounts')).rows[0];
  const before = await count();
  expect(await answerOf(here, maker.key, account)).toBe(answer);
  expect((await read(here, maker.key, account, '/balance')).status).toBe(Number(answer.slice(0, 3)));
  expect(await count()).toEqual(before);
});

it('a key of an account may not name one, not even its own', async () => {
  const account = await createTestAccount(world, '10');
  for (const gateway of [here, there]) {
    expect(await answerOf(gateway, account.key, account.accountId)).toBe('400 invalid_request tollgate-account');
    expect(await answerOf(gateway, account.key, 'nonsense')).toBe('400 invalid_request tollgate-account');
    expect(await answerOf(gateway, account.key, null)).toBe('ok');
  }
  expect((await read(here, account.key, account.accountId, '/balance')).status).toBe(400);
});

it('an external id that nobody has is made by the keys that may, and by no wrong secret', async () => {
  expect(await answerOf(here, service.key, 'ext:nobody')).toBe('404 not_found tollgate-account');
  const { text: wrong } = mintKey(parsePublicId('key', maker.id)!);
  expect(await answerOf(here, wrong, 'ext:nobody')).toBe('401 invalid_api_key null');
  const { rows } = await world.pool.query("SELECT FROM accounts WHERE external_id = 'nobody'");
  expect(rows).toEqual([]);
  expect(await answerOf(here, maker.key, 'ext:nobody')).toBe('ok');
  expect(await answerOf(here, service.key, 'ext:nobody', 'forbidden')).toBe('403 model_not_entitled model');
  expect((await read(there, service.key, 'ext:nobody', '/balance')).body).toMatchObject({ available: '4.982' });
});

it('two hundred first requests at once, over two gateways, make one account with one grant', async () => {
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) => answerOf([here, there][i % 2]!, maker.key, 'ext:crowd', 'free')),
  );
  expect(new Set(answers)).toEqual(new Set(['ok']));
  const { rows } = await world.pool.query(
    `SELECT name, posted, lots.granted, count(*) OVER ()::integer AS rows FROM accounts JOIN wallets USING (account_id)
      JOIN spenders USING (account_id) JOIN lots USING (account_id) WHERE external_id = 'crowd'`,
  );
  expect(rows).toEqual([{ name: 'crowd', posted: 5_000_000_000n, granted: 5_000_000_000n, rows: 1 }]);
});

it('an external id that was given to another account speaks for that one at the next request', async () => {
  const [one, two] = [await createTestAccount(world, '10'), await createTestAccount(world, '10')];
  const give = (id: string | null, { accountId }: { accountId: string }) =>
    admin(here, 'PATCH', `/accounts/${accountId}`, { external_id: id });
  await give('moving', one);
  for (const gateway of [here, there]) expect(await answerOf(gateway, service.key, 'ext:moving')).toBe('ok');
  await give(null, one);
  await give('moving', two);
  for (const gateway of [here, there]) expect(await answerOf(gateway, service.key, 'ext:moving')).toBe('ok');
  expect(await chargedTo(world, one.account)).toBe(36_000_000n);
  expect(await chargedTo(world, two.account)).toBe(36_000_000n);
  await give(null, two);
  expect(await answerOf(there, service.key, 'ext:moving')).toBe('404 not_found tollgate-account');
});

it('the account counts as usual: suspended, out of credits, and for each 120 reads a minute', async () => {
  const [one, two] = [await createTestAccount(world, '10'), await createTestAccount(world, '10')];
  expect(await answerOf(there, service.key, one.accountId)).toBe('ok');
  await admin(here, 'PATCH', `/accounts/${one.accountId}`, { status: 'suspended' });
  expect(await answerOf(there, service.key, one.accountId)).toBe('403 account_suspended null');
  const reads = await Promise.all(
    Array.from({ length: 121 }, () => read(here, service.key, one.accountId, '/balance')),
  );
  expect(reads.filter(({ status }) => status === 200).length).toBe(120);
  expect((await read(here, service.key, two.accountId, '/balance')).status).toBe(200);
});

it('a service key that is revoked, or whose overlap is over, is refused at the next request on every gateway', async () => {
  const account = await createTestAccount(world, '10');
  const name = account.accountId;
  const [revoked, replaced] = [await createServiceKey({ name: 'a' }), await createServiceKey({ name: 'b' })];
  for (const gateway of [here, there]) {
    for (const { key } of [revoked, replaced]) expect(await answerOf(gateway, key, name)).toBe('ok');
  }
  await admin(here, 'DELETE', `/service-keys/${revoked.id}`);
  expect(await answerOf(there, revoked.key, name)).toBe('401 invalid_api_key null');
  expect(await answerOf(here, revoked.key, null)).toBe('401 invalid_api_key null');
  expect((await read(here, revoked.key, name, '/balance')).status).toBe(401);
  const rotation = { overlap_seconds: 60 };
  const next = (await admin(here, 'POST', `/service-keys/${replaced.id}/rotate`, rotation)) as {
    id: string;
    key: string;
  };
  for (const { key } of [replaced, next]) expect(await answerOf(there, key, name)).toBe('ok');
  // A minute passes: whatever waits for an instant waits a minute less.
  await world.pool.query("UPDATE service_keys SET expires_at = expires_at - interval '60 s'");
  await world.pool.query("UPDATE catalog_state SET next_change_at = next_change_at - interval '60 s'");
  for (const gateway of [there, here]) {
    expect(await answerOf(gateway, replaced.key, name)).toBe('401 invalid_api_key null');
    expect(await answerOf(gateway, next.key, name)).toBe('ok');
  }
  await expect(admin(here, 'POST', `/service-keys/${replaced.id}/rotate`, rotation)).rejects.toThrow('409');
  await expect(admin(here, 'DELETE', '/service-keys/key_0000000000001')).rejects.toThrow('404');
});

it('a revocation at one gateway is heard by another whose catalog was read since by somebody else', async () => {
  const [one, two] = [await createTestAccount(world, '10'), await createTestAccount(world, '10')];
  const { id, key } = await createServiceKey({ name: 'c' });
  expect(await answerOf(there, key, one.accountId)).toBe('ok');
  await admin(here, 'DELETE', `/service-keys/${id}`);
  expect(await answerOf(there, two.key, null)).toBe('ok');
  expect(await answerOf(there, key, one.accountId)).toBe('401 invalid_api_key null');
});

it('the same Idempotency-Key for two accounts is two requests, and for one account one', async () => {
  const [one, two] = [await createTestAccount(world, '10'), await createTestAccount(world, '10')];
  const once = async ({ accountId }: { accountId: string }) => {
    const headers = { ...naming(accountId), 'idempotency-key': 'same' };
    return (await post(here, service.key, ask('plain'), headers)).headers.get('idempotent-replayed');
  };
  expect([await once(one), await once(two), await once(one), await once(two)]).toEqual([null, null, 'true', 'true']);
  expect(await chargedTo(world, one.account)).toBe(18_000_000n);
});

it('service keys are shown once; what they may not be is refused by name', async () => {
  expect(await createServiceKey({ name: 'd', scopes: ['consume'] })).toEqual({
    id: expect.stringMatching(/^key_/),
    key: expect.stringMatching(/^sk-tg-/),
    name: 'd',
    scopes: ['consume'],
    create_accounts: false,
    created_at: expect.any(String),
    expires_at: null,
    revoked_at: null,
    replaced_by: null,
  });
  const listed = await admin(here, 'GET', '/service-keys?limit=2');
  expect(listed).toMatchObject({ has_more: true, data: [{ name: 'd' }, {}] });
  expect(JSON.stringify(listed)).not.toContain('sk-tg-');
  for (const [param, body] of Object.entries({
    name: {},
    scopes: { name: 'x', scopes: [] },
    create_accounts: { name: 'x', create_accounts: 'yes' },
    models: { name: 'x', models: ['*'] },
  })) {
    await expect(admin(here, 'POST', '/service-keys', body)).rejects.toThrow(`"param":"${param}"`);
  }
  for (const overlap of [-1, 1.5, 1e19, 'x', 2_592_001]) {
    const rotation = admin(here, 'POST', `/service-keys/${service.id}/rotate`, { overlap_seconds: overlap });
    await expect(rotation).rejects.toThrow('"param":"overlap_seconds"');
  }
});
