/**
 * P2, where leases decide: a dead gateway's hold is ended by any other once its lease has run out; a living one's never is. Each
 * test waits for leases of 15 seconds, so they run at the same time, each in a world of its own.
 */
import { describe, expect, it, type TestContext } from 'vitest';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  type GatewayProcess,
  post,
  spawnGateway,
  type TestAccount,
  type World,
} from '../support/gateway.ts';
import { drip, type Script, stream } from '../support/scripted-upstream.ts';

const body = (stream: boolean): string =>
  JSON.stringify({
    model: 'plain',
    stream,
    messages: [{ role: 'user', content: 'Say hello to the world, slowly and clearly' }],
  });
/** A quarter of the bytes as tokens, at 0.001 credits each. */
const floorOf = (text: string): bigint => BigInt(Math.ceil(Buffer.byteLength(text) / 4)) * 1_000_000n;
const EXACT = 18_000_000n;
const MOST_MS = 60_000;

interface Scene {
  world: World;
  account: TestAccount;
  gateway: GatewayProcess;
  /** Starts another gateway over the same database. */
  another: (more?: Record<string, string>) => Promise<GatewayProcess>;
  openHolds: () => Promise<number>;
}

/** A world with an account and a gateway, which are gone when the test has finished. */
async function begin(test: TestContext, script: Script | 'held', more: Record<string, string> = {}): Promise<Scene> {
  const world = await createWorld();
  const running: GatewayProcess[] = [];
  const another: Scene['another'] = async (settings = {}) => {
    const gateway = await spawnGateway(world, settings);
    running.push(gateway);
    return gateway;
  };
  test.onTestFinished(async () => {
    for (const gateway of running) gateway.child.kill('SIGKILL');
    await Promise.all(running.map(({ exited }) => exited));
    await closeWorld(world);
  });
  world.upstream.script(script);
  const account = await createTestAccount(world, '100');
  const gateway = await another(more);
  const openHolds = async (): Promise<number> => (await world.pool.query('SELECT id FROM holds')).rowCount!;
  return { world, account, gateway, another, openHolds };
}

async function kill({ child, exited }: GatewayProcess): Promise<void> {
  child.kill('SIGKILL');
  await exited;
}

/** Looks again and again until `found`, for at most `mostMs`. */
async function within(mostMs: number, found: () => Promise<boolean>): Promise<void> {
  const startedAt = Date.now();
  while (!(await found())) {
    expect(Date.now() - startedAt).toBeLessThan(mostMs);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const words = (count: number): string[] => Array.from({ length: count }, (_, i) => ` word${i}`);

describe.concurrent('leases', () => {
  it(
    'killed on another machine: its hold is ended within two leases, charged the floor',
    async (test) => {
      const { world, account, gateway, another, openHolds } = await begin(test, 'held');
      const text = body(false);
      post(gateway, account.key, text).catch(() => {});
      await world.upstream.arrived(1);
      await kill(gateway);
      await another({ TOLLGATE_DATA_DIR: `${world.folder}/elsewhere` });
      await within(30_000, async () => (await openHolds()) === 0);
      world.upstream.release();
      expect(await chargedTo(world, account.account)).toBe(floorOf(text));
      await expectSettled(world);
    },
    MOST_MS,
  );

  it(
    'a long stream of a gateway whose clock is 90 s behind is not swept by one that is right',
    async (test) => {
      const { world, account, gateway, another } = await begin(test, stream({ pieces: words(44) }, drip(500)), {
        TOLLGATE_CLOCK_OFFSET_MS: '-90000',
      });
      const other = await another({ TOLLGATE_DATA_DIR: `${world.folder}/third` });
      const response = await post(gateway, account.key, body(true));
      const { rows: opened } = await world.pool.query('SELECT id, metered FROM holds');
      const answer = await response.text();
      expect(opened).toHaveLength(1);
      expect(answer).toMatch(/\[DONE\]\n\n$/);
      const { rows } = await world.pool.query('SELECT kind FROM entries WHERE account_id = $1 ORDER BY seq', [
        account.account,
      ]);
      expect(rows.map(({ kind }) => kind)).toEqual([1, 2]);
      expect(await chargedTo(world, account.account)).toBe(EXACT);
      other.child.kill('SIGTERM');
      expect(await other.exited).toBe(0);
      await expectSettled(world);
    },
    MOST_MS,
  );

  it(
    'killed after ten seconds of a stream: charged what the heartbeat noted, above the floor, within the hold',
    async (test) => {
      const { world, account, gateway, another, openHolds } = await begin(
        test,
        stream({ pieces: words(400) }, drip(50)),
      );
      const text = body(true);
      const response = await post(gateway, account.key, text);
      void response.text().catch(() => {});
      const metered = async (): Promise<bigint> =>
        ((await world.pool.query('SELECT metered FROM holds')).rows[0]?.metered as bigint | undefined) ?? 0n;
      await within(20_000, async () => (await metered()) > 0n);
      await kill(gateway);
      const noted = await metered();
      expect(noted).toBeGreaterThan(floorOf(text));
      await another();
      await eventually(async () => (await openHolds()) === 0, 'the dead gateway’s hold is ended');
      expect(await chargedTo(world, account.account)).toBe(noted);
      await expectSettled(world);
    },
    MOST_MS,
  );
});
