/** Plans, packs and operations through the admin API: versions, effective at the next request. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRig, errorBody, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

const refusal = (param: string) => errorBody('invalid_request', 'invalid_request_error', param, expect.any(String));
const TIME = expect.stringMatching(/Z$/);
const KINDS = [
  [
    'plan',
    'plans',
    'team/one',
    { models: ['gpt-*'], features: ['images'], limits: { rpm: 60, 'rpm@gpt-5*': 5, seats: 3 } },
  ],
  ['pack', 'packs', 'team/one', { price: { usd: '10' }, credits: '10000', bonus_credits: '500', expires_days: 365 }],
  ['operation', 'operations', 'team/one', { credits: '100', feature: 'video_generation' }],
  ['passthrough', 'passthrough', 'POST /v1/custom/{id}', { provider: 'p', feature: 'f', price: { request: '0.001' } }],
] as const;

it.each(KINDS)('a %s is put, read back, listed, and put again as a new version', async (kind, folder, name, body) => {
  const path = `/${folder}/${encodeURI(name)}`;
  for (const version of [1, 2]) {
    const put = await rig.admin('PUT', path, body);
    expect(put).toMatchObject({
      status: 200,
      body: { [kind]: name, version, source: 'api', effective_at: TIME, ...body },
    });
    expect((await rig.admin('GET', path)).body).toEqual(put.body);
  }
  const list = await rig.admin('GET', `/${folder}`);
  expect(list.body).toMatchObject({ data: [{ [kind]: name, version: 2, ...body }], has_more: false });
});

it.each([
  ['plans', { models: 'gpt' }, 'models'],
  ['plans', { limits: { rpm: -1 } }, 'limits.rpm'],
  ['plans', { limits: { 'a b': 1 } }, 'limits.a b'],
  ['plans', { included_credits: { credits: '1.0000000001', every: 'month' } }, 'included_credits.credits'],
  ['plans', { nonsense: 1 }, 'nonsense'],
  ['packs', { credits: '-1' }, 'credits'],
  ['packs', { price: { dollars: '1' }, credits: '1' }, 'price.dollars'],
  ['operations', {}, 'credits'],
  ['operations', { credits: '10000000000000000000' }, 'credits'],
] as const)('PUT %s/x with %j names %s and changes nothing', async (folder, body, param) => {
  expect(await rig.admin('PUT', `/${folder}/x`, body)).toMatchObject({
    status: 400,
    body: refusal(param),
  });
  expect((await rig.admin('GET', `/${folder}/x`)).status).toBe(404);
});

it.each([
  'x',
  'POST',
  'POST /x',
  'POST  /v1/x',
  'post /v1/x',
  'POST /v1/chat/completions',
  'POST /v1/a%2Fb',
  'POST /v1/../x',
])('PUT passthrough/%s is refused by its name', async (name) => {
  const put = await rig.admin('PUT', `/passthrough/${encodeURIComponent(name)}`, {
    provider: 'p',
    price: { request: '1' },
  });
  expect(put).toMatchObject({ status: 400, body: refusal('passthrough') });
});

it('a route that takes what another does is refused, and the other may change', async () => {
  const route = { provider: 'p', price: { request: '1' } };
  const put = (name: string) => rig.admin('PUT', `/passthrough/${encodeURI(name)}`, route);
  expect((await put('GET /v1/same/{a}')).status).toBe(200);
  expect(await put('GET /v1/same/{b}')).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
  expect([(await put('POST /v1/same/{b}')).status, (await put('GET /v1/same/{a}')).status]).toEqual([200, 200]);
});

it('a price of a plan that looks like a slip is questioned first', async () => {
  const plan = { models: ['*'], prices: { 'gpt-*': { input: '150000', output: '600000' } } };
  expect((await rig.admin('PUT', '/plans/slip', plan)).body).toMatchObject(refusal('prices.gpt-*.input'));
  expect((await rig.admin('PUT', '/plans/slip?confirm=true', plan)).status).toBe(200);
});

it('a price of Stripe that buys something else already is refused, and the same plan may keep its own', async () => {
  const plan = { models: ['*'], stripe_prices: ['price_m', 'price_y'] };
  expect((await rig.admin('PUT', '/plans/paid', plan)).status).toBe(200);
  expect((await rig.admin('PUT', '/plans/paid', { ...plan, grace_days: 3 })).status).toBe(200);
  const refused = await rig.admin('PUT', '/packs/extra', { credits: '5', stripe_price: 'price_y' });
  expect(refused).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
  expect(JSON.stringify(refused.body)).toContain('price_y buys the plan \\"paid\\" already');
});

it('customers see the plans and packs that are public', async () => {
  await rig.admin('PUT', '/plans/secret', { models: ['*'], public: false });
  await rig.admin('PUT', '/plans/open', {
    models: ['demo/*'],
    included_credits: { credits: '50', every: 'month', rollover: 'all', trial: '0' },
  });
  const { body: account } = await rig.admin('POST', '/accounts', { name: 'Ada' });
  const { body: key } = await rig.admin('POST', `/accounts/${account.id}/keys`, {});
  const { status, body } = await rig.customer('/catalog', key.key as string);
  expect(status).toBe(200);
  const plans = body.plans as { plan: string }[];
  expect(plans.map(({ plan }) => plan)).not.toContain('secret');
  expect(plans.find(({ plan }) => plan === 'open')).toEqual({
    plan: 'open',
    models: ['demo/*'],
    features: [],
    limits: {},
    included_credits: { credits: '50', every: 'month', rollover: 'all', trial: '0' },
  });
  expect(body.packs).toEqual([
    { pack: 'team/one', price: { usd: '10' }, credits: '10000', bonus_credits: '500', expires_days: 365 },
  ]);
});
