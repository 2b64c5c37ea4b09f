/** Prices through the admin API: versions with their instant, and questions before a slip holds; prices of accounts. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Customer, createCustomer, createRig, errorBody, type Json, type Rig } from './rig.ts';

let rig: Rig;
let model: string;
let serial = 0;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());
beforeEach(async () => {
  model = `vendor/m${++serial}`;
  await put({ routes: ROUTES, price: PRICE, cost: COST });
});

const ROUTES = [{ provider: 'demo', model: 'plain' }];
const PRICE = { input: '1', output: '2' };
const COST = { input: '0.5', output: '1' };
const TIME = expect.stringMatching(/Z$/);
const put = (body: Json, query = '') => rig.admin('PUT', `/models/${model}${query}`, body);
const post = (body: Json, query = '') => rig.admin('POST', `/models/${model}/prices${query}`, body);
const inAnHour = (): string => new Date(Date.now() + 3_600_000).toISOString();
const versions = async (): Promise<unknown[]> => {
  const { data } = (await rig.admin('GET', `/models/${model}/prices`)).body as { data: Json[] };
  return data.map(({ version, price, cost }) => [version, price, cost]);
};

describe('a price change', () => {
  test('is a new version at once; what is not given stays', async () => {
    const made = await post({ price: { input: 1.5, output: '2' } });
    expect([made.status, made.body]).toEqual([
      201,
      { version: 2, price: { input: '1.5', output: '2' }, cost: COST, effective_at: TIME },
    ]);
    expect((await rig.admin('GET', `/models/${model}`)).body).toMatchObject({
      version: 2,
      routes: ROUTES,
      price: { input: '1.5' },
    });
    expect((await post({ cost: { input: '0.6', output: '1' } })).body).toMatchObject({
      version: 3,
      price: { input: '1.5' },
    });
  });

  test('with an instant waits for it, and is listed before it holds', async () => {
    const effective_at = inAnHour();
    expect((await post({ price: { input: 3, output: 4 }, effective_at })).body).toMatchObject({
      version: 2,
      effective_at,
    });
    expect((await rig.admin('GET', `/models/${model}`)).body).toMatchObject({ version: 1, price: PRICE });
    await put({ routes: ROUTES, price: PRICE, cost: COST, when_short: 'refuse' });
    expect(await versions()).toEqual([
      [4, { input: '3', output: '4' }, COST],
      [3, PRICE, COST],
      [1, PRICE, COST],
    ]);
  });

  test.each([
    ['effective_at', { price: PRICE, effective_at: '2020-01-01T00:00:00Z' }],
    ['effective_at', { price: PRICE, effective_at: 'soon' }],
    ['price', {}],
    ['price', { effective_at: '2999-01-01T00:00:00Z' }],
    ['price.input', { price: { input: '-1' } }],
    ['price.tiers.0.video', { price: { input: '1', tiers: [{ above_input_tokens: 5, video: '1' }] } }],
    ['routes', { price: PRICE, routes: [] }],
    ['confirm', { price: PRICE }, '?confirm=yes'],
    ['force', { price: PRICE }, '?force=true'],
  ] as [string, Json, string?][])(
    'is refused with a bad %s by name, and changes nothing: %j',
    async (param, body, query) => {
      const message = expect.stringContaining(`'${param}'`);
      expect(await post(body, query)).toMatchObject({
        status: 400,
        body: errorBody('invalid_request', 'invalid_request_error', param, message),
      });
      expect(await versions()).toEqual([[1, PRICE, COST]]);
    },
  );

  test('of a model that is not there is 404', async () => {
    for (const path of ['/models/none/prices', '/models/none/prices/preview', '/models/none', '/models/prices']) {
      expect((await rig.admin('POST', path, { price: PRICE })).status).toBe(404);
    }
  });
});

describe('a price that looks like a slip', () => {
  const slip = { input: '1000', output: '2000' };
  const asks = (param: string) => ({
    status: 400,
    body: errorBody('invalid_request', 'invalid_request_error', param, expect.stringContaining('?confirm=true')),
  });

  test('is asked about by name, and holds once it is confirmed', async () => {
    expect(await post({ price: slip })).toMatchObject(asks('price.input'));
    expect(await post({ price: slip }, '?confirm=false')).toMatchObject(asks('price.input'));
    expect(await put({ routes: ROUTES, price: slip, cost: COST })).toMatchObject(asks('price.input'));
    expect(await versions()).toEqual([[1, PRICE, COST]]);
    expect((await post({ price: slip }, '?confirm=true')).status).toBe(201);
    expect((await put({ routes: ROUTES, price: PRICE, cost: COST }, '?confirm=true')).status).toBe(200);
  });

  test('is compared with what then holds: the price that waits before it', async () => {
    const [first, second] = [inAnHour(), new Date(Date.now() + 7_200_000).toISOString()];
    expect((await post({ price: slip, effective_at: first }, '?confirm=true')).status).toBe(201);
    expect((await post({ cost: { input: '500', output: '500' }, effective_at: second }, '?confirm=true')).status).toBe(
      201,
    );
    expect((await post({ price: { input: '1001', output: '2000' }, effective_at: second })).status).toBe(201);
  });

  test('is asked about in a model that is new, too', async () => {
    model = `vendor/new${serial}`;
    expect(await put({ routes: ROUTES, price: { input: '0.00000015', output: '0.0000006' } })).toMatchObject(
      asks('price.input'),
    );
    expect((await rig.admin('GET', `/models/${model}`)).status).toBe(404);
  });
});

describe('the price of an account', () => {
  let customer: Customer;
  beforeEach(async () => {
    customer = await createCustomer(rig, null);
  });
  const path = () => `/accounts/${customer.id}/prices/${model}`;
  const set = (body: Json, query = '') => rig.admin('PUT', path() + query, body);

  test('is set with a reason, listed with what waits, and taken away with what waits', async () => {
    const effective_at = inAnHour();
    const deal = { price: { input: 0.9, output: '1.8' }, reason: 'a deal' };
    const first = { model, version: 1, price: { input: '0.9', output: '1.8' }, reason: 'a deal', effective_at: TIME };
    expect(await set(deal)).toMatchObject({ status: 200, body: first });
    await set({ price: { multiple: 0.5 }, reason: 'next year', effective_at });
    // A change for now leaves what waits.
    await set({ price: { multiple: 0.7 }, reason: 'until then' });
    expect((await rig.admin('GET', path())).body).toEqual({
      data: [
        { model, version: 4, price: { multiple: '0.5' }, reason: 'next year', effective_at },
        { model, version: 3, price: { multiple: '0.7' }, reason: 'until then', effective_at: TIME },
        first,
      ],
      has_more: false,
      next_cursor: null,
    });
    expect(await rig.admin('DELETE', path(), { reason: 'over' })).toMatchObject({
      body: { version: 5, price: null, reason: 'over' },
    });
    const { data } = (await rig.admin('GET', path())).body as { data: Json[] };
    expect(data.map(({ version }) => version)).toEqual([5, 3, 1]);
    expect((await rig.admin('DELETE', path())).status).toBe(404);
  });

  test.each([
    ['reason', { price: PRICE }],
    ['price', { reason: 'x' }],
    ['price.video', { price: { video: 1 }, reason: 'x' }],
    ['price.multiple', { price: { multiple: 0 }, reason: 'x' }],
    ['effective_at', { price: PRICE, reason: 'x', effective_at: '2020-01-01T00:00:00Z' }],
    ['credits', { price: PRICE, reason: 'x', credits: 1 }],
  ] as [string, Json][])('is refused with a bad %s by name: %j', async (param, body) => {
    expect(await set(body)).toMatchObject({ status: 400, body: { error: { code: 'invalid_request', param } } });
    expect((await rig.admin('GET', path())).status).toBe(404);
  });

  test.each([{ multiple: '0.001' }, { multiple: 1000 }, { input: '500', output: '2' }])(
    'is asked about when it looks like a slip: %j',
    async (price) => {
      expect(await set({ price, reason: 'x' })).toMatchObject({
        status: 400,
        body: { error: { param: 'price.input' } },
      });
      expect((await set({ price, reason: 'x' }, '?confirm=true')).status).toBe(200);
    },
  );

  test('is for accounts and models that are there', async () => {
    const body = { price: PRICE, reason: 'x' };
    for (const bad of [
      `/accounts/${customer.id}/prices/none`,
      `/accounts/acct_${'0'.repeat(20)}1/prices/${model}`,
      `/accounts/x/prices/${model}`,
    ]) {
      expect((await rig.admin('PUT', bad, body)).status).toBe(404);
    }
  });

  test('is a version that the database refuses to change', async () => {
    await set({ price: PRICE, reason: 'x' });
    await expect(rig.database.pool.query("UPDATE price_overrides SET reason = 'y'")).rejects.toThrow('add a new one');
  });
});
