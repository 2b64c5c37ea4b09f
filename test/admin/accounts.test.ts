/** Accounts and keys through the admin API. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCustomer, createRig, errorBody, nextMillisecond, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

const invalid = (param: string | null, message: unknown) =>
  errorBody('invalid_request', 'invalid_request_error', param, message);
const notFound = (message: unknown) => errorBody('not_found', 'invalid_request_error', null, message);

test('an account is created with what was given, and can be read back', async () => {
  const given = {
    name: 'Acme',
    external_id: 'crm-1',
    email: 'ops@acme.example',
    overdraft: 2.5,
    stripe_customer_id: 'cus_crm1',
    metadata: { team: 'red' },
  };
  const created = await rig.admin('POST', '/accounts', given);
  expect(created.status).toBe(201);
  expect(created.body).toEqual({
    ...given,
    id: expect.stringMatching(/^acct_[0-9a-z]{13}$/),
    overdraft: '2.5',
    budget: null,
    plan: null,
    plan_quantity: 1,
    status: 'active',
    erased_at: null,
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
  });
  expect(created.headers['x-request-id']).toMatch(/^req_[0-9a-f]{32}$/);
  const read = await rig.admin('GET', `/accounts/${created.body.id}`);
  expect(read.status).toBe(200);
  expect(read.body).toEqual(created.body);
});

test('an external id makes one account: 201, then 200 with the same, and 422 naming the field that differs', async () => {
  const given = { name: 'Once', external_id: 'once', metadata: { a: '1', b: '2' } };
  const first = await rig.admin('POST', '/accounts', given);
  const again = await rig.admin('POST', '/accounts', { ...given, metadata: { b: '2', a: '1' } });
  expect([first.status, again.status]).toEqual([201, 200]);
  expect(again.body).toEqual(first.body);
  for (const [param, other] of Object.entries({ name: 'Other', email: 'a@b.example', overdraft: '1', metadata: {} })) {
    const refused = await rig.admin('POST', '/accounts', { ...given, [param]: other });
    expect(refused.status).toBe(422);
    expect(refused.body).toEqual(
      errorBody('reference_reused', 'invalid_request_error', param, expect.stringContaining(param)),
    );
  }
});

test('ten equal creations at once make one account', async () => {
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => rig.admin('POST', '/accounts', { name: 'Race', external_id: 'race' })),
  );
  expect(answers.map((answer) => answer.status).sort()).toEqual([...Array(9).fill(200), 201]);
  expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
});

test('accounts are listed newest first, page by page', async () => {
  const ids: unknown[] = [];
  for (const name of ['one', 'two', 'three']) {
    ids.unshift((await rig.admin('POST', '/accounts', { name })).body.id);
    await nextMillisecond();
  }
  const first = await rig.admin('GET', '/accounts?limit=2');
  expect((first.body.data as { id: string }[]).map(({ id }) => id)).toEqual(ids.slice(0, 2));
  expect(first.body.has_more).toBe(true);
  const second = await rig.admin('GET', `/accounts?limit=1&cursor=${first.body.next_cursor}`);
  expect((second.body.data as { id: string }[]).map(({ id }) => id)).toEqual(ids.slice(2));
  const all = await rig.admin('GET', '/accounts?limit=200');
  expect(all.body).toMatchObject({ has_more: false, next_cursor: null });
});

test('accounts are found by their external id, their plan and their status', async () => {
  await rig.admin('PUT', '/plans/team', { models: [] });
  const { body: one } = await rig.admin('POST', '/accounts', { name: 'x', external_id: 'find me', plan: 'team' });
  await nextMillisecond();
  const { body: two } = await rig.admin('POST', '/accounts', { name: 'y', plan: 'team' });
  await rig.admin('PATCH', `/accounts/${two.id}`, { status: 'suspended' });
  const found = async (query: string) =>
    ((await rig.admin('GET', `/accounts?${query}`)).body.data as { id: string }[]).map(({ id }) => id);
  expect(await found('external_id=find%20me')).toEqual([one.id]);
  expect(await found('plan=team')).toEqual([two.id, one.id]);
  expect(await found('plan=team&status=suspended')).toEqual([two.id]);
  expect(await found('plan=team&status=active')).toEqual([one.id]);
  expect(await found('plan=other')).toEqual([]);
});

test.each([
  ['status=gone', 'status'],
  ['external_id=', 'external_id'],
  ['limit=0', 'limit'],
  ['limit=201', 'limit'],
  ['limit=ten', 'limit'],
  ['cursor=nonsense', 'cursor'],
  ['cursor=', 'cursor'],
  ['page=2', 'page'],
])('a list refuses the query %s by name', async (query, param) => {
  const { status, body } = await rig.admin('GET', `/accounts?${query}`);
  expect(status).toBe(400);
  expect(body).toEqual(invalid(param, expect.stringContaining(`'${param}'`)));
});

test('PATCH changes the fields given and no other; null takes one away', async () => {
  const { body: made } = await rig.admin('POST', '/accounts', {
    name: 'Old',
    external_id: 'patch',
    email: 'a@b.example',
  });
  const path = `/accounts/${made.id}`;
  const changed = await rig.admin('PATCH', path, { name: 'New', email: null, status: 'suspended', overdraft: '7' });
  expect(changed.status).toBe(200);
  expect(changed.body).toEqual({ ...made, name: 'New', email: null, status: 'suspended', overdraft: '7' });
  expect((await rig.admin('PATCH', path, {})).body).toEqual(changed.body);
  expect((await rig.admin('PATCH', path, { external_id: null })).body.external_id).toBeNull();
});

test('PATCH refuses an external id that another account has', async () => {
  await rig.admin('POST', '/accounts', { name: 'Holder', external_id: 'taken' });
  const { body: other } = await rig.admin('POST', '/accounts', { name: 'Other' });
  const { status, body } = await rig.admin('PATCH', `/accounts/${other.id}`, { external_id: 'taken' });
  expect(status).toBe(409);
  expect(body).toEqual(
    errorBody('conflict', 'invalid_request_error', 'external_id', 'Another account has this external_id.'),
  );
});

test.each([
  ['name', {}],
  ['name', { name: '' }],
  ['name', { name: 5 }],
  ['name', { name: 'x'.repeat(201) }],
  ['name', { name: 'nul \0' }],
  ['external_id', { name: 'x', external_id: '\ud800' }],
  ['email', { name: 'x', email: 'nobody' }],
  ['plan', { name: 'x', plan: 'no-such-plan' }],
  ['overdraft', { name: 'x', overdraft: -1 }],
  ['overdraft', { name: 'x', overdraft: '0.0000000001' }],
  ['overdraft', { name: 'x', overdraft: '1000000000.000000001' }],
  ['metadata.deep', { name: 'x', metadata: { deep: {} } }],
  ['stripe_customer_id', { name: 'x', stripe_customer_id: 5 }],
  ['status', { name: 'x', status: 'suspended' }],
])('POST accounts refuses a bad %s by name (%j)', async (param, given) => {
  const { status, body } = await rig.admin('POST', '/accounts', given);
  expect(status).toBe(400);
  expect(body).toEqual(invalid(param, expect.stringContaining(`'${param}'`)));
});

test('what is no JSON object is refused', async () => {
  for (const broken of ['{', '{"name":"x"} x', '{"name":NaN}']) {
    expect(await rig.admin('POST', '/accounts', broken)).toMatchObject({
      status: 400,
      body: errorBody('invalid_json', 'invalid_request_error', null, expect.any(String)),
    });
  }
  for (const other of ['null', '[]', '"text"', '5']) {
    expect(await rig.admin('POST', '/accounts', other)).toMatchObject({ status: 400 });
  }
});

test('a key is shown once, with its scopes; lists never show it', async () => {
  const { body: account } = await rig.admin('POST', '/accounts', { name: 'Keys' });
  const path = `/accounts/${account.id}/keys`;
  const plain = await rig.admin('POST', path);
  expect(plain.status).toBe(201);
  expect(plain.body).toEqual({
    id: expect.stringMatching(/^key_[0-9a-z]{13}$/),
    key: expect.stringMatching(/^sk-tg-[0-9a-z]{13}-[0-9A-Za-z]{39}$/),
    name: null,
    scopes: ['inference', 'read'],
    models: null,
    ip_ranges: null,
    limits: null,
    budget: null,
    created_at: expect.any(String),
    expires_at: null,
    revoked_at: null,
    replaced_by: null,
  });
  const expiresAt = '2100-01-01T00:00:00.000Z';
  const terms = { models: ['gpt-*'], ip_ranges: ['10.0.0.0/8', '::1'], limits: { rpm: 3, max_output_tokens: 0 } };
  const given = { name: 'ci', scopes: ['read', 'read'], expires_at: '2100-01-01T02:00:00+02:00', ...terms };
  await nextMillisecond();
  const other = await rig.admin('POST', path, given);
  expect(other.body).toMatchObject({ name: 'ci', scopes: ['read'], expires_at: expiresAt });
  const listed = await rig.admin('GET', path);
  expect(listed.body).toEqual({
    data: [
      {
        id: other.body.id,
        name: 'ci',
        scopes: ['read'],
        ...terms,
        budget: null,
        expires_at: expiresAt,
        revoked_at: null,
        replaced_by: null,
        created_at: expect.any(String),
      },
      {
        id: plain.body.id,
        name: null,
        scopes: ['inference', 'read'],
        models: null,
        ip_ranges: null,
        limits: null,
        budget: null,
        expires_at: null,
        revoked_at: null,
        replaced_by: null,
        created_at: expect.any(String),
      },
    ],
    has_more: false,
    next_cursor: null,
  });
  expect(JSON.stringify(listed.body)).not.toContain('sk-tg-');
});

test.each([
  ['scopes', { scopes: [] }],
  ['scopes.0', { scopes: ['admin'] }],
  ['scopes', { scopes: 'read' }],
  ['expires_at', { expires_at: '2020-01-01T00:00:00Z' }],
  ['expires_at', { expires_at: '2100-01-01' }],
  ['expires_at', { expires_at: '2100-01-01T00:00:00' }],
  ['models', { models: [] }],
  ['models', { models: 'gpt-*' }],
  ['models.1', { models: ['*', ''] }],
  ['models', { models: new Array(101).fill('m') }],
  ['ip_ranges', { ip_ranges: [] }],
  ['ip_ranges.0', { ip_ranges: ['10.0.0.0/33'] }],
  ['ip_ranges.0', { ip_ranges: ['../'] }],
  ['limits', { limits: [] }],
  ['limits.rpm', { limits: { rpm: -1 } }],
  ['limits.tpm', { limits: { tpm: 1.5 } }],
  ['limits.concurrency', { limits: { concurrency: 1e19 } }],
  ['limits.seats', { limits: { seats: 1 } }],
  ['name', { name: 'x'.repeat(1_000_000) }],
])('POST keys refuses a bad %s by name (%j)', async (param, given) => {
  const { body: account } = await rig.admin('POST', '/accounts', { name: 'Keys' });
  const { status, body } = await rig.admin('POST', `/accounts/${account.id}/keys`, given);
  expect(status).toBe(400);
  expect(body).toEqual(invalid(param, expect.stringContaining(`'${param}'`)));
});

test('a revoked key stays listed, is revoked once, and belongs to its account alone', async () => {
  const one = await createCustomer(rig, null);
  const two = await createCustomer(rig, null);
  expect((await rig.admin('DELETE', `/accounts/${two.id}/keys/${one.keyId}`)).status).toBe(404);
  const path = `/accounts/${one.id}/keys/${one.keyId}`;
  expect(await rig.admin('DELETE', path)).toMatchObject({ status: 200, body: { id: one.keyId, revoked: true } });
  const at = ((await rig.admin('GET', `/accounts/${one.id}/keys`)).body.data as { revoked_at: string }[])[0]!
    .revoked_at;
  expect(at).toMatch(/Z$/);
  expect((await rig.admin('DELETE', path)).status).toBe(200);
  expect((await rig.admin('GET', `/accounts/${one.id}/keys`)).body.data).toMatchObject([{ revoked_at: at }]);
});

test('what is not there is 404, whatever the form of its id', async () => {
  const { id } = await createCustomer(rig, null);
  for (const account of ['acct_0000000000001', 'acct_nonsense', 'x', '%00', `key_${id.slice(5)}`]) {
    const message = expect.stringMatching(/^There is no account /);
    const path = `/accounts/${account}`;
    expect(await rig.admin('GET', path)).toMatchObject({ status: 404, body: notFound(message) });
    expect(await rig.admin('PATCH', path, { name: 'x' })).toMatchObject({ status: 404, body: notFound(message) });
    expect(await rig.admin('POST', `${path}/keys`, {})).toMatchObject({ status: 404, body: notFound(message) });
    expect(await rig.admin('GET', `${path}/keys`)).toMatchObject({ status: 404, body: notFound(message) });
  }
  expect(await rig.admin('DELETE', `/accounts/${id}/keys/key_0000000000001`)).toMatchObject({
    status: 404,
    body: notFound('There is no key "key_0000000000001".'),
  });
});
