/** P5 over several gateways: duplicates at once are one forward and one charge, and one whose gateway died is not sent again. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
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
  type TestAccount,
  type World,
} from '../support/gateway.ts';
import { at, hold, stream } from '../support/scripted-upstream.ts';

const DUPLICATES = 50;
const EXACT = 18_000_000n;
const BODY = JSON.stringify({ model: 'plain', stream: true, messages: [{ role: 'user', content: 'Say hello' }] });

let world: World;
let account: TestAccount;
let gateways: GatewayProcess[];

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => closeWorld(world));
afterEach(async () => {
  for (const { child } of gateways) child.kill('SIGKILL');
  await Promise.all(gateways.map(({ exited }) => exited));
});

async function begin(): Promise<void> {
  account = await createTestAccount(world, '100');
  const second = spawnGateway(world, { TOLLGATE_DATA_DIR: `${world.folder}/second` });
  gateways = await Promise.all([spawnGateway(world), second]);
  world.upstream.script(stream({}, at(2, hold)));
}

const ask = (gateway: GatewayProcess, name: string): Promise<Response> =>
  post(gateway, account.key, BODY, { 'idempotency-key': name });

it('50 duplicates of a stream at once, over two processes: one forward, one charge, 409 meanwhile, equal answers then', async () => {
  await begin();
  const name = randomUUID();
  const before = world.upstream.requests.length;
  const all = await Promise.all(Array.from({ length: DUPLICATES }, (_, i) => ask(gateways[i % 2]!, name)));
  const [first, ...more] = all.filter(({ status }) => status === 200);
  const refused = all.filter(({ status }) => status === 409);
  expect([more.length, refused.length]).toEqual([0, DUPLICATES - 1]);
  for (const response of refused) {
    expect(response.headers.get('x-should-retry')).toBe('true');
    expect(await response.json()).toMatchObject({ error: { code: 'idempotency_key_in_use' } });
  }

  world.upstream.release();
  const answer = await first!.text();
  expect(answer).toMatch(/\[DONE\]\n\n$/);
  const again = await Promise.all(Array.from({ length: DUPLICATES }, (_, i) => ask(gateways[i % 2]!, name)));
  for (const response of again) {
    expect(response.status).toBe(200);
    expect(response.headers.get('idempotent-replayed')).toBe('true');
    expect(response.headers.get('x-request-id')).toBe(first!.headers.get('x-request-id'));
    expect(await response.text()).toBe(answer);
  }
  const forwards = world.upstream.requests.length - before;
  const charged = await chargedTo(world, account.account);
  const { rows } = await world.pool.query('SELECT kind FROM entries WHERE account_id = $1', [account.account]);
  console.info(
    `${DUPLICATES} at once: ${refused.length} × 409, ${forwards} forward, charged ${charged} nano-credits in ` +
      `${rows.filter(({ kind }) => kind === 2).length} charge; ${again.length} equal answers afterwards`,
  );
  expect(forwards).toBe(1);
  expect(rows.map(({ kind }) => kind)).toEqual([1, 2]);
  expect(charged).toBe(EXACT);
  await expectSettled(world);
});

it('killed mid-stream: another gateway answers 409 with the request whose receipt there is, and does not forward again', async () => {
  await begin();
  const [first, second] = gateways as [GatewayProcess, GatewayProcess];
  const name = randomUUID();
  const before = world.upstream.requests.length;
  const response = await ask(first, name);
  const reader = response.body!.getReader();
  await reader.read();
  first.child.kill('SIGKILL');
  await first.exited;
  reader.cancel().catch(() => {});
  expect(await (await ask(second, name)).json()).toMatchObject({ error: { code: 'idempotency_key_in_use' } });

  // The next one on the same data folder ends the dead one's hold at once; without it, its lease would have to run out.
  gateways.push(await spawnGateway(world));
  await eventually(async () => (await world.pool.query('SELECT FROM holds')).rowCount === 0, 'the hold is ended');
  const lost = await ask(second, name);
  expect(lost.status).toBe(409);
  expect(lost.headers.get('x-should-retry')).toBe('false');
  const { error } = (await lost.json()) as { error: { code: string; message: string; type: string } };
  console.info(`killed mid-stream: ${error.message}`);
  expect(error).toMatchObject({ code: 'idempotency_result_lost', type: 'idempotency_error' });
  const id = response.headers.get('x-request-id')!;
  expect(error.message).toContain(id);
  const receipt = await get(second, account.key, `/account/v1/requests/${id}`);
  expect(receipt).toMatchObject({ request_id: id, status: 'recovered' });
  expect(world.upstream.requests.length - before).toBe(1);
  world.upstream.release();
  await expectSettled(world);
});
