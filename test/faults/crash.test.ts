/**
 * P2: a gateway that is killed at any moment leaves the money right. Each test says what the request must cost: nothing
 * before the hold, its floor (the input estimate) while it ran, the exact amount once it settled. The next start on the
 * same data folder ends the dead one's holds at once; any other gateway does when the lease has run out: leases.test.ts.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
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
import { at, hold, stream } from '../support/scripted-upstream.ts';

const body = (model: string, stream: boolean): string =>
  JSON.stringify({
    model,
    stream,
    messages: [{ role: 'user', content: 'Say hello to the world, slowly and clearly' }],
  });
/** A quarter of the bytes as tokens, at 0.001 credits each. */
const floorOf = (text: string): bigint => BigInt(Math.ceil(Buffer.byteLength(text) / 4)) * 1_000_000n;
const EXACT = 18_000_000n;

let world: World;
let account: TestAccount;
let gateway: GatewayProcess;

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => closeWorld(world));
afterEach(async () => {
  gateway.child.kill('SIGKILL');
  await gateway.exited;
});

async function begin(more: Record<string, string> = {}): Promise<void> {
  account = await createTestAccount(world, '100');
  gateway = await spawnGateway(world, more);
}

const openHolds = async (): Promise<number> => (await world.pool.query('SELECT id FROM holds')).rowCount!;

async function kill(): Promise<void> {
  gateway.child.kill('SIGKILL');
  await gateway.exited;
}

/** Starts the next gateway, and checks what the dead one's request cost in the end. */
async function expectCharge(expected: bigint): Promise<void> {
  gateway = await spawnGateway(world);
  await eventually(async () => (await openHolds()) === 0, 'the dead gateway’s hold is ended');
  const charged = await chargedTo(world, account.account);
  console.info(`${expect.getState().currentTestName}; expected ${expected}, charged ${charged} nano-credits`);
  expect(charged).toBe(expected);
  await expectSettled(world);
}

/** Keeps the account’s wallet locked, so that the ledger cannot take its next step. */
async function lockWallet(): Promise<{ unlock(): Promise<void> }> {
  const client = new pg.Client({ connectionString: world.database.url, options: '-c search_path=tollgate' });
  await client.connect();
  await client.query('BEGIN');
  await client.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [account.account]);
  return {
    unlock: async () => {
      // The dead gateway's statement would go on once it gets the lock: its session dies first, as its socket would.
      await client.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tollgate-writer' AND datname = current_database()",
      );
      await client.query('ROLLBACK');
      await client.end();
    },
  };
}

const waitsForLock = async (): Promise<boolean> =>
  (
    await world.pool.query(
      "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    )
  ).rowCount! > 0;

describe('killed with SIGKILL', () => {
  it('before the hold: charged nothing', async () => {
    await begin();
    const lock = await lockWallet();
    post(gateway, account.key, body('plain', false)).catch(() => {});
    await eventually(waitsForLock, 'the hold waits');
    await kill();
    await lock.unlock();
    await expectCharge(0n);
  });

  it('after the hold, before anything was sent: charged the floor (the one stated exception)', async () => {
    const full = await fullListener();
    await begin({ TOLLGATE_CONFIG: full.configFor(world) });
    const text = body('two-routes', false);
    post(gateway, account.key, text).catch(() => {});
    await eventually(async () => (await openHolds()) === 1, 'the hold is committed');
    await kill();
    await full.close();
    await expectCharge(floorOf(text));
  });

  it('after forwarding: charged the floor', async () => {
    await begin();
    world.upstream.script('held');
    const text = body('plain', false);
    const before = world.upstream.requests.length;
    post(gateway, account.key, text).catch(() => {});
    await world.upstream.arrived(before + 1);
    await kill();
    world.upstream.release();
    await expectCharge(floorOf(text));
  });

  it('mid-stream: charged the floor', async () => {
    await begin();
    world.upstream.script(stream({}, at(2, hold)));
    const text = body('plain', true);
    const response = await post(gateway, account.key, text);
    const reader = response.body!.getReader();
    await reader.read();
    await kill();
    reader.cancel().catch(() => {});
    world.upstream.release();
    await expectCharge(floorOf(text));
  });

  it('before the settle: charged the floor', async () => {
    await begin();
    world.upstream.script('held');
    const text = body('plain', false);
    const before = world.upstream.requests.length;
    post(gateway, account.key, text).catch(() => {});
    await world.upstream.arrived(before + 1);
    const lock = await lockWallet();
    world.upstream.release();
    await eventually(waitsForLock, 'the settle waits');
    await kill();
    await lock.unlock();
    await expectCharge(floorOf(text));
  });

  it('after the settle: charged exactly', async () => {
    await begin();
    world.upstream.script('plain');
    const response = await post(gateway, account.key, body('plain', false));
    await response.arrayBuffer();
    await kill();
    await expectCharge(EXACT);
  });
});

/** A listener that takes no more connections: the kernel drops the handshake, so that a connect hangs and nothing is sent. */
async function fullListener(): Promise<{ configFor(world: World): string; close(): Promise<void> }> {
  const { spawn } = await import('node:child_process');
  const { writeFileSync } = await import('node:fs');
  const script = `const s = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port));`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [chunk] = (await once(child.stdout!, 'data')) as [Buffer];
  const port = Number(chunk.toString());
  child.kill('SIGSTOP');
  const fillers: Socket[] = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').on('error', () => {}));
  await new Promise((resolve) => setTimeout(resolve, 300));
  return {
    configFor(world) {
      const path = `${world.folder}/full.yaml`;
      writeFileSync(
        path,
        `providers:
  scripted: { kind: openai, base_url: "${world.upstream.url}", api_key: "k" }
  dead: { kind: openai, base_url: "http://127.0.0.1:${port}/v1", api_key: "k" }
`,
      );
      return path;
    },
    async close() {
      for (const filler of fillers) filler.destroy();
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
