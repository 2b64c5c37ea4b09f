/** Holds of a host application: all of it or nothing, ended once, settled at what it cost, and never those of a request. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ADMIN_KEY } from '../support/gateway.ts';
import { type Answer, errorOf, type HostRig, type Json, startHost } from './rig.ts';

let rig: HostRig;
beforeAll(async () => {
  rig = await startHost();
});
afterAll(() => rig.close());

const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const path = (id: string, verb = ''): string => `/holds/${encodeURIComponent(id)}${verb}`;
const ended = (answers: Answer[]): string[] =>
  answers.map(({ status, body }) => `${status} ${body.status ?? ''}`).sort();

/** Lets all time pass that holds have. */
async function lapse(account: string): Promise<void> {
  await rig.world.pool.query("SELECT ledger_expire_due(1000, now() + interval '2 days')");
  expect((await rig.admin('GET', `/accounts/${account}/balance`)).body.held).toBe('0');
}

test('a hold is held, extended, and settled at what it cost; its receipt says so', async () => {
  const { key } = await rig.customer('100');
  const ask = rig.as(key);
  const id = 'video 1/7?#%ü😀';
  const opened = await ask('POST', '/holds', { id, credits: '40', ttl_seconds: 600 });
  expect(opened).toMatchObject({
    status: 200,
    body: { id, status: 'open', held: '40', charged: '0', expires_at: TIME },
  });
  const left = Date.parse(opened.body.expires_at as string) - Date.now();
  expect(left).toBeGreaterThan(590_000);
  expect(left).toBeLessThan(610_000);
  expect((await ask('GET', path(id))).body).toEqual(opened.body);
  expect((await ask('GET', '/balance')).body).toMatchObject({ available: '60', held: '40' });

  const { expires_at } = opened.body;
  const more = await ask('POST', path(id, '/extend'), { credits: '10' });
  expect(more.body).toEqual({ id, status: 'open', held: '50', charged: '0', expires_at });
  const settled = await ask('POST', path(id, '/settle'), { credits: '45.5' });
  expect(settled.body).toEqual({ id, status: 'settled', held: '0', charged: '45.5', expires_at });
  for (const answer of [
    await ask('POST', path(id, '/settle'), { credits: '45.50' }),
    await rig.as(key, 1)('GET', path(id)),
    await ask('POST', '/holds', { id, credits: '40.0', ttl_seconds: 600 }),
  ]) {
    expect(answer).toMatchObject({ status: 200, body: settled.body });
  }
  expect((await ask('GET', '/balance')).body).toMatchObject({ available: '54.5', held: '0' });
  expect((await ask('GET', '/requests')).body.data).toMatchObject([
    {
      endpoint: '/account/v1/holds',
      status: 'settled',
      model: 'credits',
      held: '50',
      charged: '45.5',
      usage_source: 'reported',
    },
  ]);
  expect((await ask('GET', '/usage')).body.data).toMatchObject([{ key: 'credits', requests: 1, credits: '45.5' }]);
});

describe('each verb in each state', () => {
  const states = {
    open: [],
    settled: ['/settle'],
    released: ['/release'],
    expired: ['lapse'],
    'released, settled': ['/release', '/settle'],
    'expired, settled': ['lapse', '/settle'],
  } as const;
  type State = keyof typeof states;
  const cases: [State, string, string][] = [
    ['open', '/settle 10', '200 settled 10'],
    ['open', '/settle 0', '200 settled 0'],
    ['open', '/settle 200', '200 settled 200'],
    ['open', '/release', '200 released 0'],
    ['open', '/extend 5', '200 open 0'],
    ['settled', '/settle 10', '200 settled 10'],
    ['settled', '/settle 11', '409 conflict credits'],
    ['settled', '/release', '409 conflict'],
    ['settled', '/extend 5', '409 conflict'],
    ['released', '/settle 10', '200 settled 10'],
    ['released', '/release', '200 released 0'],
    ['released', '/extend 5', '409 conflict'],
    ['expired', '/settle 10', '200 settled 10'],
    ['expired', '/release', '200 expired 0'],
    ['expired', '/extend 5', '409 conflict'],
    ['released, settled', '/settle 10', '200 settled 10'],
    ['released, settled', '/settle 11', '409 conflict credits'],
    ['released, settled', '/release', '409 conflict'],
    ['expired, settled', '/settle 9', '409 conflict credits'],
  ];
  test.each(cases)('%s: %s answers %s', async (state, asked, expected) => {
    const { id: account, key } = await rig.customer('100');
    const ask = rig.as(key);
    await ask('POST', '/holds', { id: 'h', credits: '20', ttl_seconds: 60 });
    for (const step of states[state]) {
      if (step === 'lapse') await lapse(account);
      else expect((await ask('POST', path('h', step), step === '/settle' ? { credits: '10' } : {})).status).toBe(200);
    }
    const [verb, credits] = asked.split(' ');
    const answer = await ask('POST', path('h', verb), credits === undefined ? undefined : { credits });
    const { body } = answer;
    const told = answer.status === 200 ? `200 ${body.status} ${body.charged}` : errorOf(answer);
    expect(told).toBe(expected);
    const late = (await ask('GET', '/ledger')).body.data as Json[];
    expect(late.filter(({ kind }) => kind === 'late').length).toBeLessThanOrEqual(1);
  });
});

test.each(['日'.repeat(255), '%2F'.repeat(85), 'a/../b', ' '])('a hold can be reached by the id %s', async (id) => {
  const ask = rig.as((await rig.customer('5')).key);
  expect((await ask('POST', '/holds', { id, credits: '5', ttl_seconds: 60 })).body).toMatchObject({ id });
  expect((await ask('POST', path(id, '/settle'), { credits: '5' })).body).toMatchObject({ id, charged: '5' });
});

test('a hold whose time is over is expired before anything has noticed it', async () => {
  const { key } = await rig.customer('100');
  const ask = rig.as(key);
  await ask('POST', '/holds', { id: 'noticed by nobody', credits: '10', ttl_seconds: 60 });
  await rig.world.pool.query("UPDATE holds SET expires_at = now() WHERE expires_at < 'infinity'");
  expect((await ask('GET', path('noticed by nobody'))).body).toMatchObject({
    status: 'expired',
    held: '0',
    charged: '0',
  });
});

test('an extend under an Idempotency-Key adds once; without one each adds', async () => {
  const { key } = await rig.customer('100');
  const ask = rig.as(key);
  const extend = (credits: string, once?: string) =>
    ask('POST', path('h', '/extend'), { credits }, once === undefined ? {} : { 'idempotency-key': once });
  await ask('POST', '/holds', { id: 'h', credits: '10', ttl_seconds: 60 });
  for (const held of ['15', '15']) expect((await extend('5', 'a')).body).toMatchObject({ held });
  for (const held of ['20', '25']) expect((await extend('5')).body).toMatchObject({ held });
  expect(errorOf(await extend('6', 'a'))).toBe('422 idempotency_key_reused credits');
  expect(errorOf(await extend('80', 'b'))).toBe('429 insufficient_quota');
  const both = await Promise.all([0, 1].map((nth) => rig.as(key, nth)('POST', path('h', '/extend'), { credits: '5' })));
  expect(both.map(({ status }) => status)).toEqual([200, 200]);
  expect((await ask('GET', path('h'))).body).toMatchObject({ held: '35' });
  await ask('POST', path('h', '/release'));
  expect((await extend('5', 'a')).body).toMatchObject({ status: 'released', held: '0' });
});

test('many at once, through two gateways: as many are open as fit, and no more', async () => {
  const { key } = await rig.customer('100');
  const open = (i: number) => rig.as(key, i % 2)('POST', '/holds', { id: `h${i}`, credits: '7', ttl_seconds: 60 });
  const all = await Promise.all(Array.from({ length: 30 }, (_, i) => open(i)));
  expect(all.filter(({ status }) => status === 200)).toHaveLength(14);
  expect(new Set(all.filter(({ status }) => status !== 200).map(errorOf))).toEqual(new Set(['429 credits_held']));
  expect((await rig.as(key)('GET', '/balance')).body).toMatchObject({ available: '2', held: '98' });
});

test('settle and release at once end it one way', async () => {
  for (let round = 0; round < 5; round++) {
    const { key } = await rig.customer('10');
    await rig.as(key)('POST', '/holds', { id: 'h', credits: '5', ttl_seconds: 60 });
    const both = await Promise.all([
      rig.as(key, 0)('POST', path('h', '/settle'), { credits: '5' }),
      rig.as(key, 1)('POST', path('h', '/release')),
    ]);
    // A release that came first is settled late by the other.
    expect(ended(both)).toSatisfy((found: string[]) => found[0] === '200 settled' || found[1] === '200 settled');
    expect((await rig.as(key)('GET', path('h'))).body).toMatchObject({ status: 'settled', charged: '5' });
    expect((await rig.as(key)('GET', '/balance')).body).toMatchObject({ available: '5', held: '0' });
  }
});

test('a suspended account settles what it began, and begins nothing', async () => {
  const { id: account, key } = await rig.customer('100');
  const ask = rig.as(key);
  for (const id of ['a', 'b']) await ask('POST', '/holds', { id, credits: '10', ttl_seconds: 60 });
  await rig.admin('PATCH', `/accounts/${account}`, { status: 'suspended' });
  for (const nth of [0, 1]) {
    const other = rig.as(key, nth);
    expect(errorOf(await other('POST', '/holds', { id: 'c', credits: '1', ttl_seconds: 60 }))).toBe(
      '403 account_suspended',
    );
    expect(errorOf(await other('POST', path('a', '/extend'), { credits: '1' }))).toBe('403 account_suspended');
  }
  expect((await ask('POST', path('a', '/settle'), { credits: '3' })).body).toMatchObject({ charged: '3' });
  expect((await ask('POST', path('b', '/release'))).body).toMatchObject({ status: 'released' });
  expect((await ask('GET', '/requests')).body.data).toMatchObject([
    { status: 'released', held: '10', charged: '0', lines: [] },
    { status: 'settled', held: '10', charged: '3' },
  ]);
});

test('a request’s own hold is out of reach, and so are those of another account', async () => {
  const [one, other] = [
    await rig.customer('100', { scopes: ['inference', 'read', 'consume'] }),
    await rig.customer('100'),
  ];
  await rig.as(one.key)('POST', '/holds', { id: 'mine', credits: '10', ttl_seconds: 60 });
  await rig.as(one.key)('POST', '/usage', { usage_id: 'used', credits: '1' });
  const { data } = (await rig.as(one.key)('GET', '/requests')).body as { data: Json[] };
  const ids = data.map(({ request_id }) => String(request_id));
  const uuids = ids.map((id) => id.slice(4).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'));
  for (const id of [...ids, ...uuids, ...ids.map((id) => id.replace('req', 'hold')), 'used', '\0', 'x'.repeat(300)]) {
    for (const verb of ['/settle', '/extend', '/release']) {
      const answer = await rig.as(one.key)('POST', path(id, verb), verb === '/release' ? {} : { credits: '1' });
      expect(errorOf(answer), id + verb).toBe('404 not_found');
    }
  }
  expect(errorOf(await rig.as(other.key)('GET', path('mine')))).toBe('404 not_found');
  expect(errorOf(await rig.as(other.key)('POST', path('mine', '/release')))).toBe('404 not_found');
  const reader = await rig.customer('1', { scopes: ['read', 'inference', 'billing'] });
  expect(errorOf(await rig.as(reader.key)('GET', path('mine')))).toBe('403 scope_missing');
  expect(errorOf(await rig.as(ADMIN_KEY)('GET', path('mine')))).toBe('401 invalid_api_key');
});

test('an id used with other fields is refused by name; one that was refused may be used again', async () => {
  const ask = rig.as((await rig.customer('50')).key);
  const asked = { id: 'h', credits: '51', ttl_seconds: 60 };
  expect(errorOf(await ask('POST', '/holds', asked))).toBe('429 insufficient_quota');
  expect((await ask('POST', '/holds', { ...asked, credits: '50' })).status).toBe(200);
  expect(errorOf(await ask('POST', '/holds', asked))).toBe('422 reference_reused credits');
  expect(errorOf(await ask('POST', '/holds', { ...asked, credits: 50, ttl_seconds: 61 }))).toBe(
    '422 reference_reused ttl_seconds',
  );
});

test.each<[string, string, unknown, string]>([
  ['no id', '/holds', { credits: '1', ttl_seconds: 1 }, '400 invalid_request id'],
  ['an id that paths drop', '/holds', { id: '..', credits: '1', ttl_seconds: 1 }, '400 invalid_request id'],
  ['no credits', '/holds', { id: 'x', credits: 0, ttl_seconds: 1 }, '400 invalid_request credits'],
  ['no time', '/holds', { id: 'x', credits: '1' }, '400 invalid_request ttl_seconds'],
  ['too long a time', '/holds', { id: 'x', credits: '1', ttl_seconds: 86_401 }, '400 invalid_request ttl_seconds'],
  ['no time at all', '/holds', { id: 'x', credits: '1', ttl_seconds: 0 }, '400 invalid_request ttl_seconds'],
  ['a settlement below 0', '/holds/h/settle', { credits: '-1' }, '400 invalid_request credits'],
  ['a settlement without credits', '/holds/h/settle', undefined, '400 invalid_request credits'],
  ['an extension by nothing', '/holds/h/extend', { credits: '0' }, '400 invalid_request credits'],
  ['a release with a field', '/holds/h/release', { credits: '1' }, '400 invalid_request credits'],
  ['a hold that nobody opened', '/holds/none/release', {}, '404 not_found'],
  ['a verb that is none', '/holds/h/steal', {}, '404 unknown_url'],
])('%s is refused by name', async (_, to, body, error) => {
  const ask = rig.as((await rig.customer('50')).key);
  await ask('POST', '/holds', { id: 'h', credits: '5', ttl_seconds: 60 });
  expect(errorOf(await ask('POST', to, body))).toBe(error);
  expect((await ask('GET', path('h'))).body).toMatchObject({ status: 'open', held: '5' });
});
