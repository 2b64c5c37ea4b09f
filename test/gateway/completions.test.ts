/** The older completions, by the official client: charged exactly, bounded by every prompt and draft, ended well. */
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
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { events, jsonAnswer } from '../support/scripted-answers.ts';
import { at, reset, type Script, usage } from '../support/scripted-upstream.ts';

/** At 1,000 credits per USD an input token costs 0.001 credits, an output token 0.002. */
const CATALOG = `
models:
  instruct: { routes: [{ provider: scripted, model: gpt-3.5-turbo-instruct }], max_output_tokens: 4096, context_window: 8192, price: { input: 1, output: 2 } }
  tiered: { routes: [{ provider: scripted, model: tiered }], max_output_tokens: 4096, price: { input: 1, output: 2, service_tiers: { flex: 0.5 } } }
  input-only: { routes: [{ provider: scripted, model: x }], price: { input: 1 } }
plans:
  standard: { default: true, models: ["*"], features: [] }
`;

let world: World;
let gateway: TestGateway;

beforeAll(async () => {
  world = await createWorld({}, '', CATALOG);
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

const HEAD = {
  id: 'cmpl-1',
  object: 'text_completion',
  created: 1_759_118_173,
  model: 'gpt-3.5-turbo-instruct:20230824',
};
const choice = (text: string, finish_reason: string | null = null) => ({
  text,
  index: 0,
  logprobs: null,
  finish_reason,
});
const whole = (counts = usage(7, 3)): Script =>
  jsonAnswer({ ...HEAD, choices: [choice(' + fib', 'stop')], usage: counts });
const streamed: Script = (exchange) => {
  const asked = exchange.request.json.stream_options?.include_usage === true;
  const end = asked ? [{ ...HEAD, choices: [], usage: usage(7, 3) }] : [];
  const chunks = [choice(' +'), choice(' fib'), choice('', 'stop')].map((one) => ({
    ...HEAD,
    choices: [one],
    usage: null,
  }));
  return events([...chunks, ...end, '[DONE]'])(exchange);
};

/** Asks with the real client; resolves with the receipt, and the body as the provider got it. */
async function ask(request: object, credits = '5000'): Promise<{ receipt: Receipt; sent: string }> {
  const account = await createTestAccount(world, credits);
  const body = { model: 'instruct', prompt: 'def fib(n):', ...request };
  const { response } = await client(gateway, account).completions.create(body).withResponse();
  return {
    receipt: await receiptOf(gateway, account.key, response.headers.get('x-request-id')),
    sent: world.upstream.requests.at(-1)!.body.toString(),
  };
}

it('charges what the provider reports, and sends the body on as it came but for its model', async () => {
  world.upstream.script(whole());
  const { receipt, sent } = await ask({ prompt: 'def fib(n):', suffix: '# end', temperature: 0.4 });
  expect(receipt).toMatchObject({ endpoint: '/v1/completions', charged: '0.013', usage_source: 'provider' });
  expect(sent).toBe('{"model":"gpt-3.5-turbo-instruct","prompt":"def fib(n):","suffix":"# end","temperature":0.4}');
  expect(world.upstream.requests.at(-1)!.path).toBe('/v1/completions');
});

it('charges a stream by the usage that it asked for itself, and takes that out again', async () => {
  world.upstream.script(streamed);
  const account = await createTestAccount(world, '10');
  const { data, response } = await client(gateway, account)
    .completions.create({ model: 'instruct', prompt: 'def fib(n):', stream: true })
    .withResponse();
  const seen = [];
  for await (const chunk of data) seen.push(chunk);
  expect(seen.map(({ choices }) => choices[0]?.text)).toEqual([' +', ' fib', '']);
  expect((await receiptOf(gateway, account.key, response.headers.get('x-request-id'))).charged).toBe('0.013');
});

describe('what is held for', () => {
  const bytes = (request: object) => Buffer.byteLength(JSON.stringify({ model: 'instruct', ...request })) / 1000;
  const heldFor = async (request: object) => Number((await ask(request)).receipt.held);

  it.each([
    ['16 tokens, where no limit is given', { prompt: 'x' }, 16],
    ['the limit', { prompt: 'x', max_tokens: 100 }, 100],
    ['nothing, where nothing is to be generated', { prompt: 'x', max_tokens: 0, echo: true }, 0],
    ['each choice', { prompt: 'x', max_tokens: 100, n: 3 }, 300],
    ['each draft', { prompt: 'x', max_tokens: 100, n: 2, best_of: 5 }, 500],
    ['the choices of each prompt', { prompt: ['x', 'y'], max_tokens: 100, n: 2, best_of: 3 }, 600],
  ])('is %s', async (_, request, output) => {
    world.upstream.script(whole());
    expect(await heldFor(request)).toBeCloseTo(bytes(request) + output * 0.002, 9);
  });

  it('is a token for each that is given, and none for the digits it is written with', async () => {
    world.upstream.script(whole());
    const rest = bytes({ prompt: '' }) - 2 / 1000;
    expect(await heldFor({ prompt: [12345, 67890, 11111] })).toBeCloseTo(rest + 3 / 1000 + 16 * 0.002, 9);
    const lists = { prompt: [[12345, 67890], [1]], max_tokens: 10 };
    const around = bytes({ prompt: '', max_tokens: 10 }) - 2 / 1000;
    expect(await heldFor(lists)).toBeCloseTo(around + 3 / 1000 + 2 * 10 * 0.002, 9);
  });
});

it('lowers the limit where the balance is short, and says so upstream only then', async () => {
  world.upstream.script(whole());
  expect((await ask({ max_tokens: 4000 }, '1')).sent).toMatch(/"max_tokens":4\d\d[,}]/);
  expect((await ask({})).sent).not.toContain('max_tokens');
});

it('ends a stream as a provider does when its credits run out', async () => {
  const account = await createTestAccount(world, '0.6');
  const chunk = { ...HEAD, choices: [choice('word '.repeat(20))] };
  world.upstream.script(events([...Array.from({ length: 60 }, () => chunk), '[DONE]']));
  const stream = await client(gateway, account).completions.create({
    ...{ model: 'tiered', prompt: 'Count', max_tokens: 4000, stream: true as const },
    stream_options: { include_usage: true },
  });
  const seen = [];
  for await (const one of stream) seen.push(one);
  expect(seen.at(-2)!.choices).toEqual([{ text: '', index: 0, logprobs: null, finish_reason: 'length' }]);
  expect(seen.at(-1)!.usage!.completion_tokens).toBeGreaterThan(0);
  expect(seen.length).toBeLessThan(60);
});

it('charges a broken stream for what it brought, and tells the client', async () => {
  const account = await createTestAccount(world, '10');
  const chunk = { ...HEAD, choices: [choice(' word')] };
  world.upstream.script(events([chunk, chunk, chunk], at(2, reset)));
  const stream = await client(gateway, account).completions.create({ model: 'instruct', prompt: 'Go', stream: true });
  await expect(async () => {
    for await (const _ of stream);
  }).rejects.toThrow();
});

it('reads the tier that was asked for', async () => {
  world.upstream.script(
    jsonAnswer({ ...HEAD, choices: [choice('x', 'stop')], usage: usage(10, 10), service_tier: 'flex' }),
  );
  expect((await ask({ model: 'tiered', service_tier: 'flex' })).receipt.charged).toBe('0.015');
  await expect(ask({ service_tier: 'flex' })).rejects.toMatchObject({ status: 400, param: 'service_tier' });
});

describe('is refused, with its field', () => {
  it.each([
    ['prompt', { prompt: [] }],
    ['prompt', { prompt: ['a', 1] }],
    ['prompt', { prompt: [1.5] }],
    ['prompt', { prompt: [-1] }],
    ['prompt', { prompt: [['a']] }],
    ['prompt', { prompt: [[1], 'a'] }],
    ['prompt', { prompt: { text: 'a' } }],
    ['prompt', { prompt: 7 }],
    ['prompt', { prompt: Array.from({ length: 2_049 }, () => 'x') }],
    ['n', { n: 0 }],
    ['n', { n: 129 }],
    ['best_of', { best_of: 21 }],
    ['best_of', { best_of: -1 }],
    ['max_tokens', { max_tokens: -1 }],
    ['max_tokens', { max_tokens: 1.5 }],
    ['max_tokens', { max_tokens: '9' }],
    ['stream', { stream: 'yes' }],
    ['stream_options', { stream_options: 1 }],
    ['echo', { echo: 1 }],
    ['models', { models: ['a', 'b'] }],
    ['model', { model: 7 }],
    ['model', { model: undefined }],
  ])('%s: %j', async (param, request) => {
    const before = world.upstream.requests.length;
    await expect(ask(request)).rejects.toMatchObject({ status: 400, param });
    expect(world.upstream.requests.length).toBe(before);
  });

  it('a model that has a price for its input alone', async () => {
    await expect(ask({ model: 'input-only' })).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });
});

it("passes the provider's own refusal on, free of charge", async () => {
  const error = { message: 'Invalid token in prompt: 123456.', type: 'invalid_request_error', param: null, code: null };
  world.upstream.script(jsonAnswer({ error }, 400));
  await expect(ask({ prompt: [123456] })).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('123456'),
  });
});
