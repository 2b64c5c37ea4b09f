/** The official `openai` client, unmodified but for its base URL, sees what it would see from OpenAI, and is charged for it. */
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  chargedTo,
  client,
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
import { at, chat, hold, scripts, stream, usage } from '../support/scripted-upstream.ts';

/** 12 input tokens at 0.001 credits and 3 output tokens at 0.002: 0.018 credits, in nano-credits. */
const PLAIN_CHARGE = 18_000_000n;
const messages = [{ role: 'user' as const, content: 'Say hello' }];

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let openai: OpenAI;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

async function fresh(credits = '100'): Promise<void> {
  account = await createTestAccount(world, credits);
  openai = client(gateway, account);
}

describe('answers are passed on and charged exactly', () => {
  it('a plain completion carries its charge and what is left in headers', async () => {
    await fresh();
    world.upstream.script('plain');
    const { data, response } = await openai.chat.completions.create({ model: 'plain', messages }).withResponse();
    expect(data.choices[0]!.message.content).toBe('Hello wide world');
    expect(data.usage).toMatchObject({ prompt_tokens: 12, completion_tokens: 3 });
    expect(response.headers.get('x-tollgate-charged')).toBe('0.018');
    expect(response.headers.get('x-tollgate-available')).toBe('99.982');
    expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/);
    expect(await chargedTo(world, account.account)).toBe(PLAIN_CHARGE);
  });

  it('a stream has no usage chunk for a client that did not ask, and is charged by it', async () => {
    await fresh();
    world.upstream.script('plain');
    const chunks = [];
    for await (const chunk of await openai.chat.completions.create({ model: 'plain', messages, stream: true })) {
      chunks.push(chunk);
    }
    expect(chunks.map((chunk) => chunk.choices[0]!.delta.content ?? '').join('')).toBe('Hello wide world');
    expect(chunks.every((chunk) => chunk.choices.length === 1)).toBe(true);
    expect(world.upstream.requests.at(-1)!.json.stream_options).toEqual({ include_usage: true });
    expect(await chargedTo(world, account.account)).toBe(PLAIN_CHARGE);
  });

  it('a stream keeps its usage chunk for a client that asked', async () => {
    await fresh();
    world.upstream.script('plain');
    const options = { model: 'plain', messages, stream: true as const, stream_options: { include_usage: true } };
    const chunks = [];
    for await (const chunk of await openai.chat.completions.create(options)) chunks.push(chunk);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 12, completion_tokens: 3 } });
    expect(await chargedTo(world, account.account)).toBe(PLAIN_CHARGE);
  });

  it('tools and several choices arrive whole', async () => {
    await fresh();
    world.upstream.script('tools');
    const tools = [{ type: 'function' as const, function: { name: 'get_weather', parameters: {} } }];
    const called = await openai.chat.completions.create({ model: 'plain', messages, tools });
    expect(called.choices[0]!.message.tool_calls![0]).toMatchObject({ function: { name: 'get_weather' } });
    world.upstream.script(chat({ usage: usage(12, 6) }));
    const two = await openai.chat.completions.create({ model: 'plain', messages, n: 2 });
    expect(two.choices).toHaveLength(2);
    expect(await chargedTo(world, account.account)).toBe(PLAIN_CHARGE + 24_000_000n);
  });

  it('cached tokens are charged once, at the cached price or the input price', async () => {
    await fresh();
    const details = { prompt_tokens_details: { cached_tokens: 1000 } };
    world.upstream.script(chat({ usage: usage(1200, 10, details) }));
    await openai.chat.completions.create({ model: 'plain', messages });
    expect(await chargedTo(world, account.account)).toBe(1_220_000_000n);
  });

  it.each([false, true])(
    'by the service tier that the answer names, and for the searches that it tells of (stream: %s)',
    async (stream) => {
      await fresh();
      const details = { service_tier: 'flex', server_tool_use_details: { web_search_requests: 2 } };
      world.upstream.script(chat({ usage: usage(12, 3, details) }));
      const { data } = await openai.chat.completions.create({ model: 'tiered', messages, stream }).withResponse();
      if (stream) for await (const _ of data as AsyncIterable<unknown>);
      expect(await chargedTo(world, account.account)).toBe(PLAIN_CHARGE / 2n + 20_000_000_000n);
    },
  );

  it('a frame reaches the client before the provider has sent its second', async () => {
    await fresh();
    world.upstream.script('firstFrameThenHold');
    const streamed = await openai.chat.completions.create({ model: 'plain', messages, stream: true });
    const iterator = streamed[Symbol.asyncIterator]();
    const first = await iterator.next();
    expect(first.value!.choices[0]!.delta.content).toBe('Hello');
    world.upstream.release();
    while (!(await iterator.next()).done);
    expect(await chargedTo(world, account.account)).toBe(PLAIN_CHARGE);
  });

  it('a provider that reports no usage is counted, and marked as an estimate', async () => {
    await fresh();
    world.upstream.script('usageMissing');
    await openai.chat.completions.create({ model: 'plain', messages });
    const charged = await chargedTo(world, account.account);
    expect(charged).toBeGreaterThan(0n);
    expect(charged).toBeLessThan(100_000_000n);
  });

  it('an explicit zero is zero, not missing', async () => {
    await fresh();
    world.upstream.script('usageZero');
    await openai.chat.completions.create({ model: 'plain', messages });
    expect(await chargedTo(world, account.account)).toBe(0n);
  });

  it('an error in the form of a success is passed on, and charged nothing', async () => {
    await fresh();
    world.upstream.script(({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"error":{"message":"overloaded","type":"server_error","param":null,"code":null}}');
    });
    const { response } = await openai.chat.completions.create({ model: 'plain', messages }).withResponse();
    expect(response.headers.get('x-tollgate-charged')).toBe('0');
    expect(await chargedTo(world, account.account)).toBe(0n);
  });

  it('a receipt names the provider’s model, the attempts and the lots', async () => {
    await fresh();
    world.upstream.script('plain');
    const { response } = await openai.chat.completions.create({ model: 'plain', messages }).withResponse();
    const receipt = await get(gateway, account.key, `/account/v1/requests/${response.headers.get('x-request-id')}`);
    expect(receipt).toMatchObject({
      ...{ account_id: account.accountId, model: 'plain', provider: 'scripted', provider_model: 'plain-upstream' },
      ...{ status: 'settled', usage_source: 'provider', charged: '0.018', disconnect: null },
      usage: { input_tokens: 12, output_tokens: 3, cached_input_tokens: 0 },
      lines: [
        { unit: 'input', quantity: 12, unit_price_usd: '1', per: 1_000_000, credits: '0.012' },
        { unit: 'output', quantity: 3, unit_price_usd: '2', per: 1_000_000, credits: '0.006' },
      ],
      lots: [{ credits: '0.018' }],
      attempts: [{ provider: 'scripted', status: 200, outcome: 'whole' }],
    });
  });

  it('a route that is down gives way to the next', async () => {
    await fresh();
    world.upstream.script('plain');
    const answer = await openai.chat.completions.create({ model: 'two-routes', messages });
    expect(answer.choices[0]!.message.content).toBe('Hello wide world');
  });
});

describe('what goes wrong is said in OpenAI’s words, and only what was served is charged', () => {
  it('a client that hangs up mid-stream is charged for what it saw, and the provider is stopped', async () => {
    await fresh();
    world.upstream.script(stream({ pieces: Array.from({ length: 50 }, (_, i) => ` word${i}`) }, at(20, hold)));
    const streamed = await openai.chat.completions.create({ model: 'plain', messages, stream: true });
    let seen = 0;
    for await (const _ of streamed) if (++seen === 10) break;
    const request = world.upstream.requests.at(-1)!;
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'the aborted stream is charged');
    expect(await request.ended).toBe('cut');
    world.upstream.release();
    const charged = await chargedTo(world, account.account);
    expect(charged).toBeLessThan(300_000_000n);
  });

  it('a model with on_disconnect: drain is read to its end and charged exactly', async () => {
    await fresh();
    world.upstream.script(stream({}, at(1, hold)));
    const streamed = await openai.chat.completions.create({ model: 'drain', messages, stream: true });
    for await (const _ of streamed) break;
    world.upstream.release();
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'the drained stream is charged');
    expect(await chargedTo(world, account.account)).toBe(PLAIN_CHARGE);
  });

  it.each(['errorMidStream', 'resetMidStream', 'endWithoutDone'] as const)(
    'a stream that breaks (%s) is an error to the client, and never looks whole',
    async (script) => {
      await fresh();
      world.upstream.script(script);
      const read = async (): Promise<void> => {
        for await (const _ of await openai.chat.completions.create({ model: 'plain', messages, stream: true }));
      };
      await expect(read()).rejects.toThrow();
      await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'what was streamed is charged');
    },
  );

  it.each([
    ['badRequest', 400],
    ['notFound', 404],
  ] as const)('%s of the provider is the client’s: %i, body kept, nothing charged', async (script, status) => {
    await fresh();
    world.upstream.script(script);
    const failed = openai.chat.completions.create({ model: 'plain', messages });
    await expect(failed).rejects.toMatchObject({ status, error: { message: expect.stringContaining('scripted') } });
    expect(await chargedTo(world, account.account)).toBe(0n);
  });

  it.each([
    ['unauthorized', 502, 'upstream_error'],
    ['rateLimited', 503, 'upstream_rate_limited'],
    ['outOfQuota', 503, 'upstream_rate_limited'],
    ['serverError', 502, 'upstream_error'],
    ['resetBeforeHead', 502, 'upstream_error'],
    ['redirect', 502, 'upstream_error'],
  ] as const)('%s of the provider never looks like the client’s fault: %i', async (script, status, code) => {
    await fresh();
    world.upstream.script(script);
    const once = client(gateway, account, 0);
    await expect(once.chat.completions.create({ model: 'plain', messages })).rejects.toMatchObject({ status, code });
    expect(await chargedTo(world, account.account)).toBe(0n);
  });

  it('a wrong key is 401, an unknown model 404, a model of another plan 403', async () => {
    await fresh();
    const stranger = new OpenAI({ apiKey: 'sk-wrong', baseURL: `${gateway.url}/v1` });
    const create = (who: OpenAI, model: string) => who.chat.completions.create({ model, messages });
    await expect(create(stranger, 'plain')).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' });
    await expect(create(openai, 'nope')).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
    });
    await expect(create(openai, 'forbidden')).rejects.toMatchObject({ status: 403, code: 'model_not_entitled' });
  });

  it('out of credits is one attempt, with the numbers', async () => {
    await fresh('0.001');
    world.upstream.script('plain');
    const before = world.upstream.requests.length;
    const refused = openai.chat.completions.create({ model: 'strict', messages });
    await expect(refused).rejects.toMatchObject({
      status: 429,
      code: 'insufficient_quota',
      type: 'insufficient_quota',
      message: expect.stringContaining('0.001'),
    });
    const headers = await openai.chat.completions.create({ model: 'strict', messages }).catch((error) => error.headers);
    expect(headers.get('x-should-retry')).toBe('false');
    expect(headers.get('retry-after')).toBeNull();
    expect(world.upstream.requests.length).toBe(before);
  });

  it('a balance that is short lowers the output limit, and says so', async () => {
    await fresh('0.5');
    world.upstream.script(scripts.plain);
    const { response } = await openai.chat.completions.create({ model: 'plain', messages }).withResponse();
    const clamped = Number(response.headers.get('x-tollgate-clamped'));
    expect(clamped).toBeGreaterThanOrEqual(16);
    expect(clamped).toBeLessThan(250);
    expect(world.upstream.requests.at(-1)!.json.max_tokens).toBe(clamped);
  });
});
