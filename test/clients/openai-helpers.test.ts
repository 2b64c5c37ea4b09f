/** What the official client builds on top of its calls, through the gateway: helpers of streams and tools, its retries, its ids, its aborts. */
import OpenAI, { APIUserAbortError, NotFoundError, toFile } from 'openai';
import { zodFunction, zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
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
import { framesOf, responses, responsesStream } from '../support/scripted-responses.ts';
import { at, chat, endEarly, held, hold, sequence, stream, usage } from '../support/scripted-upstream.ts';

/** 12 input tokens at 0.001 credits and 3 output tokens at 0.002: 0.018 credits, in nano-credits. */
const PLAIN_CHARGE = 18_000_000n;
const messages = [{ role: 'user' as const, content: 'Say hello' }];
const asked = { model: 'plain', messages };

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

const charged = (): Promise<bigint> => chargedTo(world, account.account);

/** A client that notes the statuses it is answered, and calls back at each. */
function noting(statuses: number[], onAnswer: (status: number) => void = () => {}): OpenAI {
  return new OpenAI({
    ...{ apiKey: account.key, baseURL: `${gateway.url}/v1` },
    fetch: async (...call) => {
      const response = await fetch(...call);
      statuses.push(response.status);
      onAnswer(response.status);
      return response;
    },
  });
}

describe('helpers of chat', () => {
  it('the stream helper ends with the whole completion, and its usage where it asked', async () => {
    await fresh();
    world.upstream.script('plain');
    const helper = openai.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
    const pieces: string[] = [];
    helper.on('content', (piece) => void pieces.push(piece));
    const completion = await helper.finalChatCompletion();
    expect(pieces).toEqual(['Hello', ' wide', ' world']);
    expect(completion.choices[0]!.message.content).toBe('Hello wide world');
    expect(await helper.totalUsage()).toMatchObject({ prompt_tokens: 12, completion_tokens: 3 });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it('a stream that ends too early is no completion to it', async () => {
    await fresh();
    world.upstream.script(stream({}, at(2, endEarly)));
    await expect(openai.chat.completions.stream(asked).finalChatCompletion()).rejects.toThrow();
    await eventually(async () => (await charged()) > 0n, 'what was streamed is charged');
  });

  it.each([false, true])(
    'runTools calls, answers and goes on until the text: each round charged (stream: %s)',
    async (streaming) => {
      await fresh();
      const call = chat({ tool: { name: 'get_weather', arguments: '{"city":"Paris"}' }, usage: usage(40, 10) });
      world.upstream.script(sequence(call, chat({ pieces: ['It rains.'], usage: usage(60, 4) })));
      const weather = zodFunction({
        name: 'get_weather',
        parameters: z.object({ city: z.string() }),
        function: ({ city }) => `It rains in ${city}.`,
      });
      const runner = streaming
        ? openai.chat.completions.runTools({ ...asked, tools: [weather], stream: true })
        : openai.chat.completions.runTools({ ...asked, tools: [weather] });
      expect(await runner.finalContent()).toBe('It rains.');
      const sent = world.upstream.requests.at(-1)!.json.messages as Record<string, unknown>[];
      expect(sent.at(-1)).toMatchObject({ role: 'tool', tool_call_id: 'call_1', content: 'It rains in Paris.' });
      expect(await charged()).toBe(60_000_000n + 68_000_000n);
    },
  );

  it('parse reads an object by its schema', async () => {
    await fresh();
    world.upstream.script(chat({ pieces: ['{"city":', '"Paris"}'] }));
    const response_format = zodResponseFormat(z.object({ city: z.string() }), 'place');
    const completion = await openai.chat.completions.parse({ ...asked, response_format });
    expect(completion.choices[0]!.message.parsed).toEqual({ city: 'Paris' });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });
});

describe('helpers of responses', () => {
  const input = 'Say hello';

  it('the stream helper ends with the whole response, which is charged', async () => {
    await fresh();
    world.upstream.script(responses());
    const helper = openai.responses.stream({ model: 'plain', input });
    const pieces: string[] = [];
    helper.on('response.output_text.delta', ({ delta }) => void pieces.push(delta));
    const response = await helper.finalResponse();
    expect(pieces).toEqual(['Hello', ' wide', ' world']);
    expect(response).toMatchObject({
      output_text: 'Hello wide world',
      status: 'completed',
      usage: { input_tokens: 12 },
    });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it('a stream without its last event is no response to it', async () => {
    await fresh();
    world.upstream.script(responsesStream({}, at(framesOf({}) - 1, endEarly)));
    await expect(openai.responses.stream({ model: 'plain', input }).finalResponse()).rejects.toThrow();
    await eventually(async () => (await charged()) > 0n, 'what was streamed is charged');
  });

  it('parse reads an object by its schema', async () => {
    await fresh();
    world.upstream.script(responses({ pieces: ['{"city":', '"Paris"}'] }));
    const text = { format: zodTextFormat(z.object({ city: z.string() }), 'place') };
    const { output_parsed } = await openai.responses.parse({ model: 'plain', input, text });
    expect(output_parsed).toEqual({ city: 'Paris' });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });
});

describe('what it makes of headers', () => {
  it('_request_id is that of the receipt, of a refusal too', async () => {
    await fresh();
    world.upstream.script('plain');
    const { _request_id } = await openai.chat.completions.create(asked);
    const receipt = await get(gateway, account.key, `/account/v1/requests/${_request_id}`);
    expect(receipt).toMatchObject({ request_id: _request_id, status: 'settled', charged: '0.018' });
    const refused = await openai.chat.completions.create({ ...asked, model: 'nope' }).catch((error) => error);
    expect(refused.requestID).toMatch(/^req_/);
    expect(refused.requestID).not.toBe(_request_id);
  });

  it('x-should-retry: false ends its retries where credits are out', async () => {
    await fresh('0.001');
    const statuses: number[] = [];
    const create = noting(statuses).chat.completions.create({ ...asked, model: 'strict' });
    await expect(create).rejects.toMatchObject({ status: 429, code: 'insufficient_quota' });
    expect(statuses).toEqual([429]);
  });

  it('retry-after-ms is what it waits where credits are only held', async () => {
    await fresh('2.1');
    const strict = { ...asked, model: 'strict' };
    world.upstream.script(held(chat()));
    const other = openai.chat.completions.create(strict);
    await world.upstream.arrived(world.upstream.requests.length + 1);
    const statuses: number[] = [];
    const patient = noting(statuses, (status) => status === 429 && world.upstream.release());
    expect((await patient.chat.completions.create(strict)).usage).toMatchObject({ prompt_tokens: 12 });
    await other;
    expect([statuses[0], statuses.at(-1)]).toEqual([429, 200]);
    expect(await charged()).toBe(2n * PLAIN_CHARGE);
  });

  it('x-should-retry: true brings it back while its Idempotency-Key is in use: one charge, two answers', async () => {
    await fresh();
    world.upstream.script(held(chat()));
    // Its own option `idempotencyKey` sends nothing: only clients of providers that know the header do.
    const options = { headers: { 'idempotency-key': 'once-only' } };
    const first = openai.chat.completions.create(asked, options);
    await world.upstream.arrived(world.upstream.requests.length + 1);
    const statuses: number[] = [];
    const second = noting(statuses, (status) => status === 409 && world.upstream.release());
    const answers = await Promise.all([first, second.chat.completions.create(asked, options)]);
    expect(answers.map(({ choices }) => choices[0]!.message.content)).toEqual(Array(2).fill('Hello wide world'));
    expect([statuses[0], statuses.at(-1)]).toEqual([409, 200]);
    expect(await charged()).toBe(PLAIN_CHARGE);
  });
});

describe('what it gives up, and what it may not do', () => {
  it('an AbortController stops the stream at the provider too, and what was seen is charged', async () => {
    await fresh();
    world.upstream.script(stream({}, at(2, hold)));
    const controller = new AbortController();
    const streamed = await openai.chat.completions.create({ ...asked, stream: true }, { signal: controller.signal });
    for await (const _ of streamed) controller.abort();
    expect(await world.upstream.requests.at(-1)!.ended).toBe('cut');
    await eventually(async () => (await charged()) > 0n, 'what was streamed is charged');
    world.upstream.release();
  });

  it('a call that was aborted before its answer is charged as it was served', async () => {
    await fresh();
    world.upstream.script(held(chat()));
    const controller = new AbortController();
    const call = openai.chat.completions.create(asked, { signal: controller.signal });
    await world.upstream.arrived(world.upstream.requests.length + 1);
    controller.abort();
    await expect(call).rejects.toBeInstanceOf(APIUserAbortError);
    world.upstream.release();
    await eventually(async () => (await charged()) === PLAIN_CHARGE, 'the answer nobody waited for is charged');
  });

  it.each([
    [
      'files.create',
      async () => openai.files.create({ purpose: 'user_data', file: await toFile(Buffer.from('hi'), 'hi.txt') }),
    ],
    [
      'batches.create',
      () =>
        openai.batches.create({ completion_window: '24h', endpoint: '/v1/chat/completions', input_file_id: 'file-1' }),
    ],
    ['models.delete', () => openai.models.delete('plain')],
  ])('%s is not metered, and is a NotFoundError that never reached a provider', async (_, call) => {
    await fresh();
    const before = world.upstream.requests.length;
    const refused = await (call as () => Promise<unknown>)().catch((error) => error);
    expect(refused).toBeInstanceOf(NotFoundError);
    expect(refused).toMatchObject({ status: 404, code: 'unknown_url', type: 'invalid_request_error' });
    expect(world.upstream.requests.length).toBe(before);
  });

  it('models.list and models.retrieve tell of what the key may use', async () => {
    await fresh();
    const models = (await Array.fromAsync(openai.models.list())).map(({ id }) => id);
    expect(models).toContain('plain');
    expect(models).not.toContain('forbidden');
    expect(await openai.models.retrieve('plain')).toMatchObject({ id: 'plain', object: 'model' });
    await expect(openai.models.retrieve('forbidden')).rejects.toBeInstanceOf(NotFoundError);
  });
});
