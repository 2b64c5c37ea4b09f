/**
 * The cases that every AI product meets, one test each, as its customers and its owner see them: the official client through a
 * real gateway, and the admin API. Payment is not access, and credits are not entitlements. (Operations at a fixed price:
 * test/consumption.)
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { APIError } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADMIN_KEY,
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  startGateway,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

/** An answer costs 0.018 credits; a request holds its bytes and 100 output tokens, less than half a credit. */
const CATALOG = `
models:
  plain: { routes: [{ provider: scripted, model: plain }], max_output_tokens: 100, when_short: refuse, price: { input: 1, output: 2 } }
  gold: { routes: [{ provider: scripted, model: gold }], max_output_tokens: 100, when_short: refuse, price: { input: 1, output: 2 } }
plans:
  free: { default: true, models: [plain], limits: { seats: 1 } }
  pro: { models: ["*"], limits: { seats: 10 }, included_credits: { credits: 100, every: month, rollover: none } }
`;
/** Time for a few requests, on a busy machine too, before what they are allowed by ends. */
const SHORT_MS = 4_000;

let world: World;
let gateway: TestGateway;
beforeAll(async () => {
  world = await createWorld();
  writeFileSync(join(world.folder, 'catalog.yaml'), CATALOG);
  gateway = await startGateway(world);
  world.upstream.script('plain');
});
afterAll(async () => {
  await expectSettled(world);
  await gateway.close();
  await closeWorld(world);
});
/** Somebody who has just come: what the owner and the customer do with the account. */
async function newcomer() {
  const account = await createTestAccount(world, '0');
  const admin = async (method: string, path: string, body: object): Promise<void> => {
    const response = await fetch(`${gateway.url}/admin/v1/accounts/${account.accountId}${path}`, {
      method,
      headers: { authorization: `Bearer ${ADMIN_KEY}` },
      body: JSON.stringify(body),
    });
    expect(response.ok, await response.text()).toBe(true);
  };
  const grant = (credits: string, more: object = {}) =>
    admin('POST', '/credits', { credits, kind: 'topup', reference: `${credits} ${JSON.stringify(more)}`, ...more });
  /** What the client gets of a request: `answered`, or the code of its error. */
  const ask = async (model: string): Promise<string | null | undefined> => {
    const request = { model, messages: [{ role: 'user' as const, content: 'Say hello' }] };
    try {
      await client(gateway, account, 0).chat.completions.create(request);
      return 'answered';
    } catch (error) {
      if (error instanceof APIError) return error.code;
      throw error;
    }
  };
  const check = async (asked: object): Promise<Check> => {
    const response = await fetch(`${gateway.url}/account/v1/entitlements/check`, {
      method: 'POST',
      headers: { authorization: `Bearer ${account.key}` },
      body: JSON.stringify(asked),
    });
    return (await response.json()) as Check;
  };
  const balance = () => get(gateway, account.key, '/account/v1/balance');
  return { admin, grant, ask, check, balance };
}

interface Check {
  allowed: boolean;
  source: { kind: string; reason: string };
}

const soon = (ms: number): string => new Date(Date.now() + ms).toISOString();

// Several wait for an instant: they wait at the same time.
describe.concurrent('an account', () => {
  it('credits without entitlement are refused', async () => {
    const { grant, ask, balance } = await newcomer();
    await grant('100');
    expect(await ask('gold')).toBe('model_not_entitled');
    expect(await balance()).toMatchObject({ available: '100', held: '0' });
  });

  it('promotional credits expire, and those that expire first are burnt first', async () => {
    const { grant, ask, balance } = await newcomer();
    await grant('10');
    await grant('5', { kind: 'promo', expires_at: soon(3_600_000) });
    await grant('1', { kind: 'promo', expires_at: soon(SHORT_MS) });
    expect(await ask('plain')).toBe('answered');
    const lots = async () =>
      Object.fromEntries(
        ((await balance()).lots as { granted: string; remaining: string }[]).map((lot) => [lot.granted, lot.remaining]),
      );
    expect(await lots()).toEqual({ 10: '10', 5: '5', 1: '0.982' });
    await eventually(async () => (await balance()).available === '15', 'what was left of the promotion is gone');
    expect(await ask('plain')).toBe('answered');
    expect(await lots()).toEqual({ 10: '10', 5: '4.982' });
  });

  it('access can be given by hand, without any payment', async () => {
    const { admin, grant, ask, check } = await newcomer();
    await grant('1', { kind: 'promo' });
    await admin('PUT', '/entitlements/model:gold', { value: true, reason: 'a friend of the house' });
    expect(await ask('gold')).toBe('answered');
    expect(await check({ model: 'gold' })).toMatchObject({ allowed: true, source: { kind: 'override' } });
  });

  it('a downgrade in mid-period takes access at the next request, and no credits', async () => {
    const { admin, ask, check, balance } = await newcomer();
    await admin('PATCH', '', { plan: 'pro' });
    expect(await ask('gold')).toBe('answered');
    await admin('PATCH', '', { plan: null });
    expect(await ask('gold')).toBe('model_not_entitled');
    expect(await ask('plain')).toBe('answered');
    expect(await balance()).toMatchObject({ available: '99.964', next_expiry: { credits: '99.964' } });
    expect((await check({ limit: 'seats', used: 1 })).allowed).toBe(false);
  });

  it('a cancelled subscription keeps access to the end of what was paid, then loses it', async () => {
    const { admin, grant, ask, check } = await newcomer();
    await grant('1');
    const paid = { source: 'subscription', key: 'plan', value: 'pro', reference: 'sub_1', reason: 'paid by invoice 1' };
    await admin('POST', '/entitlements', { ...paid, valid_until: soon(SHORT_MS) });
    expect(await ask('gold')).toBe('answered');
    expect((await check({ limit: 'seats', used: 5 })).allowed).toBe(true);
    await eventually(async () => !(await check({ model: 'gold' })).allowed, 'what was paid is over');
    expect(await ask('gold')).toBe('model_not_entitled');
    expect(await ask('plain')).toBe('answered');
  });

  it('a renewal that failed leaves access for the days of grace, then it is blocked', async () => {
    const { admin, grant, ask, check } = await newcomer();
    await grant('1');
    const end = soon(SHORT_MS / 2);
    const plan = { key: 'plan', value: 'pro', reference: 'sub_1' };
    await admin('POST', '/entitlements', {
      ...plan,
      source: 'subscription',
      valid_until: end,
      reason: 'paid by invoice 1',
    });
    await admin('POST', '/entitlements', {
      ...plan,
      source: 'grant',
      valid_from: end,
      valid_until: soon(SHORT_MS * 1.5),
      reason: 'invoice 2 was not paid: 3 days of grace',
    });
    expect(await check({ model: 'gold' })).toMatchObject({ allowed: true, source: { kind: 'subscription' } });
    await eventually(async () => (await check({ model: 'gold' })).source.kind === 'grant', 'grace has begun');
    expect((await check({ model: 'gold' })).source.reason).toContain('3 days of grace');
    expect(await ask('gold')).toBe('answered');
    await eventually(async () => !(await check({ model: 'gold' })).allowed, 'grace is over');
    expect(await ask('gold')).toBe('model_not_entitled');
  });

  it('a temporary upgrade ends by itself', async () => {
    const { admin, grant, ask, check } = await newcomer();
    await grant('1');
    const upgrade = {
      source: 'grant',
      key: 'plan',
      value: 'pro',
      reference: 'trial',
      reason: 'a trial of the pro plan',
    };
    await admin('POST', '/entitlements', { ...upgrade, valid_until: soon(SHORT_MS) });
    expect(await ask('gold')).toBe('answered');
    await eventually(async () => !(await check({ model: 'gold' })).allowed, 'the trial is over');
    expect(await ask('gold')).toBe('model_not_entitled');
    expect((await check({ limit: 'seats', used: 1 })).allowed).toBe(false);
  });
});

it('entitlement without credits is refused, and nothing is forwarded', async () => {
  const { ask, check } = await newcomer();
  const forwarded = world.upstream.requests.length;
  expect((await check({ model: 'plain' })).allowed).toBe(true);
  expect(await ask('plain')).toBe('insufficient_quota');
  expect(world.upstream.requests).toHaveLength(forwarded);
});

it('with credits left for one request, of two at once exactly one is answered', async () => {
  const { grant, ask, balance } = await newcomer();
  // What one holds at most: its bytes and 100 tokens of output.
  await grant('0.4');
  world.upstream.script('held');
  const forwarded = world.upstream.requests.length;
  const answers = [ask('plain'), ask('plain')];
  expect(await Promise.race(answers)).toBe('credits_held');
  world.upstream.release();
  expect((await Promise.all(answers)).sort()).toEqual(['answered', 'credits_held']);
  expect(world.upstream.requests).toHaveLength(forwarded + 1);
  expect(await balance()).toMatchObject({ available: '0.382', held: '0', debt: '0' });
});
