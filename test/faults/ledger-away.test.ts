/** A database that goes away: nothing unheld is forwarded, new requests hear so within 2 s, and what was served is charged. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKey, PLAIN_KEY } from '../../src/accounts/keys.ts';
import { systemClock } from '../../src/lib/clock.ts';
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
import { startWireProxy, type WireProxy } from '../support/wire-proxy.ts';

const BODY = JSON.stringify({ model: 'plain', messages: [{ role: 'user', content: 'Say hello' }] });

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let wire: WireProxy;

beforeAll(async () => {
  world = await createWorld();
  wire = await startWireProxy(world.database.url);
  world.env.DATABASE_URL = wire.url;
  gateway = await startGateway(world);
  account = await createTestAccount(world, '100');
});
afterAll(async () => {
  await gateway.close();
  await wire.close();
  await closeWorld(world);
});

const faults = {
  cut: () => {
    wire.open = false;
    wire.strikeAll('cut');
  },
  frozen: () => {
    wire.passes = 'nothing';
  },
};

/** What was frozen is closed, as a server does in the end. */
function mend(): void {
  wire.strikeAll('cut');
  wire.open = true;
  wire.passes = 'all';
}

describe.each(['cut', 'frozen'] as const)('the wire to the database is %s', (fault) => {
  it('new requests get 503 ledger_unavailable within 2 s, and nothing is forwarded', async () => {
    world.upstream.script('plain');
    expect((await post(gateway, account.key, BODY)).status).toBe(200);
    const before = world.upstream.requests.length;
    faults[fault]();
    const startedAt = Date.now();
    const response = await post(gateway, account.key, BODY);
    expect(Date.now() - startedAt).toBeLessThan(2_500);
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).not.toBeNull();
    expect(await response.json()).toMatchObject({ error: { code: 'ledger_unavailable', type: 'api_error' } });
    expect(world.upstream.requests.length).toBe(before);
    const ready = await fetch(`${gateway.url}/readyz`);
    expect(ready.status).toBe(503);
    mend();
    await eventually(async () => (await post(gateway, account.key, BODY)).status === 200, 'it serves again');
    await eventually(async () => (await world.pool.query('SELECT FROM holds')).rowCount === 0, 'no hold is left');
    await expectSettled(world);
  });

  it('an answer whose charge cannot be booked yet still arrives, and is charged when the database is back', async () => {
    const before = await chargedTo(world, account.account);
    world.upstream.script('held');
    const arrived = world.upstream.requests.length + 1;
    const answer = post(gateway, account.key, BODY);
    await world.upstream.arrived(arrived);
    faults[fault]();
    world.upstream.release();
    const response = await answer;
    expect(response.status).toBe(200);
    expect(response.headers.get('x-tollgate-charged')).toBe('0.018');
    expect(response.headers.get('x-tollgate-available')).toBeNull();
    mend();
    await eventually(
      async () => (await chargedTo(world, account.account)) === before + 18_000_000n,
      'the charge is booked, once',
    );
    await expectSettled(world);
  });
});

it('a report of usage whose answer is lost says so within 2 s; sent again, it is charged once', async () => {
  const terms = { ...PLAIN_KEY, scopes: ['consume' as const] };
  const { text } = await createKey(world.pool, systemClock, account.account, terms);
  const report = async () => {
    const headers = { authorization: `Bearer ${text}` };
    const body = JSON.stringify({ usage_id: 'job', credits: '2' });
    const response = await fetch(`${gateway.url}/account/v1/usage`, { method: 'POST', headers, body });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const before = await chargedTo(world, account.account);
  const struck = wire.strike({ statement: /ledger_apply/, point: 'answered', fate: 'freeze' });
  const startedAt = Date.now();
  const lost = await report();
  expect(Date.now() - startedAt).toBeLessThan(2_500);
  expect(lost).toMatchObject({ status: 503, body: { error: { code: 'ledger_unavailable' } } });
  await struck;
  mend();
  let again = lost;
  await eventually(async () => {
    again = await report();
    return again.status === 200;
  }, 'it is answered');
  expect(again.body).toMatchObject({ charged: '2', replayed: true });
  expect((await chargedTo(world, account.account)) - before).toBe(2_000_000_000n);
  await expectSettled(world);
});
