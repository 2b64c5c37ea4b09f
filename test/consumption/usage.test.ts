/** What a host application reports is charged once, in one step, at the price of the catalog, or refused and not charged at all. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BAD_REPORTS } from './bad-reports.ts';
import { errorOf, type HostRig, type Json, startHost } from './rig.ts';

let rig: HostRig;
beforeAll(async () => {
  rig = await startHost();
});
afterAll(() => rig.close());

let ids = 0;
const id = (): string => `job ${++ids}`;

test('an image operation costs 20 credits and a video 100, for those who have the feature', async () => {
  const { key } = await rig.customer('200');
  const ask = rig.as(key);
  const image = { usage_id: id(), operation: 'image', quantity: 2 };
  expect(await ask('POST', '/usage', image)).toMatchObject({
    status: 200,
    body: { usage_id: image.usage_id, charged: '40', available: '160', replayed: false },
  });
  const video = { usage_id: id(), operation: 'video' };
  expect((await ask('POST', '/usage', video)).body).toEqual({
    usage_id: video.usage_id,
    charged: '100',
    available: '60',
    replayed: false,
  });
  expect(errorOf(await ask('POST', '/usage', { usage_id: id(), operation: 'video' }))).toBe('429 insufficient_quota');
  expect((await ask('GET', '/balance')).body).toMatchObject({ available: '60', held: '0' });

  const other = rig.as((await rig.customer('200', { plan: 'images' })).key);
  expect((await other('POST', '/usage', { usage_id: id(), operation: 'image' })).status).toBe(200);
  const denied = await other('POST', '/usage', { usage_id: id(), operation: 'video' });
  expect(errorOf(denied)).toBe('403 feature_not_entitled operation');
  expect((denied.body.error as Json).message).toContain('"video_generation"');
  expect((await other('GET', '/balance')).body).toMatchObject({ available: '180' });
});

test('each form has a receipt, and counts in the usage of its model or operation', async () => {
  const { key } = await rig.customer('1000');
  const ask = rig.as(key);
  await ask('POST', '/usage', { usage_id: id(), operation: 'image', quantity: 3 });
  await ask('POST', '/usage', { usage_id: id(), credits: '12.345678901' });
  const usage = { input_tokens: 1000, cached_input_tokens: 200, output_tokens: 100, reasoning_tokens: 40 };
  const rated = await ask('POST', '/usage', { usage_id: id(), model: 'plain', usage });
  expect(rated.body).toMatchObject({ charged: '1.2' });
  const { data } = (await ask('GET', '/requests')).body as { data: Json[] };
  const common = {
    endpoint: '/account/v1/usage',
    status: 'settled',
    usage_source: 'reported',
    provider: null,
    attempts: [],
  };
  expect(data).toMatchObject([
    {
      ...common,
      model: 'plain',
      usage,
      charged: '1.2',
      price_version: 1,
      lines: [
        { unit: 'input', quantity: 800, credits: '0.8' },
        { unit: 'cached_input', quantity: 200, credits: '0.2' },
        { unit: 'output', quantity: 60, credits: '0.12' },
        { unit: 'reasoning', quantity: 40, credits: '0.08' },
      ],
    },
    {
      ...common,
      model: 'credits',
      usage: {},
      charged: '12.345678901',
      price_version: null,
      lines: [
        {
          unit: 'credits',
          quantity: 1,
          unit_price_usd: null,
          unit_price_credits: '12.345678901',
          per: 1,
          credits: '12.345678901',
        },
      ],
    },
    {
      ...common,
      model: 'operation:image',
      charged: '60',
      price_version: 1,
      lines: [{ unit: 'operation:image', quantity: 3, unit_price_credits: '20', credits: '60' }],
    },
  ]);
  expect((await ask('GET', `/requests/${data[0]!.request_id}`)).body).toEqual(data[0]);
  expect((await ask('GET', '/usage')).body).toEqual({
    data: [
      { key: 'credits', requests: 1, input_tokens: 0, output_tokens: 0, credits: '12.345678901' },
      { key: 'operation:image', requests: 1, input_tokens: 0, output_tokens: 0, credits: '60' },
      { key: 'plain', requests: 1, input_tokens: 1000, output_tokens: 100, credits: '1.2' },
    ],
    total: { requests: 3, input_tokens: 1000, output_tokens: 100, credits: '73.545678901' },
  });
  expect((await rig.admin('GET', `/requests/${data[2]!.request_id}`)).body).toMatchObject({ margin: null });
  const refund = await rig.admin('POST', `/requests/${data[2]!.request_id}/refund`, { reason: 'it failed' });
  expect(refund.body).toMatchObject({ kind: 'reverse', credits: '60' });
});

test('the same usage_id again answers as it did; with other fields it is refused by name; a refused one may be used again', async () => {
  const { key } = await rig.customer('100');
  const ask = rig.as(key);
  const usage_id = 'a/b ?#%ü😀';
  expect(errorOf(await ask('POST', '/usage', { usage_id, credits: '100.000000001' }))).toBe('429 insufficient_quota');
  const first = await ask('POST', '/usage', { usage_id, operation: 'image', quantity: 2 });
  expect(first.body).toEqual({ usage_id, charged: '40', available: '60', replayed: false });
  const again = await rig.as(key, 1)('POST', '/usage', { usage_id, operation: 'image', quantity: 2 });
  expect(again).toMatchObject({ status: 200, body: { usage_id, charged: '40', available: '60', replayed: true } });
  for (const [other, field] of [
    [{ operation: 'image' }, 'quantity'],
    [{ operation: 'ping', quantity: 2 }, 'operation'],
    [{ credits: '40' }, 'credits'],
  ] as const) {
    expect(errorOf(await ask('POST', '/usage', { usage_id, ...other }))).toBe(`422 reference_reused ${field}`);
  }
  expect((await ask('GET', '/balance')).body).toMatchObject({ available: '60' });
});

test('what was booked answers as it did when its price, its operation or the entitlement has changed since', async () => {
  const { id: account, key } = await rig.customer('100');
  const ask = rig.as(key);
  const report = { usage_id: id(), operation: 'image' };
  await ask('POST', '/usage', report);
  await rig.admin('PATCH', `/accounts/${account}`, { plan: 'standard' });
  for (const nth of [0, 1]) {
    expect((await rig.as(key, nth)('POST', '/usage', report)).body).toMatchObject({ charged: '20', replayed: true });
    const next = await rig.as(key, nth)('POST', '/usage', { usage_id: id(), operation: 'image' });
    expect(errorOf(next)).toBe('403 feature_not_entitled operation');
    const other = await rig.as(key, nth)('POST', '/usage', { ...report, quantity: 2 });
    expect(errorOf(other)).toBe('422 reference_reused quantity');
  }
  // What a gateway remembers as denied is allowed at the next request.
  await rig.admin('PATCH', `/accounts/${account}`, { plan: 'images' });
  for (const nth of [1, 0]) {
    expect((await rig.as(key, nth)('POST', '/usage', { usage_id: id(), operation: 'image' })).status).toBe(200);
  }
});

test('of one credit left and two reports at once, through two gateways, exactly one is charged', async () => {
  for (let round = 0; round < 5; round++) {
    const { key } = await rig.customer('1');
    const both = await Promise.all(
      [0, 1].map((nth) => rig.as(key, nth)('POST', '/usage', { usage_id: id(), credits: '1' })),
    );
    expect(both.map(({ status }) => status).sort()).toEqual([200, 429]);
    expect((await rig.as(key)('GET', '/balance')).body).toMatchObject({ available: '0', debt: '0' });
  }
});

test('one usage_id by fifty at once, through two gateways, is charged once', async () => {
  const { key } = await rig.customer('100');
  const report = { usage_id: id(), operation: 'ping', quantity: 4 };
  const all = await Promise.all(Array.from({ length: 50 }, (_, i) => rig.as(key, i % 2)('POST', '/usage', report)));
  expect(new Set(all.map(({ body }) => `${body.charged} ${body.available}`))).toEqual(new Set(['2 98']));
  expect(all.filter(({ body }) => body.replayed === false)).toHaveLength(1);
});

test('what is done already is debt where credits are short, for a service key alone', async () => {
  const { id: account, key } = await rig.customer('5');
  const done = { usage_id: id(), credits: '12', already_done: true };
  expect(errorOf(await rig.as(key)('POST', '/usage', done))).toBe('403 scope_missing already_done');
  const { body: service } = await rig.admin('POST', '/service-keys', { name: 'app', scopes: ['read', 'consume'] });
  const ask = rig.as(service.key as string, 0, { 'tollgate-account': account });
  expect(errorOf(await ask('POST', '/usage', { ...done, already_done: false }))).toBe('429 insufficient_quota');
  expect((await ask('POST', '/usage', done)).body).toMatchObject({ charged: '12', available: '-7', replayed: false });
  expect((await ask('POST', '/usage', done)).body).toMatchObject({ charged: '12', available: '-7', replayed: true });
  expect((await ask('GET', '/balance')).body).toMatchObject({ available: '-7', debt: '7' });
});

test('budgets of keys count it', async () => {
  const { key } = await rig.customer('100', { budget: { credits: '10', period: 'day' } });
  const ask = rig.as(key);
  expect((await ask('POST', '/usage', { usage_id: id(), credits: '8' })).status).toBe(200);
  const over = await ask('POST', '/usage', { usage_id: id(), credits: '3' });
  expect(errorOf(over)).toBe('429 budget_exceeded');
  expect((over.body.error as Json).message).toMatch(/of this API key is 10 credits a day, .* needs 3 credits/);
});

describe('who may', () => {
  test('no scope does more than it says, of all calls that there are', async () => {
    const scopes = ['inference', 'read', 'consume', 'billing'];
    const customers = await Promise.all(scopes.map((scope) => rig.customer('10', { scopes: [scope] })));
    const { body } = await rig.as(customers[0]!.key)('GET', '/openapi.json');
    const calls = Object.entries(body.paths as Record<string, Json>).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path: path.replace(/\{\w+\}/g, 'x') })),
    );
    expect(calls.length).toBeGreaterThanOrEqual(14);
    for (const { method, path } of calls) {
      const may = scopesOf(method, path);
      for (const [i, scope] of scopes.entries()) {
        const answer = await rig.as(customers[i]!.key)(method, path, method === 'GET' ? undefined : {});
        const denied = answer.status === 403 && errorOf(answer) === '403 scope_missing';
        expect(denied, `${method} ${path} by ${scope}`).toBe(!may.includes(scope));
      }
    }
  });

  function scopesOf(method: string, path: string): string[] {
    if (path === '/auto_recharge' && method === 'GET') return ['read', 'billing'];
    if (path === '/checkout' || path === '/portal' || path === '/auto_recharge') return ['billing'];
    return path.startsWith('/holds') || (method === 'POST' && path === '/usage') ? ['consume'] : ['read'];
  }

  test('not a key without the scope, nor one that is revoked, nor a suspended account, on any gateway', async () => {
    const { id: account, key } = await rig.customer('10');
    const reader = await rig.customer('10', { scopes: ['read', 'inference', 'billing'] });
    expect(errorOf(await rig.as(reader.key)('POST', '/usage', { usage_id: id(), credits: '1' }))).toBe(
      '403 scope_missing',
    );
    for (const nth of [0, 1])
      expect((await rig.as(key, nth)('POST', '/usage', { usage_id: id(), credits: '1' })).status).toBe(200);
    await rig.admin('PATCH', `/accounts/${account}`, { status: 'suspended' });
    for (const nth of [1, 0]) {
      const ask = rig.as(key, nth);
      expect(errorOf(await ask('POST', '/usage', { usage_id: id(), credits: '1' }))).toBe('403 account_suspended');
      expect((await ask('GET', '/balance')).body).toMatchObject({ available: '8' });
    }
    await rig.admin('PATCH', `/accounts/${account}`, { status: 'active' });
    const { body: keys } = await rig.admin('GET', `/accounts/${account}/keys`);
    await rig.admin('DELETE', `/accounts/${account}/keys/${(keys.data as Json[])[0]!.id}`);
    for (const nth of [1, 0]) {
      expect(errorOf(await rig.as(key, nth)('POST', '/usage', { usage_id: id(), credits: '1' }))).toBe(
        '401 invalid_api_key',
      );
    }
  });

  test('not a service key that was revoked, though its gateway knows of the newest catalog already', async () => {
    const [one, other] = [await rig.customer('10'), await rig.customer('10')];
    const { body: service } = await rig.admin('POST', '/service-keys', { name: 'app', scopes: ['consume'] });
    const ask = rig.as(service.key as string, 1, { 'tollgate-account': one.id });
    expect((await ask('POST', '/usage', { usage_id: id(), credits: '1' })).status).toBe(200);
    await rig.admin('DELETE', `/service-keys/${service.id}`);
    expect((await rig.as(other.key, 1)('POST', '/usage', { usage_id: id(), credits: '1' })).status).toBe(200);
    expect(errorOf(await ask('POST', '/usage', { usage_id: id(), credits: '1' }))).toBe('401 invalid_api_key');
  });

  test('a model that is not there, or not entitled to', async () => {
    const ask = rig.as((await rig.customer('10')).key);
    const of = (model: string) => ask('POST', '/usage', { usage_id: id(), model, usage: { input_tokens: 1 } });
    expect(errorOf(await of('nonsense'))).toBe('404 model_not_found model');
    expect(errorOf(await of('strict'))).toBe('403 model_not_entitled model');
  });
});

describe('is refused by name, and charges nothing:', () => {
  test.each(BAD_REPORTS)('%s', async (_, body, error) => {
    const { key } = await rig.customer('10');
    const ask = rig.as(key);
    expect(errorOf(await ask('POST', '/usage', body))).toBe(error);
    expect((await ask('GET', '/requests')).body.data).toEqual([]);
  });
});
