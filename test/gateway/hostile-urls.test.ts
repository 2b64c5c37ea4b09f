/**
 * Targets and heads that no client sends, as bytes on a socket: whatever is not an endpoint is unknown, however it is written, and
 * a provider sees constant paths alone.
 */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { raw } from './raw-socket.ts';
import { WALL_CATALOG } from './wall-rig.ts';

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  writeFileSync(world.env.TOLLGATE_CATALOG!, WALL_CATALOG);
  gateway = await startGateway(world);
  account = await createTestAccount(world, '1000000');
});

afterAll(async () => {
  await gateway?.close();
  await closeWorld(world);
});

const BODY = JSON.stringify({ model: 'all', messages: [{ role: 'user', content: 'Say hello' }] });
const LENGTH = `Content-Length: ${BODY.length}`;
const CHUNKED = 'Transfer-Encoding: chunked';
const CHUNK = `${BODY.length.toString(16)}\r\n${BODY}\r\n`;
const CHAT = 'POST /v1/chat/completions HTTP/1.1';

interface Sent {
  line?: string;
  headers?: string[];
  body?: string;
  /** What follows on the same connection. */
  next?: string;
}

function bytesOf({ line = CHAT, headers = [LENGTH], body = BODY, next }: Sent): string {
  const own = ['Host: gateway', `Authorization: Bearer ${account.key}`, 'Content-Type: application/json'];
  const close = next === undefined ? ['Connection: close'] : [];
  return `${[line, ...own, ...headers, ...close].join('\r\n')}\r\n\r\n${body}${next ?? ''}`;
}

/** The answers as `status code`, and the paths that reached a provider meanwhile. */
async function outcome(sent: Sent, most?: number): Promise<{ answers: string[]; reached: string[] }> {
  const before = world.upstream.requests.length;
  const answers = await raw(gateway, bytesOf(sent), most);
  return {
    answers: answers.map(({ status, code }) => `${status} ${code ?? 'ok'}`),
    reached: world.upstream.requests.slice(before).map(({ method, path }) => `${method} ${path}`),
  };
}

const SERVED = { answers: ['200 ok'], reached: ['POST /v1/chat/completions'] };
const UNKNOWN = { answers: ['404 unknown_url'], reached: [] };
const BROKEN = { answers: ['400 invalid_request'], reached: [] };

test('a target that is not an endpoint as it is written is unknown', async () => {
  const targets = [
    ...['/v1/chat%2fcompletions', '/v1/chat%2Fcompletions', '/v1%2fchat%2fcompletions', '/v1/chat%5ccompletions'],
    ...['/v1/chat/../chat/completions', '/v1/files/../chat/completions', '/v1/chat/completions/../../files'],
    ...['/v1/%2e%2e/v1/chat/completions', '/v1/chat/%2e%2e/chat/completions', '/v1/chat/%2E./chat/completions'],
    ...['/v1/./chat/completions', '/v1/chat/%2e/completions', '/v1/models/../chat/completions', '/v1/models/%2e%2e/x'],
    ...['//v1/chat/completions', '/v1//chat/completions', '/v1/chat//completions', '///v1/chat/completions'],
    ...['/v1/chat/completions/', '/v1/chat/completions//', '/v1/chat/completions/x', '/v1', '/v1/', '/'],
    ...['/V1/chat/completions', '/v1/Chat/completions', '/v1/chat/COMPLETIONS'],
    ...['/v1/chat/completions;x=1', '/v1/chat;x/completions', '/v1/chat/completions&x=1', '/v1/chat/completions:x'],
    ...['/v1/chat/completions%00', '/v1/chat/completions%20', '/v1/chat/completions%0d%0aHost:%20x'],
    ...['/v1/chat/completions%3fx', '/v1/chat/completions%23', '/v1/chat/completions%', '/v1/chat/completions%zz'],
    ...['/v1/chat/%ffcompletions', '/v1/chat/%c0%af', '/v1/chat%u2215completions', '/v1/chat%ef%bc%8fcompletions'],
    ...['/v1\\chat\\completions', '/v1/chat/completions\\', '*', '/*', '/v1/*', '/v1/models/*', '/:x', '/v1/:x/:y'],
    ...['http://other.example/v1/files', 'http://other.example', 'ftp://other.example/v1/chat/completions'],
    ...['http://other.example//v1/chat/completions', 'http://other.example/../v1/chat/completions'],
    ...['/http://other.example/v1/chat/completions', '/?/v1/chat/completions', '/v1/files?x=/v1/chat/completions'],
    // Azure's paths are other names of these, and of nothing else.
    ...['/openai/files', '/openai/v1/files', '/openai/v1', '/openai', '/openai/', '/OpenAI/v1/chat/completions'],
    ...['/openai/deployments/all/files', '/openai/deployments/all', '/openai/deployments//chat/completions'],
    ...['/openai/deployments/../chat/completions', '/openai/deployments/%2e%2e/chat/completions'],
    ...['/openai/deployments/all%2f..%2f/chat/completions', '/openai/v1/../v1/chat/completions', '/openai//v1/files'],
    ...['/openai/openai/v1/chat/completions', '/openai/v1/v1/chat/completions', '/openai/v1/openai/chat/completions'],
    ...['http://other.example/openai/v1/files', '/openai/chat%2fcompletions', '/openai/../v1/chat/completions'],
    ...[`/v1/${'x'.repeat(30_000)}`, `/v1/${'a/'.repeat(15_000)}`, `/v1/models/${'%41'.repeat(10_000)}`],
  ];
  for (const target of targets) {
    expect(await outcome({ line: `POST ${target} HTTP/1.1` }), target.slice(0, 80)).toEqual(UNKNOWN);
  }
});

test('a target that is no URL breaks the request', async () => {
  const targets = [
    ...['v1/chat/completions', '\\v1\\chat', 'other.example:443', 'http:/v1/chat/completions', '?x', '%2fv1%2fchat'],
    ...['/v1/ch\xe4t/completions', '/v1/chat/completions\0', '/v1/chat/completions /v1/files', '/v1/chat\tcompletions'],
  ];
  for (const target of targets) {
    expect(await outcome({ line: `POST ${target} HTTP/1.1` }), JSON.stringify(target)).toEqual(BROKEN);
  }
});

test('an endpoint in another spelling that means the same is metered, at the same path', async () => {
  const targets = [
    ...['/v1/chat/completions', '/v1/%63hat/completions', 'http://other.example/v1/chat/completions'],
    ...['/v1/chat/completions?', '/v1/chat/completions?beta=true', '/v1/chat/completions?/../../v1/files'],
    ...['/v1/chat/completions?_method=DELETE', '/v1/chat/completions?x=%00%0d%0a', '/v1/chat/completions#/v1/files'],
    `/v1/chat/completions?${'x'.repeat(30_000)}`,
    ...['/openai/v1/chat/completions', '/openai/deployments/all/chat/completions?api-version=2024-10-21'],
  ];
  for (const target of targets) {
    expect(await outcome({ line: `POST ${target} HTTP/1.1` }), target.slice(0, 80)).toEqual(SERVED);
  }
});

test('no header makes another request of it', async () => {
  const method = ['X-HTTP-Method-Override: POST', 'X-HTTP-Method: POST', 'X-Method-Override: POST'];
  const path = ['X-Original-URL: /v1/files', 'X-Rewrite-URL: /v1/files', 'X-Forwarded-Path: /v1/files'];
  const hosts = ['Host: other.example', 'X-Forwarded-Host: other.example', 'Forwarded: host=other.example'];
  expect(await outcome({ headers: [LENGTH, ...path, 'X-HTTP-Method-Override: DELETE'] })).toEqual(SERVED);
  expect(await outcome({ headers: [LENGTH, ...hosts] })).toEqual(SERVED);
  expect(await outcome({ line: 'GET /v1/chat/completions HTTP/1.1', headers: [LENGTH, ...method] })).toEqual(UNKNOWN);
  const files = { line: 'POST /v1/files HTTP/1.1' };
  const back = path.map((header) => header.replace('/v1/files', '/v1/chat/completions'));
  expect(await outcome({ ...files, headers: [LENGTH, ...back] })).toEqual(UNKNOWN);
});

test('a request whose length can be read in two ways is broken, and nothing hides behind it', async () => {
  const hidden = `POST /v1/files HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n`;
  const broken: Sent[] = [
    { headers: [LENGTH, CHUNKED], body: `0\r\n\r\n${hidden}` },
    { headers: [CHUNKED, LENGTH], body: `${CHUNK}0\r\n\r\n` },
    { headers: [LENGTH, 'Content-Length: 5'] },
    { headers: [`Content-Length: ${BODY.length}, ${BODY.length}`] },
    { headers: [`Content-Length: +${BODY.length}`] },
    { headers: ['Content-Length: -1'] },
    { headers: [LENGTH, 'Transfer-Encoding: identity'] },
    { headers: ['Transfer-Encoding: chunked, identity'], body: `${CHUNK}0\r\n\r\n` },
    { headers: ['Transfer-Encoding: xchunked'], body: `${CHUNK}0\r\n\r\n` },
    { headers: [CHUNKED, CHUNKED], body: `${CHUNK}0\r\n\r\n` },
    { headers: ['Transfer-Encoding : chunked'], body: `${CHUNK}0\r\n\r\n` },
    { headers: [CHUNKED], body: `0x${CHUNK}0\r\n\r\n` },
    { headers: [CHUNKED], body: `-1\r\n${BODY}` },
    { headers: [CHUNKED], body: `5\r\n${BODY}\r\n0\r\n\r\n` },
    { headers: [CHUNKED], body: `fffffffffffffffff\r\n${BODY}\r\n0\r\n\r\n` },
    { headers: [CHUNKED], body: `1;x=${'y'.repeat(20_000)}\r\n{\r\n0\r\n\r\n` },
    { headers: [LENGTH, 'X-A: b\r\n folded: c'] },
    { headers: [LENGTH, 'X-A: \0'] },
    { headers: [LENGTH, 'X-A: b\rX-C: d'] },
  ];
  for (const sent of broken) expect(await outcome(sent), JSON.stringify(sent).slice(0, 120)).toEqual(BROKEN);
  // Two requests are two requests.
  const empty = await outcome({ headers: ['Content-Length: 0'], body: '', next: hidden }, 2);
  expect(empty).toEqual({ answers: ['400 invalid_json', '404 unknown_url'], reached: [] });
  expect(await outcome({ next: hidden }, 2)).toEqual({ ...SERVED, answers: ['200 ok', '404 unknown_url'] });
  expect(await outcome({ headers: [CHUNKED], body: `${CHUNK}0\r\nAuthorization: Bearer x\r\n\r\n` })).toEqual(SERVED);
});

test('other protocols get nowhere', async () => {
  const upgrade = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: aGVsbG8=',
  ];
  const socket = { line: 'GET /v1/realtime?model=all HTTP/1.1', headers: upgrade, body: '', next: '' };
  expect(await outcome(socket, 1)).toEqual(UNKNOWN);
  for (const line of ['TRACE /v1/chat/completions HTTP/1.1', 'QUERY /v1/chat/completions HTTP/1.1']) {
    expect(await outcome({ line }), line).toEqual(UNKNOWN);
  }
  for (const line of [
    'post /v1/chat/completions HTTP/1.1',
    'PRI * HTTP/2.0',
    `${CHAT.slice(0, -1)}2`,
    '\x16\x03\x01',
  ]) {
    expect(await outcome({ line }), line).toEqual(BROKEN);
  }
  expect(await outcome({ line: 'CONNECT other.example:443 HTTP/1.1', body: '' })).toEqual({ answers: [], reached: [] });
});

test('an unknown URL is unknown whatever it was sent', async () => {
  const line = 'POST /v1/files HTTP/1.1';
  const bodies: Sent[] = [
    { headers: ['Content-Length: 0'], body: '' },
    { headers: ['Content-Length: 1'], body: '{' },
    { headers: [LENGTH, 'Content-Encoding: zstd'] },
    // Larger than any body that is taken; what was not sent yet is not waited for.
    { headers: ['Content-Length: 99999999999'] },
  ];
  for (const sent of bodies) expect(await outcome({ line, ...sent }, 1), JSON.stringify(sent)).toEqual(UNKNOWN);
  const form = new FormData();
  form.append('purpose', 'batch');
  form.append('file', new Blob(['{}']), 'x.jsonl');
  const headers = { authorization: `Bearer ${account.key}` };
  const response = await fetch(`${gateway.url}/v1/files`, { method: 'POST', headers, body: form });
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject({ error: { code: 'unknown_url' } });
});
