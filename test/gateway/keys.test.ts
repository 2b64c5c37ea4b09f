/** What is said of a key, or of its account, at one gateway holds at the next request on another, without Redis. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { admin, type Json } from '../support/admin.ts';
import {
  ADMIN_KEY,
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  post,
  startGateway,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { chat } from '../support/scripted-upstream.ts';

const BODY = JSON.stringify({ model: 'plain', max_tokens: 20, messages: [{ role: 'user', content: 'hi' }] });
/** From this machine a client may say that it comes from elsewhere: it is a trusted proxy. */
const PROXIES = 'server: { trusted_proxies: ["127.0.0.1"] }\n';

let world: World;
let here: TestGateway;
let there: TestGateway;
beforeAll(async () => {
  world = await createWorld({}, PROXIES);
  here = await startGateway(world);
  there = await startGateway(world);
});
afterAll(async () => {
  await here.close();
  await there.close();
  await expectSettled(world);
  await closeWorld(world);
});

async function codeOf(gateway: TestGateway, key: string, headers: Record<string, string> = {}): Promise<string> {
  const response = await post(gateway, key, BODY, headers);
  const body = (await response.json()) as { error?: { code: string } };
  return body.error === undefined ? 'ok' : `${response.status} ${body.error.code}`;
}

/** An account and a key that both gateways know. */
async function known(terms: Json = {}) {
  const account = await createTestAccount(world, '100');
  const path = `/accounts/${account.accountId}`;
  const made = (await admin(here, 'POST', `${path}/keys`, terms)) as { id: string; key: string };
  for (const gateway of [here, there]) expect(await codeOf(gateway, made.key)).toBe('ok');
  return { ...account, path, keyPath: `${path}/keys/${made.id}`, key: made.key, id: made.id };
}

it.each<[string, string, (made: Awaited<ReturnType<typeof known>>) => Promise<unknown>]>([
  ['a revoked key', '401 invalid_api_key', ({ keyPath }) => admin(here, 'DELETE', keyPath)],
  ['a suspended account', '403 account_suspended', ({ path }) => admin(here, 'PATCH', path, { status: 'suspended' })],
  ['a narrowed key', '403 model_not_entitled', ({ keyPath }) => admin(here, 'PATCH', keyPath, { models: ['x-*'] })],
  [
    'a key bound to addresses',
    '403 ip_not_allowed',
    ({ keyPath }) => admin(here, 'PATCH', keyPath, { ip_ranges: ['10.0.0.0/8'] }),
  ],
  [
    'a replaced key without overlap',
    '401 invalid_api_key',
    ({ keyPath }) => admin(here, 'POST', `${keyPath}/rotate`, {}),
  ],
])('%s is refused at the next request on another gateway', async (_what, code, change) => {
  const made = await known();
  const forwarded = world.upstream.requests.length;
  await change(made);
  expect(await codeOf(there, made.key)).toBe(code);
  expect(await codeOf(here, made.key)).toBe(code);
  expect(world.upstream.requests.length).toBe(forwarded);
});

it('what is allowed again passes at the next request on another gateway', async () => {
  const { keyPath, key } = await known({ models: ['plain'] });
  await admin(here, 'PATCH', keyPath, { models: ['x-*'] });
  expect(await codeOf(there, key)).toBe('403 model_not_entitled');
  await admin(here, 'PATCH', keyPath, { models: null });
  expect(await codeOf(there, key)).toBe('ok');
});

it('a key is used from its ranges alone, on every plane; who is not trusted says in vain that it is elsewhere', async () => {
  const account = await createTestAccount(world, '100');
  const terms = { ip_ranges: ['10.0.0.0/8', '2001:db8::/32'] };
  const { key } = (await admin(here, 'POST', `/accounts/${account.accountId}/keys`, terms)) as { key: string };
  const from = async (address: string) => {
    const headers = { authorization: `Bearer ${key}`, 'x-forwarded-for': address };
    const statuses = await Promise.all(
      ['/v1/models', '/account/v1/balance'].map(async (path) => (await fetch(here.url + path, { headers })).status),
    );
    return [...statuses, (await post(here, key, BODY, { 'x-forwarded-for': address })).status];
  };
  expect(await from('10.1.2.3')).toEqual([200, 200, 200]);
  expect(await from('1.1.1.1, ::ffff:10.1.2.3, 127.0.0.1')).toEqual([200, 200, 200]);
  expect(await from('2001:db8:ffff::1')).toEqual([200, 200, 200]);
  expect(await from('10.1.2.3, 11.0.0.1')).toEqual([403, 403, 403]);
  expect(await from('')).toEqual([403, 403, 403]);
  const error = await (await post(here, key, BODY)).json();
  expect(error).toMatchObject({ error: { type: 'permission_error', code: 'ip_not_allowed', param: null } });
});

it('a key ends by the database’s clock, one that was replaced when its overlap is over', async () => {
  const soon = new Date(Date.now() + 60_000).toISOString();
  const [expiring, replaced] = await Promise.all([known({ expires_at: soon }), known()]);
  const next = (await admin(here, 'POST', `${replaced.keyPath}/rotate`, { overlap_seconds: 60 })) as { key: string };
  for (const gateway of [here, there]) {
    for (const { key } of [replaced, next, expiring]) expect(await codeOf(gateway, key)).toBe('ok');
  }
  // A minute passes: whatever waits for an instant waits a minute less.
  const both = [expiring.account, replaced.account];
  for (const [table, column] of [
    ['api_keys', 'expires_at'],
    ['spenders', 'expires_at'],
    ['wallets', 'policy_changes_at'],
  ]) {
    const earlier = `UPDATE ${table} SET ${column} = ${column} - interval '60 s' WHERE account_id = ANY ($1)`;
    await world.pool.query(earlier, [both]);
  }
  for (const gateway of [there, here]) {
    expect(await codeOf(gateway, replaced.key)).toBe('401 invalid_api_key');
    expect(await codeOf(gateway, expiring.key)).toBe('401 invalid_api_key');
    expect(await codeOf(gateway, next.key)).toBe('ok');
  }
});

it('a new key has the terms of the one it replaces, and both spend one budget', async () => {
  const terms = {
    name: 'app',
    scopes: ['read', 'inference'],
    models: ['p*'],
    ip_ranges: ['127.0.0.1'],
    limits: { rpm: 50 },
  };
  // Each request is charged 18 tokens, and holds less than 0.2 credits.
  const old = await known({ ...terms, budget: { credits: '0.5', period: 'total' } });
  const rotated = await admin(there, 'POST', `${old.keyPath}/rotate`, { overlap_seconds: 60 });
  const next = rotated as { id: string; key: string; budget: Json };
  expect(next).toMatchObject({ ...terms, revoked_at: null, replaced_by: null, budget: { credits: '0.5' } });
  expect(next.id).not.toBe(old.id);
  const spentBefore = await chargedTo(world, old.account);
  expect(Number(next.budget.used)).toBe(Number(spentBefore) / 1e9);

  const answers: string[] = [];
  for (let i = 0; i < 40; i++) answers.push(await codeOf([here, there][i % 2]!, [old.key, next.key][(i >> 1) % 2]!));
  expect(answers.indexOf('429 budget_exceeded')).toBeGreaterThan(8);
  expect(answers.at(-1)).toBe('429 budget_exceeded');
  expect(answers.at(-4)).toBe('429 budget_exceeded');
  expect(Number(await chargedTo(world, old.account))).toBeLessThanOrEqual(0.5e9);

  const requests = (await get(here, old.key, '/account/v1/requests?limit=1')) as { data: { key_id: string }[] };
  expect(requests.data[0]!.key_id).toBe(next.id);
  const { data } = (await admin(here, 'GET', `${old.path}/keys`)) as { data: { id: string; replaced_by: string }[] };
  expect(data.find(({ id }) => id === old.id)!.replaced_by).toBe(next.id);
  await expect(admin(here, 'POST', `${old.keyPath}/rotate`, {})).rejects.toThrow('409');
  await expect(admin(here, 'PATCH', old.keyPath, { models: null })).rejects.toThrow('409');
  await expect(admin(here, 'POST', `${old.path}/keys/key_0000000000001/rotate`, {})).rejects.toThrow('404');
});

it('a budget for ten holds lets no more through when its key is replaced in the middle of them', async () => {
  // What one request holds: its bytes as input tokens at 0.001 credits, and 20 output tokens at 0.002.
  const holds = (count: number) => ((count * (BODY.length + 40)) / 1000).toFixed(3);
  const old = await known();
  await admin(here, 'PATCH', old.keyPath, { budget: { credits: holds(10), period: 'day' } });
  world.upstream.script('held');
  const statuses: number[] = [];
  const burst = (key: string) =>
    Array.from({ length: 20 }, async (_, i) => statuses.push((await post([here, there][i % 2]!, key, BODY)).status));
  // Two charges of 0.018 credits are less than one hold: what the key has spent already takes one of the ten.
  const forwarded = world.upstream.requests.length;
  const answers = burst(old.key);
  const next = (await admin(there, 'POST', `${old.keyPath}/rotate`, { overlap_seconds: 60 })) as { key: string };
  answers.push(...burst(old.key), ...burst(next.key));
  await eventually(() => statuses.length === 51, 'all others are refused');
  expect(world.upstream.requests.length - forwarded).toBe(9);
  world.upstream.release();
  await Promise.all(answers);
  expect(statuses.filter((status) => status === 200).length).toBe(9);
  world.upstream.script(chat());
});

it('a key that was replaced twice still presents the newest one', async () => {
  const first = await known();
  const second = await admin(here, 'POST', `${first.keyPath}/rotate`, { overlap_seconds: 60 });
  const third = await admin(here, 'POST', `${first.path}/keys/${second.id}/rotate`, { overlap_seconds: 60 });
  for (const key of [first.key, second.key, third.key]) {
    expect(await codeOf(there, key as string, { 'idempotency-key': 'mine' })).toBe('ok');
  }
  await admin(here, 'DELETE', first.keyPath);
  expect(await codeOf(there, first.key)).toBe('401 invalid_api_key');
  expect(await codeOf(there, second.key as string)).toBe('ok');
  await admin(here, 'DELETE', `${first.path}/keys/${third.id}`);
  for (const key of [second.key, third.key]) expect(await codeOf(there, key as string)).toBe('401 invalid_api_key');
});

it('after twenty failed keys a minute from one address failures wait, the admin key’s too; valid keys never', async () => {
  const { key } = await known();
  const from = { 'x-forwarded-for': '198.51.100.7' };
  const admins = (presented: string) =>
    fetch(`${here.url}/admin/v1/accounts`, { headers: { ...from, authorization: `Bearer ${presented}` } });
  for (let i = 0; i < 10; i++) {
    expect(await codeOf(here, `${key.slice(0, -1)}!`, from)).toBe('401 invalid_api_key');
    expect((await admins(`wrong-${i}`)).status).toBe(401);
  }
  const refused = await post(here, 'sk-tg-x', BODY, from);
  expect(refused.status).toBe(429);
  expect(await refused.json()).toMatchObject({
    error: { type: 'rate_limit_error', code: 'rate_limit_exceeded', param: null },
  });
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(50);
  expect((await admins('wrong')).status).toBe(429);
  expect((await admins(ADMIN_KEY)).status).toBe(200);
  expect(await codeOf(here, key, from)).toBe('ok');
  // What a client adds in front is not the address its proxy saw; another client has tries of its own.
  expect(await codeOf(here, 'sk-tg-x', { 'x-forwarded-for': '203.0.113.1, 198.51.100.7' })).toBe(
    '429 rate_limit_exceeded',
  );
  expect(await codeOf(here, 'sk-tg-x', { 'x-forwarded-for': '198.51.100.7, 203.0.113.1' })).toBe('401 invalid_api_key');
});
