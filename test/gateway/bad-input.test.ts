/** Bad input gets the contract's status and code, is charged nothing, and leaves nothing held. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { revokeKey } from '../../src/accounts/keys.ts';
import { TokenCounter } from '../../src/metering/tokens/counter.ts';
import {
  chargedTo,
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

const { countPrompt } = TokenCounter.prototype;
beforeAll(async () => {
  // A busy machine may not have the time that a prompt is counted in: then it is counted again, where a gateway would ask its provider.
  vi.spyOn(TokenCounter.prototype, 'countPrompt').mockImplementation(async function (this: TokenCounter, ...prompt) {
    let counted = await countPrompt.apply(this, prompt);
    for (let tries = 1; counted === null && tries < 10; tries++) counted = await countPrompt.apply(this, prompt);
    return counted;
  });
  world = await createWorld({}, 'server: { headers_timeout_seconds: 1, request_timeout_seconds: 2 }\n');
  gateway = await startGateway(world);
  account = await createTestAccount(world, '1000');
  world.upstream.script('plain');
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(async () => {
  expect(await chargedTo(world, account.account)).toBe(0n);
  await expectSettled(world);
});

/** A key with its last character changed. */
const mistyped = (key: string): string => key.slice(0, -1) + (key.endsWith('0') ? '1' : '0');

interface Refusal {
  status: number;
  error: { message: string; type: string; param: string | null; code: string };
}

async function refusal(response: Response): Promise<Refusal> {
  expect(response.headers.get('x-request-id')).toMatch(/^req_/);
  const body = (await response.json()) as { error: Refusal['error'] };
  expect(Object.keys(body.error).sort()).toEqual(['code', 'message', 'param', 'type']);
  return { status: response.status, error: body.error };
}

const GOOD = { model: 'strict', messages: [{ role: 'user', content: 'hi' }] };
const AUDIO = JSON.stringify({
  model: 'strict',
  messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: 'UklGRg==', format: 'wav' } }] }],
});
const withField = (field: string, json: string): string =>
  `{"model":"strict","messages":[{"role":"user","content":"hi"}],"${field}":${json}}`;

describe('keys', () => {
  it('no key, a wrong one, a mistyped one and a revoked one get the same answer', async () => {
    const revoked = await createTestAccount(world, '1');
    const first = await post(gateway, revoked.key, JSON.stringify({ ...GOOD, model: 'nope' }));
    expect(first.status).toBe(404);
    await revokeKey(world.pool, revoked.account, revoked.keyId);
    const keys = [null, 'sk-wrong', mistyped(account.key), revoked.key, ''];
    const answers = await Promise.all(keys.map(async (key) => refusal(await post(gateway, key, JSON.stringify(GOOD)))));
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(answers[0]).toMatchObject({
      status: 401,
      error: { code: 'invalid_api_key', type: 'invalid_request_error' },
    });
  });
});

describe('bodies', () => {
  it.each([
    ['empty', '', 400, 'invalid_json', null],
    ['broken JSON', '{"model":', 400, 'invalid_json', null],
    ['null', 'null', 400, 'invalid_json', null],
    ['an array', '[]', 400, 'invalid_json', null],
    ['bytes after the value', `${JSON.stringify(GOOD)}{}`, 400, 'invalid_json', null],
    ['missing model', '{"messages":[]}', 400, 'invalid_request', 'model'],
    ['unknown model', JSON.stringify({ ...GOOD, model: 'nope' }), 404, 'model_not_found', 'model'],
    ['missing messages', '{"model":"strict"}', 400, 'invalid_request', 'messages'],
    ['model twice', withField('model', '"plain"'), 400, 'invalid_request', 'model'],
    ['model twice, escaped', withField('m\\u006fdel', '"plain"'), 400, 'invalid_request', 'model'],
    ['model twice, other case', withField('MODEL', '"plain"'), 400, 'invalid_request', 'model'],
    ['max_tokens: -1', withField('max_tokens', '-1'), 400, 'invalid_request', 'max_tokens'],
    ['max_tokens: 1e999', withField('max_tokens', '1e999'), 400, 'invalid_request', 'max_tokens'],
    [
      'max_completion_tokens: "9"',
      withField('max_completion_tokens', '"9"'),
      400,
      'invalid_request',
      'max_completion_tokens',
    ],
    ['n: 1000000', withField('n', '1000000'), 400, 'invalid_request', 'n'],
    ['stream: "yes"', withField('stream', '"yes"'), 400, 'invalid_request', 'stream'],
    ['an unpriced tier', withField('service_tier', '"priority"'), 400, 'invalid_request', 'service_tier'],
    ['audio, which the model has no price for', AUDIO, 400, 'invalid_request', 'messages'],
    ['an unpriced tool', withField('web_search_options', '{}'), 400, 'invalid_request', 'web_search_options'],
  ])('%s', async (_name, body, status, code, param) => {
    const answer = await refusal(await post(gateway, account.key, body));
    expect(answer).toMatchObject({ status, error: { code, param } });
  });

  it('invalid UTF-8', async () => {
    const body = Buffer.concat([
      Buffer.from('{"model":"strict","messages":[{"role":"user","content":"'),
      Buffer.from([0xff]),
      Buffer.from('"}]}'),
    ]);
    expect(await refusal(await post(gateway, account.key, body))).toMatchObject({ error: { code: 'invalid_json' } });
  });

  it('a body of 33 MB', async () => {
    const answer = await refusal(await post(gateway, account.key, 'x'.repeat(33 * 1024 * 1024 + 600_000)));
    expect(answer).toMatchObject({ status: 413, error: { code: 'request_too_large' } });
  });

  it('but no prompt near the edge of the context window: there the provider knows best', async () => {
    const rich = await createTestAccount(world, '1000');
    const messages = [{ role: 'user', content: 'one two three '.repeat(36_000) }];
    world.upstream.script('plain');
    expect((await post(gateway, rich.key, JSON.stringify({ model: 'strict', messages }))).status).toBe(200);
  });

  it('a prompt beyond the context window', async () => {
    const messages = [{ role: 'user', content: 'one two three '.repeat(40_000) }];
    const answer = await refusal(await post(gateway, account.key, JSON.stringify({ model: 'strict', messages })));
    expect(answer).toMatchObject({ status: 400, error: { code: 'context_length_exceeded', param: 'messages' } });
  });

  it('a megabyte of one letter, which would take minutes to tokenise at once', async () => {
    const messages = [{ role: 'user', content: 'a'.repeat(1024 * 1024) }];
    const answer = await refusal(await post(gateway, account.key, JSON.stringify({ model: 'strict', messages })));
    expect(answer).toMatchObject({ status: 400, error: { code: 'context_length_exceeded' } });
  });

  it('a body compressed in a way that nobody knows', async () => {
    const answer = await refusal(await post(gateway, account.key, 'x', { 'content-encoding': 'compress' }));
    expect(answer).toMatchObject({ status: 415 });
  });
});

describe('URLs and methods', () => {
  it.each([
    ['GET', '/v1/chat/completions'],
    ['POST', '/v1/files'],
    ['POST', '/v1/chat/completions/'],
    ['DELETE', '/v1/models/plain'],
    ['GET', '/nothing'],
    ['GET', '/broken/%E0%A4%A'],
  ])('%s %s is unknown_url', async (method, path) => {
    const response = await fetch(gateway.url + path, { method, headers: { authorization: `Bearer ${account.key}` } });
    expect(await refusal(response)).toMatchObject({ status: 404, error: { code: 'unknown_url' } });
  });
});

describe('the wire', () => {
  async function raw(send: (write: (text: string) => void) => void): Promise<string> {
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk.toString();
    });
    socket.on('error', () => {});
    await once(socket, 'connect');
    send((text) => socket.write(text));
    await once(socket, 'close');
    return answer;
  }

  it('a flood of headers', async () => {
    const answer = await raw((write) =>
      write(`GET /v1/models HTTP/1.1\r\nhost: x\r\nx-flood: ${'y'.repeat(70_000)}\r\n\r\n`),
    );
    expect(answer).toMatch(/^HTTP\/1\.1 431 .*\r\n[\s\S]*"code":"headers_too_large"/);
  });

  it('a client that sends its headers too slowly', async () => {
    const answer = await raw((write) => write('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n'));
    expect(answer).toMatch(/^HTTP\/1\.1 408 .*\r\n[\s\S]*"code":"request_timeout"/);
  });

  it('a client that sends its body too slowly', async () => {
    const answer = await raw((write) =>
      write(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${account.key}\r\ncontent-length: 100\r\n\r\n{`,
      ),
    );
    expect(answer).toMatch(/^HTTP\/1\.1 408 .*\r\n[\s\S]*"code":"request_timeout"/);
  });

  it('a broken request line', async () => {
    const answer = await raw((write) => write('NONSENSE\r\n\r\n'));
    expect(answer).toMatch(/^HTTP\/1\.1 400 [\s\S]*"code":"invalid_request"/);
  });
});
