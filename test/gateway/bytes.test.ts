/** What a client sends arrives upstream byte for byte, but for the few edits the gateway must make; secrets stay here. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
  account = await createTestAccount(world, '1000');
});
afterAll(async () => {
  await expectSettled(world);
  await gateway.close();
  await closeWorld(world);
});

async function sent(body: string, headers: Record<string, string> = {}): Promise<string> {
  world.upstream.script('plain');
  const response = await post(gateway, account.key, body, headers);
  expect(response.status).toBe(200);
  await response.arrayBuffer();
  return world.upstream.requests.at(-1)!.body.toString();
}

describe('bodies', () => {
  it('unknown fields, odd spacing, key order, escapes and 64-bit numbers arrive unchanged', async () => {
    const body =
      '{ "zeta" : [1, 2.50e+1, {"a":null}],\n\t"seed":9223372036854775807, "model":"strict","messages":[{"role":"user",' +
      '"content":"caf\\u00e9 \\ud83c\\udf0d ünï"}], "metadata":{"model":"x","stream":"y"} }';
    expect(await sent(body)).toBe(body);
  });

  it('the model’s name upstream replaces the client’s, and nothing else', async () => {
    const body = '{"messages":[{"role":"user","content":"model plain"}],"model" : "plain","user":"plain"}';
    expect(await sent(body)).toBe(body.replace('"model" : "plain"', '"model" : "plain-upstream"'));
  });

  it('include_usage is merged into what the client asked of its stream', async () => {
    const body = (options: string): string =>
      `{"model":"strict","messages":[{"role":"user","content":"hi"}],"stream":true${options}}`;
    const asked = async (options: string): Promise<unknown> => JSON.parse(await sent(body(options))).stream_options;
    expect(await asked('')).toEqual({ include_usage: true });
    expect(await asked(',"stream_options":null')).toEqual({ include_usage: true });
    expect(await asked(',"stream_options":{}')).toEqual({ include_usage: true });
    expect(await asked(',"stream_options":{"include_obfuscation":false}')).toEqual({
      include_obfuscation: false,
      include_usage: true,
    });
    expect(await asked(',"stream_options":{"include_usage":false}')).toEqual({ include_usage: true });
    const whole = body(',"stream_options":{"include_usage":true}');
    expect(await sent(whole)).toBe(whole);
  });
});

describe('headers', () => {
  it('nothing of the client’s identity or ours reaches the provider but the provider’s own key', async () => {
    await sent('{"model":"strict","messages":[{"role":"user","content":"hi"}]}', {
      'openai-organization': 'org-client',
      'openai-project': 'proj_client',
      cookie: 'session=1',
      'x-stainless-lang': 'js',
      'x-forwarded-for': '203.0.113.9',
      'idempotency-key': 'abc',
      'x-custom': 'kept-here',
    });
    const { headers, path } = world.upstream.requests.at(-1)!;
    expect(path).toBe('/v1/chat/completions');
    expect(headers.authorization).toBe('Bearer sk-provider-secret-0123456789');
    expect(headers['accept-encoding']).toBe('identity');
    expect(JSON.stringify(headers)).not.toMatch(/org-client|proj_client|session|stainless|203\.0|abc|kept-here|sk-tg-/);
  });

  it('a query string does not travel, and the provider’s limits do not come back', async () => {
    world.upstream.script('rateLimited');
    const response = await fetch(`${gateway.url}/v1/chat/completions?key=secret`, {
      method: 'POST',
      headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' },
      body: '{"model":"strict","messages":[{"role":"user","content":"hi"}]}',
    });
    expect(response.status).toBe(503);
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/chat/completions');
    expect(response.headers.get('x-ratelimit-remaining-tokens')).toBeNull();
  });
});
