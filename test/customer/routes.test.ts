/** What an account sees of itself through the customer API. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { endOwner } from '../../src/ledger/owners.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { publicUuid, uuidv7 } from '../../src/lib/ids.ts';
import {
  type Customer,
  createCustomer,
  createRig,
  errorBody,
  type Json,
  nextMillisecond,
  openRequest,
  type Rig,
} from '../admin/rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const lotOf = async (customer: Customer) =>
  ((await rig.customer('/balance', customer.key)).body.lots as { id: string }[])[0]!.id;
const get = async (customer: Customer, path: string) => (await rig.customer(path, customer.key)).body;

test('the balance counts what is held', async () => {
  const customer = await createCustomer(rig, '10');
  await openRequest(rig, customer, '2.5');
  const { status, body, headers } = await rig.customer('/balance', customer.key);
  expect(status).toBe(200);
  expect(headers['x-request-id']).toMatch(/^req_/);
  expect(body).toEqual({
    available: '7.5',
    held: '2.5',
    posted: '10',
    debt: '0',
    overdraft: '0',
    next_expiry: null,
    lots: [
      {
        id: expect.stringMatching(/^lot_/),
        kind: 'topup',
        granted: '10',
        remaining: '10',
        priority: 0,
        starts_at: TIME,
        expires_at: null,
      },
    ],
  });
});

test('a settled request has a receipt that explains its charge', async () => {
  const customer = await createCustomer(rig, '10');
  const lot = await lotOf(customer);
  const request = await openRequest(rig, customer, '2');
  await request.settle('1.4', { usage: { input: 800, cached_input: 200, output: 150, reasoning: 50 }, clampedTo: 500 });
  const { status, body } = await rig.customer(`/requests/${request.id}`, customer.key);
  expect(status).toBe(200);
  expect(body).toEqual({
    request_id: request.id,
    account_id: customer.id,
    key_id: customer.keyId,
    endpoint: '/v1/chat/completions',
    model: 'plain',
    provider: 'demo',
    provider_model: 'plain',
    status: 'settled',
    stream: false,
    usage: {
      input_tokens: 1000,
      cached_input_tokens: 200,
      cache_write_tokens: 0,
      output_tokens: 200,
      reasoning_tokens: 50,
    },
    usage_source: 'provider',
    price_version: 3,
    price_source: 'model',
    price_override: null,
    service_tier: null,
    lines: [
      { unit: 'input', quantity: 800, unit_price_usd: '1', per: 1_000_000, credits: '0.8' },
      { unit: 'cached_input', quantity: 200, unit_price_usd: '1', per: 1_000_000, credits: '0.2' },
      { unit: 'output', quantity: 150, unit_price_usd: '2', per: 1_000_000, credits: '0.3' },
      { unit: 'reasoning', quantity: 50, unit_price_usd: '2', per: 1_000_000, credits: '0.1' },
    ],
    held: '2',
    charged: '1.4',
    clamped_to: 500,
    disconnect: null,
    policy: null,
    lots: [{ lot_id: lot, credits: '1.4' }],
    refund: null,
    attempts: [{ provider: 'demo', status: 200, outcome: 'answered', ms: 12 }],
    created_at: '2026-01-02T03:04:05.000Z',
    settled_at: TIME,
  });
  expect((await get(customer, '/ledger?limit=1')).data).toEqual([
    {
      id: `entry_${request.id.slice(4)}`,
      seq: 2,
      kind: 'charge',
      credits: '-1.4',
      balance_after: '8.6',
      debit: 'wallet',
      credit: 'revenue',
      reference: null,
      request_id: request.id,
      lots: [{ lot_id: lot, credits: '1.4' }],
      created_at: TIME,
    },
  ]);
});

test('a request that runs is held; one that was released was charged nothing', async () => {
  const customer = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '2');
  expect(await get(customer, `/requests/${request.id}`)).toMatchObject({
    status: 'held',
    held: '2',
    charged: '0',
    usage: {},
    usage_source: null,
    lines: [],
    lots: [],
    settled_at: null,
  });
  await request.release();
  expect(await get(customer, `/requests/${request.id}`)).toMatchObject({
    status: 'released',
    held: '2',
    charged: '0',
    lots: [],
    settled_at: TIME,
  });
});

test('a hold that ended by itself was charged nothing, and still says what it held', async () => {
  const customer = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '2', 60);
  await rig.database.pool.query("SELECT ledger_expire_due(10, now() + interval '1 hour')");
  const released = { status: 'released', held: '2', charged: '0', usage_source: null, lots: [], settled_at: TIME };
  expect(await get(customer, `/requests/${request.id}`)).toMatchObject(released);
  expect((await get(customer, '/requests')).data).toMatchObject([{ request_id: request.id, ...released }]);
  expect((await get(customer, '/ledger?limit=1')).data).toMatchObject([
    { id: `entry_${request.id.slice(4)}`, kind: 'lapse', credits: '0', request_id: request.id, lots: [] },
  ]);
});

test('a request whose gateway died, of a model that then costs nothing, still says what it held, and why', async () => {
  const customer = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '2', null, 'release');
  await endOwner(rig.database.pool, rig.owner);
  const read = () => get(customer, `/requests/${request.id}`);
  const released = { status: 'released', held: '2', charged: '0', usage_source: null, policy: 'on_orphan: release' };
  expect(await read()).toMatchObject({ ...released, model: 'plain', settled_at: TIME });
  await request.settle('0.5', { usage: { input: 500 } });
  expect(await read()).toMatchObject({ status: 'settled', held: '2', charged: '0.5', policy: null });
});

test('a request whose gateway died, of a model that then costs the hold, says so', async () => {
  const customer = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '2', null, 'charge_hold');
  await endOwner(rig.database.pool, rig.owner);
  const recovered = { status: 'recovered', held: '2', charged: '2', usage_source: 'recovered' };
  expect(await get(customer, `/requests/${request.id}`)).toMatchObject({
    ...recovered,
    policy: 'on_orphan: charge_hold',
  });
});

test('a recovered request says so; its late settlement makes it settled, at what it really cost', async () => {
  const customer = await createCustomer(rig, '10');
  const [dearer, cheaper] = [await openRequest(rig, customer, '4'), await openRequest(rig, customer, '4')];
  await endOwner(rig.database.pool, rig.owner);
  expect(await get(customer, `/requests/${dearer.id}`)).toMatchObject({
    status: 'recovered',
    held: '4',
    charged: '0.4',
    usage_source: 'recovered',
    policy: 'on_orphan: charge_metered',
  });
  await dearer.settle('1', { usage: { input: 1000 } });
  await cheaper.settle('0.1', { usage: { input: 100 } });
  const lot = await lotOf(customer);
  const settled = { status: 'settled', usage_source: 'provider', held: '4' };
  const lots = (credits: string) => [{ lot_id: lot, credits }];
  expect(await get(customer, `/requests/${dearer.id}`)).toMatchObject({ ...settled, charged: '1', lots: lots('1') });
  expect(await get(customer, `/requests/${cheaper.id}`)).toMatchObject({
    ...settled,
    charged: '0.1',
    lots: lots('0.1'),
  });
  const { data } = (await get(customer, '/ledger')) as { data: Json[] };
  expect(new Set(data.map(({ id }) => id)).size).toBe(data.length);
  const late = data.filter(({ kind }) => kind === 'late');
  expect(late.map(({ credits }) => credits).sort()).toEqual(['-0.6', '0.3']);
  expect(await get(customer, '/balance')).toMatchObject({ available: '8.9', held: '0' });
});

test('a settlement after a release books the whole, and the request is settled', async () => {
  const customer = await createCustomer(rig, '10');
  const request = await openRequest(rig, customer, '2');
  await request.release();
  await request.settle('0.5', { usage: { input: 500 } });
  expect(await get(customer, `/requests/${request.id}`)).toMatchObject({ status: 'settled', charged: '0.5' });
});

test('requests are listed newest first, those that run included, each once across pages', async () => {
  const customer = await createCustomer(rig, '10');
  const requests = [];
  for (let i = 0; i < 5; i++) {
    requests.push(await openRequest(rig, customer, '1'));
    await nextMillisecond();
  }
  await requests[0]!.settle('0.5', { usage: { input: 500 } });
  await requests[2]!.release();
  await requests[3]!.settle('0.5', { usage: { input: 500 } });
  const seen: Json[] = [];
  for (let cursor = ''; ; ) {
    const body = await get(customer, `/requests?limit=2${cursor}`);
    seen.push(...(body.data as Json[]));
    if (!body.has_more) break;
    cursor = `&cursor=${body.next_cursor}`;
  }
  expect(seen.map(({ request_id }) => request_id)).toEqual(requests.map(({ id }) => id).reverse());
  expect(seen.map(({ status }) => status)).toEqual(['held', 'settled', 'released', 'held', 'settled']);
});

test.each([
  ['/ledger?limit=1000', 'limit'],
  ['/ledger?cursor=bm9uc2Vuc2U', 'cursor'],
  ['/requests?limit=-1', 'limit'],
  ['/requests?cursor=MQ', 'cursor'],
  ['/requests?model=x', 'model'],
])('%s is refused by name', async (path, param) => {
  const customer = await createCustomer(rig, null);
  const { status, body } = await rig.customer(path, customer.key);
  expect(status).toBe(400);
  const message = expect.stringContaining(`'${param}'`);
  expect(body).toEqual(errorBody('invalid_request', 'invalid_request_error', param, message));
});

test('another account’s request is not there, nor is one nobody made', async () => {
  const owner = await createCustomer(rig, '10');
  const other = await createCustomer(rig, '10');
  const request = await openRequest(rig, owner, '1');
  for (const id of [request.id, publicUuid('req', uuidv7(systemClock)), 'req_nonsense', request.id.slice(4)]) {
    const { status, body } = await rig.customer(`/requests/${id}`, other.key);
    expect(status).toBe(404);
    expect(body).toEqual(errorBody('not_found', 'invalid_request_error', null, 'There is no such object.'));
  }
  expect((await get(other, '/requests')).data).toEqual([]);
});
