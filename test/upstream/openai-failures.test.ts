import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { ScriptName } from '../support/scripted-upstream.ts';
import { chatRequest, record } from './recorder.ts';
import { useRig } from './rig.ts';

const rig = useRig();

describe('a failure says what happened and whether the request may have reached the provider', () => {
  test('connection refused: connect, not sent', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const heard = record(rig.provider({ baseUrl: `http://127.0.0.1:${port}/v1` }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'connect', sent: false, cause: { code: 'ECONNREFUSED' } });
    expect(heard.events).toEqual(['sent', 'failure']);
    expect(heard.attempt.sent).toBe(false);
  });

  test('unknown host: connect, not sent', async () => {
    const heard = record(rig.provider({ baseUrl: 'http://no-such-host.invalid/v1' }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'connect', sent: false });
  });

  test('closed: connect, not sent', async () => {
    const one = rig.provider();
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
    rig.upstream.script(script);
    const heard = record(rig.provider(), chatRequest({ stream: true }));
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
    const heard = record(await rig.rawProvider(answer));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind, sent: true });
    expect(heard.events).not.toContain('end');
  });

  test('a redirect: protocol, sent, and never followed', async () => {
    rig.upstream.script((exchange) => {
      const location = new URL('/v1/elsewhere', rig.upstream.url).href;
      exchange.response.writeHead(307, { location }).end();
    });
    const heard = record(rig.provider());
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'protocol', sent: true });
    expect(heard.events).toEqual(['sent', 'failure']);
    expect(rig.upstream.requests).toHaveLength(1);
  });

  test('no head within headersTimeoutMs: timeout, sent', async () => {
    rig.upstream.script('never');
    const heard = record(rig.provider({ headersTimeoutMs: 100 }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'timeout', sent: true });
    expect(heard.events).toEqual(['sent', 'failure']);
    expect(await rig.upstream.requests[0]!.ended).toBe('cut');
  });

  test('silence in the body beyond bodyTimeoutMs: timeout, sent', async () => {
    rig.upstream.script('firstFrameThenHold');
    const heard = record(rig.provider({ bodyTimeoutMs: 100 }), chatRequest({ stream: true }));
    await heard.over;
    expect(heard.failure).toMatchObject({ kind: 'timeout', sent: true });
    expect(heard.events).toEqual(['sent', 'start', 'data', 'failure']);
  });

  test('more attempts than the provider may have: busy, not sent; the next after one has ended is sent', async () => {
    rig.upstream.script('held');
    const one = rig.provider({ connections: 2 });
    const running = [record(one), record(one)];
    await rig.upstream.arrived(2);
    const third = record(one);
    await third.over;
    expect(third.failure).toMatchObject({ kind: 'busy', sent: false });
    running[0]!.attempt.abort();
    rig.upstream.release();
    await running[1]!.over;
    await record(one).over;
    expect(rig.upstream.requests).toHaveLength(3);
  });
});

test('close ends what runs, as a failure', async () => {
  rig.upstream.script('held');
  const one = rig.provider();
  const heard = record(one);
  await rig.upstream.arrived(1);
  await one.close();
  await heard.over;
  expect(heard.failure).toMatchObject({ kind: 'reset', sent: true });
  expect(await rig.upstream.requests[0]!.ended).toBe('cut');
});
