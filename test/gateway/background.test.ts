/** Responses that run on at their provider after their request has ended: held for meanwhile, charged once, exactly. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { responses, responsesStream, responseUsage } from '../support/scripted-responses.ts';
import { at, type Script } from '../support/scripted-upstream.ts';

let world: World;
let gateway: TestGateway;
let account: TestAccount;
/** What the provider says of the response, whenever it is asked. */
let answer: Record<string, unknown>;
let number = 0;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
beforeEach(async () => {
  account = await createTestAccount(world, '100');
  answer = {
    id: `resp_bg${++number}`,
    object: 'response',
    status: 'queued',
    usage: null,
    error: null,
    output: [],
    store: true,
  };
  world.upstream.script(provider);
});
afterEach(async () => {
  await eventually(async () => (await rows()) === 0, 'no row is left');
  await expectSettled(world);
});

const provider: Script = ({ request, response }) => {
  if (request.path.endsWith('/cancel')) answer = { ...answer, status: 'cancelled', usage: responseUsage(7, 1) };
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer));
};

const rows = async () => (await world.pool.query('SELECT request FROM background_responses')).rowCount;
const holds = async () => (await world.pool.query('SELECT id FROM holds')).rowCount;
const charged = () => chargedTo(world, account.account);

function create(more: object = {}, signal: AbortSignal | null = null): Promise<Response> {
  return fetch(`${gateway.url}/v1/responses`, {
    method: 'POST',
    signal,
    headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'plain', input: 'Hi', max_output_tokens: 100, background: true, ...more }),
  });
}

function call(method: string, rest = ''): Promise<Response> {
  const headers = { authorization: `Bearer ${account.key}` };
  return fetch(`${gateway.url}/v1/responses/${answer.id}${rest}`, { method, headers });
}

/** Lets the job look at once. */
const due = () => world.pool.query('UPDATE background_responses SET due_at = clock_timestamp()');

describe('a background response', () => {
  it('is held for while it runs, and charged by its usage when it has ended', async () => {
    const created = await create();
    expect([created.status, ((await created.json()) as { status: string }).status]).toEqual([200, 'queued']);
    expect(created.headers.get('x-tollgate-charged')).toBeNull();
    const id = created.headers.get('x-request-id')!;
    expect([await rows(), await holds(), await charged()]).toEqual([1, 1, 0n]);
    expect((await call('GET')).status).toBe(200);
    const asked = world.upstream.requests.length;
    await due();
    await world.upstream.arrived(asked + 1);
    expect([await rows(), await charged()]).toEqual([1, 0n]);
    answer = { ...answer, status: 'completed', usage: responseUsage(12, 30) };
    await due();
    await eventually(async () => (await rows()) === 0, 'it is settled');
    expect(await charged()).toBe(12n * 1_000_000n + 30n * 2_000_000n);
    const receipt = await get(gateway, account.key, `/account/v1/requests/${id}`);
    expect(receipt).toMatchObject({
      ...{
        status: 'settled',
        charged: '0.072',
        usage_source: 'provider',
        endpoint: '/v1/responses',
        provider: 'scripted',
      },
      usage: { input_tokens: 12, output_tokens: 30 },
    });
  });

  it('is followed by a step that is held for at what it read and wrote, and its items are its account’s', async () => {
    await create();
    const item = { type: 'item_reference', id: `msg_${answer.id}` };
    expect((await create({ background: false, input: [item] })).status).toBe(400);
    answer = {
      ...answer,
      status: 'completed',
      usage: responseUsage(200, 30),
      output: [{ id: item.id, type: 'message' }],
    };
    await due();
    await eventually(async () => (await rows()) === 0, 'it is settled');
    world.upstream.script(responses({ id: `${answer.id}_next` }));
    for (const [named, tokens] of [
      [{ previous_response_id: answer.id }, 230],
      [{ input: [item] }, 30],
    ] as const) {
      const step = { model: 'plain', input: 'And?', max_output_tokens: 100, background: false, ...named };
      const { headers } = await create(step);
      const { held } = await get(gateway, account.key, `/account/v1/requests/${headers.get('x-request-id')}`);
      const bytes = Buffer.byteLength(JSON.stringify(step));
      expect(Number(held)).toBeCloseTo((bytes + tokens + 2 * 64 + 2 * 100) / 1_000, 9);
    }
  });

  it('that has ended when it is answered is charged like any other', async () => {
    answer = { ...answer, status: 'completed', usage: responseUsage(10, 5) };
    expect((await create()).headers.get('x-tollgate-charged')).toBe('0.02');
  });

  it('that its provider refuses is not charged', async () => {
    world.upstream.script('badRequest');
    expect((await create()).status).toBe(400);
    await eventually(async () => (await rows()) === 0, 'it is closed');
    expect([await holds(), await charged()]).toEqual([0, 0n]);
  });

  it('is refused to whom it is too dear, and leaves nothing', async () => {
    account = await createTestAccount(world, '0.001');
    expect((await create()).status).toBe(429);
    await eventually(async () => (await rows()) === 0, 'it is closed');
    expect(await holds()).toBe(0);
  });

  it('is charged for what it used until it was cancelled', async () => {
    await create();
    expect(((await (await call('POST', '/cancel')).json()) as { status: string }).status).toBe('cancelled');
    await eventually(async () => (await rows()) === 0, 'it is settled');
    expect(await charged()).toBe(7n * 1_000_000n + 2_000_000n);
  });

  it('cannot be deleted before its cost is known', async () => {
    await create();
    const refused = await call('DELETE');
    expect([refused.status, ((await refused.json()) as { error: { code: string } }).error.code]).toEqual([
      409,
      'conflict',
    ]);
    answer = { ...answer, status: 'completed', usage: responseUsage(1, 1) };
    expect((await call('DELETE')).status).toBe(200);
    expect([await rows(), await charged()]).toEqual([0, 3_000_000n]);
  });

  it.each([
    [
      'failed with usage',
      { status: 'failed', error: { code: 'x', message: 'No.' }, usage: responseUsage(5, 0) },
      5_000_000n,
    ],
    ['was cut short', { status: 'incomplete', usage: responseUsage(5, 100) }, 205_000_000n],
    ['says that it used nothing', { status: 'completed', usage: responseUsage(0, 0) }, 0n],
  ])('that %s costs what it used', async (_, end, cost) => {
    await create();
    answer = { ...answer, ...end };
    await due();
    await eventually(async () => (await rows()) === 0, 'it is settled');
    expect(await charged()).toBe(cost);
  });

  it('that failed, and says no usage, costs what it likely read', async () => {
    await create();
    const { rows: held } = await world.pool.query<{ floor: bigint }>('SELECT floor FROM holds');
    answer = { ...answer, status: 'failed', error: { code: 'server_error', message: 'No.' } };
    await due();
    await eventually(async () => (await rows()) === 0, 'it is settled');
    expect(await charged()).toBe(held[0]!.floor);
  });

  it('whose usage nobody says is counted, and never more than it was held for', async () => {
    await create();
    const text = 'word '.repeat(2_000);
    const output = [{ id: 'msg_1', type: 'message', content: [{ type: 'output_text', text }] }];
    answer = { ...answer, status: 'completed', output };
    const { rows: held } = await world.pool.query<{ amount: bigint }>('SELECT amount FROM holds');
    await due();
    await eventually(async () => (await rows()) === 0, 'it is settled');
    expect(await charged()).toBe(held[0]!.amount);
  });

  it('whose provider is away, or answers for another, is tried again, and after a day charged its least', async () => {
    await create();
    const { rows: held } = await world.pool.query<{ floor: bigint }>('SELECT floor FROM holds');
    const { id } = answer;
    answer = { ...answer, id: 'resp_of_another', status: 'completed', usage: responseUsage(9, 9) };
    const asked = world.upstream.requests.length;
    await due();
    await world.upstream.arrived(asked + 1);
    expect([await rows(), await charged()]).toEqual([1, 0n]);
    world.upstream.script('serverError');
    await world.pool.query(
      "UPDATE background_responses SET created_at = created_at - interval '25 hours', due_at = clock_timestamp()",
    );
    await eventually(async () => (await rows()) === 0, 'it is given up');
    expect(await charged()).toBe(held[0]!.floor);
    expect(world.upstream.requests.at(-1)!.path).toBe(`/v1/responses/${id}/cancel`);
  });

  it('whose hold has ended by itself is charged late', async () => {
    await create();
    await world.pool.query("UPDATE holds SET expires_at = clock_timestamp() - interval '1 second'");
    await create({ background: false, input: 'Something else' }).then((one) => one.text());
    answer = { ...answer, status: 'completed', usage: responseUsage(2, 2) };
    const before = await charged();
    await due();
    await eventually(async () => (await rows()) === 0, 'it is settled');
    expect((await charged()) - before).toBe(6_000_000n);
  });

  it('that is streamed to its end is charged then', async () => {
    world.upstream.script(responsesStream({ id: String(answer.id), usage: responseUsage(3, 4) }));
    const text = await (await create({ stream: true })).text();
    expect(text).toContain('response.completed');
    await eventually(async () => (await rows()) === 0, 'its row is closed');
    expect([await charged(), await holds()]).toEqual([11_000_000n, 0]);
  });

  it.each([
    ['its client leaves', (left: AbortController) => left.abort()],
    ['its provider breaks it off', () => world.upstream.release()],
  ])('whose stream ends early, since %s, is read to its end and charged once', async (_, leave) => {
    const broken: Script = async (exchange) => {
      await exchange.held();
      exchange.response.destroy();
    };
    const { id } = answer;
    world.upstream.script((exchange) =>
      (exchange.request.method === 'GET' ? provider : responsesStream({ id: String(id) }, at(4, broken)))(exchange),
    );
    const left = new AbortController();
    const stream = (await create({ stream: true }, left.signal)).body!.getReader();
    await stream.read();
    await eventually(
      async () =>
        (await world.pool.query('SELECT FROM background_responses WHERE response_id = $1', [id])).rowCount === 1,
      'its id is noted',
    );
    expect((await call('GET')).status).toBe(200);
    leave(left);
    await stream.read().catch(() => {});
    answer = { ...answer, status: 'completed', usage: responseUsage(8, 9) };
    await eventually(async () => (await rows()) === 0, 'it is settled');
    world.upstream.release();
    expect(await charged()).toBe(26_000_000n);
  });

  it('is its account’s, and nobody else’s', async () => {
    await create();
    account = await createTestAccount(world, '100');
    expect([(await call('GET')).status, (await call('POST', '/cancel')).status]).toEqual([404, 404]);
    answer = { ...answer, status: 'completed', usage: responseUsage(1, 1) };
    await due();
  });
});
