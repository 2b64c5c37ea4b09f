import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { chat, error, stream } from '../support/scripted-upstream.ts';
import { chatRequest, record } from './recorder.ts';
import { useRig } from './rig.ts';

const rig = useRig();

describe('a request', () => {
  test('arrives byte for byte, on the template path, with the provider key and nothing of the client beside it', async () => {
    const request = chatRequest({ seed: 1 });
    request.body = Buffer.from('{"model":"m", "seed":9223372036854775807,"new_field":{"ü":[1e3]}}');
    const heard = record(rig.provider({ baseUrl: `${rig.upstream.url}/` }), request);
    await heard.over;
    const arrived = rig.upstream.requests[0]!;
    expect(arrived.method).toBe('POST');
    expect(arrived.path).toBe('/v1/chat/completions');
    expect(arrived.body.equals(request.body)).toBe(true);
    expect(arrived.headers).toEqual({
      host: new URL(rig.upstream.url).host,
      connection: 'keep-alive',
      authorization: 'Bearer sk-secret',
      'content-type': 'application/json',
      'accept-encoding': 'identity',
      'content-length': String(request.body.length),
    });
    expect(Object.values(request.headers).join()).not.toContain('sk-secret');
  });

  test('is answered whole, in this order: send returns, start, data, end', async () => {
    const heard = record(rig.provider());
    await heard.over;
    expect(heard.events).toEqual(['sent', 'start', 'data', 'end']);
    expect(heard.status).toBe(200);
    expect(heard.headers['content-type']).toBe('application/json');
    expect(JSON.parse(heard.text()).usage).toEqual(rig.upstream.served[0]!.usage);
    expect(heard.attempt.sent).toBe(true);
  });

  test('reuses connections: one in use, one being handed back', async () => {
    const one = rig.provider();
    const ports = new Set<number | undefined>();
    rig.upstream.script((exchange) => {
      ports.add(exchange.response.socket?.remotePort);
      return chat()(exchange);
    });
    for (let i = 0; i < 10; i++) await record(one).over;
    expect(rig.upstream.requests).toHaveLength(10);
    expect(ports.size).toBeLessThanOrEqual(2);
  });

  test.each([400, 401, 429, 500])('answered with %i has an answer, not a failure', async (status) => {
    rig.upstream.script(error(status, 'some_error', 'some_code'));
    const heard = record(rig.provider());
    await heard.over;
    expect(heard.status).toBe(status);
    expect(JSON.parse(heard.text()).error.code).toBe('some_code');
    expect(heard.failure).toBeNull();
  });

  test('hears nothing of an informational answer', async () => {
    rig.upstream.script('informed');
    const heard = record(rig.provider());
    await heard.over;
    expect(heard.events).toEqual(['sent', 'start', 'data', 'end']);
    expect(heard.status).toBe(200);
  });

  test('hears the first frame before the provider has sent its second', async () => {
    rig.upstream.script('firstFrameThenHold');
    const first = Promise.withResolvers<void>();
    const heard = record(rig.provider(), chatRequest({ stream: true }), () => {
      first.resolve();
      return true;
    });
    await first.promise;
    expect(heard.text()).toContain('Hello');
    expect(heard.text()).not.toContain('world');
    rig.upstream.release();
    await heard.over;
    expect(heard.text().endsWith('data: [DONE]\n\n')).toBe(true);
  });
});

describe('backpressure', () => {
  test('a paused attempt stops the provider from sending; resumed, nothing is missing', async () => {
    const pieces = Array.from({ length: 1500 }, () => 'x'.repeat(16 * 1024));
    let written = 0;
    rig.upstream.script(
      stream({ pieces }, (index) => {
        written = index;
      }),
    );
    let paused = false;
    const heard = record(rig.provider(), chatRequest({ stream: true }), () => !paused);
    await heard.started;
    paused = true;
    // Wait until the provider stands still: the kernel's buffers are full and we do not read.
    for (let before = -1; before !== written; ) {
      before = written;
      await sleep(300);
    }
    const buffered = Buffer.concat(heard.chunks).length;
    expect(written).toBeLessThan(pieces.length);
    expect(buffered).toBeLessThan(1024 * 1024);
    paused = false;
    heard.attempt.resume();
    await heard.over;
    expect(heard.text().split('\n\n')).toHaveLength(pieces.length + 3);
    expect(heard.text().endsWith('data: [DONE]\n\n')).toBe(true);
  });
});

describe('abort', () => {
  test('closes the connection, and the listener hears nothing more', async () => {
    rig.upstream.script('firstFrameThenHold');
    const first = Promise.withResolvers<void>();
    const heard = record(rig.provider(), chatRequest({ stream: true }), () => {
      first.resolve();
      return true;
    });
    await first.promise;
    heard.attempt.abort();
    heard.attempt.abort();
    expect(await rig.upstream.requests[0]!.ended).toBe('cut');
    expect(heard.events).toEqual(['sent', 'start', 'data']);
    expect(heard.attempt.sent).toBe(true);
  });

  test('from within onData ends it there', async () => {
    rig.upstream.script(chat({ pieces: Array.from({ length: 100 }, () => 'word ') }));
    const heard = record(rig.provider(), chatRequest({ stream: true }), (_chunk, { attempt }) => {
      attempt.abort();
      return false;
    });
    await rig.upstream.arrived(1);
    await rig.upstream.requests[0]!.ended;
    await record(rig.provider()).over;
    expect(heard.chunks).toHaveLength(1);
    expect(heard.events).toEqual(['sent', 'start', 'data']);
  });

  test('before the connection is made, nothing is ever sent', async () => {
    const one = rig.provider();
    const heard = record(one);
    heard.attempt.abort();
    await record(one).over;
    expect(heard.attempt.sent).toBe(false);
    expect(heard.events).toEqual(['sent']);
    expect(rig.upstream.requests).toHaveLength(1);
  });

  test('after the end has no effect: the connection is kept', async () => {
    const one = rig.provider();
    const heard = record(one);
    await heard.over;
    heard.attempt.abort();
    heard.attempt.resume();
    await record(one).over;
    expect(await rig.upstream.requests[0]!.ended).toBe('whole');
  });
});
