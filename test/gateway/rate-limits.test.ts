/** Limits of requests, tokens and concurrency, as clients meet them: what is refused, what is told, and what is given back. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { admin, type Json } from '../support/admin.ts';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  post,
  startGateway,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { chat, error, held, never, usage } from '../support/scripted-upstream.ts';

let world: World;
let here: TestGateway;
let there: TestGateway;
beforeAll(async () => {
  world = await createWorld();
  here = await startGateway(world);
  there = await startGateway(world);
});
afterAll(async () => {
  await here.close();
  await there.close();
  await expectSettled(world);
  await closeWorld(world);
});

/** A body of 80 bytes: with its output an estimate of 40 tokens. */
const BODY = JSON.stringify({ model: 'plain', max_tokens: 20, messages: [{ content: 'hi', role: 'user' }] }).padEnd(80);
const STREAM = JSON.stringify({ ...(JSON.parse(BODY) as Json), stream: true });

/** An account that is limited so, by overrides. */
async function limited(limits: Record<string, number>, credits = '100') {
  const account = await createTestAccount(world, credits);
  const set = async (name: string, value: number): Promise<void> => {
    await admin(here, 'PUT', `/accounts/${account.accountId}/entitlements/limit:${name}`, { value, reason: 'a test' });
  };
  for (const [name, value] of Object.entries(limits)) await set(name, value);
  return { ...account, set };
}

async function answerOf(response: Response) {
  const body = (await response.json()) as { error?: { code: string; type: string; message: string } };
  const headers = Object.fromEntries([...response.headers].filter(([name]) => /ratelimit|retry/.test(name)));
  return { status: response.status, headers, error: body.error };
}

const inUse = async ({ key }: { key: string }): Promise<Json> => (await get(here, key, '/account/v1/limits')) as Json;

it('of requests: what is left is told with each answer, and with the refusal how long to wait, and whose limit it is', async () => {
  const account = await limited({ rpm: 2 });
  const first = await answerOf(await post(here, account.key, BODY));
  expect(first).toMatchObject({ status: 200, headers: { 'x-ratelimit-limit-requests': '2' } });
  expect(first.headers).toMatchObject({ 'x-ratelimit-remaining-requests': '1', 'x-ratelimit-reset-requests': '1m0s' });
  const stream = await post(here, account.key, STREAM);
  expect(stream.headers.get('x-ratelimit-remaining-requests')).toBe('0');
  expect(await stream.text()).toContain('[DONE]');
  const refused = await answerOf(await post(here, account.key, BODY));
  expect(refused).toMatchObject({ status: 429, error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' } });
  expect(refused.error!.message).toMatch(
    /^Rate limit reached for plain by this account on requests per min \(RPM\): Limit 2, Used 2\. Please try again in [\d.]+s\.$/,
  );
  expect(Number(refused.headers['retry-after-ms'])).toBeGreaterThan(50_000);
  expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(60);
  expect(refused.headers['x-ratelimit-remaining-requests']).toBe('0');
});

it('of a key bind that key, those of the account all of its keys, and those of models the use of these', async () => {
  const account = await limited({ rpm: 4, 'rpm@str*': 1 });
  const path = `/accounts/${account.accountId}/keys`;
  const narrow = (await admin(here, 'POST', path, { limits: { rpm: 1 } })) as { key: string };
  const strict = BODY.replace('plain', 'strict');
  const code = async (key: string, body = BODY) => {
    const { status, error } = await answerOf(await post(here, key, body));
    return error === undefined ? status : /by (.*) on/.exec(error.message)![1];
  };
  expect(await code(narrow.key)).toBe(200);
  expect(await code(narrow.key)).toBe('this API key');
  expect(await code(account.key, strict)).toBe(200);
  expect(await code(account.key, strict)).toBe('this account with the models str*');
  expect(await code(account.key)).toBe(200);
  expect(await code(account.key)).toBe(200);
  expect(await code(account.key)).toBe('this account');
});

it('of tokens: an estimate is taken, and what was not used of it given back when the request is settled', async () => {
  const account = await limited({ tpm: 100 });
  world.upstream.script(chat({ usage: usage(12, 3) }));
  for (let i = 0; i < 5; i++) {
    const { status, headers } = await answerOf(await post(here, account.key, BODY));
    expect([status, headers['x-ratelimit-remaining-tokens']]).toEqual([200, String(100 - i * 15 - 40)]);
  }
  const refused = await answerOf(await post(here, account.key, BODY));
  expect(refused.error!.message).toContain('(TPM): Limit 100, Used 75, Requested 40. Please try again in ');
  expect(await inUse(account)).toMatchObject({ tokens: { limit: 100, remaining: 25 } });
  const large = await answerOf(await post(here, account.key, BODY.replace('20', '90')));
  expect(large).toMatchObject({ status: 429, headers: { 'x-should-retry': 'false' } });
  expect(large.error!.message).toContain('It can never fit');
});

const EXITS: [string, (key: string) => Promise<unknown>, number?][] = [
  ['answered', (key) => post(here, key, BODY).then((response) => response.text()), 15],
  ['streamed', (key) => post(here, key, STREAM).then((response) => response.text()), 15],
  ['refused by its provider', (key) => post(here, key, BODY.replace('plain', 'strict'))],
  ['refused for its body', (key) => post(here, key, BODY.replace('hi', 'h\\u'))],
  ['refused for want of credits', (key) => post(here, key, BODY.replace('plain', 'strict').replace('20', '99'))],
  [
    'given up by its client',
    async (key) => {
      const { request } = await import('node:http');
      const url = new URL(`${here.url}/v1/chat/completions`);
      const asked = request(url, { method: 'POST', headers: { authorization: `Bearer ${key}` } }).on('error', () => {});
      const count = world.upstream.requests.length;
      asked.end(STREAM.replace('plain', 'unstated'));
      await world.upstream.arrived(count + 1);
      asked.destroy();
    },
    Math.ceil(STREAM.replace('plain', 'unstated').length / 4),
  ],
];
it.each(EXITS)('nothing stays taken of a request that was %s', async (_, call, tokens = 0) => {
  const account = await limited({ concurrency: 1, tpm: 100_000 }, '0.2');
  const plain = chat({ usage: usage(12, 3) });
  world.upstream.script((exchange) => {
    const { model } = exchange.request.json;
    return (model === 'strict' ? error(400, 'invalid_request_error', null) : model === 'unstated' ? never : plain)(
      exchange,
    );
  });
  await call(account.key);
  const free = { concurrency: { limit: 1, remaining: 1, reset: null }, tokens: { remaining: 100_000 - tokens } };
  await eventually(async () => JSON.stringify(await inUse(account)).includes('"remaining":1,'), 'the slot is free');
  expect(await inUse(account)).toMatchObject(free);
});

it('of concurrency: as many run as there are slots, and the next runs when one has ended', async () => {
  const account = await limited({ concurrency: 2 });
  world.upstream.script(held(chat()));
  const count = world.upstream.requests.length;
  const running = [post(here, account.key, BODY), post(here, account.key, STREAM)];
  await world.upstream.arrived(count + 2);
  const refused = await answerOf(await post(here, account.key, BODY));
  expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': '1' } });
  expect(refused.error!.message).toContain('on concurrent requests: Limit 2, Used 2.');
  expect(await inUse(account)).toMatchObject({ concurrency: { limit: 2, remaining: 0 } });
  world.upstream.release();
  for (const response of await Promise.all(running)) await response.text();
  expect((await post(here, account.key, BODY)).status).toBe(200);
});

it('an answer that is given again counts as a request, and takes no tokens', async () => {
  const account = await limited({ rpm: 10, tpm: 1_000 });
  world.upstream.script(chat({ usage: usage(12, 3) }));
  const headers = { 'idempotency-key': 'again' };
  await (await post(here, account.key, BODY, headers)).text();
  const again = await post(here, account.key, BODY, headers);
  expect([again.headers.get('idempotent-replayed'), again.headers.get('x-ratelimit-remaining-requests')]).toEqual([
    'true',
    '8',
  ]);
  expect(await inUse(account)).toMatchObject({ tokens: { remaining: 985 }, requests: { remaining: 8 } });
});

it('are decided after entitlement and before credits; and a key that was revoked elsewhere is not told of them', async () => {
  const account = await limited({ rpm: 1 }, '0');
  const codes = async (...models: string[]) => {
    const bodies = models.map((model) => BODY.replace('plain', model));
    return Promise.all(bodies.map(async (body) => (await answerOf(await post(there, account.key, body))).error!.code));
  };
  expect(await codes('plain')).toEqual(['insufficient_quota']);
  expect(await codes('plain')).toEqual(['rate_limit_exceeded']);
  expect(await codes('premium-only', 'forbidden')).toEqual(['model_not_found', 'model_not_entitled']);
  await admin(here, 'DELETE', `/accounts/${account.accountId}/keys/${(await keysOf(account.accountId))[0]}`);
  expect(await codes('plain')).toEqual(['invalid_api_key']);
});

async function keysOf(accountId: string): Promise<string[]> {
  const { data } = (await admin(here, 'GET', `/accounts/${accountId}/keys`)) as { data: { id: string }[] };
  return data.map(({ id }) => id);
}

it('that are changed on one gateway hold at the next request on the other, without Redis', async () => {
  const account = await limited({ rpm: 0 });
  const status = async () => (await post(there, account.key, BODY)).status;
  expect([await status(), await status()]).toEqual([429, 429]);
  await account.set('rpm', 3);
  expect([await status(), await status()]).toEqual([200, 200]);
  await account.set('rpm', 2);
  expect(await status()).toBe(429);
  await account.set('rpm', 3);
  expect([await status(), await status()]).toEqual([200, 429]);
});

it('GET /account/v1/limits shows who is limited and takes nothing; its own limit is 120 calls a minute', async () => {
  const account = await limited({ rpm: 3, 'concurrency@l*': 5 });
  await (await post(here, account.key, BODY)).text();
  const shown = await inUse(account);
  const none = { limit: null, remaining: null, reset: null };
  expect(shown).toEqual({
    requests: { limit: 3, remaining: 2, reset: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) },
    tokens: none,
    concurrency: none,
    subjects: [
      { kind: 'account', id: account.accountId, requests: shown.requests, tokens: none, concurrency: none },
      { kind: 'key', id: expect.stringMatching(/^key_/), requests: none, tokens: none, concurrency: none },
      { kind: 'models', id: 'l*', requests: none, tokens: none, concurrency: { limit: 5, remaining: 5, reset: null } },
    ],
  });
  for (let i = 1; i < 120; i++) expect((await inUse(account)).requests).toMatchObject({ remaining: 2 });
  const path = `${here.url}/account/v1/limits`;
  const over = await answerOf(await fetch(path, { headers: { authorization: `Bearer ${account.key}` } }));
  expect(over.error!.message).toMatch(/^Rate limit reached for the account API by this API key on requests per min/);
});
