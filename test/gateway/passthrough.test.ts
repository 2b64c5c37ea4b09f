/** Requests that are passed through: held for, forwarded unread, charged their price, and free where they were not served. */
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { chargedTo, client, createTestAccount, eventually, get } from '../support/gateway.ts';
import { error, redirect, reset, type Script } from '../support/scripted-upstream.ts';
import { CREDIT, type Declared, declaredRoutes, json, refusal } from './passthrough-rig.ts';
import { raw } from './raw-socket.ts';

let rig: Declared;
beforeAll(async () => {
  rig = await declaredRoutes();
});
beforeEach(() => rig.next());
afterAll(() => rig?.close());

test('a declared route is held for, passed on as it came, and charged its price, with a receipt', async () => {
  const from = rig.world.upstream.requests.length;
  const body = Buffer.from('{ "any": [1, 2.50, "\\u00e9"],\n"any": "twice" }\0\xff', 'latin1');
  const headers = {
    'content-type': 'application/x-custom; a=b',
    cookie: 'c=d',
    'x-stainless-os': 'Linux',
    'x-secret': 's',
  };
  const response = await rig.call('/v1/custom/ft:a.1~b-C_?limit=2&a[]=%2f..%2f', { body, headers });
  expect(response.status).toBe(200);
  expect(await response.text()).toBe('{"id":"x","error":null}');
  expect(response.headers.get('x-tollgate-charged')).toBe('1');
  expect(response.headers.get('x-tollgate-available')).toBe('99');
  expect(response.headers.has('set-cookie')).toBe(false);
  const id = response.headers.get('x-request-id')!;
  expect(id).toMatch(/^req_/);

  expect(rig.reached(from)).toEqual(['POST /v1/custom/ft:a.1~b-C_?limit=2&a[]=%2f..%2f']);
  const sent = rig.world.upstream.requests.at(-1)!;
  expect(sent.body.equals(body)).toBe(true);
  expect(sent.headers).toMatchObject({ 'content-type': 'application/x-custom; a=b', 'accept-encoding': 'identity' });
  for (const name of ['cookie', 'x-secret', 'x-stainless-os']) expect(sent.headers, name).not.toHaveProperty(name);
  expect(sent.headers.authorization).not.toContain(rig.account.key);

  expect(await get(rig.gateway, rig.account.key, `/account/v1/requests/${id}`)).toMatchObject({
    endpoint: '/v1/custom/{id}',
    model: 'POST /v1/custom/{id}',
    provider: 'scripted',
    status: 'settled',
    usage_source: 'provider',
    price_version: 1,
    lines: [{ unit: 'request', quantity: 1, unit_price_usd: '0.001', per: 1, credits: '1' }],
    held: '1',
    charged: '1',
    attempts: [{ provider: 'scripted', status: 200, outcome: 'whole' }],
  });
  expect(await rig.charged()).toBe(CREDIT);
});

test('the official client calls it by its path', async () => {
  expect(await client(rig.gateway, rig.account).post('/custom/a', { body: { x: 1 } })).toEqual({
    id: 'x',
    error: null,
  });
  expect(await rig.charged()).toBe(CREDIT);
});

test('every method has its own price, to the nano-credit, and 0 is one', async () => {
  const from = rig.world.upstream.requests.length;
  expect((await rig.call('/v1/custom/a/parts/b', { method: 'GET' })).headers.get('x-tollgate-charged')).toBe('0.001');
  expect((await rig.call('/v1/custom/a', { method: 'PUT', body: 'x' })).headers.get('x-tollgate-charged')).toBe(
    '0.000000001',
  );
  expect((await rig.call('/v1/custom/a', { method: 'PATCH', body: 'x' })).headers.get('x-tollgate-charged')).toBe('2');
  rig.world.upstream.script(({ response }) => void response.writeHead(204).end());
  const gone = await rig.call('/v1/custom/a', { method: 'DELETE' });
  expect([gone.status, await gone.text(), gone.headers.get('x-tollgate-charged')]).toEqual([204, '', '0']);
  expect(
    await get(rig.gateway, rig.account.key, `/account/v1/requests/${gone.headers.get('x-request-id')}`),
  ).toMatchObject({
    status: 'settled',
    charged: '0',
    lines: [{ unit: 'request', credits: '0' }],
  });
  expect(rig.reached(from)).toEqual([
    ...['GET /v1/custom/a/parts/b', 'PUT /v1/custom/a', 'PATCH /v1/custom/a', 'DELETE /v1/custom/a'],
  ]);
  expect(await rig.charged()).toBe(2n * CREDIT + 1_000_000n + 1n);
});

test('as many are forwarded at once as the balance pays for', async () => {
  const rich = await createTestAccount(rig.world, '3.5');
  const from = rig.world.upstream.requests.length;
  rig.world.upstream.script(async (exchange) => {
    await exchange.held();
    await json(exchange);
  });
  const calls = Array.from({ length: 10 }, () => rig.call('/v1/custom/a', {}, rich.key));
  await rig.world.upstream.arrived(from + 3);
  await eventually(async () => (await Promise.race([...calls, null])) !== null, 'the others are refused');
  rig.world.upstream.release();
  const statuses = (await Promise.all(calls)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(3);
  expect(statuses.filter((status) => status === 429)).toHaveLength(7);
  expect(await chargedTo(rig.world, rich.account)).toBe(3n * CREDIT);
});

test('what a provider refuses, or does not serve, is free', async () => {
  const cases: [Script, string][] = [
    [error(400, 'invalid_request_error', 'bad_field'), '400 bad_field'],
    [error(404, 'invalid_request_error', 'no_such'), '404 no_such'],
    [error(401, 'invalid_request_error', 'invalid_api_key'), '502 upstream_error'],
    [error(409, 'invalid_request_error', 'conflict'), '502 upstream_error'],
    [error(429, 'rate_limit_error', 'rate_limit_exceeded'), '503 upstream_rate_limited'],
    [error(500, 'server_error', null), '502 upstream_error'],
    [error(503, 'server_error', null), '502 upstream_error'],
    [redirect, '502 upstream_error'],
    [reset, '502 upstream_error'],
    [({ response }) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'), '502 upstream_error'],
  ];
  for (const [script, expected] of cases) {
    rig.world.upstream.script(script);
    const from = rig.world.upstream.requests.length;
    expect(await refusal(await rig.call('/v1/custom/a'))).toBe(expected);
    // Sent once: a second time could be billed too.
    expect(rig.reached(from)).toEqual(['POST /v1/custom/a']);
  }
  expect(await rig.charged()).toBe(0n);
});

test('a stream passes frame by frame, and ends once it is charged', async () => {
  const frames = ['event: a\ndata: {"error":{"x":1}}\n\n', ': ping\n\n', 'data: 2\r\n\r\n', 'data: [DONE]\n\n'];
  rig.world.upstream.script(async (exchange) => {
    exchange.response.writeHead(200, { 'content-type': 'text/event-stream' });
    exchange.response.write(frames[0]);
    await exchange.held();
    exchange.response.end(frames.slice(1).join(''));
  });
  const response = await rig.call('/v1/custom/a');
  const reader = response.body!.getReader();
  expect(Buffer.from((await reader.read()).value!).toString()).toBe(frames[0]);
  rig.world.upstream.release();
  let rest = '';
  for (let read = await reader.read(); !read.done; read = await reader.read()) rest += Buffer.from(read.value);
  expect(rest).toBe(frames.slice(1).join(''));
  expect(await rig.charged()).toBe(CREDIT);
});

test('an answer of megabytes arrives whole, and one that breaks off is cut and charged', async () => {
  const large = Buffer.alloc(5 * 1024 * 1024, 'abcdefg');
  rig.world.upstream.script(({ response }) => void response.writeHead(200, { 'content-type': 'video/mp4' }).end(large));
  const whole = await rig.call('/v1/custom/a');
  expect(Buffer.from(await whole.arrayBuffer()).equals(large)).toBe(true);
  expect(await rig.charged()).toBe(CREDIT);
  rig.world.upstream.script(async (exchange) => {
    exchange.response.writeHead(200, { 'content-type': 'video/mp4' });
    exchange.response.write(large);
    await exchange.held();
    await reset(exchange);
  });
  const broken = await rig.call('/v1/custom/a');
  rig.world.upstream.release();
  await expect(broken.arrayBuffer()).rejects.toThrow();
  await eventually(async () => (await rig.charged()) === 2n * CREDIT, 'what was served of it is charged');
});

test('a client that hangs up is charged, at whichever moment, and once', async () => {
  const large = Buffer.alloc(2 * 1024 * 1024, 'x');
  const beginWith = (type: string, bytes: Buffer | string): Script => {
    return async ({ response, held }) => {
      response.writeHead(200, { 'content-type': type });
      response.write(bytes);
      await held();
      response.end(bytes);
    };
  };
  const waiting: Script = async (exchange) => {
    await exchange.held();
    await json(exchange);
  };
  const cases: [method: string, path: string, script: Script, hearsHead: boolean][] = [
    ['POST', '/v1/custom/a', waiting, false],
    ['GET', '/v1/custom/a/parts/b', waiting, false],
    ['POST', '/v1/custom/a', beginWith('video/mp4', large), true],
    ['GET', '/v1/custom/a/parts/b', beginWith('text/event-stream', 'data: 1\n\n'), true],
  ];
  for (const [method, path, script, hearsHead] of cases) {
    await rig.next();
    rig.world.upstream.script(script);
    const from = rig.world.upstream.requests.length;
    const hangUp = new AbortController();
    const asked = rig.call(path, { method, signal: hangUp.signal });
    if (hearsHead) await asked;
    else await rig.world.upstream.arrived(from + 1);
    hangUp.abort();
    await asked.then(({ body }) => body?.cancel()).catch(() => {});
    rig.world.upstream.release();
    const price = method === 'POST' ? CREDIT : CREDIT / 1000n;
    await eventually(async () => (await rig.charged()) === price, `${method} ${hearsHead} is charged`);
    expect(rig.reached(from)).toEqual([`${method} ${path}`]);
  }
});

test('a gateway that died leaves the price as the floor of what it held', async () => {
  rig.world.upstream.script(async (exchange) => {
    const { rows } = await rig.world.pool.query('SELECT amount, floor FROM holds WHERE account_id = $1', [
      rig.account.account,
    ]);
    expect(rows).toEqual([{ amount: CREDIT, floor: CREDIT }]);
    await json(exchange);
  });
  expect((await rig.call('/v1/custom/a')).status).toBe(200);
});

test('the same Idempotency-Key gets the same answer, once', async () => {
  const from = rig.world.upstream.requests.length;
  const once = { headers: { 'idempotency-key': 'order-1' }, body: 'a' };
  const [first, again] = [await rig.call('/v1/custom/a', once), await rig.call('/v1/custom/a', once)];
  expect(await again.text()).toBe(await first.text());
  expect(again.headers.get('idempotent-replayed')).toBe('true');
  expect(again.headers.get('x-request-id')).toBe(first.headers.get('x-request-id'));
  expect(await refusal(await rig.call('/v1/custom/b', once))).toBe('422 idempotency_key_reused');
  expect(rig.reached(from)).toEqual(['POST /v1/custom/a']);
  expect(await rig.charged()).toBe(CREDIT);
});

test('a body that is too large is refused, a compressed one is passed on plain', async () => {
  const from = rig.world.upstream.requests.length;
  const head = `POST /v1/custom/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${rig.account.key}\r\n`;
  const [large] = await raw(rig.gateway, `${head}Content-Length: 33554433\r\n\r\n`, 1);
  expect(`${large?.status} ${large?.code}`).toBe('413 request_too_large');
  const headers = { 'content-type': 'text/plain', 'content-encoding': 'gzip' };
  expect((await rig.call('/v1/custom/a', { body: gzipSync('hello'), headers })).status).toBe(200);
  expect(rig.reached(from)).toEqual(['POST /v1/custom/a']);
  expect(rig.world.upstream.requests.at(-1)!.body.toString()).toBe('hello');
  expect(rig.world.upstream.requests.at(-1)!.headers).not.toHaveProperty('content-encoding');
});
