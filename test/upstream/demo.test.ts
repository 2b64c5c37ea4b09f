import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/lib/clock.ts';
import { createDemoProvider } from '../../src/upstream/demo.ts';
import { responseHeaders } from '../../src/upstream/headers.ts';
import { chatRequest, record } from './recorder.ts';

const demo = createDemoProvider('demo', systemClock, 1);
let server: Server;
let client: OpenAI;

/** The thinnest gateway: the official client talks HTTP, the demo provider does not. */
beforeAll(async () => {
  server = createServer(async (incoming, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const request = { path: '/chat/completions', headers: {}, body: Buffer.concat(chunks), upstreamModel: 'chat' };
    demo.send(request, {
      onStart: (status, headers) => void response.writeHead(status, responseHeaders(headers)),
      onData: (chunk) => response.write(chunk),
      onEnd: () => void response.end(),
      onFailure: () => void response.destroy(),
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  client = new OpenAI({ apiKey: 'k', baseURL: `http://127.0.0.1:${port}/v1`, maxRetries: 0 });
});
afterAll(() => void server.close());

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

const messages = [{ role: 'user' as const, content: 'Is the moon made of cheese?' }];

describe('the official client', () => {
  test('gets a completion about its last message, with usage', async () => {
    const completion = await client.chat.completions.create({ model: 'chat', messages });
    expect(completion.id).toMatch(/^chatcmpl-demo-/);
    expect(completion.model).toBe('chat');
    expect(completion.choices).toHaveLength(1);
    expect(completion.choices[0]!.message.content).toContain('made of cheese');
    expect(completion.choices[0]!.finish_reason).toBe('stop');
    const { prompt_tokens, completion_tokens, total_tokens } = completion.usage!;
    expect(prompt_tokens).toBeGreaterThan(0);
    expect(completion_tokens).toBeGreaterThan(0);
    expect(total_tokens).toBe(prompt_tokens + completion_tokens);
  });

  test('streams the same text, with the usage chunk when asked', async () => {
    const whole = await client.chat.completions.create({ model: 'chat', messages });
    const stream = await client.chat.completions.create({
      ...{ model: 'chat', messages, stream: true },
      stream_options: { include_usage: true },
    });
    const chunks = await all(stream);
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(
      whole.choices[0]!.message.content,
    );
    expect(chunks.at(-1)!.choices).toEqual([]);
    expect(chunks.at(-1)!.usage).toEqual(whole.usage);
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe('stop');
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true);
  });

  test('sees no usage in a stream when it did not ask', async () => {
    const stream = await client.chat.completions.create({ model: 'chat', messages, stream: true });
    const chunks = await all(stream);
    expect(chunks.every((chunk) => chunk.choices.length === 1 && !('usage' in chunk))).toBe(true);
  });

  test.each(['max_tokens', 'max_completion_tokens'])('is cut off at %s, with finish_reason length', async (field) => {
    const completion = await client.chat.completions.create({ model: 'chat', messages, [field]: 3 });
    expect(completion.choices[0]!.message.content).toBe('You said: "Is');
    expect(completion.choices[0]!.finish_reason).toBe('length');
    expect(completion.usage!.completion_tokens).toBe(3);
  });

  test('gets n choices, streaming too, and pays for each', async () => {
    const completion = await client.chat.completions.create({ model: 'chat', messages, n: 2, max_tokens: 5 });
    expect(completion.choices.map((choice) => choice.index)).toEqual([0, 1]);
    expect(completion.usage!.completion_tokens).toBe(10);
    const streamed = client.chat.completions.stream({ model: 'chat', messages, n: 2, max_tokens: 5 });
    const final = await streamed.finalChatCompletion();
    expect(final.choices.map((choice) => choice.message.content)).toEqual(
      completion.choices.map((choice) => choice.message.content),
    );
  });

  test('is answered about the text parts of a message', async () => {
    const content = [
      { type: 'text' as const, text: 'Look at this' },
      { type: 'image_url' as const, image_url: { url: 'https://example.com/x.png' } },
    ];
    const completion = await client.chat.completions.create({ model: 'chat', messages: [{ role: 'user', content }] });
    expect(completion.choices[0]!.message.content).toContain('Look at this');
  });

  test.each([
    [{ messages: [] }, 'messages'],
    [{ n: 0 }, 'n'],
    [{ max_tokens: 1.5 }, 'max_tokens'],
    [{ stream: 'yes' }, 'stream'],
  ])('is told which field is wrong: %j', async (fields, param) => {
    const body = { model: 'chat', messages, ...fields } as OpenAI.ChatCompletionCreateParamsNonStreaming;
    await expect(client.chat.completions.create(body)).rejects.toMatchObject({ status: 400, param });
  });
});

test('a body that is not JSON is answered 400', async () => {
  const heard = record(demo, { ...chatRequest(), body: Buffer.from('{"a":') });
  await heard.over;
  expect(heard.status).toBe(400);
  expect(JSON.parse(heard.text()).error.type).toBe('invalid_request_error');
});

test('a very long message is echoed only in part, whole characters all', async () => {
  const content = `a${'🌍'.repeat(100_000)}`;
  const heard = record(demo, chatRequest({ messages: [{ role: 'user', content }] }));
  await heard.over;
  expect(heard.text().length).toBeLessThan(2000);
  expect(heard.text().isWellFormed()).toBe(true);
  expect(heard.text()).not.toContain('\\ud83c');
});

test('a paused stream waits, and continues where it stopped', async () => {
  const paused = Promise.withResolvers<void>();
  const heard = record(demo, chatRequest({ stream: true }), (_chunk, recording) => {
    if (recording.chunks.length !== 3) return true;
    paused.resolve();
    return false;
  });
  await paused.promise;
  // Another whole answer of the same length passes meanwhile.
  await record(demo, chatRequest({ stream: true })).over;
  expect(heard.chunks).toHaveLength(3);
  heard.attempt.resume();
  await heard.over;
  expect(heard.text().endsWith('data: [DONE]\n\n')).toBe(true);
  expect(heard.events).toEqual(['sent', 'start', 'data', 'end']);
});

test('an aborted stream says nothing more', async () => {
  const heard = record(demo, chatRequest({ stream: true }), (_chunk, { attempt }) => {
    attempt.abort();
    return false;
  });
  await record(demo, chatRequest({ stream: true })).over;
  heard.attempt.resume();
  await record(demo).over;
  expect(heard.events).toEqual(['sent', 'start', 'data']);
  expect(heard.chunks).toHaveLength(1);
});
