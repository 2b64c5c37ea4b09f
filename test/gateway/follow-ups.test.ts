/**
 * P1 and P2 of talks that the provider remembers: a step that names what came before is held for at the length of the talk where that is
 * known, so that it is served of a small balance, and pays for the talk when its client leaves; else at the context window.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OwnedIds } from '../../src/gateway/owned/ids.ts';
import {
  CATALOG,
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
import { jsonAnswer } from '../support/scripted-answers.ts';
import { type ResponsesAnswer, responses, responsesStream, responseUsage } from '../support/scripted-responses.ts';
import { at, hold } from '../support/scripted-upstream.ts';

/** What the catalog of tests has for `plain`: at 0.001 credits a token, the window costs 100. */
const WINDOW = 100;
const LIMIT = { model: 'plain', max_output_tokens: 16 };
/** 500 tokens were read, and 40 written, 25 of them thoughts. */
const USED = responseUsage(500, 40, 25);
const ITEM_TOKENS = 64;

/** And a model of two names at one provider. */
const WITH_TWIN = CATALOG.replace(
  'models:',
  'models:\n  twin: { routes: [{ provider: scripted, model: one }, { provider: scripted, model: other }], context_window: 100000, price: { input: 1, output: 2 } }',
).replace('two-routes, unstated', 'two-routes, twin, unstated');

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let made = 0;
/** Of the answer that is there before each test. */
let id: string;

beforeAll(async () => {
  world = await createWorld({}, '', WITH_TWIN);
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
beforeEach(async () => {
  account = await createTestAccount(world, '20000');
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

const send = (path: string, body: object, signal: AbortSignal | null = null): Promise<Response> =>
  fetch(`${gateway.url}/v1/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
const owner = async (one: string) => (await new OwnedIds(world.pool).find([one]))[0]?.account;

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
  const mcp = { type: 'mcp', server_label: 's', server_url: 'https://example.com' };
  const picture = { type: 'input_image', image_url: 'data:image/png;base64,iVBORw0KGgo=' };

  // What is read for them is not all in their usage, and may be read for what follows.
  it.each<[string, object]>([
    ['tools of the provider', { tools: [mcp] }],
    ['tools of the provider that may not be called, but are listed', { tools: [mcp], max_tool_calls: 0 }],
    ['tools that an item brings', { input: [{ type: 'additional_tools', role: 'developer', tools: [mcp] }] }],
    ['a context that is cut to fit', { truncation: 'auto' }],
    ['a context that is summed up', { context_management: [{ type: 'compaction', compact_threshold: 1_000 }] }],
    ['pictures', { input: [{ role: 'user', content: [picture] }] }],
    ['pictures of earlier steps that are made smaller', { image: { context_compression: 'enabled' } }],
  ])('what follows an answer to %s, and what follows that', async (_, body) => {
    const first = await answered(body);
    expect(await followed(first)).toBeGreaterThanOrEqual(WINDOW);
    expect(await followed(await answered({ previous_response_id: `resp_${first}` }))).toBeGreaterThanOrEqual(WINDOW);
  });

  it('what follows a summary', async () => {
    const name = `${++made}`;
    const output = [{ id: `msg_${name}`, type: 'message', role: 'user', content: [] }];
    world.upstream.script(jsonAnswer({ id: `resp_${name}`, object: 'response.compaction', output, usage: USED }));
    await (await send('responses/compact', { model: 'plain', input: 'Hi' })).text();
    expect(await owner(`msg_${name}`)).toBe(account.account);
    world.upstream.script(responses({ id: `resp_${name}_next` }));
    expect((await step({ input: [{ type: 'item_reference', id: `msg_${name}` }] })).held).toBeGreaterThanOrEqual(
      WINDOW,
    );
  });

  it('what follows an answer whose usage was not told, and one that failed', async () => {
    expect(await followed(await answered({}, { usage: null }))).toBeGreaterThanOrEqual(WINDOW);
    const failed = `${++made}`;
    for (const stream of [false, true]) {
      const name = `${failed}_${stream}`;
      world.upstream.script(responses({ id: `resp_${name}`, status: 'failed', usage: USED }));
      await (await send('responses', { ...LIMIT, input: 'Hi', stream })).text();
      world.upstream.script(responses({ id: `resp_${name}_next` }));
      expect(await followed(name)).toBeGreaterThanOrEqual(WINDOW);
    }
  });

  it('what another model counted, or may count', async () => {
    expect(await followed(id, { model: 'strict' })).toBeGreaterThanOrEqual(WINDOW);
    expect(await followed(await answered({ model: 'twin' }), { model: 'twin' })).toBeGreaterThanOrEqual(WINDOW);
  });

  it('what brings thoughts back that were left out', async () => {
    expect(await followed(id, { reasoning: { effort: 'low' } })).toBeLessThan(WINDOW);
    expect(await followed(id, { reasoning: { context: 'all_turns' } })).toBeGreaterThanOrEqual(WINDOW);
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
    const empty = ['model', 'input_tokens', 'output_tokens', 'thought_tokens', 'items', 'is_bound'];
    await world.pool.query(`UPDATE stored_ids SET ${empty.map((column) => `${column} = NULL`).join(', ')}`);
    expect(await followed(id)).toBeGreaterThanOrEqual(WINDOW);
  });
});

describe('no free usage: who leaves a step before its provider has counted pays for what it follows', () => {
  /** Tokens of input that were charged for, at most 16 of output beside them. */
  async function leave(more: object): Promise<{ least: number; most: number; bytes: number }> {
    const before = await chargedTo(world, account.account);
    world.upstream.script(responsesStream({ id: `resp_${++made}_left` }, at(6, hold)));
    const left = new AbortController();
    const body = { ...LIMIT, stream: true, input: 'And then?', ...more };
    const response = await send('responses', body, left.signal);
    await response.body!.getReader().read();
    left.abort();
    await eventually(async () => (await chargedTo(world, account.account)) > before, 'it is charged');
    world.upstream.release();
    const charged = Number((await chargedTo(world, account.account)) - before) / 1e6;
    return {
      least: charged - 2 * LIMIT.max_output_tokens,
      most: charged,
      bytes: Math.ceil(JSON.stringify(body).length / 4),
    };
  }
  const reference = (one: string) => ({ type: 'item_reference', id: one });
  const talk = 500 + 40 - 25;

  it.each<[string, number, () => object]>([
    ['an answer', talk, () => ({ previous_response_id: `resp_${id}` })],
    ['an answer of another model', talk, () => ({ model: 'strict', previous_response_id: `resp_${id}` })],
    ['items, thoughts among them', 40, () => ({ input: [reference(`rs_${id}`), reference(`msg_${id}`)] })],
    ['an item twice', 40, () => ({ input: [reference(`msg_${id}`), reference(`msg_${id}`)] })],
  ])('%s', async (_, tokens, named) => {
    const { least, most, bytes } = await leave(named());
    expect(most).toBeGreaterThanOrEqual(bytes + tokens);
    expect(least).toBeLessThanOrEqual(bytes + tokens);
  });

  it('an answer of which a tool had the context read twice: once of it', async () => {
    const more = { tool_usage: { web_search: { num_requests: 1 } } };
    const searched = await answered({ model: 'tiered', tools: [{ type: 'web_search' }] }, { more });
    const { least, most, bytes } = await leave({ model: 'tiered', previous_response_id: `resp_${searched}` });
    expect(most).toBeGreaterThanOrEqual(bytes + talk - 250);
    expect(least).toBeLessThanOrEqual(bytes + talk - 250);
  });
});

it('a client does not name its answers: they would lie over those of others', async () => {
  const refused = await send('responses', { ...LIMIT, input: 'Hi', request_id: 'resp_x' });
  expect([refused.status, ((await refused.json()) as { error: { param: string } }).error.param]).toEqual([
    400,
    'request_id',
  ]);
});
