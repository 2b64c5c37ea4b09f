/** Models and prices through the admin API. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyCatalog } from '../../src/catalog/apply.ts';
import { createRig, errorBody, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
  const plan = { kind: 'plan' as const, name: 'pro', body: { models: ['*'] } };
  await applyCatalog(rig.database.pool, [plan], { force: false, prune: false });
});
afterAll(() => rig.close());

const ROUTES = [{ provider: 'demo', model: 'demo-chat' }];
const TIME = expect.stringMatching(/Z$/);

test('a model is put, read back with its slash, and its price changes are versions', async () => {
  const put = await rig.admin('PUT', '/models/demo/chat', { routes: ROUTES, price: { input: 0.15, output: '0.60' } });
  expect(put.status).toBe(200);
  expect(put.body).toEqual({
    model: 'demo/chat',
    version: 1,
    source: 'api',
    effective_at: TIME,
    routes: ROUTES,
    price: { input: '0.15', output: '0.60' },
  });
  for (const path of ['/models/demo/chat', '/models/demo%2Fchat']) {
    expect((await rig.admin('GET', path)).body).toEqual(put.body);
  }
  const dearer = {
    routes: ROUTES,
    max_output_tokens: 4096,
    price: { input: '0.2', output: '0.7' },
    cost: { input: 0.1, output: 0.1 },
  };
  expect((await rig.admin('PUT', '/models/demo/chat', dearer)).body).toMatchObject({
    version: 2,
    max_output_tokens: 4096,
  });
  expect((await rig.admin('GET', '/models/demo/chat/prices')).body).toEqual({
    data: [
      { version: 2, price: dearer.price, cost: { input: '0.1', output: '0.1' }, effective_at: TIME },
      { version: 1, price: { input: '0.15', output: '0.60' }, cost: null, effective_at: TIME },
    ],
    has_more: false,
    next_cursor: null,
  });
});

test.each([
  ['routes', { price: { input: '1' } }],
  ['routes', { routes: [], price: { input: '1' } }],
  ['price.input', { routes: ROUTES, price: { input: '-1' } }],
  ['price.input', { routes: ROUTES, price: { input: '0.0000000000001' } }],
  ['price.video', { routes: ROUTES, price: { video: '1' } }],
  ['when_short', { routes: ROUTES, price: { input: '1' }, when_short: 'never' }],
  ['colour', { routes: ROUTES, price: { input: '1' }, colour: 'red' }],
])('PUT refuses a bad %s by name (%j)', async (param, given) => {
  const { status, body } = await rig.admin('PUT', '/models/bad', given);
  expect(status).toBe(400);
  const message = expect.stringContaining(`'${param}'`);
  expect(body).toEqual(errorBody('invalid_request', 'invalid_request_error', param, message));
  expect((await rig.admin('GET', '/models/bad')).status).toBe(404);
});

test('a name that could not be read back is refused', async () => {
  for (const name of ['a/prices', '%00', 'x'.repeat(201)]) {
    const answer = await rig.admin('PUT', `/models/${name}`, { routes: ROUTES, price: { input: '1' } });
    expect(answer).toMatchObject({ status: 400, body: { error: { code: 'invalid_request', param: 'model' } } });
  }
});

test('a model with neither price nor cost is refused: it would never be served', async () => {
  const { status, body } = await rig.admin('PUT', '/models/bad', { routes: ROUTES });
  expect(status).toBe(400);
  expect(body.error).toMatchObject({ code: 'invalid_request', message: expect.stringContaining('price') });
});

test('a model that is not there is 404, and so are its prices', async () => {
  for (const path of ['/models/none', '/models/none/prices', '/models/', '/models/%00', '/models/prices/prices']) {
    expect((await rig.admin('GET', path)).status).toBe(404);
  }
});

test('an account may have a plan that the catalog has', async () => {
  const made = await rig.admin('POST', '/accounts', { name: 'Pro', plan: 'pro' });
  expect(made).toMatchObject({ status: 201, body: { plan: 'pro' } });
  const path = `/accounts/${made.body.id}`;
  expect(await rig.admin('PATCH', path, { plan: 'none' })).toMatchObject({
    status: 400,
    body: { error: { param: 'plan' } },
  });
  expect(await rig.admin('PATCH', path, { plan: null })).toMatchObject({ status: 200, body: { plan: null } });
});
