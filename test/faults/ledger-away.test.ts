/** A database that goes away: nothing unheld is forwarded, new requests hear so within 2 s, and what was served is charged. */
import { createServer, connect as dial, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

const BODY = JSON.stringify({ model: 'plain', messages: [{ role: 'user', content: 'Say hello' }] });

/** A wire between the gateway and the database that can be cut, or frozen with its connections left half-open. */
async function cuttableWire(port: number) {
  const pairs = new Set<[Socket, Socket]>();
  let state: 'open' | 'cut' | 'frozen' = 'open';
  const server = createServer((near) => {
    if (state === 'cut') return void near.destroy();
    const far = dial(port, '127.0.0.1');
    const pair: [Socket, Socket] = [near, far];
    pairs.add(pair);
    for (const [from, to] of [pair, [far, near]] as const) {
      from.on('data', (chunk) => {
        if (state !== 'frozen') to.write(chunk);
      });
      from.on('error', () => {});
      from.on('close', () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as { port: number }).port,
    set(next: typeof state) {
      state = next;
      // A frozen wire's connections never work again: what was swallowed is lost to them.
      if (next !== 'frozen') for (const [near, far] of pairs) [near, far].map((socket) => socket.destroy());
    },
    close: () => server.close(),
  };
}

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let wire: Awaited<ReturnType<typeof cuttableWire>>;

beforeAll(async () => {
  world = await createWorld();
  const url = new URL(world.database.url);
  wire = await cuttableWire(Number(url.port));
  url.port = String(wire.port);
  world.env.DATABASE_URL = url.toString();
  gateway = await startGateway(world);
  account = await createTestAccount(world, '100');
});
afterAll(async () => {
  await gateway.close();
  wire.close();
  await closeWorld(world);
});

describe.each(['cut', 'frozen'] as const)('the wire to the database is %s', (fault) => {
  it('new requests get 503 ledger_unavailable within 2 s, and nothing is forwarded', async () => {
    world.upstream.script('plain');
    expect((await post(gateway, account.key, BODY)).status).toBe(200);
    const before = world.upstream.requests.length;
    wire.set(fault);
    const startedAt = Date.now();
    const response = await post(gateway, account.key, BODY);
    expect(Date.now() - startedAt).toBeLessThan(2_500);
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).not.toBeNull();
    expect(await response.json()).toMatchObject({ error: { code: 'ledger_unavailable', type: 'api_error' } });
    expect(world.upstream.requests.length).toBe(before);
    const ready = await fetch(`${gateway.url}/readyz`);
    expect(ready.status).toBe(503);
    wire.set('open');
    await eventually(async () => (await post(gateway, account.key, BODY)).status === 200, 'it serves again');
    await eventually(async () => (await world.pool.query('SELECT FROM holds')).rowCount === 0, 'no hold is left');
    await expectSettled(world);
  }, 30_000);

  it('an answer whose charge cannot be booked yet still arrives, and is charged when the database is back', async () => {
    const before = await chargedTo(world, account.account);
    world.upstream.script('held');
    const arrived = world.upstream.requests.length + 1;
    const answer = post(gateway, account.key, BODY);
    await world.upstream.arrived(arrived);
    wire.set(fault);
    world.upstream.release();
    const response = await answer;
    expect(response.status).toBe(200);
    expect(response.headers.get('x-tollgate-charged')).toBe('0.018');
    expect(response.headers.get('x-tollgate-available')).toBeNull();
    wire.set('open');
    await eventually(
      async () => (await chargedTo(world, account.account)) === before + 18_000_000n,
      'the charge is booked, once',
    );
    await expectSettled(world);
  }, 30_000);
});
