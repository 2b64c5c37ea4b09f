/** The Responses API through the gateway, with the official client: what is answered, and what is charged to the nano-credit. */
import type OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Receipt } from '../../src/metering/receipt-view.ts';
import {
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  receiptOf,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import {
  compaction,
  inputTokens,
  type ResponsesAnswer,
  responses,
  responseUsage,
} from '../support/scripted-responses.ts';

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
  account = await createTestAccount(world, '5000');
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

/** The client, which notes the id of each request. */
function openai(): OpenAI {
  const noting = async (...args: Parameters<typeof fetch>) => {
    const answer = await fetch(...args);
    lastId = answer.headers.get('x-request-id');
    return answer;
  };
  return client(gateway, account, 0).withOptions({ fetch: noting });
}

async function receipt(id: string | null): Promise<Receipt> {
  return receiptOf(gateway, account.key, id);
}

/** The receipt of what was asked for last: streams say which it is in a header. */
let lastId: string | null = null;
const lastReceipt = (): Promise<Receipt> => receipt(lastId);

function posted(path: string, body: object | string): Promise<Response> {
  return fetch(`${gateway.url}/v1${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${account.key}` },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

describe('a response', () => {
  it('is answered whole, and charged by its usage', async () => {
    world.upstream.script(responses());
    const { data, response } = await openai().responses.create({ model: 'plain', input: 'Say hello' }).withResponse();
    expect(data.output_text).toBe('Hello wide world');
    expect(response.headers.get('x-tollgate-charged')).toBe('0.018');
    const sent = world.upstream.requests.at(-1)!;
    expect(sent.path).toBe('/v1/responses');
    expect(sent.body.toString()).toBe('{"model":"plain-upstream","input":"Say hello"}');
    expect(await receipt(response.headers.get('x-request-id'))).toMatchObject({
      ...{ endpoint: '/v1/responses', charged: '0.018', usage_source: 'provider' },
    });
  });

  it('is streamed event by event, and charged before it ends', async () => {
    world.upstream.script(responses({ thoughts: ['hm', ' so'], usage: responseUsage(20, 9, 4, 5) }));
    const stream = await openai().responses.create({ model: 'plain', input: 'Say hello', stream: true });
    const types: string[] = [];
    for await (const event of stream) types.push(event.type);
    expect([types[0], types.at(-1)]).toEqual(['response.created', 'response.completed']);
    expect(types.filter((type) => type === 'response.output_text.delta')).toHaveLength(3);
    expect(await lastReceipt()).toMatchObject({ charged: '0.038', usage_source: 'provider' });
  });

  it('is gathered by the stream helper of the client, calls of functions and all', async () => {
    const call = { name: 'get_weather', arguments: '{"city":"Paris"}' };
    world.upstream.script(responses({ pieces: [], calls: [call] }));
    const tools = [{ type: 'function' as const, name: 'get_weather', parameters: {}, strict: false }];
    const stream = openai().responses.stream({ model: 'plain', input: [{ role: 'user', content: 'Weather?' }], tools });
    const final = await stream.finalResponse();
    expect(final.output[0]).toMatchObject({ type: 'function_call', ...call });
    expect((await lastReceipt()).charged).toBe('0.018');
  });
});

describe('a response that ends otherwise', () => {
  const ends = async (answer: ResponsesAnswer): Promise<{ types: string[]; last: unknown }> => {
    world.upstream.script(responses(answer));
    const answered = await posted('/responses', { model: 'plain', input: 'Say hello', stream: true });
    lastId = answered.headers.get('x-request-id');
    const events = (await answered.text()).split('\n\n').filter(Boolean);
    const read = events.map((event) => JSON.parse(event.slice(event.indexOf('data: ') + 6)) as { type: string });
    return { types: read.map(({ type }) => type), last: read.at(-1) };
  };

  it('is incomplete, and charged by its usage', async () => {
    const { last } = await ends({ status: 'incomplete', usage: responseUsage(10, 16) });
    expect(last).toMatchObject({
      type: 'response.incomplete',
      response: { incomplete_details: { reason: 'max_output_tokens' } },
    });
    expect(await lastReceipt()).toMatchObject({ charged: '0.042', usage_source: 'provider' });
  });

  it.each([false, true])(
    'failed: the client is told after it was charged by its usage; an error before: %s',
    async (tellsError) => {
      const error = { code: 'rate_limit_exceeded', message: 'Too many for organization org-1234567890abcdef' };
      const { types, last } = await ends({ status: 'failed', error, tellsError, usage: responseUsage(10, 2) });
      expect(types.slice(-2).includes('error')).toBe(tellsError);
      expect(last).toMatchObject({ type: 'response.failed', response: { error: { code: 'upstream_rate_limited' } } });
      expect(JSON.stringify(last)).not.toContain('org-1234567890abcdef');
      expect(await lastReceipt()).toMatchObject({
        ...{ charged: '0.014', usage_source: 'provider', attempts: [{ outcome: 'failed' }] },
      });
    },
  );

  it('failed without usage: what it read and wrote is counted', async () => {
    const body = JSON.stringify({ model: 'plain', input: 'Say hello', stream: true });
    await ends({ status: 'failed', pieces: ['x'.repeat(10)], usage: null });
    const { charged, usage_source, lines } = await lastReceipt();
    expect(usage_source).toBe('estimated');
    expect(lines.find(({ unit }) => unit === 'input')?.quantity).toBe(Math.ceil(body.length / 4));
    expect(Number(charged)).toBeGreaterThan(0.013);
  });
});

describe('a response that is no stream', () => {
  it.each([
    ['its usage', responseUsage(10, 2), '0.014'],
    ['what it read', null, '0.01'],
  ])('and failed is charged for %s', async (_, usage, charged) => {
    const error = { code: 'server_error', message: 'A fault in organization org-1234567890abcdef' };
    world.upstream.script(responses({ status: 'failed', pieces: [], error, usage }));
    const answered = await posted('/responses', { model: 'plain', input: 'Say hello' });
    const body = await answered.text();
    expect(JSON.parse(body)).toMatchObject({ status: 'failed', error: { code: 'server_error' } });
    expect(body).not.toContain('org-1234567890abcdef');
    expect(answered.headers.get('x-tollgate-charged')).toBe(charged);
  });
});

describe('beside a response', () => {
  it('input tokens are counted for nothing, with a receipt', async () => {
    world.upstream.script(inputTokens(11));
    const { data, response } = await openai()
      .responses.inputTokens.count({ model: 'plain', input: 'Say hello' })
      .withResponse();
    expect(data.input_tokens).toBe(11);
    expect(response.headers.get('x-tollgate-charged')).toBe('0');
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/responses/input_tokens');
    expect(await receipt(response.headers.get('x-request-id'))).toMatchObject({
      ...{ endpoint: '/v1/responses/input_tokens', held: '0', charged: '0', lines: [] },
    });
  });

  it('a context is summed up at the price of a response', async () => {
    world.upstream.script(compaction());
    const { data, response } = await openai().responses.compact({ model: 'plain', input: 'Say hello' }).withResponse();
    expect(data.object).toBe('response.compaction');
    expect(response.headers.get('x-tollgate-charged')).toBe('0.018');
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/responses/compact');
    // 1,000 tokens of output: nothing limits it.
    expect(Number((await receipt(response.headers.get('x-request-id'))).held)).toBeGreaterThan(2);
  });
});
