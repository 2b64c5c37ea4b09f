/** The fake that all other tests trust, held against the official client. */
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  chat,
  type ScriptedUpstream,
  type ScriptName,
  scripts,
  sequence,
  startScriptedUpstream,
  usage,
} from '../support/scripted-upstream.ts';

let upstream: ScriptedUpstream;
let client: OpenAI;

beforeAll(async () => {
  upstream = await startScriptedUpstream();
  client = new OpenAI({ apiKey: 'k', baseURL: upstream.url, maxRetries: 0 });
});
afterAll(() => upstream.close());

const messages = [{ role: 'user' as const, content: 'Hi' }];

/** The text and usage of a stream. */
async function streamed(includeUsage: boolean, n = 1) {
  const options = includeUsage ? { stream_options: { include_usage: true } } : {};
  const stream = await client.chat.completions.create({ ...{ model: 'm', messages, n, stream: true }, ...options });
  let text = '';
  let stated: OpenAI.CompletionUsage | null | undefined;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    stated = chunk.usage;
  }
  return { text, stated };
}

describe('a stream', () => {
  const texts: [ScriptName, string][] = [
    ['plain', 'Hello wide world'],
    ['crlf', 'Hello wide world'],
    ['split', 'Grüße 世界 🌍'],
    ['slowDrip', 'Hello wide world'],
    ['giantFrame', 'x'.repeat(4 * 1024 * 1024)],
  ];
  test.each(texts)('%s is read whole', async (name, text) => {
    upstream.script(name);
    expect((await streamed(true)).text === text).toBe(true);
  });

  test('states its usage only when asked, and served notes it then', async () => {
    const stated = usage(7, 9);
    upstream.script(chat({ usage: stated }));
    const before = upstream.served.length;
    expect((await streamed(false)).stated).toBeUndefined();
    expect(upstream.served).toHaveLength(before);
    expect((await streamed(true)).stated).toEqual(stated);
    expect(upstream.served.slice(before).map((entry) => entry.usage)).toEqual([stated]);
  });

  test('can end in an error frame', async () => {
    upstream.script('errorMidStream');
    await expect(streamed(true)).rejects.toThrow('The server had an error.');
  });

  test('can break', async () => {
    upstream.script('resetMidStream');
    await expect(streamed(true)).rejects.toThrow();
  });

  test('can end as if it were whole', async () => {
    upstream.script('endWithoutDone');
    expect((await streamed(true)).text).toBe('Hello wide');
  });
});

test('JSON has as many choices as were asked for, and may leave usage out', async () => {
  upstream.script('plain');
  const completion = await client.chat.completions.create({ model: 'm', messages, n: 2 });
  expect(completion.choices).toHaveLength(2);
  expect(completion.usage).toEqual(usage(12, 3));
  upstream.script('usageMissing');
  expect((await client.chat.completions.create({ model: 'm', messages })).usage).toBeUndefined();
});

test('tools are called, streaming and not', async () => {
  upstream.script('tools');
  const completion = await client.chat.completions.create({ model: 'm', messages });
  const streaming = await client.chat.completions.stream({ model: 'm', messages }).finalChatCompletion();
  for (const answer of [completion, streaming]) {
    expect(answer.choices[0]!.finish_reason).toBe('tool_calls');
    expect(answer.choices[0]!.message.tool_calls).toMatchObject([{ function: { name: 'get_weather' } }]);
  }
});

test('a sequence answers each request by its own script, the last one for good', async () => {
  upstream.script(sequence(scripts.serverError, scripts.rateLimited, scripts.plain));
  const status = () =>
    client.chat.completions.create({ model: 'm', messages }).then(
      () => 200,
      (cause: { status?: number }) => cause.status,
    );
  expect([await status(), await status(), await status(), await status()]).toEqual([500, 429, 200, 200]);
});

test('what is held is answered when released, and not before', async () => {
  upstream.script('held');
  const before = upstream.requests.length;
  const answers = [1, 2, 3].map(() => client.chat.completions.create({ model: 'm', messages }));
  await upstream.arrived(before + 3);
  const early = await Promise.race([...answers, new Promise((resolve) => setImmediate(resolve, 'none'))]);
  expect(early).toBe('none');
  upstream.release();
  expect(await Promise.all(answers)).toHaveLength(3);
});
