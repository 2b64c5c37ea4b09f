/**
 * What an account may do holds at the next request on every gateway, without Redis: two processes over one database, of which one is
 * told and the other serves. And it begins and ends by time alone.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { putEntry } from '../../src/catalog/store.ts';
import {
  ADMIN_KEY,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  type GatewayProcess,
  get,
  post,
  spawnGateway,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { chat } from '../support/scripted-upstream.ts';

let world: World;
let told: GatewayProcess;
let serving: TestGateway;
let account: TestAccount;
beforeAll(async () => {
  world = await createWorld();
  [serving, told] = await Promise.all([
    startGateway(world),
    spawnGateway(world, { TOLLGATE_DATA_DIR: `${world.folder}/told` }),
  ]);
});
afterAll(async () => {
  await expectSettled(world);
  told.child.kill('SIGTERM');
  await told.exited;
  await serving.close();
  await closeWorld(world);
});
beforeEach(async () => {
  account = await createTestAccount(world, '100');
  world.upstream.script(chat());
});

async function tell(method: string, path: string, body: object): Promise<void> {
  const response = await fetch(`${told.url}/admin/v1/accounts/${account.accountId}/entitlements${path}`, {
    method,
    headers: { authorization: `Bearer ${ADMIN_KEY}` },
    body: JSON.stringify({ reason: 'test', ...body }),
  });
  if (!response.ok) throw new Error(await response.text());
}

async function ask(model: string, more: object = {}): Promise<Response> {
  return post(serving, account.key, JSON.stringify({ model, messages: [{ role: 'user', content: 'Hi' }], ...more }));
}
const status = async (model: string): Promise<number> => (await ask(model)).status;
const listed = async (): Promise<string[]> =>
  ((await get(serving, account.key, '/v1/models')).data as { id: string }[]).map(({ id }) => id);
const check = async (body: object) => {
  const headers = { authorization: `Bearer ${account.key}` };
  const response = await fetch(`${serving.url}/account/v1/entitlements/check`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  });
  return (await response.json()) as { allowed: boolean; reason: string };
};

test('a model granted on one gateway passes at the next request on the other; blocked, the next is refused', async () => {
  expect([await status('plain'), await status('forbidden')]).toEqual([200, 403]);
  await tell('POST', '', { source: 'grant', key: 'model:forbidden', value: true, reference: 'a' });
  expect(await status('forbidden')).toBe(200);
  await tell('POST', '', { source: 'block', key: 'model:*', value: false, reference: 'b' });
  // The hold finds it, which the cache does not know of.
  expect(await status('forbidden')).toBe(403);
  expect(await status('plain')).toBe(403);
  await tell('DELETE', '/model:*?source=block&reference=b', {});
  expect([await status('plain'), await status('forbidden')]).toEqual([200, 200]);
});

test('the refusal, the check and the list of models agree, and name the rule and the plan that would allow it', async () => {
  const refused = ((await (await ask('forbidden')).json()) as { error: object }).error;
  const { allowed, reason } = await check({ model: 'forbidden' });
  expect(reason).toBe(
    'Neither the default plan "standard" nor anything else granted to this account includes the model "forbidden". The plan "premium" does.',
  );
  expect(refused).toEqual({ message: reason, type: 'permission_error', param: 'model', code: 'model_not_entitled' });
  expect([allowed, (await listed()).includes('forbidden')]).toEqual([false, false]);
  await tell('PUT', '/model:forbidden', { value: true });
  expect([(await check({ model: 'forbidden' })).allowed, (await listed()).includes('forbidden')]).toEqual([true, true]);
  expect(await status('no-such-model')).toBe(404);
});

/** So much time passes for the account: for it, that is as if all that was stated were made so much earlier. */
async function pass(minutes: number): Promise<void> {
  await world.pool.query(`BEGIN;
    SET LOCAL session_replication_role = replica;
    UPDATE entitlements SET created_at = created_at - interval '${minutes} min', valid_from = valid_from - interval '${minutes} min',
      valid_until = valid_until - interval '${minutes} min' WHERE account_id = ${account.account};
    UPDATE wallets SET policy_changes_at = policy_changes_at - interval '${minutes} min' WHERE account_id = ${account.account};
    COMMIT`);
}

test('what was stated begins and ends by time alone, with nobody telling', async () => {
  const inMinutes = (minutes: number): string => new Date(Date.now() + minutes * 60_000).toISOString();
  const time = { valid_from: inMinutes(60), valid_until: inMinutes(120) };
  await tell('POST', '', { source: 'grant', key: 'model:forbidden', value: true, reference: 'a', ...time });
  const seen = [await status('forbidden')];
  for (const minutes of [30, 60, 60]) {
    await pass(minutes);
    seen.push(await status('forbidden'));
  }
  expect([...seen, await status('plain')]).toEqual([403, 403, 200, 403, 200]);
});

test('an account’s most output tokens is what is held for and sent upstream, and the receipt says so', async () => {
  await tell('PUT', '/limit:max_output_tokens@pl*', { value: 50 });
  const before = world.upstream.requests.length;
  const answers = [await ask('plain'), await ask('plain', { max_tokens: 80 }), await ask('plain', { max_tokens: 20 })];
  expect(answers.map(({ headers }) => headers.get('x-tollgate-clamped'))).toEqual(['50', '50', null]);
  const sent = world.upstream.requests.slice(before).map(({ json }) => json.max_tokens ?? json.max_completion_tokens);
  expect(sent).toEqual([50, 50, 20]);
  const id = answers[0]!.headers.get('x-request-id');
  const receipt = await get(serving, account.key, `/account/v1/requests/${id}`);
  expect(receipt.clamped_to).toBe(50);
  expect((await ask('strict')).headers.get('x-tollgate-clamped')).toBeNull();
});

test('the price is that of the strongest plan that allows the model, and a model that no plan allows has its own', async () => {
  const prices = { plain: { multiple: '2' }, forbidden: { multiple: '3' } };
  await putEntry(world.pool, 'plan', 'dear', { models: ['plain'], prices }, 'test');
  await tell('POST', '', { source: 'grant', key: 'plan', value: 'dear', reference: 'a' });
  await tell('PUT', '/model:forbidden', { value: true });
  const charged = async (model: string) => (await ask(model)).headers.get('x-tollgate-charged');
  expect([await charged('plain'), await charged('strict'), await charged('forbidden')]).toEqual([
    '0.036',
    '0.018',
    '0.018',
  ]);
});
