/** Compressed bodies are read as if they had come plain, once the key was accepted; bombs and broken ones are refused. */
import { once } from 'node:events';
import { connect } from 'node:net';
import zlib from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADMIN_KEY,
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

const MAX_BODY_BYTES = 200_000;
const BODY = '{"model":"strict","messages":[{"role":"user","content":"Grüße, 世界"}], "seed":9223372036854775807}';

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld({}, `server: { max_body_bytes: ${MAX_BODY_BYTES} }\n`);
  gateway = await startGateway(world);
  account = await createTestAccount(world, '1000');
});
afterAll(async () => {
  await expectSettled(world);
  await gateway.close();
  await closeWorld(world);
});

const ask = (body: Buffer, encoding: string, headers: Record<string, string> = {}): Promise<Response> =>
  post(gateway, account.key, Buffer.from(body), { 'content-encoding': encoding, ...headers });
const errorOf = async (response: Response) => ({
  status: response.status,
  ...((await response.json()) as { error: Record<string, unknown> }).error,
});

describe('a body', () => {
  it.each<[string, string, (body: Buffer | string) => Buffer]>([
    ['gzip', 'gzip', zlib.gzipSync],
    ['gzip by its old name', 'X-GZIP', zlib.gzipSync],
    ['deflate', 'deflate', zlib.deflateSync],
    ['brotli', 'br', zlib.brotliCompressSync],
    ['zstd', 'zstd', zlib.zstdCompressSync],
    [
      'gzip in two members',
      'gzip',
      (body) => Buffer.concat([zlib.gzipSync(body.slice(0, 9)), zlib.gzipSync(body.slice(9))]),
    ],
    ['one in another', 'gzip, zstd', (body) => zlib.zstdCompressSync(zlib.gzipSync(body))],
    ['nothing at all', 'identity', Buffer.from],
  ])('in %s goes upstream plain, and is charged', async (_name, encoding, encode) => {
    world.upstream.script('plain');
    const response = await ask(encode(Buffer.from(BODY)), encoding);
    expect(response.status).toBe(200);
    expect(response.headers.get('x-tollgate-charged')).toBe('0.018');
    const { body, headers } = world.upstream.requests.at(-1)!;
    expect(body.toString()).toBe(BODY);
    expect(headers['content-encoding']).toBeUndefined();
    expect(headers['content-length']).toBe(String(Buffer.byteLength(BODY)));
  });

  it('that comes in pieces of a byte is read too', async () => {
    const bytes = zlib.gzipSync(BODY);
    const slow = new ReadableStream({
      async start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${account.key}`,
        'content-type': 'application/json',
        'content-encoding': 'gzip',
      },
      body: slow,
      duplex: 'half',
    } as RequestInit);
    expect(response.status).toBe(200);
  });

  it('is the same request for its Idempotency-Key, however it was compressed', async () => {
    const key = { 'idempotency-key': 'compressed-1' };
    const first = await ask(zlib.gzipSync(BODY), 'gzip', key);
    const second = await ask(zlib.zstdCompressSync(BODY), 'zstd', key);
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(second.headers.get('idempotent-replayed')).toBe('true');
    expect(await second.text()).toBe(await first.text());
  });

  it('is read on the other planes too', async () => {
    const check = await fetch(`${gateway.url}/account/v1/entitlements/check`, {
      method: 'POST',
      headers: { authorization: `Bearer ${account.key}`, 'content-encoding': 'br' },
      body: new Uint8Array(zlib.brotliCompressSync('{"model":"plain"}')),
    });
    expect(await check.json()).toMatchObject({ allowed: true });
    const created = await fetch(`${gateway.url}/admin/v1/accounts`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-encoding': 'zstd' },
      body: new Uint8Array(zlib.zstdCompressSync('{"name":"Packed"}')),
    });
    expect(created.status).toBe(201);
  });
});

describe('refused, and nothing is sent on:', () => {
  const bomb = Buffer.alloc(8 * 1024 * 1024);
  it.each<[string, string, () => Buffer, object]>([
    ['a bomb in gzip', 'gzip', () => zlib.gzipSync(bomb), { status: 413, code: 'request_too_large' }],
    ['a bomb in zstd', 'zstd', () => zlib.zstdCompressSync(bomb), { status: 413, code: 'request_too_large' }],
    [
      'a bomb in brotli',
      'br',
      () => zlib.brotliCompressSync(bomb, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }),
      { status: 413 },
    ],
    [
      'a bomb whose inside is small',
      'gzip, gzip',
      () => zlib.gzipSync(zlib.gzipSync(bomb.subarray(0, 300_000), { level: 0 })),
      { status: 413 },
    ],
    ['a bomb within a bomb', 'gzip, gzip', () => zlib.gzipSync(zlib.gzipSync(bomb)), { status: 413 }],
    ['what is cut off', 'gzip', () => zlib.gzipSync(BODY).subarray(0, -9), { status: 400, param: 'content-encoding' }],
    [
      'zstd that is cut off',
      'zstd',
      () => zlib.zstdCompressSync(BODY).subarray(0, -3),
      { status: 400, param: 'content-encoding' },
    ],
    [
      'brotli that is cut off',
      'br',
      () => zlib.brotliCompressSync(BODY).subarray(0, -3),
      { status: 400, param: 'content-encoding' },
    ],
    [
      'what is plain in truth',
      'gzip',
      () => Buffer.from(BODY),
      { status: 400, code: 'invalid_request', param: 'content-encoding' },
    ],
    ['one in the name of another', 'br', () => zlib.gzipSync(BODY), { status: 400, param: 'content-encoding' }],
    ['nothing', 'zstd', () => Buffer.alloc(0), { status: 400 }],
    [
      'a broken checksum',
      'gzip',
      () => Buffer.concat([zlib.gzipSync(BODY).subarray(0, -8), Buffer.alloc(8)]),
      { status: 400, param: 'content-encoding' },
    ],
    ['a window of 128 MiB', 'zstd', () => wide(), { status: 400, param: 'content-encoding' }],
    ['three encodings', 'gzip, gzip, gzip', () => zlib.gzipSync(BODY), { status: 415, code: 'unsupported_encoding' }],
    ['an unknown one', 'compress', () => Buffer.from('x'), { status: 415, code: 'unsupported_encoding' }],
    ['the name of a property', 'constructor', () => Buffer.from('x'), { status: 415 }],
  ])('%s', async (_name, encoding, encode, refusal) => {
    const before = world.upstream.requests.length;
    expect(await errorOf(await ask(encode(), encoding))).toMatchObject(refusal);
    expect(world.upstream.requests.length).toBe(before);
  });

  it('a wrong key, before a byte is inflated', async () => {
    const response = await post(gateway, 'sk-tg-wrong', 'no gzip', { 'content-encoding': 'gzip' });
    expect(await errorOf(response)).toMatchObject({ status: 401, code: 'invalid_api_key' });
  });

  it('an unknown URL, likewise', async () => {
    const response = await fetch(`${gateway.url}/v1/nothing`, {
      method: 'POST',
      headers: { 'content-encoding': 'gzip', 'content-type': 'application/json' },
      body: 'no gzip',
    });
    expect(await errorOf(response)).toMatchObject({ status: 404, code: 'unknown_url' });
  });

  it('a bomb on a plane that stops reading before it has burst, without harm to anybody', async () => {
    const small = `server: { max_body_bytes: ${4 * 1024 * 1024} }\n`;
    const other = await createWorld({}, small);
    const [served, { key }] = [await startGateway(other), await createTestAccount(other, '1')];
    const check = (body: Buffer) =>
      fetch(`${served.url}/account/v1/entitlements/check`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-encoding': 'gzip' },
        body: new Uint8Array(body),
      });
    // It takes 1 MiB; the rest is nobody's, and fails when nobody listens any more.
    for (const body of [zlib.gzipSync(bomb), zlib.gzipSync(bomb.subarray(0, 2_000_000)).subarray(0, -9)]) {
      expect(await errorOf(await check(body))).toMatchObject({ status: 413, code: 'request_too_large' });
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await check(zlib.gzipSync('{"model":"plain"}'))).status).toBe(200);
    await served.close();
    await closeWorld(other);
  });

  it('a client that hangs up in the middle, without harm to the next', async () => {
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    await once(socket, 'connect');
    const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${account.key}\r\ncontent-encoding: gzip\r\ncontent-length: 5000\r\n\r\n`;
    socket.write(Buffer.concat([Buffer.from(head), zlib.gzipSync(BODY).subarray(0, 30)]));
    setTimeout(() => socket.destroy(), 50);
    await once(socket, 'close');
    expect((await ask(zlib.gzipSync(BODY), 'gzip')).status).toBe(200);
  });
});

/** A frame of one block as it is, whose head says that its window has 128 MiB. */
function wide(): Buffer {
  const body = Buffer.from(BODY);
  const block = Buffer.alloc(3);
  block.writeUIntLE((body.length << 3) | 1, 0, 3);
  return Buffer.concat([Buffer.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3), block, body]);
}
