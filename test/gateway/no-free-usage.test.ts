/** P2 and P1 at their edges: ways to be served and not charged, or to be served more than was held for, are closed. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { revokeKey } from '../../src/accounts/keys.ts';
import {
  chargedTo,
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { at, chat, errorFrame, hold, sequence, stream } from '../support/scripted-upstream.ts';

const messages = [{ role: 'user' as const, content: 'Say hello' }];
const body = (model: string, more: object = {}): string => JSON.stringify({ model, messages, ...more });

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

async function fresh(): Promise<void> {
  account = await createTestAccount(world, '1000');
}

describe('no more is generated than is held for', () => {
  it.each([
    ['a limit above the model’s is lowered to it', 'strict', { max_tokens: 5000 }, { max_tokens: 1000 }],
    ['a limit within it is left alone', 'strict', { max_tokens: 50 }, { max_tokens: 50 }],
    ['a model that states its own is sent none', 'strict', {}, {}],
    ['a model that states none is sent the one held for', 'unstated', {}, { max_completion_tokens: 16384 }],
  ])('%s', async (_name, model, asked, sent) => {
    await fresh();
    world.upstream.script('plain');
    const response = await post(gateway, account.key, body(model, asked));
    expect(response.status).toBe(200);
    const { max_tokens, max_completion_tokens } = world.upstream.requests.at(-1)!.json;
    expect(JSON.parse(JSON.stringify({ max_tokens, max_completion_tokens }))).toEqual(sent);
  });
});

describe('what was served is charged', () => {
  it('a client that has the whole text and leaves before the usage is charged by the usage', async () => {
    await fresh();
    // Frames 0 to 2 are text, 3 says why it ended, 4 is the usage.
    world.upstream.script(stream({}, at(4, hold)));
    const streamed = await client(gateway, account).chat.completions.create({ model: 'plain', messages, stream: true });
    for await (const chunk of streamed) if (chunk.choices[0]?.finish_reason) break;
    world.upstream.release();
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'it is charged');
    expect(await chargedTo(world, account.account)).toBe(18_000_000n);
  });

  it('an answer in which nothing can be read is counted by its bytes', async () => {
    await fresh();
    world.upstream.script(({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(`"${'x'.repeat(400)}"`);
    });
    await (await post(gateway, account.key, body('plain'))).text();
    expect(await chargedTo(world, account.account)).toBeGreaterThan(200_000_000n);
  });

  it('a body that breaks off after a megabyte is charged for what came, and never looks whole', async () => {
    await fresh();
    world.upstream.script(async ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write(`{"choices":["${'x'.repeat(3 * 1024 * 1024)}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
      response.destroy();
    });
    const response = await post(gateway, account.key, body('plain'));
    await expect(response.text()).rejects.toThrow();
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'it is charged');
  });
});

describe('what was not served is free', () => {
  it('a stream that is nothing but an error gives way to the next route, and is free where there is none', async () => {
    await fresh();
    world.upstream.script(stream({}, at(0, errorFrame)));
    const response = await post(gateway, account.key, body('plain', { stream: true }));
    expect(response.status).toBe(502);
    expect(await chargedTo(world, account.account)).toBe(0n);
    world.upstream.script(sequence(stream({}, at(0, errorFrame)), chat()));
    expect((await post(gateway, account.key, body('plain', { stream: true }))).status).toBe(502);
  });
});

describe('the order of errors', () => {
  it('a revoked key that is still cached hears of the key, not of its broken body', async () => {
    await fresh();
    world.upstream.script('plain');
    expect((await post(gateway, account.key, body('plain'))).status).toBe(200);
    await revokeKey(world.pool, account.account, account.keyId);
    const response = await post(gateway, account.key, '{"broken');
    expect(response.status).toBe(401);
    expect((await get(gateway, account.key, '/v1/models')).error).toMatchObject({ code: 'invalid_api_key' });
  });
});

describe('models', () => {
  it('lists what the plan allows, one by one too, names with a slash and odd characters included', async () => {
    await fresh();
    const list = await client(gateway, account).models.list();
    const names = list.data.map(({ id }) => id);
    expect(names).toContain('plain');
    expect(names).not.toContain('forbidden');
    expect(await client(gateway, account).models.retrieve('plain')).toMatchObject({ id: 'plain', object: 'model' });
    for (const path of ['forbidden', 'a%2Fb', '100%25']) {
      const response = await fetch(`${gateway.url}/v1/models/${path}`, {
        headers: { authorization: `Bearer ${account.key}` },
      });
      expect(response.status).toBe(404);
      expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    }
  });
});
