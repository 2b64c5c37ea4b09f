/** A streamed response that does not come to its end: it never looks whole, and what was seen is charged. */
import type OpenAI from 'openai';
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
  warmTokens,
} from '../support/gateway.ts';
import { type ResponsesAnswer, responses, responsesStream, responseUsage } from '../support/scripted-responses.ts';
import { at, endEarly, hold, reset, type Script } from '../support/scripted-upstream.ts';

/** 20,000 bytes: 40 credits by their measure at 0.002 credits a token. */
const LONG = Array.from({ length: 4_000 }, () => ' word');

let world: World;
let gateway: TestGateway;
beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
  await warmTokens(world, gateway, 'plain');
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

type Event = OpenAI.Responses.ResponseStreamEvent;

async function begin(account: TestAccount, model: string) {
  const { data, response } = await client(gateway, account, 0)
    .responses.create({ model, input: 'Say hello', stream: true })
    .withResponse();
  return { stream: data, id: response.headers.get('x-request-id')! };
}

async function read(account: TestAccount, model = 'long') {
  const { stream, id } = await begin(account, model);
  const events: Event[] = [];
  for await (const event of stream) events.push(event);
  return { events, id };
}

/** The bytes of a stream, as far as they came, and whether it ended as if it were whole. */
async function raw(account: TestAccount, model: string): Promise<{ text: string; clean: boolean; id: string }> {
  const answered = await fetch(`${gateway.url}/v1/responses`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${account.key}` },
    body: JSON.stringify({ model, input: 'Say hello', stream: true }),
  });
  let text = '';
  let clean = true;
  try {
    for await (const chunk of answered.body!) text += Buffer.from(chunk).toString();
  } catch {
    clean = false;
  }
  return { text, clean, id: answered.headers.get('x-request-id')! };
}

describe('a provider that breaks off', () => {
  const CUTS: [string, Script][] = [
    ['by a reset', reset],
    ['by an end without its last event', endEarly],
  ];

  it.each(CUTS)('%s never looks whole, and what came is charged', async (_, cut) => {
    const account = await createTestAccount(world, '100');
    // Created, in progress, item, part, two of three deltas.
    world.upstream.script(responsesStream({}, at(6, cut)));
    const { text, clean, id } = await raw(account, 'plain');
    const events = text.split('\n\n').filter(Boolean);
    const last = JSON.parse(events.at(-1)!.split('data: ')[1]!);
    expect(clean).toBe(false);
    expect(text).not.toContain('response.completed');
    expect(events.at(-2)).toContain('event: error\n');
    expect(last).toMatchObject({
      type: 'response.failed',
      response: { id: 'resp_scripted', model: 'plain-upstream', status: 'failed', error: { code: 'upstream_error' } },
      sequence_number: 7,
    });
    expect(last.response.output[0].content[0].text).toBe('Hello wide');
    const receipt = await get(gateway, account.key, `/account/v1/requests/${id}`);
    expect(receipt).toMatchObject({ usage_source: 'estimated', usage: { output_tokens: 2 } });
  });

  it('makes the official client throw', async () => {
    const account = await createTestAccount(world, '100');
    world.upstream.script(responsesStream({}, at(6, reset)));
    await expect(read(account, 'plain')).rejects.toThrow(/provider/i);
  });
});

describe('a client that leaves', () => {
  const leave = async (model: string, answer: ResponsesAnswer): Promise<bigint> => {
    const account = await createTestAccount(world, '100');
    world.upstream.script(responsesStream(answer, at(6, hold)));
    const { stream } = await begin(account, model);
    let seen = 0;
    for await (const event of stream) {
      if (event.type === 'response.output_text.delta') seen++;
      if (seen === 2) break;
    }
    if (model === 'drain') world.upstream.release();
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'it is charged');
    world.upstream.release();
    return chargedTo(world, account.account);
  };

  it('is charged for what it saw, where the model aborts', async () => {
    const body = JSON.stringify({ model: 'plain', input: 'Say hello', stream: true });
    expect(await leave('plain', {})).toBe(BigInt(Math.ceil(body.length / 4)) * 1_000_000n + 2n * 2_000_000n);
  });

  it('is charged by the usage, where the model is drained', async () => {
    expect(await leave('drain', { usage: responseUsage(10, 7) })).toBe(24_000_000n);
  });
});

describe('a response whose credits run out', () => {
  it('ends as one that reached its output limit, with the usage that is charged, and nothing owed', async () => {
    const account = await createTestAccount(world, '10');
    world.upstream.script(responses({ pieces: LONG }));
    const { events, id } = await read(account);
    const last = events.at(-1)!;
    expect(events.slice(-4).map(({ type }) => type)).toEqual([
      ...['response.output_text.done', 'response.content_part.done', 'response.output_item.done'],
      'response.incomplete',
    ]);
    if (last.type !== 'response.incomplete') throw new Error('not incomplete');
    const { response } = last;
    const text = events.map((event) => (event.type === 'response.output_text.delta' ? event.delta : '')).join('');
    expect(text.length).toBeGreaterThan(4_000);
    expect(response).toMatchObject({
      ...{ id: 'resp_scripted', status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } },
      output: [{ type: 'message', status: 'incomplete', content: [{ type: 'output_text', text }] }],
    });
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    const { input_tokens, output_tokens } = response.usage!;
    expect(output_tokens).toBe(text.length / 5);
    expect(await chargedTo(world, account.account)).toBe(
      BigInt(input_tokens) * 1_000_000n + BigInt(output_tokens) * 2_000_000n,
    );
    expect(await get(gateway, account.key, `/account/v1/requests/${id}`)).toMatchObject({
      ...{ usage_source: 'estimated', policy: 'when_short: clamp', attempts: [{ outcome: 'exhausted' }] },
    });
    expect(await get(gateway, account.key, '/account/v1/balance')).toMatchObject({ held: '0', debt: '0' });
  });

  it('is gathered by the helper of the client: a call of a function is closed, too', async () => {
    const account = await createTestAccount(world, '10');
    world.upstream.script(
      responses({ pieces: LONG.slice(0, 100), calls: [{ name: 'f', arguments: 'x'.repeat(30_000) }] }),
    );
    const tools = [{ type: 'function' as const, name: 'f', parameters: {}, strict: false }];
    const stream = client(gateway, account, 0).responses.stream({ model: 'long', input: 'Say hello', tools });
    const final = await stream.finalResponse();
    expect(final).toMatchObject({
      status: 'incomplete',
      output: [
        { type: 'message', status: 'completed' },
        { type: 'function_call', name: 'f', status: 'incomplete' },
      ],
    });
  });

  it('is held for slice by slice where there is enough, and ends whole', async () => {
    const account = await createTestAccount(world, '150');
    world.upstream.script(responses({ pieces: LONG, usage: responseUsage(12, 4_000) }));
    const { events } = await read(account);
    expect(events.at(-1)!.type).toBe('response.completed');
    expect(await chargedTo(world, account.account)).toBe(8_012_000_000n);
  });
});
