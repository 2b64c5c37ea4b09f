/** What a request used, by the dialect of its endpoint: what is reported anywhere is the bill, and what is missing is counted. */
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import type { Model } from '../../src/catalog/types.ts';
import { parse } from '../../src/gateway/2-parse.ts';
import type { Metering } from '../../src/gateway/7-settle.ts';
import { type Context, openContext } from '../../src/gateway/context.ts';
import { meterBody, meterCut, meterStream } from '../../src/gateway/meter.ts';
import { chatEnds } from '../../src/gateway/stream-ends.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { uuidv7 } from '../../src/lib/ids.ts';
import { dialectOf, splitterFor } from '../../src/metering/readers/index.ts';
import type { StreamReader } from '../../src/metering/readers/types.ts';
import { chatRequests } from '../../src/metering/requests/chat.ts';
import type { TokenCounter } from '../../src/metering/tokens/counter.ts';

/** Counts a token a character. */
const deps = { tokens: { count: async (texts: string[]) => texts.join('').length } as unknown as TokenCounter };
const REQUEST = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x'.repeat(400) }] });
const INPUT = Math.ceil(REQUEST.length / 4);

function contextOf(style: string): Context {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const endpoint = {
    name: style,
    upstreamPath: '/',
    requests: chatRequests,
    dialect: dialectOf(style)!,
    ends: chatEnds,
  };
  const context = openContext(uuidv7(systemClock), 'req_1', endpoint, 0, { headers: {}, ip: '127.0.0.1' }, response);
  parse(context, Buffer.from(REQUEST));
  context.model = { name: 'm', routes: [], contextWindow: null, maxOutputTokens: 1_000 } as Partial<Model> as Model;
  return context;
}

function body(style: string, json: object, headers: Record<string, string> = {}): Promise<Metering | null> {
  const bytes = Buffer.from(JSON.stringify(json));
  return meterBody(contextOf(style), deps, { headers, body: bytes, bytes: bytes.length });
}

function readerOf(style: string, stream: string): StreamReader {
  const dialect = dialectOf(style)!;
  const reader = dialect.stream(dialect.framing);
  splitterFor(dialect.framing, 1_000_000).push(Buffer.from(stream), (frame) => void reader.frame(frame));
  return reader;
}

const IN_HEADERS = { 'x-amzn-bedrock-input-token-count': '21', 'x-amzn-bedrock-output-token-count': '4' };

test('usage in headers is the bill where the body reports none, and only there', async () => {
  expect(await body('invoke', { completion: 'four' }, IN_HEADERS)).toMatchObject({
    usage: { input: 21, output: 4 },
    source: 'provider',
  });
  const reported = { usage: { prompt_tokens: 8, completion_tokens: 2, total_tokens: 10 } };
  expect(await body('invoke', reported, IN_HEADERS)).toMatchObject({ usage: { input: 8, output: 2 } });
  expect(await body('chat', { choices: [{ message: { content: 'four' } }] }, IN_HEADERS)).toMatchObject({
    usage: { input: INPUT, output: 4 },
    source: 'estimated',
  });
});

test('an input that is not reported beside an output is counted, in whole answers and in streams', async () => {
  const counted = { usage: { input: INPUT, output: 7 }, source: 'estimated' };
  const last = { response: '', done: true, eval_count: 7 };
  expect(await body('ollama-gen', last)).toMatchObject(counted);
  const reader = readerOf('ollama-gen', `{"response":"Hello","done":false}\n${JSON.stringify(last)}\n`);
  expect(await meterStream(contextOf('ollama-gen'), deps, reader)).toMatchObject(counted);
  expect(await meterCut(contextOf('ollama-gen'), deps, { reader })).toMatchObject(counted);
});

test('an input of zero that is reported stands, and so does one that only the total shows, and sound in seconds', async () => {
  const exactly = async (usage: object) => (await body('chat', { choices: [], usage }))!;
  expect(await exactly({ prompt_tokens: 0, completion_tokens: 3, total_tokens: 3 })).toMatchObject({
    usage: { input: 0, output: 3 },
    source: 'provider',
  });
  const seconds = (await body('transcriptions', { text: 'Hello', usage: { type: 'duration', seconds: 9 } }))!;
  expect(seconds.source).toBe('provider');
  expect(seconds.usage.input ?? 0).toBe(0);
});

test('what is not counted in tokens is not estimated in them', async () => {
  expect(await body('moderations', { results: [{ flagged: false }] })).toEqual({
    usage: {},
    source: 'provider',
    terms: {},
  });
  const cut = await meterCut(contextOf('moderations'), deps, { reader: null, bytes: 400 });
  expect(cut).toMatchObject({ usage: {}, source: 'provider' });
});
