/** SIGTERM: no new request is taken, what runs is finished and settled, and the process exits with 0. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyOperations } from '../../src/ledger/operations.ts';
import { hold as holdOf, lockWallet, newId, until, writerWaits } from '../ledger/rig.ts';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  post,
  spawnGateway,
  type TestAccount,
  type World,
} from '../support/gateway.ts';
import { at, hold, stream } from '../support/scripted-upstream.ts';

/** Newer than any policy or catalog. */
const NEWEST = 1_000_000n;

let world: World;
beforeAll(async () => {
  world = await createWorld({}, 'server: { drain_seconds: 2 }\n');
});
afterAll(() => closeWorld(world));

const body = (stream: boolean): string =>
  JSON.stringify({ model: 'plain', stream, messages: [{ role: 'user', content: 'Say hello' }] });

describe('drain', () => {
  it('finishes what runs: a stream and a body in flight arrive whole and are charged exactly', async () => {
    const account = await createTestAccount(world, '100');
    const gateway = await spawnGateway(world);
    world.upstream.script(stream({}, at(1, hold)));
    const streamed = await post(gateway, account.key, body(true));
    world.upstream.script('held');
    const before = world.upstream.requests.length;
    const whole = post(gateway, account.key, body(false));
    await world.upstream.arrived(before + 1);
    gateway.child.kill('SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 200));
    await expect(post(gateway, account.key, body(false)).then((response) => response.status)).rejects.toThrow();
    world.upstream.release();
    expect(await streamed.text()).toMatch(/\[DONE\]\n\n$/);
    expect(await (await whole).json()).toMatchObject({ usage: { completion_tokens: 3 } });
    expect(await gateway.exited).toBe(0);
    expect(await chargedTo(world, account.account)).toBe(36_000_000n);
    await expectSettled(world);
  });

  it('ends what outlasts its limit, charged for what it got', async () => {
    const account = await createTestAccount(world, '100');
    const gateway = await spawnGateway(world);
    world.upstream.script(stream({}, at(2, hold)));
    const response = await post(gateway, account.key, body(true));
    const read = response.text();
    gateway.child.kill('SIGINT');
    await expect(read).rejects.toThrow();
    expect(await gateway.exited).toBe(0);
    world.upstream.release();
    expect(await chargedTo(world, account.account)).toBeGreaterThan(0n);
    await expectSettled(world);
    const { rows } = await world.pool.query('SELECT owner FROM owners');
    expect(rows).toEqual([]);
  });
});

describe('a stray hold whose release is under way', () => {
  /** A hold that committed after its request had been told that it did not, in the name of the one gateway that runs. */
  async function makeStray({ account, keyId }: TestAccount): Promise<void> {
    const { rows } = await world.pool.query<{ owner: bigint }>('SELECT owner FROM owners');
    const operation = holdOf(account, newId(), 10_000_000n, {
      key: keyId,
      floor: 1_000_000n,
      policyVersion: NEWEST,
      catalogVersion: NEWEST,
    });
    const client = await world.pool.connect();
    const [result] = await applyOperations(client, [operation], rows[0]!.owner);
    client.release();
    expect(result).toMatchObject({ outcome: 'done' });
    await world.pool.query("UPDATE holds SET opened_at = opened_at - interval '1 minute'");
  }

  it('keeps no drain waiting while its account is locked: the next start ends it, free', async () => {
    const account = await createTestAccount(world, '100');
    const gateway = await spawnGateway(world);
    await makeStray(account);
    const { unlock } = await lockWallet(world.database.url, account.account);
    await until('it is being released', () => writerWaits(world.pool));
    gateway.child.kill('SIGTERM');
    expect(await gateway.exited).toBe(0);
    await unlock();
    expect((await world.pool.query('SELECT FROM holds')).rowCount).toBe(1);
    const next = await spawnGateway(world);
    next.child.kill('SIGTERM');
    expect(await next.exited).toBe(0);
    await expectSettled(world);
    expect(await chargedTo(world, account.account)).toBe(0n);
  });
});
