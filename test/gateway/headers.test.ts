/** On the wire, for every endpoint: who calls is not told to the provider, and which account is ours there is not told to who calls. */
import { writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ENDPOINTS } from '../../src/gateway/endpoints.ts';
import { RESPONSE_HEADERS } from '../../src/upstream/headers.ts';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import type { Script } from '../support/scripted-upstream.ts';
import { SAMPLES, WALL_CATALOG } from './wall-rig.ts';

/** What a client, its proxies and its gateways may add: none of it is the provider's to know. */
const FROM_CLIENT: Record<string, string> = {
  'openai-organization': 'planted-org',
  'openai-project': 'planted-project',
  'idempotency-key': 'planted-key',
  'x-api-key': 'planted-api-key',
  'api-key': 'planted-api-key',
  'x-goog-api-key': 'planted-api-key',
  'x-client-request-id': 'planted-id',
  'x-stainless-lang': 'planted-js',
  'x-stainless-retry-count': 'planted-1',
  'x-stainless-helper-method': 'planted-stream',
  cookie: 'planted=1',
  forwarded: 'for=planted',
  via: '1.1 planted',
  'x-forwarded-for': '203.0.113.9, planted',
  'x-forwarded-host': 'planted.example',
  'x-real-ip': 'planted',
  'cf-connecting-ip': 'planted',
  traceparent: '00-planted',
  baggage: 'planted=1',
  origin: 'https://planted.example',
  referer: 'https://planted.example/',
  'user-agent': 'planted/1.0',
  'accept-language': 'planted',
  'accept-encoding': 'br, gzip',
  te: 'trailers',
  expect: '100-continue',
  'x-named': 'planted',
  'openai-beta': 'responses_multi_agent=planted, assistants=v2',
};
const TO_PROVIDER = [
  'host',
  'connection',
  'content-type',
  'content-length',
  'accept',
  'accept-encoding',
  'user-agent',
  'openai-beta',
  'authorization',
];

const FROM_PROVIDER: Record<string, string | string[]> = {
  'openai-organization': 'planted-org',
  'openai-project': 'planted-project',
  'set-cookie': ['__cf_bm=planted', '_cfuvid=planted'],
  'cf-ray': 'planted',
  'x-request-id': 'planted',
  'request-id': 'planted',
  'x-ratelimit-limit-requests': '77777',
  'x-ratelimit-remaining-tokens': '77777',
  'x-ratelimit-reset-tokens_usage_based': 'planted',
  'retry-after': '77777',
  'x-should-retry': 'planted',
  'alt-svc': 'h3=":77777"',
  server: 'planted',
  'strict-transport-security': 'max-age=77777',
  'apim-request-id': 'planted',
  'x-ms-region': 'planted',
  'x-envoy-upstream-service-time': '77777',
  'access-control-allow-origin': 'https://planted.example',
  link: '<https://planted.example>',
  'openai-processing-ms': '12',
  'openai-version': '2020-10-01',
};
const TO_CLIENT = new Set<string>([
  ...RESPONSE_HEADERS,
  ...['date', 'connection', 'keep-alive', 'content-length', 'transfer-encoding', 'x-request-id', 'idempotent-replayed'],
  ...['x-tollgate-charged', 'x-tollgate-available', 'retry-after', 'retry-after-ms', 'x-should-retry'],
  'x-accel-buffering',
]);

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
  await gateway.close();
  await closeWorld(world);
});

const answering =
  (status: number, type: string, body: string): Script =>
  ({ response }) =>
    void response.writeHead(status, { ...FROM_PROVIDER, 'content-type': type }).end(body);

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** Over a bare socket: fetch sends none of the forbidden headers. */
async function call(url: string, more: Record<string, string>): Promise<Answer> {
  const sample = new Request('http://x/', { method: 'POST', ...SAMPLES[url]!() });
  const body = Buffer.from(await sample.arrayBuffer());
  const headers = {
    ...FROM_CLIENT,
    'content-type': sample.headers.get('content-type')!,
    'content-length': String(body.length),
    accept: 'application/json',
    connection: 'x-named, keep-alive',
    authorization: `Bearer ${account.key}`,
    ...more,
  };
  return new Promise((resolve, reject) => {
    const sent = httpRequest(`${gateway.url}${url}?key=planted`, { method: 'POST', headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() }),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

describe.each([...ENDPOINTS.keys()])('%s', (url) => {
  it.each([
    ['an answer', answering(200, 'application/json', '{"id":"x","usage":null}')],
    [
      'an error of the request',
      answering(
        400,
        'application/json',
        '{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}',
      ),
    ],
    ['an error of the provider', answering(500, 'application/json', '{}')],
    [
      'a limit of ours there',
      answering(
        429,
        'application/json',
        '{"error":{"message":"org-planted1 is over","type":"tokens","param":null,"code":"rate_limit_exceeded"}}',
      ),
    ],
  ])('tells neither side of the other, with %s', async (name, script) => {
    world.upstream.script(script);
    const before = world.upstream.requests.length;
    const answer = await call(url, { 'idempotency-key': `planted ${url} ${name}` });
    expect(world.upstream.requests.length).toBe(before + 1);
    const { headers, path } = world.upstream.requests.at(-1)!;
    expect(Object.keys(headers).filter((header) => !TO_PROVIDER.includes(header))).toEqual([]);
    expect(headers).toMatchObject({
      authorization: 'Bearer sk-provider-secret-0123456789',
      'accept-encoding': 'identity',
      'user-agent': 'tollgate',
      'openai-beta': 'assistants=v2',
    });
    expect(headers.host).toBe(new URL(world.upstream.url).host);
    expect(`${JSON.stringify(headers)} ${path}`).not.toMatch(/planted|203\.0|sk-tg-/);
    expect(Object.keys(answer.headers).filter((header) => !TO_CLIENT.has(header))).toEqual([]);
    expect(`${JSON.stringify(answer.headers)} ${answer.body}`).not.toMatch(/planted|77777/);
    expect(answer.headers['x-request-id']).toMatch(/^req_[0-9a-f]{32}$/);
  });
});

it('a stream of chat has no more headers than a whole answer', async () => {
  world.upstream.script(
    answering(
      200,
      'text/event-stream',
      'data: {"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\ndata: [DONE]\n\n',
    ),
  );
  const answer = await call('/v1/chat/completions', { 'idempotency-key': 'streamed' });
  expect(answer.status).toBe(200);
  expect(Object.keys(answer.headers).filter((header) => !TO_CLIENT.has(header))).toEqual([]);
  expect(answer.headers).toMatchObject({ 'openai-processing-ms': '12', 'content-type': 'text/event-stream' });
});

it('a key in the subprotocol of a websocket opens nothing', async () => {
  const answer = await new Promise<number>((resolve, reject) => {
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-key': 'x3JJHMbDL1EzLkh9GBhXDw==',
      'sec-websocket-version': '13',
      'sec-websocket-protocol': `realtime, openai-insecure-api-key.${account.key}`,
    };
    httpRequest(`${gateway.url}/v1/realtime?model=all`, { headers }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    })
      .on('upgrade', () => resolve(101))
      .on('error', reject)
      .end();
  });
  expect(answer).toBe(404);
});
