import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createOpenAiProvider } from '../../src/upstream/openai.ts';
import type { Provider, ProviderConfig } from '../../src/upstream/types.ts';
import {
  chat,
  error,
  type ScriptedUpstream,
  type ScriptName,
  startScriptedUpstream,
  stream,
} from '../support/scripted-upstream.ts';
import { chatRequest, record } from './recorder.ts';

let upstream: ScriptedUpstream;
const providers: Provider[] = [];
const sockets: Socket[] = [];

function provider(fields: Partial<ProviderConfig> = {}): Provider {
  const created = createOpenAiProvider({ name: 'p', kind: 'openai', baseUrl: upstream.url, ...fields }, 'sk-secret');
  providers.push(created);
  return created;
}

/** A provider in front of a socket that answers the first bytes of each connection with these, and hangs up. */
async function rawProvider(answer: string): Promise<Provider> {
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.once('data', () => socket.end(answer));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref();
  return provider({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1` });
}

beforeEach(async () => {
  upstream = await startScriptedUpstream();
});
afterEach(async () => {
  await Promise.all(providers.splice(0).map((each) => each.close()));
  for (const socket of sockets.splice(0)) socket.destroy();
  await upstream.close();
});

describe('a request', () => {
  test('arrives byte for byte, on the template path, with the provider key and nothing of the client beside it', async () => {
    const request = chatRequest({ seed: 1 });
    request.body = Buffer.from('{"model":"m", "seed":9223372036854775807,"new_field":{"ü":[1e3]}}');
    const heard = record(provider({ baseUrl: `${upstream.url}/` }), request);
    await heard.over;
    const arrived = upstream.requests[0]!;
    expect(arrived.method).toBe('POST');
    expect(arrived.path).toBe('/v1/chat/completions');
    expect(arrived.body.equals(request.body)).toBe(true);
    expect(arrived.headers).toEqual({
      host: new URL(upstream.url).host,
      connection: 'keep-alive',
      authorization: 'Bearer sk-secret',
      'content-type': 'application/json',
      'accept-encoding': 'identity',
      'content-length': String(request.body.length),
    });
    expect(Object.values(request.headers).join()).not.toContain('sk-secret');
  });

  test('is answered whole, in this order: send returns, start, data, end', async () => {
    const heard = record(provider());
    await heard.over;
    expect(heard.events).toEqual(['sent', 'start', 'data', 'end']);
    expect(heard.status).toBe(200);
    expect(heard.headers['content-type']).toBe('application/json');
    expect(JSON.parse(heard.text()).usage).toEqual(upstream.served[0]!.usage);
    expect(heard.attempt.sent).toBe(true);
  });

  test('reuses connections: one in use, one being handed back', async () => {
    const one = provider();
    const ports = new Set<number | undefined>();
    upstream.script((exchange) => {
      ports.add(exchange.response.socket?.remotePort);
      return chat()(exchange);
    });
    for (let i = 0; i < 10; i++) await record(one).over;
    expect(upstream.requests).toHaveLength(10);
    expect(ports.size).toBeLessThanOrEqual(2);
  });

  test.each([400, 401, 429, 500])('answered with %i has an answer, not a failure', async (status) => {
    upstream.script(error(status, 'some_error', 'some_code'));
    const heard = record(provider());
    await heard.over;
    expect(heard.status).toBe(status);
    expect(JSON.parse(heard.text()).error.code).toBe('some_code');
    expect(heard.failure).toBeNull();
  });

  test('hears nothing of an informational answer', async () => {
    upstream.script('informed');
    const heard = record(provider());
    await heard.over;
    expect(heard.events).toEqual(['sent', 'start', 'data', 'end']);
    expect(heard.status).toBe(200);
  });

  test('hears the first frame before the provider has sent its second', async () => {
    upstream.script('firstFrameThenHold');
    const first = Promise.withResolvers<void>();
    const heard = record(provider(), chatRequest({ stream: true }), () => {
      first.resolve();
      return true;
    });
    await first.promise;
    expect(heard.text()).toContain('Hello');
    expect(heard.text()).not.toContain('world');
    upstream.release();
    await heard.over;
    expect(heard.text().endsWith('data: [DONE]\n\n')).toBe(true);
  });
});

describe('a failure says what happened and whether the request may have reached the provider', () => {
  test('connection refused: connect, not sent', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const heard = record(provider({ baseUrl: `http://127.0.0.1:${port}/v1` }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'connect', sent: false, cause: { code: 'ECONNREFUSED' } });
    expect(heard.events).toEqual(['sent', 'failure']);
    expect(heard.attempt.sent).toBe(false);
  });

  test('unknown host: connect, not sent', async () => {
    const heard = record(provider({ baseUrl: 'http://no-such-host.invalid/v1' }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'connect', sent: false });
  });

  test('closed: connect, not sent', async () => {
    const one = provider();
    await one.close();
    const heard = record(one);
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'connect', sent: false });
    expect(heard.events).toEqual(['sent', 'failure']);
  });

  const scripted: [string, ScriptName, boolean][] = [
    ['reset before the head', 'resetBeforeHead', false],
    ['reset in the middle of the body', 'resetMidStream', true],
  ];
  test.each(scripted)('%s: reset, sent', async (_name, script, started) => {
    upstream.script(script);
    const heard = record(provider(), chatRequest({ stream: true }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'reset', sent: true });
    expect(heard.events[1]).toBe(started ? 'start' : 'failure');
    expect(heard.events.filter((event) => event === 'failure' || event === 'end')).toHaveLength(1);
  });

  const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';
  const broken: [string, string, 'reset' | 'protocol'][] = [
    ['the connection ends before a head', '', 'reset'],
    ['a body shorter than its content-length', `${head}content-length: 100\r\n\r\n{"id":`, 'reset'],
    ['the same on a closing connection', `${head}connection: close\r\ncontent-length: 100\r\n\r\n{"id":`, 'reset'],
    [
      'a chunked body without its end',
      `${head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"id"\r\n`,
      'reset',
    ],
    ['no HTTP at all', 'SSH-2.0-OpenSSH_9.9\r\n', 'protocol'],
    ['a head beyond 64 KiB', `${head}x-big: ${'a'.repeat(70_000)}\r\n\r\n`, 'protocol'],
    ['a compressed body', `${head}content-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc`, 'protocol'],
  ];
  test.each(broken)('%s: sent', async (_name, answer, kind) => {
    const heard = record(await rawProvider(answer));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind, sent: true });
    expect(heard.events).not.toContain('end');
  });

  test('a redirect: protocol, sent, and never followed', async () => {
    upstream.script((exchange) => {
      const location = new URL('/v1/elsewhere', upstream.url).href;
      exchange.response.writeHead(307, { location }).end();
    });
    const heard = record(provider());
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'protocol', sent: true });
    expect(heard.events).toEqual(['sent', 'failure']);
    expect(upstream.requests).toHaveLength(1);
  });

  test('no head within headersTimeoutMs: timeout, sent', async () => {
    upstream.script('never');
    const heard = record(provider({ headersTimeoutMs: 100 }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'timeout', sent: true });
    expect(heard.events).toEqual(['sent', 'failure']);
    expect(await upstream.requests[0]!.ended).toBe('cut');
  });

  test('silence in the body beyond bodyTimeoutMs: timeout, sent', async () => {
    upstream.script('firstFrameThenHold');
    const heard = record(provider({ bodyTimeoutMs: 100 }), chatRequest({ stream: true }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'timeout', sent: true });
    expect(heard.events).toEqual(['sent', 'start', 'data', 'failure']);
  });

  test('more attempts than the provider may have: busy, not sent; the next after one has ended is sent', async () => {
    upstream.script('held');
    const one = provider({ connections: 2 });
    const running = [record(one), record(one)];
    await upstream.arrived(2);
    const third = record(one);
    await third.over;
    expect(third.failure).toMatchObject({ kind: 'busy', sent: false });
    running[0]!.attempt.abort();
    upstream.release();
    await running[1]!.over;
    await record(one).over;
    expect(upstream.requests).toHaveLength(3);
  });
});

describe('backpressure', () => {
  test('a paused attempt stops the provider from sending; resumed, nothing is missing', async () => {
    const pieces = Array.from({ length: 1500 }, () => 'x'.repeat(16 * 1024));
    let written = 0;
    upstream.script(
      stream({ pieces }, (index) => {
        written = index;
      }),
    );
    let paused = false;
    const heard = record(provider(), chatRequest({ stream: true }), () => !paused);
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
    upstream.script('firstFrameThenHold');
    const first = Promise.withResolvers<void>();
    const heard = record(provider(), chatRequest({ stream: true }), () => {
      first.resolve();
      return true;
    });
    await first.promise;
    heard.attempt.abort();
    heard.attempt.abort();
    expect(await upstream.requests[0]!.ended).toBe('cut');
    expect(heard.events).toEqual(['sent', 'start', 'data']);
    expect(heard.attempt.sent).toBe(true);
  });

  test('from within onData ends it there', async () => {
    upstream.script(chat({ pieces: Array.from({ length: 100 }, () => 'word ') }));
    const heard = record(provider(), chatRequest({ stream: true }), (_chunk, { attempt }) => {
      attempt.abort();
      return false;
    });
    await upstream.arrived(1);
    await upstream.requests[0]!.ended;
    await record(provider()).over;
    expect(heard.chunks).toHaveLength(1);
    expect(heard.events).toEqual(['sent', 'start', 'data']);
  });

  test('before the connection is made, nothing is ever sent', async () => {
    const one = provider();
    const heard = record(one);
    heard.attempt.abort();
    await record(one).over;
    expect(heard.attempt.sent).toBe(false);
    expect(heard.events).toEqual(['sent']);
    expect(upstream.requests).toHaveLength(1);
  });

  test('after the end has no effect: the connection is kept', async () => {
    const one = provider();
    const heard = record(one);
    await heard.over;
    heard.attempt.abort();
    heard.attempt.resume();
    await record(one).over;
    expect(await upstream.requests[0]!.ended).toBe('whole');
  });
});

test('close ends what runs, as a failure', async () => {
  upstream.script('held');
  const one = provider();
  const heard = record(one);
  await upstream.arrived(1);
  await one.close();
  await heard.over;
  expect(heard.failure).toMatchObject({ kind: 'reset', sent: true });
  expect(await upstream.requests[0]!.ended).toBe('cut');
});
