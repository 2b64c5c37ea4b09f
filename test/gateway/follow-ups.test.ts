/**
 * P1 and P2 of talks that the provider remembers: a step that names what came before is held for at the length of the talk where that is
 * known, so that it is served of a small balance, and pays for the talk when its client leaves; else at the context window.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  chargedTo,
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  receiptOf,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { type ResponsesAnswer, responses, responsesStream, responseUsage } from '../support/scripted-responses.ts';
import { at, hold } from '../support/scripted-upstream.ts';

/** What the catalog of tests has for `plain`: at 0.001 credits a token, the window costs 100. */
const WINDOW = 100;
const LIMIT = { model: 'plain', max_output_tokens: 16 };
/** 500 tokens were read, and 40 written, 25 of them thoughts. */
const USED = responseUsage(500, 40, 25);
const ITEM_TOKENS = 64;

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let made = 0;
/** Of the answer that is there before each test. */
let id: string;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
beforeEach(async () => {
  account = await createTestAccount(world, '1000');
  id = await answered({});
});
afterEach(() => expectSettled(world));

/** Asks for an answer that has a message, thoughts and a call, and tells its id. */
async function answered(body: object, more: ResponsesAnswer = {}): Promise<string> {
  const name = `${++made}`;
  const items = [
    { id: `rs_${name}`, type: 'reasoning', summary: [] },
    { id: `msg_${name}`, type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Hi' }] },
  ];
  world.upstream.script(responses({ id: `resp_${name}`, pieces: [], items, usage: USED, ...more }));
  await step({ input: 'Hi', ...body });
  return name;
}

/** What was held for a request, in credits, and how many bytes its body had. */
async function step(body: object): Promise<{ held: number; bytes: number }> {
  const asked = { ...LIMIT, ...body };
  const { response } = await client(gateway, account, 0).responses.create(asked).withResponse();
  const { held } = await receiptOf(gateway, account.key, response.headers.get('x-request-id'));
  return { held: Number(held), bytes: Buffer.byteLength(JSON.stringify(asked)) };
}

/** Credits of so many tokens that are read, and all output that is asked for. */
const costOf = (input: number): number => (input + 2 * LIMIT.max_output_tokens) / 1_000;

describe('is held for at the length of what it names', () => {
  it('a step that follows an answer: what that read and wrote, and its own bytes', async () => {
    const { held, bytes } = await step({ input: 'And then?', previous_response_id: `resp_${id}` });
    expect(held).toBeCloseTo(costOf(bytes + 500 + 40 + 3 * ITEM_TOKENS), 9);
  });

  it('one that brings items of it: what was written, however many they are', async () => {
    const named = [`rs_${id}`, `msg_${id}`].map((one) => ({ type: 'item_reference' as const, id: one }));
    const { held, bytes } = await step({ input: [...named, { role: 'user', content: 'And then?' }] });
    expect(held).toBeCloseTo(costOf(bytes + 40 + 3 * ITEM_TOKENS), 9);
  });

  it('so that it is served of a balance that the window would not fit into', async () => {
    const { account: other, key } = account;
    const poor = await createTestAccount(world, '2');
    await world.pool.query('UPDATE stored_ids SET account_id = $1 WHERE account_id = $2', [poor.account, other]);
    account = { ...poor };
    expect(key).not.toBe(poor.key);
    expect((await step({ input: 'And then?', previous_response_id: `resp_${id}` })).held).toBeLessThan(2);
  });

  it('of a stream too, and of a step that follows a step', async () => {
    const second = await answered({ previous_response_id: `resp_${id}` }, { usage: responseUsage(900, 10) });
    world.upstream.script(responses({ id: `${id}_third`, usage: responseUsage(1_000, 20) }));
    const asked = { ...LIMIT, input: 'And then?', previous_response_id: `resp_${second}` };
    const stream = client(gateway, account, 0).responses.stream(asked);
    expect((await stream.finalResponse()).id).toBe(`${id}_third`);
    const { held, bytes } = await step({ input: 'And?', previous_response_id: `${id}_third` });
    expect(held).toBeCloseTo(costOf(bytes + 1_000 + 20 + 2 * ITEM_TOKENS), 9);
  });
});

describe('is held for at the context window', () => {
  const followed = async (name: string, more: object = {}): Promise<number> =>
    (await step({ input: 'And then?', previous_response_id: `resp_${name}`, ...more })).held;

  it('what follows an answer whose usage was not told', async () => {
    expect(await followed(await answered({}, { usage: null }))).toBeGreaterThanOrEqual(WINDOW);
  });

  it('what another model counted', async () => {
    expect(await followed(id, { model: 'strict' })).toBeGreaterThanOrEqual(WINDOW);
  });

  it('what is named twice', async () => {
    const twice = [1, 2].map(() => ({ type: 'item_reference', id: `msg_${id}` }));
    expect((await step({ input: twice })).held).toBeGreaterThanOrEqual(WINDOW);
  });

  it('what follows an id that the provider gave to two answers', async () => {
    world.upstream.script(responses({ id: `resp_${id}`, usage: responseUsage(5, 3) }));
    await step({ input: 'Hi' });
    expect(await followed(id)).toBeGreaterThanOrEqual(WINDOW);
  });

  it('a reference that says more than whose it is', async () => {
    const odd = [{ type: 'item_reference', id: `msg_${id}`, result: 'x' }];
    expect((await step({ input: odd })).held).toBeGreaterThanOrEqual(WINDOW);
  });

  it('what follows an answer that another release noted', async () => {
    await world.pool.query(
      'UPDATE stored_ids SET model = NULL, context_tokens = NULL, answer_tokens = NULL, thought_tokens = NULL',
    );
    expect(await followed(id)).toBeGreaterThanOrEqual(WINDOW);
  });
});

it('no free usage: who leaves a step before its provider has counted pays for what it follows', async () => {
  const before = await chargedTo(world, account.account);
  world.upstream.script(responsesStream({ id: `${id}_left` }, at(6, hold)));
  const left = new AbortController();
  const body = { ...LIMIT, stream: true, input: 'And then?', previous_response_id: `resp_${id}` };
  const response = await fetch(`${gateway.url}/v1/responses`, {
    method: 'POST',
    headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: left.signal,
  });
  await response.body!.getReader().read();
  left.abort();
  await eventually(async () => (await chargedTo(world, account.account)) > before, 'it is charged');
  const input = Math.ceil(JSON.stringify(body).length / 4) + 500 + (40 - 25) + 3 * ITEM_TOKENS;
  const charged = (await chargedTo(world, account.account)) - before;
  expect(charged).toBeGreaterThanOrEqual(BigInt(input) * 1_000_000n);
  expect(charged).toBeLessThan(BigInt(input + 16 * 2) * 1_000_000n);
  world.upstream.release();
});
