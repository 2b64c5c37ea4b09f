/** Forms as they come over the wire: what is refused, what is answered before they are whole, and that none is left behind. */
import { existsSync, readdirSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { wav } from '../support/sounds.ts';
import { answer, DURATION, HEARD } from './heard-rig.ts';

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld(
    {},
    'server: { max_body_bytes: 4194304, request_timeout_seconds: 2, headers_timeout_seconds: 1 }\n',
    HEARD,
  );
  gateway = await startGateway(world);
  account = await createTestAccount(world, '1000');
});
afterAll(async () => {
  await gateway.close();
  await expectSettled(world);
  await closeWorld(world);
});

describe('a form', () => {
  const B = 'bound';
  const head = (name: string, more = '') => `--${B}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n`;
  const field = (name: string, value: string) => `${head(name)}${value}\r\n`;
  const file = (bytes = wav(1)) => `${head('file', '; filename="a.wav"')}${bytes.toString('latin1')}\r\n`;
  const whole = (...parts: string[]) => Buffer.from(`${parts.join('')}--${B}--\r\n`, 'latin1');
  const send = (body: NonNullable<RequestInit['body']>, headers: Record<string, string> = {}) =>
    fetch(`${gateway.url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${account.key}`,
        'content-type': `multipart/form-data; boundary=${B}`,
        ...headers,
      },
      body,
    });

  it.each<[string, string, () => Buffer<ArrayBuffer>]>([
    ['no model', 'model', () => whole(file())],
    ['no file', 'file', () => whole(field('model', 'whisper-1'))],
    ['a file that is a field', 'file', () => whole(field('model', 'whisper-1'), field('file', 'x'))],
    ['a model that is a file', 'model', () => whole(`${head('model', '; filename="m"')}whisper-1\r\n`, file())],
    ['two models', 'model', () => whole(field('model', 'whisper-1'), file(), field('model', 'dear'))],
    ['a model in capitals', 'model', () => whole(field('model', 'whisper-1'), file(), field('Model', 'dear'))],
    ['a list of models', 'model', () => whole(field('model[]', 'whisper-1'), file())],
    ['two files', 'file', () => whole(field('model', 'whisper-1'), file(), file())],
    ['a list of files', 'file', () => whole(field('model', 'whisper-1'), file(), file().replace('"file"', '"file[]"'))],
    [
      'a language given twice',
      'language',
      () => whole(field('model', 'whisper-1'), field('language', 'en'), field('language', 'de'), file()),
    ],
    ...['url', 'file_url', 'file_id'].map((name): [string, string, () => Buffer<ArrayBuffer>] => [
      `a sound elsewhere, as ${name}`,
      name,
      () => whole(field('model', 'whisper-1'), field(name, 'https://example.com/hours.mp3'), file()),
    ]),
    ['an odd flag', 'stream', () => whole(field('model', 'whisper-1'), field('stream', 'maybe'), file())],
    [
      'a file of unknown length',
      'file',
      () => whole(field('model', 'whisper-1'), file(Buffer.from('no sound at all'))),
    ],
    ['no end', '', () => whole(field('model', 'whisper-1'), file()).subarray(0, -6)],
    ['another boundary', '', () => Buffer.from(whole(file()).toString('latin1').replaceAll(B, 'other'))],
  ])('with %s is refused', async (_what, param, body) => {
    const before = world.upstream.requests.length;
    const response = await send(body());
    const { error } = (await response.json()) as { error: { code: string; param: string | null } };
    expect([response.status, error.code, error.param ?? '']).toEqual([400, 'invalid_request', param]);
    expect(world.upstream.requests.length).toBe(before);
  });

  it('that is too large is refused, with its length or without', async () => {
    const chunked = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
    });
    for (const body of [Buffer.alloc(4_300_000), chunked]) {
      const answered = await send(body, {}).catch(() => null);
      // A client that still writes may not hear the answer.
      if (answered !== null) expect(answered.status).toBe(413);
    }
  });

  it('is taken compressed, and with a model that is no form of its own elsewhere refused', async () => {
    world.upstream.script(answer(DURATION));
    const zipped = await send(gzipSync(whole(field('model', 'whisper-1'), file())), { 'content-encoding': 'gzip' });
    expect(zipped.status).toBe(200);
    const asJson = await send(JSON.stringify({ model: 'whisper-1' }), { 'content-type': 'application/json' });
    expect(((await asJson.json()) as { error: { param: string } }).error.param).toBe('file');
    const chat = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${account.key}`, 'content-type': `multipart/form-data; boundary=${B}` },
      body: whole(field('model', 'plain')),
    });
    expect(((await chat.json()) as { error: { code: string } }).error.code).toBe('invalid_json');
  });

  it('again with its idempotency key and another boundary is answered as before, and with another sound refused', async () => {
    world.upstream.script(answer(DURATION));
    const key = { 'idempotency-key': 'once' };
    const body = whole(field('model', 'whisper-1'), file());
    const first = await send(body, key);
    const before = world.upstream.requests.length;
    const again = await send(Buffer.from(body.toString('latin1').replaceAll(B, 'limit'), 'latin1'), {
      ...key,
      'content-type': 'multipart/form-data; boundary=limit',
    });
    expect([again.status, again.headers.get('idempotent-replayed')]).toEqual([200, 'true']);
    expect(await again.text()).toBe(await first.text());
    const other = await send(whole(field('model', 'whisper-1'), file(wav(2))), key);
    expect(other.status).toBe(422);
    expect(world.upstream.requests.length).toBe(before);
  });

  it('whose client stops sending is answered 408, and of one that hangs up nothing is left', async () => {
    const begun = (length: number) => {
      const sent = httpRequest(`${gateway.url}/v1/audio/transcriptions`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${account.key}`,
          'content-type': `multipart/form-data; boundary=${B}`,
          'content-length': length,
        },
      });
      sent.on('error', () => {});
      sent.write(`${field('model', 'whisper-1')}${file(wav(62.5)).slice(0, 1_500_000)}`, 'latin1');
      return sent;
    };
    const gone = begun(2_500_000);
    const slow = begun(2_500_000);
    const status = new Promise((resolve) => slow.on('response', ({ statusCode }) => resolve(statusCode)));
    gone.destroy();
    expect(await status).toBe(408);
    const folder = join(world.env.TOLLGATE_DATA_DIR!, 'tmp');
    expect(existsSync(folder) && readdirSync(folder)).toEqual([]);
  });
});
