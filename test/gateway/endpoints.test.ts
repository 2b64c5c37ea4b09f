/** Every path and method of OpenAI's API, called: what is not metered or the account's own is unknown, and reaches no provider. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NotFoundError } from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { endpointRows, endpointsPage, type Row } from '../../scripts/endpoints.ts';
import { ENDPOINTS } from '../../src/gateway/endpoints.ts';
import {
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { SAMPLES, WALL_CATALOG } from './wall-rig.ts';

let world: World;
let gateway: TestGateway;
let account: TestAccount;
let rows: Row[];

beforeAll(async () => {
  world = await createWorld();
  writeFileSync(world.env.TOLLGATE_CATALOG!, WALL_CATALOG);
  gateway = await startGateway(world);
  account = await createTestAccount(world, '1000000');
  rows = await endpointRows();
});

afterAll(async () => {
  await gateway?.close();
  await closeWorld(world);
});

function call(method: string, path: string, more: RequestInit = {}): Promise<Response> {
  const headers = { authorization: `Bearer ${account.key}`, ...more.headers };
  return fetch(gateway.url + path, { method, ...more, headers });
}

/** A path with an id in the place of each parameter. */
const filled = (path: string): string => path.replace(/\{\w+\}/g, 'id_123');

/** What `calls` answer, of which no more than a few run at once. */
async function inTurns<T, R>(all: readonly T[], calls: (one: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = [];
  for (let at = 0; at < all.length; at += 16) answers.push(...(await Promise.all(all.slice(at, at + 16).map(calls))));
  return answers;
}

async function expectUnknown(method: string, path: string, response: Response): Promise<void> {
  expect(response.status, `${method} ${path}`).toBe(404);
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  const body = await response.text();
  if (method === 'HEAD') return;
  const { error } = JSON.parse(body);
  expect(error).toMatchObject({ type: 'invalid_request_error', param: null, code: 'unknown_url' });
  expect(Object.keys(error).sort()).toEqual(['code', 'message', 'param', 'type']);
}

test('the page says what the routes serve', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/endpoints.md'), 'utf8');
  expect(endpointsPage(rows), 'run npm run endpoints').toBe(page);
  expect(rows.length).toBeGreaterThan(280);
  for (const url of ENDPOINTS.keys()) expect(rows).toContainEqual({ method: 'POST', path: url, fate: 'metered' });
});

test('what is refused is unknown, with a body of any kind, and reaches no provider', async () => {
  const refused = rows.filter(({ fate }) => fate === 'refused');
  const before = world.upstream.requests.length;
  await inTurns(refused, async ({ method, path }) => {
    const hasBody = method !== 'GET' && method !== 'HEAD';
    const json = { body: '{"model":"all","input":"x"}', headers: { 'content-type': 'application/json' } };
    await expectUnknown(method, path, await call(method, filled(path), hasBody ? json : {}));
  });
  expect(world.upstream.requests.length).toBe(before);
});

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND'];

test('a method that a path does not take is unknown, and never 405', async () => {
  const before = world.upstream.requests.length;
  const served = new Set(rows.filter(({ fate }) => fate !== 'refused').map(({ method, path }) => `${method} ${path}`));
  const paths = [...new Set(rows.map(({ path }) => path))];
  const wrong = paths.flatMap((path, at) => {
    const isServed = METHODS.some((method) => served.has(`${method} ${path}`));
    const others = [...METHODS.filter((method) => !served.has(`${method} ${path}`)), 'HEAD', 'OPTIONS'];
    // Of a path that no method is taken of, OpenAI's methods were called above: one of the others is enough.
    return (isServed ? others : [others[at % others.length]!]).map((method) => ({ method, path }));
  });
  await inTurns(wrong, async ({ method, path }) => expectUnknown(method, path, await call(method, filled(path))));
  expect(world.upstream.requests.length).toBe(before);
});

test('what is owned is answered here, and reaches no provider', async () => {
  const before = world.upstream.requests.length;
  await inTurns(
    rows.filter(({ fate }) => fate === 'owned'),
    async ({ method, path }) => {
      const body = await (await call(method, filled(path))).text();
      expect(JSON.parse(body).error?.code, `${method} ${path}`).not.toBe('unknown_url');
      expect((await fetch(gateway.url + filled(path), { method })).status, 'without a key').toBe(401);
    },
  );
  expect(world.upstream.requests.length).toBe(before);
});

test('what is metered reaches its provider at a constant path, is charged, and needs a key', async () => {
  for (const { method, path } of rows.filter(({ fate }) => fate === 'metered')) {
    const [url] = path.split('?', 1) as [string];
    const sample = SAMPLES[url];
    if (sample === undefined) throw new Error(`${url} is metered: give it a sample in wall-rig.ts`);
    const before = world.upstream.requests.length;
    const response = await call(method, path, sample());
    expect(response.status, `${method} ${path}: ${await response.text()}`).toBe(200);
    const reached = world.upstream.requests.slice(before).map((request) => `${request.method} ${request.path}`);
    expect(reached, path).toEqual([`POST /v1${ENDPOINTS.get(url)!.upstreamPath}`]);
    expect((await fetch(gateway.url + path, { method, ...sample() })).status, 'without a key').toBe(401);
  }
  await expectSettled(world);
});

test('the official client says NotFoundError of what is not served', async () => {
  const openai = client(gateway, account);
  const calls = [
    openai.files.list(),
    openai.batches.list(),
    openai.vectorStores.list(),
    openai.containers.list(),
    openai.conversations.create(),
    openai.videos.list(),
    openai.fineTuning.jobs.list(),
    openai.beta.assistants.list(),
    openai.evals.list(),
    openai.models.delete('ft:all'),
    openai.chat.completions.list(),
    openai.realtime.clientSecrets.create({}),
  ];
  for (const { status, reason } of (await Promise.allSettled(calls)) as PromiseRejectedResult[]) {
    expect(status).toBe('rejected');
    expect(reason).toBeInstanceOf(NotFoundError);
    expect(reason).toMatchObject({ code: 'unknown_url', type: 'invalid_request_error' });
  }
});
