/** Pages of listed origins may call /v1 and /account/v1 from a real browser, and no page anything else. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { fastify } from 'fastify';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allowOrigins } from '../../src/gateway/cors.ts';
import {
  ADMIN_KEY,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'];
const found = BROWSERS.find((path) => existsSync(path));
const CLIENT = join(import.meta.dirname, '../../node_modules/openai');

if (found === undefined) {
  const said = `NOT RUN: the official client in a page, in a browser. None of ${BROWSERS.join(', ')} is there.`;
  if (process.env.CI === 'true') throw new Error(said);
  console.warn(said);
}

const PAGE = '<script type="module">import OpenAI from "/index.mjs"; window.OpenAI = OpenAI;</script>';
const APP = 'https://app.example.com';
const BODY = '{"model":"plain","messages":[{"role":"user","content":"hi"}]}';

let world: World;
let gateway: TestGateway;
let account: TestAccount;
/** Two origins that serve the same page; one of them is listed. */
let listed: Server;
let other: Server;

beforeAll(async () => {
  [listed, other] = [await servePage(), await servePage()];
  world = await createWorld();
  const path = join(world.folder, 'tollgate.yaml');
  writeFileSync(
    path,
    `server: { cors: { origins: ["${APP}", "${originOf(listed)}"] } }\n${readFileSync(path, 'utf8')}`,
  );
  gateway = await startGateway(world);
  account = await createTestAccount(world, '100');
});
afterAll(async () => {
  await expectSettled(world);
  await gateway.close();
  await closeWorld(world);
  for (const server of [listed, other]) server.close();
});

const originOf = (server: Server): string => `http://localhost:${(server.address() as AddressInfo).port}`;

/** An empty page, another that has the official client, and its modules as the package has them. */
async function servePage(): Promise<Server> {
  const server = createServer((request, response) => {
    const path = normalize(request.url!);
    const isModule = /\.m?js$/.test(path);
    response.writeHead(200, { 'content-type': isModule ? 'text/javascript' : 'text/html' });
    response.end(isModule ? readFileSync(join(CLIENT, path)) : path === '/client' ? PAGE : '');
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  return server;
}

const preflight = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(gateway.url + path, {
    method: 'OPTIONS',
    headers: {
      origin: APP,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type,x-stainless-lang',
      ...headers,
    },
  });
const call = (
  path: string,
  headers: Record<string, string>,
  method = 'POST',
  body: string | null = BODY,
): Promise<Response> =>
  fetch(gateway.url + path, {
    method,
    headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json', ...headers },
    body,
  });
const corsOf = (response: Response): string[] =>
  [...response.headers.keys()].filter((name) => name.startsWith('access-control-'));

describe('a preflight', () => {
  it.each(['/v1/chat/completions', '/v1/models', '/v1/nothing', '/account/v1/balance', '/openai/v1/chat/completions'])(
    'of a listed page for %s is answered without a key',
    async (path) => {
      const response = await preflight(path);
      expect(response.status).toBe(204);
      expect(Object.fromEntries(response.headers)).toMatchObject({
        'access-control-allow-origin': APP,
        'access-control-allow-headers': 'authorization,content-type,x-stainless-lang',
        'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE',
        'access-control-max-age': '600',
        vary: 'origin',
        'x-request-id': expect.stringMatching(/^req_/),
      });
      expect(response.headers.get('access-control-allow-credentials')).toBeNull();
    },
  );

  it.each([
    '/admin/v1/accounts',
    '/webhooks/stripe',
    '/metrics',
    '/healthz',
    '/openai/../admin/v1/accounts',
    '/v1',
    '//v1/models',
  ])('for %s is none', async (path) => {
    const response = await preflight(path);
    expect(corsOf(response)).toEqual([]);
    expect(response.status).not.toBe(204);
  });

  it.each([
    'https://evil.example',
    `${APP}.evil.example`,
    'http://app.example.com',
    `${APP}:444`,
    'null',
    APP.toUpperCase(),
  ])('of %s is none', async (origin) => {
    const response = await preflight('/v1/chat/completions', { origin });
    expect(response.status).toBe(404);
    expect(corsOf(response)).toEqual([]);
    expect(response.headers.get('vary')).toBe('origin');
  });

  it('asks for headers by their names, or gets none', async () => {
    const names = `x-${'a'.repeat(5_000)}`;
    expect(
      (await preflight('/v1/models', { 'access-control-request-headers': names })).headers.get(
        'access-control-allow-headers',
      ),
    ).toBeNull();
  });
});

describe('an answer', () => {
  it('shows a listed page what it may see, streamed or whole, good or bad', async () => {
    const answers = [
      await call('/v1/chat/completions', { origin: APP }),
      await call('/v1/chat/completions', { origin: APP }, 'POST', BODY.replace('{', '{"stream":true,')),
      await call('/v1/chat/completions', { origin: APP, 'idempotency-key': 'k' }),
      await call('/v1/chat/completions', { origin: APP, 'idempotency-key': 'k' }),
      await call('/v1/chat/completions', { origin: APP, authorization: 'Bearer wrong' }),
      await call('/v1/chat/completions', { origin: APP }, 'POST', '{'),
      await call('/v1/nothing', { origin: APP }),
      await call('/account/v1/balance', { origin: APP }, 'GET', null),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 401, 400, 404, 200]);
    for (const response of answers) {
      await response.text();
      expect(response.headers.get('access-control-allow-origin')).toBe(APP);
      expect(response.headers.get('access-control-expose-headers')).toMatch(
        /x-request-id, x-tollgate-charged.*retry-after/,
      );
      expect(response.headers.get('vary')).toBe('origin');
      expect(response.headers.get('access-control-allow-credentials')).toBeNull();
    }
    expect(answers[3]!.headers.get('idempotent-replayed')).toBe('true');
  });

  it('says nothing of it to others, and nothing on other planes', async () => {
    expect(corsOf(await call('/v1/models', { origin: 'https://evil.example' }, 'GET', null))).toEqual([]);
    expect(corsOf(await call('/v1/models', {}, 'GET', null))).toEqual([]);
    const admin = await call('/admin/v1/accounts', { origin: APP, authorization: `Bearer ${ADMIN_KEY}` }, 'GET', null);
    expect(admin.status).toBe(200);
    expect(corsOf(admin)).toEqual([]);
  });
});

it('"*" allows any page, where it is written, and none is named back', async () => {
  const app = fastify();
  allowOrigins(app, ['*']);
  app.get('/v1/models', async () => []);
  app.get('/admin/v1/accounts', async () => []);
  const headers = { origin: 'https://any.example' };
  const answer = await app.inject({ url: '/v1/models', headers });
  expect(answer.headers).toMatchObject({ 'access-control-allow-origin': '*' });
  expect(answer.headers['access-control-allow-credentials']).toBeUndefined();
  expect(
    (await app.inject({ url: '/admin/v1/accounts', headers })).headers['access-control-allow-origin'],
  ).toBeUndefined();
  await app.close();
});

describe.skipIf(found === undefined)('the official client in a page', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: found!, args: FLAGS });
  });
  afterAll(() => browser?.close());

  it('streams, and reads its charge and its balance, where its origin is listed', async () => {
    const page = await browser.newPage();
    await page.goto(`${originOf(listed)}/client`);
    await page.waitForFunction('window.OpenAI');
    expect(await page.evaluate(ask, { key: account.key, url: gateway.url })).toEqual({
      text: 'Hello wide world',
      charged: '0.018',
      request: expect.stringMatching(/^req_/),
      available: expect.stringMatching(/^\d+\.\d+$/),
      failed: { status: 404, code: 'model_not_found' },
    });
    await page.close();
  });

  it('hears nothing where it is not, and nothing is sent on', async () => {
    const before = world.upstream.requests.length;
    const page = await browser.newPage();
    await page.goto(originOf(other));
    const asked = page.evaluate(
      ({ key, url, body }) =>
        fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { authorization: `Bearer ${key}` }, body }).then(
          ({ status }) => status,
          (error: Error) => error.message,
        ),
      { key: account.key, url: gateway.url, body: BODY },
    );
    expect(await asked).toBe('Failed to fetch');
    await page.close();
    expect(world.upstream.requests.length).toBe(before);
  });
});

/** Runs in the page. */
async function ask({ key, url }: { key: string; url: string }): Promise<Record<string, unknown>> {
  const { OpenAI } = globalThis as unknown as { OpenAI: typeof import('openai').OpenAI };
  const openai = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, dangerouslyAllowBrowser: true, maxRetries: 0 });
  const messages = [{ role: 'user' as const, content: 'Say hello' }];
  let text = '';
  const stream = await openai.chat.completions.create({ model: 'plain', messages, stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  const whole = await openai.chat.completions.create({ model: 'plain', messages }).withResponse();
  const charged = whole.response.headers.get('x-tollgate-charged');
  const failed = await openai.chat.completions
    .create({ model: 'nothing', messages })
    .catch(({ status, code }: { status: number; code: string }) => ({ status, code }));
  const balance = await fetch(`${url}/account/v1/balance`, { headers: { authorization: `Bearer ${key}` } });
  const { available } = (await balance.json()) as { available: string };
  return { text, charged, request: whole.request_id, available, failed };
}
