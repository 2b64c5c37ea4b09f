/** Tools that a provider runs for a response: refused without a price, held for with one, and charged as the answer counts them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  receiptOf,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { type ResponsesAnswer, responses, responsesStream, responseUsage } from '../support/scripted-responses.ts';
import { at, reset } from '../support/scripted-upstream.ts';

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  const catalog = join(world.folder, 'catalog.yaml');
  const more = `
  agent: { routes: [{ provider: scripted, model: agent }], max_output_tokens: 1000, context_window: 10000, price: { input: 1, output: 2, "tool:web_search": 0.01, "tool:code_interpreter": 0.03 } }
  sketcher: { routes: [{ provider: scripted, model: sketcher }], max_output_tokens: 1000, context_window: 10000, price: { input: 1, output: 2, output_image: 5 } }
  gpt-image-1: { routes: [{ provider: scripted, model: gpt-image-1 }], price: { input: 3, input_image: 10, output: 40 } }
  gpt-image-alias: { routes: [{ provider: scripted, model: gpt-image-1-mini }], price: { input: 0, output: 0 } }
`;
  const written = readFileSync(catalog, 'utf8');
  writeFileSync(
    catalog,
    written.replace('plans:\n', `${more}plans:\n`).replace('tiered]', 'tiered, agent, sketcher, "gpt-image-*"]'),
  );
  gateway = await startGateway(world);
  account = await createTestAccount(world, '50000');
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

function asked(request: object): Promise<Response> {
  return fetch(`${gateway.url}/v1/responses`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${account.key}` },
    body: JSON.stringify({ input: 'Say hello', ...request }),
  });
}

async function receiptFor(request: object, answer: ResponsesAnswer) {
  world.upstream.script(responses(answer));
  const answered = await asked(request);
  expect(answered.status).toBe(200);
  await answered.text();
  const id = answered.headers.get('x-request-id');
  return receiptOf(gateway, account.key, id);
}

const searched = { type: 'web_search_call', id: 'ws_1', status: 'completed', action: { type: 'search', query: 'x' } };
const drawn = { type: 'image_generation_call', id: 'ig_1', status: 'completed', result: 'aGVsbG8=' };
const drawing = (output: number, input = 0) => ({
  tool_usage: {
    image_gen: {
      ...{ input_tokens: input, input_tokens_details: { image_tokens: input, text_tokens: 0 } },
      ...{ output_tokens: output, total_tokens: input + output },
    },
    web_search: { num_requests: 0 },
  },
});

describe('a tool of the provider', () => {
  it.each([
    ['web_search_preview', {}],
    ['file_search', { vector_store_ids: [] }],
    ['code_interpreter', { container: { type: 'auto' } }],
    ['image_generation', { model: 'gpt-image-9' }],
    ['shell', {}],
    ['shell', { environment: { type: 'container_auto' } }],
    ['programmatic_tool_calling', {}],
    ['x_search', {}],
    ['WEIRD tool', {}],
    ['mcp', { server_label: 'x', tunnel_id: 't' }],
  ])('is refused without a price: %s', async (type, more) => {
    const sent = world.upstream.requests.length;
    for (const request of [
      { tools: [{ type, ...more }] },
      { input: [{ type: 'additional_tools', role: 'developer', tools: [{ type, ...more }] }] },
      { tools: [{ type: 'namespace', name: 'n', description: '', tools: [{ type, ...more }] }] },
    ]) {
      const refused = await asked({ model: 'plain', ...request });
      expect(refused.status).toBe(400);
      const { error } = (await refused.json()) as { error: { param: string } };
      expect(error.param).toMatch(/^tools/);
    }
    expect(world.upstream.requests.length).toBe(sent);
  });

  it.each([
    ['function', { name: 'f', parameters: {}, strict: false }],
    ['custom', { name: 'c' }],
    ['local_shell', {}],
    ['shell', { environment: { type: 'local' } }],
    ['apply_patch', {}],
    ['computer_use_preview', { environment: 'browser', display_width: 1, display_height: 1 }],
    ['tool_search', { execution: 'client' }],
    ['namespace', { name: 'n', description: '', tools: [{ type: 'function', name: 'f' }] }],
  ])('that the client runs is text: %s', async (type, more) => {
    const request = { model: 'plain', tools: [{ type, ...more }] };
    const { held } = await receiptFor(request, {});
    const bytes = JSON.stringify({ input: 'Say hello', ...request }).length;
    // A token a byte, 512 for how tools are called, and 1,000 of output.
    expect(Number(held)).toBeCloseTo((bytes + 512) * 0.001 + 2, 9);
  });

  it.each([
    [undefined, 40_000, 30],
    [2, 30_000, 2],
    [20, 40_000, 20],
  ])('makes the context be read again: with max_tool_calls %s', async (max_tool_calls, tokens, searches) => {
    const { held } = await receiptFor({ model: 'agent', tools: [{ type: 'web_search' }], max_tool_calls }, {});
    expect(Number(held)).toBeCloseTo(tokens * 0.001 + 2 + searches * 10, 9);
  });

  it('of the client, on a server of MCP, costs its tokens, and reads again', async () => {
    const tools = [{ type: 'mcp', server_label: 'x', server_url: 'https://mcp.example' }];
    const { held, charged } = await receiptFor({ model: 'agent', tools }, { items: [{ type: 'mcp_call', id: 'm' }] });
    expect([held, charged]).toEqual(['42', '0.018']);
  });

  it.each(['4g', '64g'])('runs in a container of the plain memory alone, not of %s', async (memory_limit) => {
    const tools = [{ type: 'code_interpreter', container: { type: 'auto', memory_limit } }];
    const refused = await asked({ model: 'agent', tools });
    expect([refused.status, ((await refused.json()) as { error: { param: string } }).error.param]).toEqual([
      400,
      'tools',
    ]);
  });
});

describe.each([false, true])('calls of tools, streamed: %s', (stream) => {
  it('are charged as the provider counts them, beside the usage', async () => {
    const more = { tool_usage: { web_search: { num_requests: 2 } } };
    const request = { model: 'agent', stream, tools: [{ type: 'web_search' }] };
    const { charged, lines } = await receiptFor(request, { items: [searched, searched, searched], more });
    expect(charged).toBe('20.018');
    expect(lines.find(({ unit }) => unit === 'tool:web_search')).toMatchObject({ quantity: 2, credits: '20' });
  });

  it('are charged by their items where it does not count them', async () => {
    const code = { type: 'code_interpreter_call', id: 'ci_1', container_id: 'cntr_1', code: 'x', outputs: [] };
    const request = { model: 'agent', stream, tools: [{ type: 'code_interpreter', container: { type: 'auto' } }] };
    const { charged } = await receiptFor(request, { items: [code, code], more: { tool_usage: null } });
    expect(charged).toBe('30.018');
  });

  it('that drew cost what the model that draws does, and the receipt says which', async () => {
    const request = { model: 'agent', stream, tools: [{ type: 'image_generation' }] };
    const { held, charged, lines } = await receiptFor(request, { items: [drawn], more: drawing(1_000, 50) });
    // 40 and 10 USD a million: 40 credits for what was drawn, half a one for what was looked at.
    expect(charged).toBe('40.518');
    const pictures = lines.filter(({ unit }) => unit.endsWith('image'));
    expect(pictures.filter(({ credits }) => credits !== '0')).toMatchObject([
      { unit: 'input_image', quantity: 50, model: 'gpt-image-1', price_version: expect.any(Number) },
      { unit: 'output_image', quantity: 1_000, model: 'gpt-image-1' },
    ]);
    // Four pictures of 11,164 tokens at most, and 16,384 to look at for each; 40,000 tokens to read, 1,000 to write.
    expect(Number(held)).toBeCloseTo(4 * (11_164 * 0.04 + 16_384 * 0.01) + 40_000 * 0.001 + 1_000 * 0.002, 6);
  });

  it('that drew cost what the answering model says, where the other is not in the catalog by its own name', async () => {
    for (const model of ['gpt-image-2', 'gpt-image-alias']) {
      const tools = [{ type: 'image_generation', model }];
      const { charged, lines } = await receiptFor(
        { model: 'sketcher', stream, tools },
        { items: [drawn], more: drawing(1_000) },
      );
      expect(charged).toBe('5.018');
      expect(lines.some((line) => line.model !== undefined)).toBe(false);
      expect((await asked({ model: 'agent', stream, tools })).status).toBe(400);
    }
  });

  it('that drew, and are not counted, are charged as they were asked for', async () => {
    const request = { model: 'agent', stream, tools: [{ type: 'image_generation' }] };
    const { charged, usage_source } = await receiptFor(request, { items: [drawn], more: { tool_usage: null } });
    expect([charged, usage_source]).toEqual(['249.618', 'estimated']);
  });
});

it('calls of tools are charged where the stream is cut after them', async () => {
  const answer = { items: [searched], usage: responseUsage(12, 3) };
  // Created, in progress, the search added and done: then the connection breaks.
  world.upstream.script(responsesStream(answer, at(4, reset)));
  const answered = await asked({ model: 'agent', stream: true, tools: [{ type: 'web_search' }] });
  await answered.text().catch(() => null);
  const id = answered.headers.get('x-request-id');
  const { lines } = await receiptOf(gateway, account.key, id);
  expect(lines.find(({ unit }) => unit === 'tool:web_search')).toMatchObject({ quantity: 1, credits: '10' });
});
