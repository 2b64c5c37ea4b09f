/** What an account may do: stated by the admin API, shown with its history, explained at any instant, and checked by the customer. */
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { putEntry } from '../../src/catalog/store.ts';
import { publicId } from '../../src/lib/ids.ts';
import { type Answer, type Customer, createCustomer, createRig, errorBody, type Json, type Rig } from './rig.ts';

let rig: Rig;
let customer: Customer;
let path: string;
beforeAll(async () => {
  rig = await createRig();
  const routes = [{ provider: 'on', model: 'x' }];
  for (const model of ['gpt-4o', 'vendor/o3']) {
    await putEntry(rig.database.pool, 'model', model, { routes, price: { input: '1', output: '2' } }, 'me');
  }
  const limits = { rpm: 60, 'rpm@gpt-*': 6 };
  await putEntry(
    rig.database.pool,
    'plan',
    'free',
    { default: true, models: ['gpt-*'], features: ['chat'], limits },
    'me',
  );
  await putEntry(
    rig.database.pool,
    'plan',
    'pro',
    { models: ['*'], features: ['chat', 'images'], limits: { seats: 5 } },
    'me',
  );
});
afterAll(() => rig.close());
beforeEach(async () => {
  customer = await createCustomer(rig, null);
  path = `/accounts/${customer.id}/entitlements`;
});

const put = (key: string, body: object) => rig.admin('PUT', `${path}/${key}`, { reason: 'because', ...body });
const post = (body: object) =>
  rig.admin('POST', path, {
    source: 'grant',
    key: 'model:vendor/o3',
    value: true,
    reference: 'r',
    reason: 'promo',
    ...body,
  });
const why = async (query: string) => (await rig.admin('GET', `${path}?${query}`)).body;
async function check(body: object, key = customer.key): Promise<Answer> {
  const response = await rig.http.inject({
    method: 'POST',
    url: '/account/v1/entitlements/check',
    headers: { authorization: `Bearer ${key}` },
    payload: JSON.stringify(body),
  });
  return { status: response.statusCode, body: response.json() as Json, headers: response.headers };
}
const allowed = async (body: object) => (await check(body)).body.allowed;
const statements = async () => (await rig.admin('GET', path)).body.statements as Json[];

describe('an override', () => {
  test('allows a model, the next one in its place takes it away, and DELETE leaves it to the plan', async () => {
    expect(await allowed({ model: 'vendor/o3' })).toBe(false);
    const made = await put('model:vendor/o3', { value: true, valid_until: '2100-01-01T00:00:00Z' });
    expect(made.body).toMatchObject({
      source: 'override',
      reference: null,
      value: true,
      state: 'in_force',
      author: 'owner',
    });
    expect((await check({ model: 'vendor/o3' })).body).toEqual({
      allowed: true,
      reason: 'An override allows this account the model "vendor/o3" until 2100-01-01T00:00:00.000Z.',
      source: { kind: 'override', id: made.body.id, reason: 'because' },
      value: true,
      limits: { rpm: 60, tpm: null, concurrency: null, max_output_tokens: null },
      valid_until: '2100-01-01T00:00:00.000Z',
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
    });
    await put('model:vendor/o3', { value: false });
    expect(await allowed({ model: 'vendor/o3' })).toBe(false);
    expect(await rig.admin('DELETE', `${path}/model:vendor/o3`, { reason: 'over' })).toMatchObject({
      status: 200,
      body: { value: null, state: 'withdrawal', reason: 'over' },
    });
    expect(await why('model=vendor/o3')).toMatchObject({ allowed: false, source: { kind: 'default' } });
    expect((await rig.admin('DELETE', `${path}/model:vendor/o3`)).status).toBe(404);
    expect((await statements()).map(({ state, value }) => [state, value])).toEqual([
      ['withdrawal', null],
      ['replaced', false],
      ['replaced', true],
    ]);
  });

  test('sets a limit, and false leaves none of it; a limit of models binds those alone', async () => {
    await put('limit:seats', { value: 3 });
    expect([await allowed({ limit: 'seats', used: 2 }), await allowed({ limit: 'seats', used: 3 })]).toEqual([
      true,
      false,
    ]);
    await put('limit:seats', { value: false });
    expect((await check({ limit: 'seats' })).body).toMatchObject({ allowed: false, value: 0 });
    await put('limit:rpm@gpt-4*', { value: 2 });
    expect((await check({ model: 'gpt-4o' })).body.limits).toMatchObject({ rpm: 2 });
    expect((await check({ feature: 'chat' })).body.limits).toMatchObject({ rpm: 60 });
  });

  test('that waits begins by time alone, and is taken back before it does', async () => {
    const later = await put('feature:images', { value: true, valid_from: '2099-01-01T00:00:00Z' });
    expect(later.body.state).toBe('waits');
    expect(await allowed({ feature: 'images' })).toBe(false);
    expect((await why('feature=images&at=2099-01-01T00:00:00Z')).allowed).toBe(true);
    expect((await why('feature=images&at=2098-12-31T23:59:59.999999Z')).allowed).toBe(false);
    await rig.admin('DELETE', `${path}/feature:images`);
    expect((await why('feature=images&at=2099-01-01T00:00:00Z')).allowed).toBe(false);
  });
});

describe('a grant', () => {
  test('is made once by its reference: 201, then 200 with the same, also when it was withdrawn; 422 names what differs', async () => {
    const first = await post({});
    expect(first).toMatchObject({ status: 201, body: { source: 'grant', reference: 'r', state: 'in_force' } });
    expect(await post({})).toEqual({ ...first, status: 200, headers: expect.anything() });
    for (const [param, other] of Object.entries({
      reason: 'x',
      valid_until: '2100-01-01T00:00:00Z',
      valid_from: '2099-01-01T00:00:00Z',
    })) {
      const refused = await post({ [param]: other });
      expect(refused).toMatchObject({
        status: 422,
        body: errorBody('reference_reused', 'invalid_request_error', param, expect.any(String)),
      });
    }
    expect(await allowed({ model: 'vendor/o3' })).toBe(true);
    expect((await rig.admin('DELETE', `${path}/model:vendor/o3?source=grant&reference=other`)).status).toBe(404);
    expect((await rig.admin('DELETE', `${path}/model:vendor/o3?source=grant&reference=r`)).status).toBe(200);
    expect(await post({})).toMatchObject({ status: 200, body: { id: first.body.id, state: 'replaced' } });
    expect(await allowed({ model: 'vendor/o3' })).toBe(false);
  });

  test('that is over by now is still the one that was made, when its making is repeated', async () => {
    const valid_until = '2020-02-01T00:00:00Z';
    const made = `entitlement_put($1, 77, 'grant', 'model:vendor/o3', 'r', 'true', NULL, $2, 'promo', 'me', '2020-01-01Z')`;
    await rig.database.pool.query(`SELECT ${made}`, [customer.account, valid_until]);
    expect(await post({ valid_until })).toMatchObject({
      status: 200,
      body: { id: publicId('ent', 77n), state: 'over' },
    });
    expect(await post({ valid_until, reference: 'other' })).toMatchObject({
      status: 400,
      body: { error: { param: 'valid_until' } },
    });
  });

  test('of a plan gives all that is in it, under a block', async () => {
    await post({ key: 'plan', value: 'pro' });
    expect([await allowed({ model: 'vendor/o3' }), await allowed({ feature: 'images' })]).toEqual([true, true]);
    await post({ source: 'block', key: 'model:*', value: false });
    expect([await allowed({ model: 'gpt-4o' }), await allowed({ feature: 'images' })]).toEqual([false, true]);
  });

  test('ten equal ones at once make one', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => post({})));
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(9).fill(200), 201]);
  });
});

test('200 statements are the most of an account; one may take the place of another', async () => {
  await rig.database.pool.query(
    `SELECT entitlement_put($1, n, 'override', 'feature:f' || n, '', 'true', NULL, NULL, 'r', 'me') FROM generate_series(1, 200) n`,
    [customer.account],
  );
  expect(await post({})).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
  expect((await put('feature:f7', { value: false })).status).toBe(200);
  await rig.admin('DELETE', `${path}/feature:f7`);
  expect((await post({})).status).toBe(201);
  // What is not many may still be too much.
  customer = await createCustomer(rig, null);
  path = `/accounts/${customer.id}/entitlements`;
  const statuses = [];
  for (let n = 0; n < 17; n++) statuses.push((await put(`config:${n}`, { value: 'x'.repeat(4000) })).status);
  expect(statuses).toEqual([...Array(16).fill(200), 409]);
});

test('all that an account may do is listed by key, and denied rules too, page by page', async () => {
  await put('config:theme', { value: { dark: true } });
  await put('model:*-old', { value: false });
  const shown = (body: Json) => (body.data as Json[]).map(({ key, allowed, value }) => [key, allowed, value]);
  const all = [
    ['config:theme', true, { dark: true }],
    ['feature:chat', true, true],
    ['limit:rpm', true, 60],
    ['limit:rpm@gpt-*', true, 6],
    ['model:*-old', false, false],
    ['model:gpt-4o', true, true],
  ];
  const first = (await rig.customer('/entitlements?limit=4', customer.key)).body;
  const second = (await rig.customer(`/entitlements?cursor=${first.next_cursor}`, customer.key)).body;
  expect([...shown(first), ...shown(second)]).toEqual(all);
  expect([first.has_more, second.has_more]).toEqual([true, false]);
  expect(shown((await rig.admin('GET', path)).body)).toEqual(all);
});

test('the past is replayed by the statements and the catalog of then', async () => {
  const name = `vendor/${customer.id}`;
  const routes = [{ provider: 'on', model: 'x' }];
  const then = (await check({ model: name })).body.at;
  await putEntry(rig.database.pool, 'model', name, { routes, price: { input: '1', output: '1' } }, 'me');
  const served = (await check({ model: name })).body.at;
  await put(`model:${name}`, { value: true });
  const given = (await check({ model: name })).body;
  await put(`model:${name}`, { value: false });
  expect(await allowed({ model: name })).toBe(false);
  const replayed = (at: unknown) => why(`model=${encodeURIComponent(name)}&at=${at}`);
  expect((await replayed(then)).reason).toBe(`There is no model "${name}".`);
  expect(await replayed(served)).toMatchObject({ allowed: false, source: { kind: 'default' } });
  const { account_id, ...same } = await replayed(given.at);
  expect([account_id, same]).toEqual([customer.id, given]);
  const past = (await rig.admin('GET', `${path}?at=${given.at}`)).body;
  expect(past.statements).toMatchObject([{ key: `model:${name}`, value: true, state: 'in_force' }]);
});

test('a check asks the database once, and again only when the catalog has changed', async () => {
  await check({ model: 'gpt-4o' });
  const query = vi.spyOn(rig.database.pool, 'query');
  await check({ model: 'vendor/o3' });
  expect(query).toHaveBeenCalledTimes(1);
  await putEntry(rig.database.pool, 'operation', 'any', { credits: '1' }, 'me');
  query.mockClear();
  await check({ model: 'gpt-4o' });
  await check({ model: 'gpt-4o' });
  expect(query).toHaveBeenCalledTimes(3);
  query.mockRestore();
});

test('a suspended account may not, whatever its plan says; its key may ask', async () => {
  await rig.admin('PATCH', `/accounts/${customer.id}`, { status: 'suspended' });
  expect((await check({ model: 'gpt-4o' })).body).toMatchObject({
    allowed: false,
    source: { kind: 'account', id: customer.id },
  });
  expect(await why('model=gpt-4o')).toMatchObject({ allowed: false, source: { kind: 'account' } });
});

test('a key of another account tells nothing of this one, and one without the scope nothing at all', async () => {
  await put('feature:secret', { value: true });
  const other = await createCustomer(rig, null);
  expect((await check({ feature: 'secret' }, other.key)).body.allowed).toBe(false);
  const narrow = await createCustomer(rig, null, ['inference']);
  expect((await check({ feature: 'secret' }, narrow.key)).body).toMatchObject({ error: { code: 'scope_missing' } });
});
