/** What a request asks for beside text is refused without a price, held for and charged with one; what exceeds a hold is booked. */
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Receipt } from '../../src/metering/receipt-view.ts';
import {
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  post,
  readLog,
  receiptOf,
  startGateway,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { chat, usage } from '../support/scripted-upstream.ts';

const messages = [{ role: 'user' as const, content: 'Say hello' }];

let world: World;
let gateway: TestGateway;
let logged: string;

beforeAll(async () => {
  world = await createWorld();
  logged = join(world.folder, 'log');
  gateway = await startGateway(world, openSync(logged, 'a'));
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

/** Asks with the real client; resolves with the receipt. */
async function receiptFor(request: { model: string; stream?: boolean } & Record<string, unknown>): Promise<Receipt> {
  const account = await createTestAccount(world, '5000');
  const { data, response } = await client(gateway, account)
    .chat.completions.create({ messages, ...request })
    .withResponse();
  if (request.stream) for await (const _ of data as unknown as AsyncIterable<unknown>);
  return receiptOf(gateway, account.key, response.headers.get('x-request-id'));
}

describe.each([false, true])('a search of the web, streamed: %s', (stream) => {
  const searching = { model: 'tiered', stream, web_search_options: {} };

  it('is held for as often as it may be made, and charged once where the answer does not report it', async () => {
    world.upstream.script(chat());
    const { held, charged, lines } = await receiptFor(searching);
    // The whole window, as the model does not state one; 1,000 tokens of output; 30 searches at 10 credits.
    expect(held).toBe('2302');
    expect(charged).toBe('10.018');
    expect(lines.at(-1)).toMatchObject({ unit: 'tool:web_search', quantity: 1, credits: '10' });
  });

  it('is charged as often as the answer reports it', async () => {
    const reported = { server_tool_use_details: { web_search_requests: 3 } };
    world.upstream.script(chat({ usage: usage(12, 3, reported) }));
    expect((await receiptFor(searching)).charged).toBe('30.018');
  });

  it('is not charged where it was not asked for', async () => {
    world.upstream.script(chat());
    expect((await receiptFor({ model: 'tiered', stream })).charged).toBe('0.018');
  });
});

it.each([
  ['service_tier', { service_tier: 'priority' }],
  ['tools', { tools: [{ type: 'code_interpreter' }] }],
  ['modalities', { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'mp3' } }],
  ['moderation', { moderation: { model: 'm' } }],
])('what the model has no price for is refused by name, and not forwarded: %s', async (param, asked) => {
  const account = await createTestAccount(world, '5000');
  const before = world.upstream.requests.length;
  const response = await post(gateway, account.key, JSON.stringify({ model: 'tiered', messages, ...asked }));
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: { code: 'invalid_request', param } });
  expect(world.upstream.requests.length).toBe(before);
});

it('a tier that has a price is served, and held for at the plain one, which may answer it', async () => {
  world.upstream.script(chat());
  const [cheap, plain] = [{ service_tier: 'flex' }, { service_tier: 'default' }];
  const receipts = await Promise.all([cheap, plain].map((tier) => receiptFor({ model: 'tiered', ...tier })));
  const bytes = (tier: object): number => Buffer.byteLength(JSON.stringify({ messages, model: 'tiered', ...tier }));
  expect(receipts.map(({ held }) => held)).toEqual([cheap, plain].map((tier) => String(2 + bytes(tier) / 1000)));
});

it('a stream whose output is not all shown is held for as a whole, not by slices', async () => {
  world.upstream.script(chat());
  const drafted = { prediction: { type: 'content', content: 'Hello' } };
  const streams = [{}, drafted].map((more) => receiptFor({ model: 'long', stream: true, ...more }));
  const [shown, hidden] = (await Promise.all(streams)).map(({ held }) => Number(held));
  expect(shown).toBeLessThan(3);
  expect(hidden).toBeGreaterThan(200);
});

it('what a provider reports beyond every limit is booked in full, and said in the log', async () => {
  world.upstream.script(chat({ usage: usage(12, 5_000) }));
  const { held, charged } = await receiptFor({ model: 'strict', max_tokens: 10 });
  expect(charged).toBe('10.012');
  expect(Number(held)).toBeLessThan(0.2);
  await eventually(() => readLog(logged).includes('a charge exceeds its hold'), 'it is logged');
});
