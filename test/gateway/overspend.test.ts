/** P1: a balance for ten holds lets exactly ten of two hundred parallel requests through, in one process and in two. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  type GatewayProcess,
  get,
  grantCredits,
  post,
  spawnGateway,
  startGateway,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

const REQUESTS = 200;
const FIT = 10;
const ROUNDS = Number(process.env.OVERSPEND_ROUNDS ?? 20);
const BODY = JSON.stringify({ model: 'strict', max_tokens: 100, messages: [{ role: 'user', content: 'Say hello' }] });
/** What one request holds: its bytes as input tokens at 0.001 credits, and 100 output tokens at 0.002. */
const HOLD_CREDITS = (Buffer.byteLength(BODY) * 0.001 + 0.2).toFixed(9);

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => closeWorld(world));

/** The first requests of a process compile it: two hundred of them at once would wait for that longer than the ledger may take. */
async function warmUp(gateways: { url: string }[]): Promise<void> {
  const { key } = await createTestAccount(world, '1');
  world.upstream.script('plain');
  for (const gateway of gateways) expect((await post(gateway, key, BODY)).status).toBe(200);
}

async function round(gateways: { url: string }[]): Promise<void> {
  const account = await createTestAccount(world, '0');
  for (let i = 0; i < FIT; i++) await grantCredits(world, account.account, HOLD_CREDITS);
  world.upstream.script('held');
  const arrivedBefore = world.upstream.requests.length;
  const refused: number[] = [];
  const answers = Array.from({ length: REQUESTS }, (_, i) =>
    post(gateways[i % gateways.length]!, account.key, BODY).then(({ status }) => {
      if (status !== 200) refused.push(status);
      return status;
    }),
  );
  await eventually(
    () => refused.length + world.upstream.requests.length - arrivedBefore === REQUESTS,
    `all ${REQUESTS} are decided`,
  );
  expect(refused).toEqual(Array(REQUESTS - FIT).fill(429));
  world.upstream.release();
  const statuses = await Promise.all(answers);
  expect(statuses.filter((status) => status === 200)).toHaveLength(FIT);
  expect(await chargedTo(world, account.account)).toBe(BigInt(FIT) * 18_000_000n);
  const balance = await get(gateways[0]!, account.key, '/account/v1/balance');
  expect(balance).toMatchObject({ held: '0', debt: '0' });
  expect(Number(balance.available)).toBeGreaterThan(0);
}

describe('no overspend', () => {
  it(`one process: ${FIT} of ${REQUESTS} are answered, in ${ROUNDS} rounds of ${ROUNDS}`, async () => {
    const gateway: TestGateway = await startGateway(world);
    await warmUp([gateway]);
    for (let i = 0; i < ROUNDS; i++) await round([gateway]);
    await gateway.close();
    await expectSettled(world);
  }, 120_000);

  it(`two processes whose clocks are 90 s apart: the same, in ${ROUNDS} rounds of ${ROUNDS}`, async () => {
    const gateways: GatewayProcess[] = await Promise.all([
      spawnGateway(world, { TOLLGATE_CLOCK_OFFSET_MS: '-45000' }),
      spawnGateway(world, { TOLLGATE_CLOCK_OFFSET_MS: '45000' }),
    ]);
    await warmUp(gateways);
    for (let i = 0; i < ROUNDS; i++) await round(gateways);
    for (const { child } of gateways) child.kill('SIGTERM');
    expect(await Promise.all(gateways.map(({ exited }) => exited))).toEqual([0, 0]);
    await expectSettled(world);
  }, 180_000);
});
