/** Which price a request is charged: at its instant, on every gateway, and whose is the strongest. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { putEntry } from '../../src/catalog/store.ts';
import {
  ADMIN_KEY,
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  get,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

/** The scripted upstream answers with 12 input and 3 output tokens: at 1 and 2 USD that is 0.018 credits. */
const BASE = '0.018';
const TWICE = '0.036';
const ROUTES = [{ provider: 'scripted', model: 'x' }];

let world: World;
let gateways: TestGateway[];
let account: TestAccount;
let model: string;
let serial = 0;
beforeAll(async () => {
  world = await createWorld();
  gateways = [await startGateway(world), await startGateway(world)];
  await putEntry(world.pool, 'plan', 'standard', { default: true, models: ['*'] }, 'test');
});
afterAll(async () => {
  for (const gateway of gateways) await gateway.close();
  await closeWorld(world);
});
beforeEach(async () => {
  world.upstream.script('plain');
  model = `m${++serial}`;
  const body = { routes: ROUTES, max_output_tokens: 100, price: { input: '1', output: '2' } };
  await putEntry(world.pool, 'model', model, body, 'test');
  account = await createTestAccount(world, '1000');
});
afterEach(() => expectSettled(world));

async function admin(method: string, path: string, body: object = {}): Promise<Record<string, unknown>> {
  const response = await fetch(`${gateways[0]!.url}/admin/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(JSON.stringify(answer));
  return answer;
}

/** One request to one of the gateways, by whom; resolves with what it was charged. */
async function ask(gateway = 0, who = account): Promise<string> {
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Say hello' }] });
  const response = await post(gateways[gateway]!, who.key, body);
  expect(response.status).toBe(200);
  await response.arrayBuffer();
  return response.headers.get('x-tollgate-charged')!;
}

const onBoth = async (who = account): Promise<string[]> => [await ask(0, who), await ask(1, who)];
const own = (price: object, more: object = {}, who = account) =>
  admin('PUT', `/accounts/${who.accountId}/prices/${model}`, { price, reason: 'a deal', ...more });

async function lastReceipt(): Promise<Record<string, unknown>> {
  const { data } = (await get(gateways[1]!, account.key, '/account/v1/requests?limit=1')) as {
    data: Record<string, unknown>[];
  };
  return data[0]!;
}

/** An instant of the database's clock that is soon, and a wait until it has passed. */
async function soon(): Promise<{ effective_at: string; passed: () => Promise<void> }> {
  const { rows } = await world.pool.query<{ at: Date }>("SELECT clock_timestamp() + interval '2 s' AS at");
  const at = rows[0]!.at;
  return { effective_at: at.toISOString(), passed: () => sleep(at.getTime() - Date.now() + 20) };
}

describe('a price with an instant', () => {
  test('is charged from then on by both gateways, which nobody restarts or tells', async () => {
    expect(await onBoth()).toEqual([BASE, BASE]);
    const { effective_at, passed } = await soon();
    await admin('POST', `/models/${model}/prices`, { price: { input: 2, output: 4 }, effective_at });
    expect(await onBoth()).toEqual([BASE, BASE]);
    await passed();
    expect(await onBoth()).toEqual([TWICE, TWICE]);
    expect(await lastReceipt()).toMatchObject({ price_version: 2, price_source: 'model', price_override: null });
  });

  test('does not touch a request whose hold was there before: it keeps its price', async () => {
    world.upstream.script('held');
    const before = world.upstream.requests.length;
    const running = ask();
    await world.upstream.arrived(before + 1);
    await admin('POST', `/models/${model}/prices`, { price: { input: 2, output: 4 } });
    world.upstream.release();
    expect(await running).toBe(BASE);
    expect(await lastReceipt()).toMatchObject({ price_version: 1 });
    expect(await onBoth()).toEqual([TWICE, TWICE]);
  });

  test('is the account’s own at its instant too, though the other gateway knows the account from before', async () => {
    const other = await createTestAccount(world, '1000');
    expect([await onBoth(), await onBoth(other)]).toEqual([
      [BASE, BASE],
      [BASE, BASE],
    ]);
    const { effective_at, passed } = await soon();
    await own({ multiple: 2 }, { effective_at });
    expect(await onBoth()).toEqual([BASE, BASE]);
    await passed();
    // The other account is the first to come: it makes both gateways read the catalog, and not this account.
    expect([await onBoth(other), await onBoth()]).toEqual([
      [BASE, BASE],
      [TWICE, TWICE],
    ]);
    expect(await lastReceipt()).toMatchObject({
      price_version: 1,
      price_source: 'account',
      price_override: { version: 1 },
    });
  });

  test('is the account’s own also where it is the first to come, and makes its gateway read both at once', async () => {
    expect(await onBoth()).toEqual([BASE, BASE]);
    const { effective_at, passed } = await soon();
    await own({ multiple: 2 }, { effective_at });
    await own({ multiple: 3 }, { effective_at: '2999-01-01T00:00:00Z' });
    await passed();
    expect(await onBoth()).toEqual([TWICE, TWICE]);
  });
});

describe('the strongest price that is there holds at the next request, on both gateways', () => {
  test('account before plan before model; taken away, the next one holds again', async () => {
    const plan = `plan-${model}`;
    await putEntry(world.pool, 'plan', plan, { models: ['*'], prices: { 'm*': { multiple: '0.5' } } }, 'test');
    expect(await onBoth()).toEqual([BASE, BASE]);
    await admin('PATCH', `/accounts/${account.accountId}`, { plan });
    expect(await onBoth()).toEqual(['0.009', '0.009']);
    expect(await lastReceipt()).toMatchObject({ price_source: 'plan', price_override: { plan, version: 1 } });
    await own({ input: 2, output: 4 });
    // Nobody else's request tells a gateway more than the account's own next one.
    expect(await onBoth(await createTestAccount(world, '1000'))).toEqual([BASE, BASE]);
    expect(await onBoth()).toEqual([TWICE, TWICE]);
    expect(await lastReceipt()).toMatchObject({
      ...{ price_source: 'account', price_override: { version: 1 }, price_version: 1 },
      lines: [
        { unit: 'input', unit_price_usd: '2' },
        { unit: 'output', unit_price_usd: '4' },
      ],
    });
    await admin('DELETE', `/accounts/${account.accountId}/prices/${model}`);
    expect(await onBoth()).toEqual(['0.009', '0.009']);
    await putEntry(world.pool, 'plan', plan, { models: ['*'] }, 'test');
    expect(await onBoth()).toEqual([BASE, BASE]);
  });

  test('an account’s multiple follows the price of the model', async () => {
    await own({ multiple: '0.5' });
    await admin('POST', `/models/${model}/prices`, { price: { input: 2, output: 4 } });
    expect(await onBoth()).toEqual([BASE, BASE]);
    expect(await lastReceipt()).toMatchObject({ price_version: 2, price_source: 'account' });
  });

  test('what is held is bounded by the price that is charged: at a tenth of it nothing is cut for lack of credits', async () => {
    const poor = await createTestAccount(world, '0.1');
    const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Say hello' }] });
    const clamped = async () => (await post(gateways[0]!, poor.key, body)).headers.get('x-tollgate-clamped');
    expect(await clamped()).not.toBeNull();
    await own({ input: '0.1', output: '0.2' }, {}, poor);
    expect(await clamped()).toBeNull();
    expect(await chargedTo(world, poor.account)).toBe(18_000_000n + 1_800_000n);
  });

  test('a price of the account without a unit that is asked for refuses it, though the model has one', async () => {
    const body = { routes: ROUTES, price: { input: '1', output: '2', input_audio: '3' } };
    await putEntry(world.pool, 'model', model, body, 'test');
    await own({ input: 1, output: 2 });
    const audio = { type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } };
    const asked = JSON.stringify({ model, messages: [{ role: 'user', content: [audio] }] });
    for (const gateway of gateways) {
      const response = await post(gateway, account.key, asked);
      expect([response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([
        400,
        'invalid_request',
      ]);
    }
  });
});
