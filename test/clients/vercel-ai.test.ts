/** The Vercel AI SDK through the gateway, as an application uses it: text, streams, tools, objects, and what its user sees of refusals. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createOpenAI } from '@ai-sdk/openai';
import {
  APICallError,
  embedMany,
  generateText,
  isStepCount,
  type LanguageModel,
  Output,
  RetryError,
  streamText,
  tool,
  transcribe,
} from 'ai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
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
import { framesOf, responses, responsesStream, responseUsage } from '../support/scripted-responses.ts';
import { at, chat, endEarly, errorFrame, held, reset, sequence, stream, usage } from '../support/scripted-upstream.ts';

/** 12 input tokens at 0.001 credits and 3 output tokens at 0.002: 0.018 credits, in nano-credits. */
const PLAIN_CHARGE = 18_000_000n;
const prompt = 'Say hello';

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let openai: ReturnType<typeof createOpenAI>;

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
  openai = createOpenAI({ apiKey: account.key, baseURL: `${gateway.url}/v1` });
}

const charged = (): Promise<bigint> => chargedTo(world, account.account);

/** Reads a stream that breaks: an error is told, it never stops as if it were whole, and what was streamed is charged. */
async function expectBroken(model: LanguageModel): Promise<void> {
  const { fullStream } = streamText({ model, prompt, maxRetries: 0, onError: () => {} });
  const parts = await Array.fromAsync(fullStream).catch((error) => [{ type: 'error' as const, error }]);
  expect(parts.some(({ type }) => type === 'error')).toBe(true);
  const reasons = parts.map((part) => (part.type === 'finish' ? part.finishReason : null));
  expect(reasons).not.toContain('stop');
  await eventually(async () => (await charged()) > 0n, 'what was streamed is charged');
}

/** What the tools of the tests run on the client. */
const tools = {
  get_weather: tool({
    description: 'The weather of a city',
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }: { city: string }) => `It rains in ${city}.`,
  }),
};

describe('chat completions', () => {
  it('a text arrives with its usage and its charge', async () => {
    await fresh();
    world.upstream.script('plain');
    const { text, usage: used, response } = await generateText({ model: openai.chat('plain'), prompt });
    expect(text).toBe('Hello wide world');
    expect(used).toMatchObject({ inputTokens: 12, outputTokens: 3, totalTokens: 15 });
    expect(response.headers).toMatchObject({ 'x-tollgate-charged': '0.018', 'x-tollgate-available': '99.982' });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it('a stream arrives piece by piece and ends with its usage, which the SDK asks for itself', async () => {
    await fresh();
    world.upstream.script('plain');
    const streamed = streamText({ model: openai.chat('plain'), prompt });
    const pieces = await Array.fromAsync(streamed.textStream);
    expect(pieces).toEqual(['Hello', ' wide', ' world']);
    expect(await streamed.usage).toMatchObject({ inputTokens: 12, outputTokens: 3 });
    expect(await streamed.finishReason).toBe('stop');
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it.each([false, true])(
    'a tool is called and its result sent back: two requests, both charged (stream: %s)',
    async (streaming) => {
      await fresh();
      const call = chat({ tool: { name: 'get_weather', arguments: '{"city":"Paris"}' }, usage: usage(40, 10) });
      world.upstream.script(sequence(call, chat({ pieces: ['It rains.'], usage: usage(60, 4) })));
      const asked = { model: openai.chat('plain'), prompt, tools, stopWhen: isStepCount(3) };
      const answer = streaming ? streamText(asked) : await generateText(asked);
      expect(await answer.text).toBe('It rains.');
      expect(await answer.steps).toHaveLength(2);
      const sent = world.upstream.requests.at(-1)!.json.messages as Record<string, unknown>[];
      expect(sent.at(-1)).toEqual({ role: 'tool', tool_call_id: 'call_1', content: 'It rains in Paris.' });
      expect(await charged()).toBe(100_000_000n + 28_000_000n);
    },
  );

  it('an object is asked for by its schema, and read', async () => {
    await fresh();
    world.upstream.script(chat({ pieces: ['{"city":', '"Paris"}'] }));
    const output = Output.object({ schema: z.object({ city: z.string() }) });
    const answer = await generateText({ model: openai.chat('plain'), output, prompt });
    expect(answer.output).toEqual({ city: 'Paris' });
    expect(world.upstream.requests.at(-1)!.json.response_format).toMatchObject({ type: 'json_schema' });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });
});

describe('responses, which the SDK speaks by default', () => {
  it.each([false, true])('a text arrives with its usage and is charged (stream: %s)', async (streaming) => {
    await fresh();
    world.upstream.script(responses({ usage: responseUsage(12, 3, 1) }));
    const asked = { model: openai('plain'), prompt };
    const answer = streaming ? streamText(asked) : await generateText(asked);
    expect(await answer.text).toBe('Hello wide world');
    expect(await answer.finishReason).toBe('stop');
    const details = { outputTokenDetails: { reasoningTokens: 1 } };
    expect(await answer.usage).toMatchObject({ inputTokens: 12, outputTokens: 3, ...details });
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/responses');
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it.each([false, true])(
    'a tool is called and its result sent back, with nothing stored (stream: %s)',
    async (streaming) => {
      await fresh();
      const calls = [{ name: 'get_weather', arguments: '{"city":"Paris"}' }];
      const call = responses({ pieces: [], calls, usage: responseUsage(40, 10) });
      world.upstream.script(sequence(call, responses({ pieces: ['It rains.'], usage: responseUsage(60, 4) })));
      const providerOptions = { openai: { store: false } };
      const asked = { model: openai('plain'), prompt, tools, stopWhen: isStepCount(3), providerOptions };
      const answer = streaming ? streamText(asked) : await generateText(asked);
      expect(await answer.text).toBe('It rains.');
      const input = world.upstream.requests.at(-1)!.json.input as Record<string, unknown>[];
      expect(input.map(({ type, role }) => type ?? role)).toEqual(['user', 'function_call', 'function_call_output']);
      expect(await charged()).toBe(100_000_000n + 28_000_000n);
    },
  );

  it('thoughts that the provider has stored are named in the next step, by the account that was told them alone', async () => {
    // A step that names them is held for at what they were counted as: the context window would cost 100.
    await fresh('5');
    const thought = { id: `rs_${randomUUID()}`, type: 'reasoning', summary: [] };
    const calls = [{ name: 'get_weather', arguments: '{"city":"Paris"}' }];
    world.upstream.script(sequence(responses({ pieces: [], items: [thought], calls }), responses()));
    const providerOptions = { openai: { forceReasoning: true } };
    const asked = { prompt, tools, stopWhen: isStepCount(3), providerOptions, maxRetries: 0 };
    const agent = streamText({ ...asked, model: openai('plain') });
    expect(await agent.text).toBe('Hello wide world');
    const input = world.upstream.requests.at(-1)!.json.input as Record<string, unknown>[];
    expect(input).toContainEqual({ type: 'item_reference', id: thought.id });
    expect(await charged()).toBe(2n * PLAIN_CHARGE);

    const messages = await agent.responseMessages;
    await fresh('5');
    const prior = [{ role: 'user' as const, content: prompt }, ...messages];
    const stranger = generateText({ model: openai('plain'), messages: prior, providerOptions, maxRetries: 0 });
    await expect(stranger).rejects.toMatchObject({ statusCode: 400 });
    expect(await charged()).toBe(0n);
  });

  it('an object is asked for by its schema, and read', async () => {
    await fresh();
    world.upstream.script(responses({ pieces: ['{"city":', '"Paris"}'] }));
    const output = Output.object({ schema: z.object({ city: z.string() }) });
    expect((await generateText({ model: openai('plain'), output, prompt })).output).toEqual({ city: 'Paris' });
    expect(await charged()).toBe(PLAIN_CHARGE);
  });

  it.each([
    ['breaks off', responsesStream({}, at(5, reset))],
    ['lacks its last event', responsesStream({}, at(framesOf({}) - 1, endEarly))],
    ['fails', responses({ status: 'failed', tellsError: true })],
  ])('a stream that %s is an error to the reader, and what was seen is charged', async (_, script) => {
    await fresh();
    world.upstream.script(script);
    await expectBroken(openai('plain'));
  });
});

it('embeddings come for each text, and are charged by what the provider reports', async () => {
  await fresh();
  const data = [0, 1].map((index) => ({ object: 'embedding', index, embedding: [0.5, 0.25] }));
  world.upstream.script(jsonAnswer({ object: 'list', model: 'e', data, usage: { prompt_tokens: 9, total_tokens: 9 } }));
  const embedded = await embedMany({ model: openai.embeddingModel('plain'), values: ['one', 'two'] });
  expect(embedded.embeddings).toEqual(data.map(({ embedding }) => embedding));
  expect(embedded.usage).toEqual({ tokens: 9 });
  expect(await charged()).toBe(9_000_000n);
});

it('a sound is sent as a form, and its transcript charged by what the provider reports', async () => {
  // Of a sound whose length cannot be told, the context window is held.
  await fresh('500');
  const usage = { type: 'tokens', input_tokens: 30, output_tokens: 5, total_tokens: 35 };
  world.upstream.script(jsonAnswer({ text: 'Hello', usage }));
  const audio = readFileSync(import.meta.filename);
  const { text } = await transcribe({ model: openai.transcription('plain'), audio });
  expect(text).toBe('Hello');
  expect(world.upstream.requests.at(-1)!.headers['content-type']).toMatch(/^multipart\/form-data; boundary=/);
  expect(await charged()).toBe(40_000_000n);
});

it.each(['chat', 'responses'] as const)(
  'a stream of %s whose credits run out ends as one that has reached its limit',
  async (wire) => {
    await fresh('5');
    const pieces = Array.from({ length: 4_000 }, () => ' word');
    world.upstream.script(wire === 'chat' ? chat({ pieces }) : responses({ pieces }));
    const answer = streamText({ model: openai[wire]('long'), prompt, maxRetries: 0 });
    expect(await answer.text).toMatch(/^( word){200,}$/);
    expect(await answer.finishReason).toBe('length');
    expect(await charged()).toBeGreaterThan(500_000_000n);
    expect(await charged()).toBeLessThanOrEqual(5_000_000_000n);
  },
);

describe('refusals, as the user of the SDK meets them', () => {
  /** What a call fails with, without the SDK's own tries. */
  async function failure(model: string, maxRetries = 0): Promise<APICallError> {
    const thrown = await generateText({ model: openai.chat(model), prompt, maxRetries }).catch((error) => error);
    const error = RetryError.isInstance(thrown) ? thrown.lastError : thrown;
    if (!APICallError.isInstance(error)) throw thrown;
    return error;
  }

  it('out of credits says what is needed and what there is', async () => {
    await fresh('0.001');
    const before = world.upstream.requests.length;
    const error = await failure('strict');
    expect(error.statusCode).toBe(429);
    expect(error.message).toContain('0.001');
    expect(error.data).toMatchObject({ error: { type: 'insufficient_quota', code: 'insufficient_quota' } });
    expect(error.responseHeaders).toMatchObject({ 'x-should-retry': 'false' });
    expect(error.responseHeaders).not.toHaveProperty('retry-after');
    expect(world.upstream.requests.length).toBe(before);
  });

  it('credits that others hold are waited for: the SDK comes again after retry-after-ms', async () => {
    await fresh('2.1');
    const statuses: number[] = [];
    const patient = createOpenAI({
      ...{ apiKey: account.key, baseURL: `${gateway.url}/v1` },
      fetch: async (...call) => {
        const response = await fetch(...call);
        statuses.push(response.status);
        if (response.status === 429) world.upstream.release();
        return response;
      },
    });
    world.upstream.script(held(chat()));
    const other = generateText({ model: openai.chat('strict'), prompt });
    await world.upstream.arrived(world.upstream.requests.length + 1);
    const refused = await failure('strict');
    expect(refused.data).toMatchObject({ error: { code: 'credits_held' } });
    expect(Number(refused.responseHeaders!['retry-after-ms'])).toBeLessThan(2_000);
    expect((await generateText({ model: patient.chat('strict'), prompt })).text).toBe('Hello wide world');
    expect((await other).text).toBe('Hello wide world');
    expect([statuses[0], statuses.at(-1)]).toEqual([429, 200]);
    expect(await charged()).toBe(2n * PLAIN_CHARGE);
  });

  it('a model of another plan is 403, one that is not 404, a wrong key 401: none is tried again', async () => {
    await fresh();
    const entitled = await failure('forbidden', 2);
    expect(entitled).toMatchObject({ statusCode: 403, isRetryable: false });
    expect(entitled.data).toMatchObject({ error: { code: 'model_not_entitled' } });
    expect(await failure('nope', 2)).toMatchObject({ statusCode: 404, isRetryable: false });
    openai = createOpenAI({ apiKey: 'sk-wrong', baseURL: `${gateway.url}/v1` });
    expect(await failure('plain', 2)).toMatchObject({ statusCode: 401, isRetryable: false });
  });

  it.each([
    ['breaks off', reset],
    ['ends with an error', errorFrame],
  ])('a stream that %s is an error to the reader, and what was seen is charged', async (_, fault) => {
    await fresh();
    world.upstream.script(stream({}, at(2, fault)));
    await expectBroken(openai.chat('plain'));
  });
});
