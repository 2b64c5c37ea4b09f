/** Two gateway processes on one Redis: limits are exact over both; and when Redis is away, nobody's request fails because of it. */
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { admin } from '../support/admin.ts';
import {
  ADMIN_KEY,
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  type GatewayProcess,
  get,
  post,
  spawnGateway,
  type World,
} from '../support/gateway.ts';
import { noRedis, startRedis, type TestRedis } from '../support/redis.ts';
import { chat, held, usage } from '../support/scripted-upstream.ts';

const BODY = JSON.stringify({ model: 'plain', max_tokens: 20, messages: [{ role: 'user', content: 'hi' }] });
/** Twelve input and three output tokens. */
const CHARGE = 18_000_000n;

describe.skipIf(noRedis)('two gateways on one Redis', () => {
  let redis: TestRedis;
  let world: World;
  let gateways: GatewayProcess[];
  beforeAll(async () => {
    redis = await startRedis();
    world = await createWorld({ REDIS_URL: redis.url });
    world.upstream.script(chat({ usage: usage(12, 3) }));
    gateways = await Promise.all(
      ['a', 'b'].map((name) => spawnGateway(world, { TOLLGATE_DATA_DIR: join(world.folder, name) })),
    );
  });
  afterAll(async () => {
    for (const { child } of gateways) child.kill('SIGTERM');
    await Promise.all(gateways.map(({ exited }) => exited));
    await redis.stop();
    await expectSettled(world);
    await closeWorld(world);
  });

  async function limited(limits: Record<string, number>) {
    const account = await createTestAccount(world, '100000');
    for (const [name, value] of Object.entries(limits)) {
      const path = `/accounts/${account.accountId}/entitlements/limit:${name}`;
      await admin(gateways[0]!, 'PUT', path, { value, reason: 'a test' });
    }
    return account;
  }

  /** So many requests, 16 at a time, in turn at either gateway; how often each status was answered. */
  async function load(key: string, count: number, onAnswer: (answered: number) => void = () => {}) {
    const statuses = new Map<number, number>();
    let asked = 0;
    let answered = 0;
    const client = async (): Promise<void> => {
      while (asked < count) {
        const response = await post(gateways[asked++ % 2]!, key, BODY);
        await response.arrayBuffer();
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        onAnswer(++answered);
      }
    };
    await Promise.all(Array.from({ length: 16 }, client));
    return Object.fromEntries(statuses);
  }

  const shared = (state: string) =>
    eventually(async () => {
      const ready = await Promise.all(gateways.map((gateway) => fetch(`${gateway.url}/readyz`)));
      const bodies = await Promise.all(ready.map(async (one) => (await one.json()) as { redis: string }));
      return ready.every(({ status }) => status === 200) && bodies.every((body) => body.redis === state);
    }, `Redis is ${state}, and both are ready`);

  it('admit exactly 600 of 2,000 requests in a minute that begins with the first of them', async () => {
    await shared('ok');
    const account = await limited({ rpm: 600 });
    const began = performance.now();
    expect(await load(account.key, 2_000)).toEqual({ 200: 600, 429: 1_400 });
    expect(performance.now() - began).toBeLessThan(60_000);
    expect(await chargedTo(world, account.account)).toBe(600n * CHARGE);
    const metrics = await Promise.all(
      gateways.map(async ({ url }) =>
        (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } })).text(),
      ),
    );
    const refused = metrics.map((text) =>
      Number(/tollgate_rate_limited_total\{kind="requests"\} (\d+)/.exec(text)![1]),
    );
    expect(refused[0]! + refused[1]!).toBe(1_400);
  });

  it('count each other’s tokens and slots', async () => {
    const account = await limited({ tpm: 100_000, concurrency: 2 });
    world.upstream.script(held(chat({ usage: usage(12, 3) })));
    const count = world.upstream.requests.length;
    const running = gateways.map((gateway) => post(gateway, account.key, BODY));
    await world.upstream.arrived(count + 2);
    for (const gateway of gateways) expect((await post(gateway, account.key, BODY)).status).toBe(429);
    world.upstream.release();
    world.upstream.script(chat({ usage: usage(12, 3) }));
    for (const answer of await Promise.all(running)) await answer.arrayBuffer();
    for (const gateway of gateways) {
      expect(await get(gateway, account.key, '/account/v1/limits')).toMatchObject({
        tokens: { remaining: 100_000 - 2 * 15 },
        concurrency: { remaining: 2 },
      });
    }
  });

  it('say in /readyz that it is gone, and that it is back, also when no request has asked for it', async () => {
    await shared('ok');
    const gone = once(redis.process, 'exit');
    redis.process.kill('SIGKILL');
    await gone;
    const ready = await Promise.all(gateways.map(async ({ url }) => (await fetch(`${url}/readyz`)).json()));
    expect(ready).toEqual(gateways.map(() => expect.objectContaining({ ok: true, redis: 'down' })));
    await redis.restart();
    await shared('ok');
  });

  it.each([
    ['stops answering', () => redis.process.kill('SIGSTOP'), () => redis.process.kill('SIGCONT')],
    ['is killed', () => redis.process.kill('SIGKILL'), () => redis.restart()],
  ])(
    'serve on, and charge exactly, when it %s in the midst of load; and share again when it is back',
    async (_, lose, bring) => {
      await shared('ok');
      const account = await limited({ rpm: 1_000_000, tpm: 1_000_000_000, concurrency: 1_000 });
      const statuses = await load(account.key, 150, (answered) => {
        if (answered === 50) lose();
      });
      expect(statuses).toEqual({ 200: 150 });
      expect(await chargedTo(world, account.account)).toBe(150n * CHARGE);
      await shared('down');
      await bring();
      await shared('ok');
    },
  );
});
