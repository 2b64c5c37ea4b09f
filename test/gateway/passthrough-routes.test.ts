/** Which requests a declared route takes, and whose: it comes and goes with the catalog, and opens no more than it says. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createKey, PLAIN_KEY } from '../../src/accounts/keys.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { admin } from '../support/admin.ts';
import { createTestAccount, startGateway } from '../support/gateway.ts';
import { type Declared, declaredRoutes, refusal } from './passthrough-rig.ts';
import { raw } from './raw-socket.ts';

let rig: Declared;
beforeAll(async () => {
  rig = await declaredRoutes();
});
beforeEach(() => rig.next());
afterAll(() => rig?.close());

test('who may not use a route gets nowhere', async () => {
  const from = rig.world.upstream.requests.length;
  const bare = await createTestAccount(rig.world, '100', 'bare');
  const poor = await createTestAccount(rig.world, '0.5');
  const suspended = await createTestAccount(rig.world, '100');
  await admin(rig.gateway, 'PATCH', `/accounts/${suspended.accountId}`, { status: 'suspended' });
  const keyWith = async (more: object) =>
    (await createKey(rig.world.pool, systemClock, rig.account.account, { ...PLAIN_KEY, ...more })).text;
  expect(await refusal(await rig.call('/v1/custom/a', {}, 'sk-tg-nobody'))).toBe('401 invalid_api_key');
  expect(await refusal(await fetch(`${rig.gateway.url}/v1/custom/a`, { method: 'POST' }))).toBe('401 invalid_api_key');
  expect(await refusal(await rig.call('/v1/custom/a', {}, bare.key))).toBe('403 feature_not_entitled');
  expect(await refusal(await rig.call('/v1/custom/a', {}, suspended.key))).toBe('403 account_suspended');
  expect(await refusal(await rig.call('/v1/custom/a', {}, poor.key))).toBe('429 insufficient_quota');
  expect(await refusal(await rig.call('/v1/custom/a', {}, await keyWith({ scopes: ['read'] })))).toBe(
    '403 scope_missing',
  );
  expect(await refusal(await rig.call('/v1/custom/a', {}, await keyWith({ models: ['plain'] })))).toBe(
    '403 model_not_entitled',
  );
  expect(rig.reached(from)).toEqual([]);
  // A key that may use some models may use routes that its list names.
  expect((await rig.call('/v1/custom/a', {}, await keyWith({ models: ['POST /v1/custom/*'] }))).status).toBe(200);
  expect(rig.reached(from)).toEqual(['POST /v1/custom/a']);
});

test('nothing but what is declared gets through, however it is written', async () => {
  const from = rig.world.upstream.requests.length;
  const targets = [
    ...[
      '/v1/custom',
      '/v1/custom/',
      '/v1/custom/a/',
      '/v1/custom/a/b',
      '/v1/custom/.',
      '/v1/custom/..',
      '/v1/custom/%2e%2e',
    ],
    ...[
      '/v1/custom/a%2fb',
      '/v1/custom/a%2Fb',
      '/v1/custom/%61',
      '/v1/%63ustom/a',
      '/v1/custom/a;b',
      '/v1/custom/a%00',
    ],
    ...[
      '//v1/custom/a',
      '/v1//custom/a',
      '/v1/custom//a',
      '/v1/x/../custom/a',
      '/v1/./custom/a',
      '/V1/custom/a',
      '/v1/Custom/a',
    ],
    ...[
      'http://other.example/v1/custom/a',
      'http://other.example/v1/files',
      '/v1/custom/a\\b',
      '/v1/custom/a#b',
      '/v1/custom/a?b#c',
    ],
    ...['/custom/a', '/v1/custom/a/parts/b', '/v1/files', '/v1/chat/completions/a', '/v1/responses/a/b'],
  ];
  for (const target of targets) {
    const head = `POST ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${rig.account.key}\r\n`;
    const [answer] = await raw(rig.gateway, `${head}Content-Length: 1\r\nConnection: close\r\n\r\n{`);
    expect(`${answer?.status} ${answer?.code}`, target).toBe('404 unknown_url');
  }
  for (const method of ['GET', 'HEAD', 'OPTIONS'])
    expect((await rig.call('/v1/custom/a', { method })).status, method).toBe(404);
  expect(rig.reached(from)).toEqual([]);
  expect(await rig.charged()).toBe(0n);
});

const NAME = encodeURIComponent('POST /v1/added/{id}');

test('a route appears, changes its price and vanishes with the catalog, on every gateway', async () => {
  const other = await startGateway({
    ...rig.world,
    env: { ...rig.world.env, TOLLGATE_DATA_DIR: `${rig.world.folder}/other` },
  });
  const there = () =>
    fetch(`${other.url}/v1/added/a`, { method: 'POST', headers: { authorization: `Bearer ${rig.account.key}` } });
  expect(await refusal(await there())).toBe('404 unknown_url');
  const body = { provider: 'scripted', price: { request: '0.001' } };
  expect(await admin(rig.gateway, 'PUT', `/passthrough/${NAME}`, body)).toMatchObject({
    passthrough: 'POST /v1/added/{id}',
    version: 1,
  });
  expect((await there()).headers.get('x-tollgate-charged')).toBe('1');
  expect((await rig.call('/v1/added/a')).headers.get('x-tollgate-charged')).toBe('1');
  await admin(rig.gateway, 'PUT', `/passthrough/${NAME}`, { ...body, price: { request: '0.003' } });
  expect((await there()).headers.get('x-tollgate-charged')).toBe('3');
  await admin(rig.gateway, 'PUT', `/passthrough/${NAME}`, { ...body, feature: 'nobody-has-it' });
  expect(await refusal(await there())).toBe('403 feature_not_entitled');
  await rig.world.pool.query(
    `WITH now AS (SELECT catalog_lock() AS at), gone AS (
       INSERT INTO catalog_entries (kind, name, version, body, source, deleted, effective_at)
         SELECT 'passthrough', 'POST /v1/added/{id}', 4, '{}', 'api', true, at FROM now)
     SELECT catalog_changed(at) FROM now`,
  );
  expect(await refusal(await there())).toBe('404 unknown_url');
  await other.close();
});
