/** Azure's clients work on their own paths, with the models of the catalog as deployments; what is not served is not there either. */
import { writeFileSync } from 'node:fs';
import { AzureOpenAI } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  CATALOG,
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { responses } from '../support/scripted-responses.ts';
import { SAMPLES } from './wall-rig.ts';

const messages = [{ role: 'user' as const, content: 'Say hello' }];
const BODY = '{"messages":[{"role":"user","content":"hi"}], "seed":9223372036854775807}';

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  const heard = (name: string): string =>
    `  ${name}: { routes: [{ provider: scripted, model: ${name}-upstream }], price: { second_input: 0.001 } }\n`;
  const catalog = CATALOG.replace('models:\n', `models:\n${heard('heard')}${heard('heard-too')}`);
  writeFileSync(world.env.TOLLGATE_CATALOG!, catalog.replace('models: [plain', 'models: [heard, heard-too, plain'));
  gateway = await startGateway(world);
  account = await createTestAccount(world, '100');
});
afterAll(async () => {
  await expectSettled(world);
  await gateway.close();
  await closeWorld(world);
});

const azure = (more: object = {}): AzureOpenAI =>
  new AzureOpenAI({ apiKey: account.key, endpoint: gateway.url, apiVersion: '2024-10-21', maxRetries: 0, ...more });

function ask(
  path: string,
  body: string = BODY,
  method = 'POST',
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(gateway.url + path, {
    method,
    headers: { 'api-key': account.key, 'content-type': 'application/json', ...headers },
    ...(method === 'POST' ? { body } : {}),
  });
}

const sent = (): string => world.upstream.requests.at(-1)!.body.toString();

describe('the AzureOpenAI client', () => {
  it('chats with a deployment by its key in api-key, and is charged for that model', async () => {
    const { account: id } = account;
    const before = await chargedTo(world, id);
    const answer = await azure().chat.completions.create({ model: 'plain', messages });
    expect(answer.choices[0]!.message.content).toBe('Hello wide world');
    expect((await chargedTo(world, id)) - before).toBe(18_000_000n);
    const { path, headers, json } = world.upstream.requests.at(-1)!;
    expect(path).toBe('/v1/chat/completions');
    expect(json.model).toBe('plain-upstream');
    expect(JSON.stringify(headers)).not.toContain(account.key);
    expect(headers['api-key']).toBeUndefined();
  });

  it('streams, and with a deployment of its own in place of a model', async () => {
    const pieces: string[] = [];
    const stream = await azure({ deployment: 'plain' }).chat.completions.create({ model: '', messages, stream: true });
    for await (const chunk of stream) pieces.push(chunk.choices[0]?.delta.content ?? '');
    expect(pieces.join('')).toBe('Hello wide world');
    expect(world.upstream.requests.at(-1)!.json.model).toBe('plain-upstream');
  });

  it('has a sound heard by a deployment, whatever model the form names', async () => {
    world.upstream.script(
      ({ response }) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"text":"hi"}'),
    );
    const form = await new Request('http://x/', {
      method: 'POST',
      ...SAMPLES['/v1/audio/transcriptions']!(),
    }).formData();
    const file = form.get('file') as File;
    const before = await chargedTo(world, account.account);
    await azure({ deployment: 'heard' }).audio.transcriptions.create({ model: 'forbidden', file });
    expect((await chargedTo(world, account.account)) - before).toBe(1_000_000_000n);
    const sentForm = world.upstream.requests.at(-1)!;
    expect(sentForm.path).toBe('/v1/audio/transcriptions');
    expect(sentForm.body.toString('latin1')).toContain('name="model"\r\n\r\nheard-upstream\r\n');
    expect(sentForm.body.toString('latin1')).not.toContain('forbidden');
    // Of another deployment it is another request, though it is the same form.
    const hear = (deployment: string) =>
      fetch(`${gateway.url}/openai/deployments/${deployment}/audio/transcriptions`, {
        method: 'POST',
        headers: { 'api-key': account.key, 'idempotency-key': 'heard-1' },
        body: form,
      });
    expect((await hear('heard')).status).toBe(200);
    expect((await hear('heard')).headers.get('idempotent-replayed')).toBe('true');
    expect((await hear('heard-too')).status).toBe(422);
    world.upstream.script('plain');
  });

  it('asks for a response and reads it again, which are of no deployment', async () => {
    world.upstream.script(responses());
    const made = await azure().responses.create({ model: 'plain', input: 'Say hello' });
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/responses');
    world.upstream.script(
      ({ response }) => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(made)),
    );
    expect((await azure().responses.retrieve(made.id)).id).toBe(made.id);
    expect(world.upstream.requests.at(-1)).toMatchObject({ method: 'GET', path: `/v1/responses/${made.id}` });
    world.upstream.script('plain');
  });

  it('lists the models', async () => {
    const names: string[] = [];
    for await (const { id } of azure().models.list()) names.push(id);
    expect(names).toContain('plain');
  });

  it('hears that there is no such deployment', async () => {
    const asked = azure().chat.completions.create({ model: 'nothing/like it', messages });
    await expect(asked).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });
});

describe('a path', () => {
  it.each([
    '/openai/deployments/strict/chat/completions?api-version=2024-10-21',
    '/openai/deployments/strict/chat/completions',
    '/openai/deployments/%73trict/chat/completions',
  ])('%s is that of the model', async (path) => {
    const response = await ask(path);
    expect(response.status).toBe(200);
    expect(sent()).toBe(`${BODY.slice(0, -1)},"model":"strict"}`);
  });

  it.each(['/openai/v1/chat/completions', '/openai/chat/completions?api-version=preview'])(
    '%s takes the model of the body',
    async (path) => {
      const body = BODY.replace('{', '{"model":"strict",');
      expect((await ask(path, body)).status).toBe(200);
      expect(sent()).toBe(body);
      expect(await (await ask(path)).json()).toMatchObject({ error: { code: 'invalid_request', param: 'model' } });
    },
  );

  it('of a deployment wins over the model of the body, which is then another for the provider too', async () => {
    const body = BODY.replace('{', '{ "model" : "forbidden" ,');
    const response = await ask('/openai/deployments/strict/chat/completions', body);
    expect(response.status).toBe(200);
    expect(sent()).toBe(body.replace('"forbidden"', '"strict"'));
    // And no other way round: what it may not use is not used because its body names another.
    const refused = await ask('/openai/deployments/forbidden/chat/completions', body.replace('forbidden', 'strict'));
    expect(refused.status).toBe(403);
  });

  it.each([
    [
      'names two models',
      '{"model":"strict","model":"plain","messages":[{"role":"user","content":"hi"}]}',
      'invalid_request',
    ],
    [
      'spells it with escapes',
      '{"mod\\u0065l":"plain","messages":[{"role":"user","content":"hi"}]}',
      'invalid_request',
    ],
    ['is no JSON', '{"messages":', 'invalid_json'],
    ['is no object', '[1]', 'invalid_json'],
    ['is empty', '', 'invalid_json'],
    ['is an empty object', ' {} ', 'invalid_request'],
  ])('of a deployment does not save a body that %s', async (_what, body, code) => {
    const response = await ask('/openai/deployments/strict/chat/completions', body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code } });
  });

  it('is the same request as the first with its Idempotency-Key only where it names the same deployment', async () => {
    const key = { 'idempotency-key': 'azure-1' };
    const of = (name: string) => ask(`/openai/deployments/${name}/chat/completions`, BODY, 'POST', key);
    const first = await of('strict');
    expect(first.status).toBe(200);
    expect((await of('strict')).headers.get('idempotent-replayed')).toBe('true');
    expect((await of('plain')).status).toBe(422);
  });

  it.each([
    ['POST', '/openai/deployments/strict/files'],
    ['POST', '/openai/deployments/strict/responses'],
    ['POST', '/openai/deployments/strict/batches'],
    ['POST', '/openai/deployments//chat/completions'],
    ['POST', '/openai/deployments/a%2F..%2Fb/chat/completions'],
    ['POST', '/openai/deployments/%E0%A4%A/chat/completions'],
    ['POST', '/openai/deployments/strict/chat/completions/'],
    ['POST', '/openai/deployments/strict/chat%2Fcompletions'],
    ['GET', '/openai/deployments/strict/chat/completions'],
    ['GET', '/openai/deployments'],
    ['GET', '/openai/'],
    ['GET', '/openai'],
    ['POST', '/openai/v1/files'],
    ['GET', '/openai/v1/admin/v1/accounts'],
    ['GET', '/openai/admin/v1/accounts'],
    ['GET', '/openai/v1/openai/v1/models'],
    ['POST', '/openai/v1//chat/completions'],
    ['POST', '//openai/v1/chat/completions'],
    ['POST', '/OpenAI/v1/chat/completions'],
  ])('%s %s is unknown, and nothing is sent on', async (method, path) => {
    const before = world.upstream.requests.length;
    const response = await ask(path, BODY, method);
    expect(response.status).toBe(404);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe('unknown_url');
    expect(world.upstream.requests.length).toBe(before);
  });

  it('of Azure needs a key as any other', async () => {
    const response = await ask('/openai/deployments/strict/chat/completions', BODY, 'POST', {
      'api-key': 'sk-tg-wrong',
    });
    expect(response.status).toBe(401);
  });
});
