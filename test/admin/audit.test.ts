/** What is told of changes through the admin API, and what an erased account leaves. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { beginIncluded, grantIncluded } from '../../src/accounts/plans.ts';
import { parsePublicId } from '../../src/lib/ids.ts';
import { createCustomer, createRig, type Json, openRequest, type Rig } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await createRig();
});
afterAll(() => rig.close());

interface Row {
  author: string;
  action: string;
  target: string;
  before: Json | null;
  after: Json | null;
  reason: string | null;
}

async function told(query = ''): Promise<Row[]> {
  const { status, body } = await rig.admin('GET', `/audit?limit=200${query}`);
  expect(status).toBe(200);
  return body.data as Row[];
}

const MODEL = { routes: [{ provider: 'on', model: 'm' }], price: { input: '1', output: '2' } };

test('each kind of change is told once, with its author, what was before, what is after, and why', async () => {
  const { id, account, keyId } = await createCustomer(rig, '10');
  const call = async (method: string, path: string, body?: Json): Promise<Json> => {
    const answer = await rig.admin(method, path, body);
    expect(answer.status, `${method} ${path} ${JSON.stringify(answer.body)}`).toBeLessThan(300);
    return answer.body;
  };
  const path = `/accounts/${id}`;
  const { id: service } = await call('POST', '/service-keys', { name: 'host' });
  const request = await openRequest(rig, { id, account, keyId, key: '' }, '2');
  await request.settle('1');
  await call('PATCH', path, { name: 'Renamed', stripe_customer_id: 'cus_1' });
  await call('PATCH', `${path}/keys/${keyId}`, { models: ['m*'] });
  await call('PUT', '/models/m', MODEL);
  await call('POST', '/models/m/prices', { price: { input: '1', output: '3' } });
  await call('PUT', '/plans/pro', { models: ['*'] });
  await call('PUT', '/packs/starter', { price: { usd: 10 }, credits: 10 });
  await call('PUT', '/operations/video', { credits: 100 });
  await call('PUT', `${path}/entitlements/model:m`, { value: true, reason: 'trial' });
  await call('DELETE', `${path}/entitlements/model:m`, { reason: 'over' });
  await call('POST', `${path}/entitlements`, {
    source: 'grant',
    key: 'feature:f',
    value: true,
    reference: 'g',
    reason: 'gift',
  });
  await call('PUT', `${path}/prices/m`, { price: { input: '1', output: '1' }, reason: 'friend' });
  await call('DELETE', `${path}/prices/m`, { reason: 'no friend' });
  await call('POST', `${path}/adjustments`, { credits: '-1', reason: 'typo', reference: 'a' });
  await call('POST', `${path}/adjustments`, { credits: '-1', reason: 'typo', reference: 'a' });
  await call('POST', `/requests/${request.id}/refund`, { reason: 'bad answer' });
  await call('POST', `${path}/keys/${keyId}/rotate`, { overlap_seconds: 60 });
  await call('DELETE', `${path}/keys/${keyId}`);
  const { id: next } = await call('POST', `/service-keys/${service}/rotate`, { overlap_seconds: 0 });
  await call('DELETE', `/service-keys/${next}`);

  const rows = (await told()).reverse();
  const mine = rows.slice(rows.findIndex(({ target }) => target === id));
  expect(mine.map(({ action, target, reason }) => [action, target, reason])).toEqual([
    ['account.create', id, null],
    ['key.create', keyId, null],
    ['credits.grant', id, null],
    ['service_key.create', service, null],
    ['account.change', id, null],
    ['key.change', keyId, null],
    ['model.put', 'model:m', null],
    ['model.price', 'model:m', null],
    ['plan.put', 'plan:pro', null],
    ['pack.put', 'pack:starter', null],
    ['operation.put', 'operation:video', null],
    ['entitlement.override', id, 'trial'],
    ['entitlement.withdraw', id, 'over'],
    ['entitlement.state', id, 'gift'],
    ['account_price.set', id, 'friend'],
    ['account_price.end', id, 'no friend'],
    ['credits.adjust', id, 'typo'],
    ['request.refund', request.id, 'bad answer'],
    ['key.rotate', keyId, null],
    ['key.revoke', keyId, null],
    ['service_key.rotate', service, null],
    ['service_key.revoke', next, null],
  ]);
  expect(new Set(mine.map(({ author }) => author))).toEqual(new Set(['owner']));
  const of = (action: string) => mine.find((row) => row.action === action)!;
  expect(of('model.price')).toMatchObject({
    before: { version: 1, price: { output: '2' } },
    after: { version: 2, price: { output: '3' } },
  });
  expect(of('key.change')).toMatchObject({ before: { models: null }, after: { models: ['m*'] } });
  expect(of('key.revoke')).toMatchObject({ before: { revoked_at: null }, after: { revoked_at: expect.any(String) } });
  expect(of('credits.adjust')).toMatchObject({ before: null, after: { credits: '-1' } });
  expect((await told(`&account=${id}`)).length).toBe(14);
});

test('a change that is refused, changes nothing or is undone half-way is told of by no row', async () => {
  const { id } = await createCustomer(rig, null);
  const count = (await told()).length;
  expect((await rig.admin('PATCH', `/accounts/${id}`, { name: 'Test' })).status).toBe(200);
  expect((await rig.admin('PATCH', `/accounts/${id}`, { stripe_customer_id: 'cus_1' })).status).toBe(409);
  expect((await rig.admin('POST', `/accounts/${id}/keys/key_0000000000001/rotate`, {})).status).toBe(404);
  expect((await rig.admin('PUT', '/models/m', { ...MODEL, price: { input: '1000', output: '2' } })).status).toBe(400);
  expect((await rig.admin('GET', `/accounts/${id}`)).body).toMatchObject({ name: 'Test', stripe_customer_id: null });
  expect((await told()).length).toBe(count);
});

test('what cannot be told of is not done; credits, which the ledger grants, are told of once the same request comes again', async () => {
  const { id } = await createCustomer(rig, null);
  const { body: zoe } = await rig.admin('POST', '/admin-keys', { name: 'Zoe' });
  const key = zoe.key as string;
  const { pool } = rig.database;
  await pool.query("ALTER TABLE audit ADD CONSTRAINT not_hers CHECK (author <> 'Zoe')");
  const grant = { credits: '5', kind: 'topup', reference: 'r', reason: 'paid' };
  const give = () => rig.admin('POST', `/accounts/${id}/credits`, grant, key);
  expect((await rig.admin('PATCH', `/accounts/${id}`, { name: 'Lost' }, key)).status).toBe(500);
  expect((await rig.admin('POST', `/accounts/${id}/keys`, {}, key)).status).toBe(500);
  expect((await give()).status).toBe(500);
  await pool.query('ALTER TABLE audit DROP CONSTRAINT not_hers');

  expect((await rig.admin('GET', `/accounts/${id}`)).body.name).toBe('Test');
  expect((await rig.admin('GET', `/accounts/${id}/keys`)).body.data).toHaveLength(1);
  expect([(await give()).status, (await give()).status]).toEqual([200, 200]);
  expect(await told('&author=Zoe')).toMatchObject([
    { action: 'credits.grant', reason: 'paid', after: { granted: '5' } },
  ]);
});

test('of changes at once, each tells what the one before it left', async () => {
  const { id } = await createCustomer(rig, null);
  const names = Array.from({ length: 12 }, (_, i) => `name ${i}`);
  await Promise.all(names.map((name) => rig.admin('PATCH', `/accounts/${id}`, { name })));
  const rows = (await told(`&target=${id}&action=account.change`)).reverse();
  expect(rows.map(({ after }) => after!.name).sort()).toEqual(names.sort());
  expect(rows.map(({ before }) => before!.name)).toEqual([
    'Test',
    ...rows.slice(0, -1).map(({ after }) => after!.name),
  ]);
});

test('the audit log is read by pages and by what is asked for, and the database refuses to change it', async () => {
  const all = await told();
  const first = await rig.admin('GET', '/audit?limit=2');
  expect(first.body.data).toEqual(all.slice(0, 2));
  const second = await rig.admin('GET', `/audit?limit=2&cursor=${first.body.next_cursor}`);
  expect(second.body.data).toEqual(all.slice(2, 4));
  expect(await told('&author=Zoe')).toEqual(all.filter(({ author }) => author === 'Zoe'));
  expect(await told('&action=key.revoke')).toEqual(all.filter(({ action }) => action === 'key.revoke'));
  for (const [query, param] of [
    ['account=x', 'account'],
    ['target=', 'target'],
    ['from=1', 'from'],
  ]) {
    expect(await rig.admin('GET', `/audit?${query}`)).toMatchObject({ status: 400, body: { error: { param } } });
  }
  for (const sql of [
    "UPDATE audit SET author = 'x'",
    'UPDATE audit SET reason = NULL',
    'DELETE FROM audit',
    'TRUNCATE audit',
  ]) {
    await expect(rig.database.pool.query(sql)).rejects.toThrow(/never changed|append-only/);
  }
});

test('an account that Stripe would go on charging is not erased before its subscription has ended', async () => {
  const { id, account } = await createCustomer(rig, null);
  const { pool } = rig.database;
  await pool.query(
    `INSERT INTO subscriptions (subscription_id, account_id, customer_id, status, quantity) VALUES ('sub_1', $1, 'cus_9', 'past_due', 1)`,
    [account],
  );
  const refused = await rig.admin('DELETE', `/accounts/${id}`);
  expect(refused).toMatchObject({
    status: 409,
    body: { error: { code: 'conflict', message: expect.stringContaining('sub_1') } },
  });
  await pool.query("UPDATE subscriptions SET status = 'canceled'");
  expect((await rig.admin('DELETE', `/accounts/${id}`)).status).toBe(200);
});

test("an erased account is nobody's: it keeps its entries, and neither spends, reads nor comes back", async () => {
  const person = 'Grace Hopper';
  const given = { name: person, external_id: `crm ${person}`, email: 'grace@navy.example', metadata: { boss: person } };
  const { body: account } = await rig.admin('POST', '/accounts', { ...given, stripe_customer_id: 'cus_grace' });
  const path = `/accounts/${account.id}`;
  const { body: key } = await rig.admin('POST', `${path}/keys`, { name: person, ip_ranges: ['192.0.2.7'] });
  const { body: service } = await rig.admin('POST', '/service-keys', { name: 'host', create_accounts: true });
  await rig.admin('POST', `${path}/credits`, { credits: '5', kind: 'promo', reference: 'r' });
  await rig.admin('PUT', `${path}/entitlements/feature:f`, { value: true, reason: `asked for by ${person}` });
  await rig.admin('PUT', `${path}/prices/m`, { price: { input: '1', output: '1' }, reason: `for ${person}` });
  const accountId = parsePublicId('acct', String(account.id))!;
  const customer = { id: String(account.id), account: accountId, keyId: String(key.id), key: String(key.key) };
  const request = await openRequest(rig, customer, '2');
  const actAs = (who: unknown, key: unknown = service.key) =>
    rig.http.inject({
      url: '/account/v1/balance',
      headers: { authorization: `Bearer ${key}`, 'tollgate-account': String(who) },
    });
  expect((await actAs(account.id)).statusCode).toBe(200);

  const erase = () => rig.admin('DELETE', path);
  const erased = await erase();
  expect(erased).toMatchObject({
    status: 200,
    body: { id: account.id, erased: true, erased_at: expect.any(String), revoked_keys: 1 },
  });
  expect((await erase()).body).toEqual(erased.body);
  // What ran is charged.
  await request.settle('1');
  const balance = (await rig.admin('GET', `${path}/balance`)).body;
  expect(balance).toMatchObject({ posted: '4', held: '0' });
  await expect(openRequest(rig, customer, '1')).rejects.toThrow('account_suspended');
  expect((await rig.admin('GET', path)).body).toMatchObject({
    name: 'erased',
    external_id: null,
    email: null,
    metadata: {},
    status: 'suspended',
    stripe_customer_id: 'cus_grace',
    erased_at: erased.body.erased_at,
  });

  const { rows: tables } = await rig.database.pool.query<{ name: string }>(
    "SELECT format('%I', relname) AS name FROM pg_class WHERE relnamespace = 'tollgate'::regnamespace AND relkind IN ('r', 'p')",
  );
  for (const { name } of tables) {
    const { rows } = await rig.database.pool.query(
      `SELECT FROM ${name} t WHERE t::text ~* 'grace[@ ]|hopper|192.0.2.7'`,
    );
    expect(rows.length, name).toBe(0);
  }
  expect((await told(`&account=${account.id}`)).map(({ action }) => action)).toEqual([
    'account.erase',
    'account_price.set',
    'entitlement.override',
    'credits.grant',
    'key.create',
    'account.create',
  ]);
  expect((await rig.admin('GET', '/ledger/verify')).body).toMatchObject({ ok: true });

  const included = { credits: 10, every: 'month', rollover: 'none' };
  await rig.admin('PUT', '/plans/free', { default: true, models: ['*'], included_credits: included });
  await beginIncluded(rig.database.pool, null);
  await grantIncluded(rig.database.pool, accountId);
  expect((await rig.admin('GET', `${path}/balance`)).body).toEqual(balance);

  expect((await rig.customer('/balance', customer.key)).status).toBe(401);
  expect((await actAs(account.id)).statusCode).toBe(404);
  const { body: other } = await rig.admin('POST', '/service-keys', { name: 'other host', create_accounts: true });
  expect((await actAs(account.id, other.key)).statusCode).toBe(404);
  expect((await actAs(`ext:${encodeURIComponent(given.external_id)}`)).statusCode).toBe(200);
  for (const [method, below, body] of [
    ['PATCH', '', { status: 'active' }],
    ['POST', '/keys', {}],
    ['PUT', '/entitlements/feature:f', { value: true, reason: 'x' }],
    ['PUT', '/prices/m', { price: { input: '1', output: '2' }, reason: 'x' }],
  ] as const) {
    expect(await rig.admin(method, path + below, body)).toMatchObject({
      status: 409,
      body: { error: { code: 'conflict' } },
    });
  }
});
