/** Two accounts at one account of a provider: what the provider has stored for the one, the other cannot reach, nor learn of. */
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OwnedIds } from '../../src/gateway/owned/ids.ts';
import {
  client,
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
import { responses } from '../support/scripted-responses.ts';
import type { Script } from '../support/scripted-upstream.ts';

let world: World;
let gateway: TestGateway;
let alice: TestAccount;
let mallory: TestAccount;
let logPath: string;
let made = 0;
/** What Alice's answer is called at the provider. */
let id: string;
const item = (): string => `ig_${id}`;

beforeAll(async () => {
  world = await createWorld();
  logPath = join(world.folder, 'log');
  gateway = await startGateway(world, openSync(logPath, 'w'));
  [alice, mallory] = [await createTestAccount(world, '5000'), await createTestAccount(world, '5000')];
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
beforeEach(async () => {
  id = `resp_secret${++made}`;
  world.upstream.script(responses({ id, items: [{ id: item(), type: 'image_generation_call', result: 'aGk=' }] }));
  expect((await create(alice, {})).status).toBe(200);
  world.upstream.script(stored);
});
afterEach(() => expectSettled(world));

/** A provider that knows whatever it is asked for: that nobody gets it is the gateway's doing. */
const stored: Script = (exchange) => {
  const { request, response } = exchange;
  if (request.method === 'POST' && !request.path.endsWith('/cancel')) return responses({ id: `${id}_next` })(exchange);
  const body = { id, object: 'response', status: 'completed', asked: `${request.method} ${request.path}` };
  response.writeHead(200, {
    'content-type': 'application/json',
    'openai-organization': 'org-secret',
    'x-request-id': 'theirs',
  });
  response.end(JSON.stringify(body));
};

function call(account: TestAccount, method: string, path: string): Promise<Response> {
  return fetch(`${gateway.url}/v1/responses/${path}`, { method, headers: { authorization: `Bearer ${account.key}` } });
}

function create(account: TestAccount, body: object, path = ''): Promise<Response> {
  return fetch(`${gateway.url}/v1/responses${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'plain', input: 'Hi', max_output_tokens: 16, ...body }),
  });
}

async function errorOf(response: Response): Promise<Record<string, unknown>> {
  return ((await response.json()) as { error: Record<string, unknown> }).error;
}

const CALLS: [string, string][] = [
  ['GET', ''],
  ['GET', '?stream=true&starting_after=3'],
  ['GET', '/input_items?limit=5'],
  ['POST', '/cancel'],
  ['DELETE', ''],
];

describe('a stored response', () => {
  it.each(CALLS)('%s %s reaches its provider for the account that was answered it', async (method, rest) => {
    const answer = await call(alice, method, id + rest);
    expect(answer.status).toBe(200);
    expect(((await answer.json()) as { asked: string }).asked).toBe(`${method} /v1/responses/${id}${rest}`);
    const { headers } = world.upstream.requests.at(-1)!;
    expect(headers.authorization).toMatch(/^Bearer sk-provider/);
    expect(answer.headers.get('openai-organization')).toBeNull();
    expect(answer.headers.get('x-request-id')).toMatch(/^req_/);
  });

  it.each(CALLS)('%s %s answers another as if there were none, and says so in the log', async (method, rest) => {
    const before = world.upstream.requests.length;
    const foreign = await call(mallory, method, id + rest);
    const unknown = await call(mallory, method, id.replace('secret', 'unheard') + rest);
    expect([foreign.status, unknown.status]).toEqual([404, 404]);
    const [one, other] = [await foreign.text(), await unknown.text()];
    expect(one.replaceAll('secret', 'unheard')).toBe(other);
    expect(JSON.parse(one)).toEqual({
      error: { message: `Response with id '${id}' not found.`, type: 'invalid_request_error', param: null, code: null },
    });
    const names = (response: Response) => [...response.headers.keys()].sort();
    expect(names(foreign)).toEqual(names(unknown));
    expect(world.upstream.requests.length).toBe(before);
    const lines = () =>
      readFileSync(logPath, 'utf8')
        .split('\n')
        .filter((line) => line.includes('does not own'));
    await eventually(() => lines().some((line) => line.includes(foreign.headers.get('x-request-id')!)), 'it is logged');
    const line = JSON.parse(lines().find((one) => one.includes(foreign.headers.get('x-request-id')!))!);
    expect(line).toMatchObject({ acct: mallory.accountId, foreign: true, id: id.slice(0, 12) });
  });

  it('is gone once it is deleted, for its account too', async () => {
    expect((await call(alice, 'DELETE', id)).status).toBe(200);
    await eventually(async () => (await call(alice, 'GET', id)).status === 404, 'it is forgotten');
    expect((await errorOf(await create(alice, { previous_response_id: id }))).code).toBe('previous_response_not_found');
  });

  it('that its provider has lost is told as one that never was', async () => {
    world.upstream.script(({ response }) => {
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ error: { message: `No ${id} in org-Secret123`, type: 'x', param: 'y', code: 'z' } }),
      );
    });
    const answer = await call(alice, 'GET', id);
    expect(answer.status).toBe(404);
    expect((await errorOf(answer)).message).toBe(`Response with id '${id}' not found.`);
  });

  it.each([[401], [429], [500]])('hides that its provider answered %d', async (status) => {
    world.upstream.script(({ response }) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: { message: 'org-Secret123 is out of quota' } }));
    });
    const answer = await call(alice, 'GET', id);
    expect(answer.status).toBe(status === 429 ? 503 : 502);
    expect(JSON.stringify(await answer.json())).not.toContain('org-');
  });

  it.each(['', '?stream=true'])(
    'that failed does not name our account, and all else is as it came: GET %s',
    async (query) => {
      const failed = { id, object: 'response', status: 'failed', error: { code: 'x', message: 'No org-Secret123.' } };
      const text = { type: 'response.output_text.delta', delta: 'user_friendly1' };
      world.upstream.script(({ response }) => {
        response.writeHead(200, { 'content-type': query === '' ? 'application/json' : 'text/event-stream' });
        const events = [text, { type: 'response.failed', response: failed }];
        response.end(
          query === '' ? JSON.stringify(failed) : events.map((one) => `data: ${JSON.stringify(one)}\n\n`).join(''),
        );
      });
      const answered = await (await call(alice, 'GET', id + query)).text();
      expect(answered).toContain('No ***.');
      expect(answered.includes('user_friendly1')).toBe(query !== '');
    },
  );

  it('takes no query that nobody has looked at, and no id that is a path', async () => {
    const before = world.upstream.requests.length;
    const answer = await call(alice, 'GET', `${id}?project=proj_other`);
    expect([answer.status, (await errorOf(answer)).param]).toEqual([400, 'project']);
    for (const path of [`..%2fmodels`, `${id}%2f..%2ffiles`, `${id}%3fa=b`, '%00', `${'a'.repeat(201)}`]) {
      expect((await call(alice, 'GET', path)).status, path).toBe(404);
    }
    expect(world.upstream.requests.length).toBe(before);
  });

  it('needs a key that may', async () => {
    expect((await fetch(`${gateway.url}/v1/responses/${id}`)).status).toBe(401);
    await world.pool.query("UPDATE api_keys SET scopes = '{read}' WHERE key_id = $1", [alice.keyId]);
    const statuses = [(await call(alice, 'GET', id)).status, (await call(alice, 'DELETE', id)).status];
    await world.pool.query("UPDATE api_keys SET scopes = '{inference,read}' WHERE key_id = $1", [alice.keyId]);
    expect(statuses).toEqual([200, 403]);
  });
});

describe('an id inside of a request', () => {
  it.each(['', '/compact', '/input_tokens'])(
    'POST /v1/responses%s goes on from what is its account’s alone',
    async (path) => {
      expect((await create(alice, { previous_response_id: id }, path)).status).toBe(200);
      const before = world.upstream.requests.length;
      const refused = await create(mallory, { previous_response_id: id }, path);
      expect(refused.status).toBe(400);
      expect(await errorOf(refused)).toEqual({
        message: `Previous response with id "${id}" not found.`,
        type: 'invalid_request_error',
        param: 'previous_response_id',
        code: 'previous_response_not_found',
      });
      expect(world.upstream.requests.length).toBe(before);
    },
  );

  it.each<[string, () => object, string]>([
    ['a reference', () => ({ type: 'item_reference', id: item() }), 'input[0].id'],
    ['a reference that does not say so', () => ({ id: item() }), 'input[0].id'],
    ['a picture drawn before', () => ({ type: 'image_generation_call', id: item() }), 'input[0].id'],
    ['thoughts by their id', () => ({ type: 'reasoning', id: item(), summary: [] }), 'input[0].id'],
  ])('%s serves the account alone that was answered it', async (_, named, param) => {
    expect((await create(alice, { input: [named()] })).status).toBe(200);
    const before = world.upstream.requests.length;
    const refused = await create(mallory, { input: [named()] });
    expect([refused.status, (await errorOf(refused)).param]).toEqual([400, param]);
    expect(world.upstream.requests.length).toBe(before);
  });

  it.each([
    [{ conversation: 'conv_1' }, 'conversation'],
    [{ prompt: { id: 'pmpt_1' } }, 'prompt.id'],
    [
      { input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'file-1' }] }] },
      'input[0].content[0].file_id',
    ],
  ])('%j is refused by its place, whoever asks', async (body, param) => {
    const before = world.upstream.requests.length;
    const refused = await create(alice, body);
    expect([refused.status, (await errorOf(refused)).param]).toEqual([400, param]);
    expect(world.upstream.requests.length).toBe(before);
  });

  it('goes to no provider but the one that has it', async () => {
    await new OwnedIds(world.pool).note(alice.account, 'dead', '00000000-0000-7000-8000-000000000001', [
      `${id}_elsewhere`,
    ]);
    const refused = await create(alice, { previous_response_id: `${id}_elsewhere` });
    expect([refused.status, (await errorOf(refused)).param]).toEqual([400, 'previous_response_id']);
  });

  it('of sound serves in a chat as it does here', async () => {
    const heard = {
      messages: [
        { role: 'assistant', audio: { id: item() } },
        { role: 'user', content: 'Hi' },
      ],
    };
    await expect(
      client(gateway, mallory, 0).chat.completions.create({ model: 'plain', ...heard } as never),
    ).rejects.toMatchObject({
      status: 400,
      param: expect.stringMatching(/^messages/),
    });
  });
});
