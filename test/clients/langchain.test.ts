/** LangChain.js through the gateway: calls, streams, tools, structured output, and where its own retries end. */
import { AIMessageChunk, HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { admin } from '../support/admin.ts';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { jsonAnswer } from '../support/scripted-answers.ts';
import { responses, responsesStream, responseUsage } from '../support/scripted-responses.ts';
import { at, chat, errorFrame, reset, sequence, stream, usage } from '../support/scripted-upstream.ts';

/** 12 input tokens at 0.001 credits and 3 output tokens at 0.002: 0.018 credits, in nano-credits. */
const PLAIN_CHARGE = 18_000_000n;
const prompt = 'Say hello';

let world: World;
let gateway: TestGateway;
let account: TestAccount;
/** What the gateway answered to this test's clients, by status. */
let statuses: number[];

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
  statuses = [];
}

/** Where its clients call; what they are answered is noted. */
function gatewayOf(): { apiKey: string; configuration: object } {
  const noting = async (...call: Parameters<typeof fetch>): Promise<Response> => {
    const response = await fetch(...call);
    statuses.push(response.status);
    return response;
  };
  return { apiKey: account.key, configuration: { baseURL: `${gateway.url}/v1`, fetch: noting } };
}

/** LangChain's client as it comes, with six retries. */
const model = (name: string, more: Record<string, unknown> = {}): ChatOpenAI =>
  new ChatOpenAI({ model: name, ...gatewayOf(), ...more });

const charged = (): Promise<bigint> => chargedTo(world, account.account);

/** The model calls the tool, is sent its result, and answers; both requests are charged. */
async function expectTools(asked: ChatOpenAI): Promise<void> {
  const weather = tool(async ({ city }) => `It rains in ${city}.`, {
    ...{ name: 'get_weather', description: 'The weather of a city', schema: z.object({ city: z.string() }) },
  });
  const bound = asked.bindTools([weather]);
  const question = new HumanMessage(prompt);
  const first = await bound.invoke([question]);
  expect(first.tool_calls).toMatchObject([{ name: 'get_weather', args: { city: 'Paris' } }]);
  const result = (await weather.invoke(first.tool_calls![0]!)) as ToolMessage;
  expect(result).toBeInstanceOf(ToolMessage);
  expect((await bound.invoke([question, first, result])).text).toBe('It rains.');
  expect(await charged()).toBe(60_000_000n + 68_000_000n);
}

async function expectBroken(settings: Record<string, unknown>): Promise<void> {
  const read = async () => Array.fromAsync(await model('plain', settings).stream(prompt));
  await expect(read()).rejects.toThrow();
  await eventually(async () => (await charged()) > 0n, 'what was streamed is charged');
}

describe('chat completions', () => {
  it('a call is answered with its usage, and charged', async () => {
    await fresh();
    world.upstream.script('plain');
    const answer = await model('plain').invoke(prompt);
    expect(answer.content).toBe('Hello wide world');
    expect(answer.usage_metadata).toMatchObject({ input_tokens: 12, output_tokens: 3, total_tokens: 15 });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it('a stream arrives piece by piece, its usage last', async () => {
    await fresh();
    world.upstream.script('plain');
    const chunks = await Array.fromAsync(await model('plain').stream(prompt));
    expect(chunks.map(({ content }) => content).filter((piece) => piece !== '')).toEqual(['Hello', ' wide', ' world']);
    const whole = chunks.reduce((all, chunk) => all.concat(chunk), new AIMessageChunk(''));
    expect(whole.usage_metadata).toMatchObject({ input_tokens: 12, output_tokens: 3 });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it('a stream that asks for no usage has none, and is charged by it', async () => {
    await fresh();
    world.upstream.script('plain');
    const chunks = await Array.fromAsync(await model('plain', { streamUsage: false }).stream(prompt));
    expect(chunks.map(({ content }) => content).join('')).toBe('Hello wide world');
    expect(chunks.every(({ usage_metadata }) => usage_metadata === undefined)).toBe(true);
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it('a tool is called and its result sent back: two requests, both charged', async () => {
    await fresh();
    const call = chat({ tool: { name: 'get_weather', arguments: '{"city":"Paris"}' }, usage: usage(40, 10) });
    world.upstream.script(sequence(call, chat({ pieces: ['It rains.'], usage: usage(60, 4) })));
    await expectTools(model('plain'));
  });

  it('structured output is asked for by its schema, and read', async () => {
    await fresh();
    world.upstream.script(chat({ pieces: ['{"city":', '"Paris"}'] }));
    const structured = model('plain').withStructuredOutput(z.object({ city: z.string() }), { method: 'jsonSchema' });
    expect(await structured.invoke(prompt)).toEqual({ city: 'Paris' });
    expect(world.upstream.requests.at(-1)!.json.response_format).toMatchObject({ type: 'json_schema' });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });
});

describe('responses', () => {
  const asking = { useResponsesApi: true };

  it.each([false, true])('a call is answered with its usage, and charged (stream: %s)', async (streaming) => {
    await fresh();
    world.upstream.script(responses({ usage: responseUsage(12, 3, 1) }));
    const chunks = streaming
      ? await Array.fromAsync(await model('plain', asking).stream(prompt))
      : [await model('plain', asking).invoke(prompt)];
    expect(chunks.map(({ text }) => text).join('')).toBe('Hello wide world');
    const usages = chunks.map(({ usage_metadata }) => usage_metadata).filter((used) => used !== undefined);
    expect(usages).toMatchObject([{ input_tokens: 12, output_tokens: 3, output_token_details: { reasoning: 1 } }]);
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/responses');
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it('a tool is called and its result sent back: two requests, both charged', async () => {
    await fresh();
    const calls = [{ name: 'get_weather', arguments: '{"city":"Paris"}' }];
    const call = responses({ pieces: [], calls, usage: responseUsage(40, 10) });
    world.upstream.script(sequence(call, responses({ pieces: ['It rains.'], usage: responseUsage(60, 4) })));
    await expectTools(model('plain', asking));
  });

  it('a stream that breaks off throws, and what was seen is charged', async () => {
    await fresh();
    world.upstream.script(responsesStream({}, at(5, reset)));
    await expectBroken({ ...asking, maxRetries: 0 });
  });
});

it('embeddings come for each text, and are charged by what the provider reports', async () => {
  await fresh();
  const data = [0, 1].map((index) => ({ object: 'embedding', index, embedding: [0.5, 0.25] }));
  world.upstream.script(jsonAnswer({ object: 'list', model: 'e', data, usage: { prompt_tokens: 9, total_tokens: 9 } }));
  const embeddings = new OpenAIEmbeddings({ model: 'plain', encodingFormat: 'float', ...gatewayOf() });
  expect(await embeddings.embedDocuments(['one', 'two'])).toEqual(data.map(({ embedding }) => embedding));
  expect(await charged()).toBe(9_000_000n);
});

describe('refusals end its retries, though it would try seven times', () => {
  const failure = (name: string) =>
    model(name)
      .invoke(prompt)
      .catch((thrown) => thrown);

  it('out of credits is asked once', async () => {
    await fresh('0.001');
    const before = world.upstream.requests.length;
    const thrown = await failure('strict');
    expect(thrown).toMatchObject({ status: 429, code: 'insufficient_quota' });
    expect(thrown.message).toContain('0.001');
    expect(statuses).toEqual([429]);
    expect(world.upstream.requests.length).toBe(before);
  });

  it('a budget that is used up is asked once', async () => {
    await fresh();
    await admin(gateway, 'PATCH', `/accounts/${account.accountId}`, { budget: { credits: '0.001', period: 'month' } });
    expect(await failure('strict')).toMatchObject({ status: 429, code: 'budget_exceeded' });
    expect(statuses).toEqual([429]);
  });

  it('a model of another plan and one that is not are asked for once', async () => {
    await fresh();
    expect(await failure('forbidden')).toMatchObject({ status: 403, code: 'model_not_entitled' });
    expect(await failure('nope')).toMatchObject({ status: 404, code: 'model_not_found' });
    expect(statuses).toEqual([403, 404]);
  });

  it.each([
    ['breaks off', reset],
    ['ends with an error', errorFrame],
  ])('a stream that %s throws, and what was seen is charged', async (_, fault) => {
    await fresh();
    world.upstream.script(stream({}, at(2, fault)));
    await expectBroken({ maxRetries: 0 });
  });
});
