/** What all planes share: a client that does not take its answer keeps no connection. */
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, expect, it } from 'vitest';
import { createHttp } from '../src/http.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLogger } from '../src/observe/log.ts';

/** More than all buffers between two sockets take. */
const LARGE = Buffer.alloc(32 * 1024 * 1024, 'x');
const STALL_MS = 1_500;

const timeouts = { headersTimeoutMs: 10_000, requestTimeoutMs: 10_000, stallMs: STALL_MS };
const app = createHttp({ maxBodyBytes: 1024, ...timeouts, clock: systemClock, log: silentLogger });
app.get('/large', () => LARGE);
app.get('/at-once', () => 'at once');
app.get('/late', async () => {
  await sleep(2 * STALL_MS);
  return 'late';
});
let listening: Promise<string> | null = null;
afterEach(() => expectNone());
afterAll(() => app.close());

const connections = (): Promise<number> =>
  new Promise((resolve, reject) =>
    app.server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );

/** Waits until no connection is left, for at most 5 s. */
async function expectNone(): Promise<void> {
  for (let i = 0; i < 100 && (await connections()) > 0; i++) await sleep(50);
  expect(await connections()).toBe(0);
}

async function get(path: string, connection = 'close') {
  listening ??= app.listen({ host: '127.0.0.1', port: 0 });
  await listening;
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1').pause();
  const ask = (to: string, how: string): boolean =>
    socket.write(`GET ${to} HTTP/1.1\r\nhost: x\r\nconnection: ${how}\r\n\r\n`);
  ask(path, connection);
  return { socket, ask };
}

it('a client that reads nothing of its answer is cut off', async () => {
  const { socket } = await get('/large');
  await once(app.server, 'request');
  await expectNone();
  socket.destroy();
});

it('one that is slow gets the whole, however long that takes', async () => {
  const { socket } = await get('/large');
  const began = performance.now();
  let bytes = 0;
  for await (const chunk of socket) {
    // The buffers empty several times in the time after which it would be cut.
    if (Math.floor(bytes / 2 ** 20) < Math.floor((bytes + chunk.length) / 2 ** 20)) await sleep(STALL_MS / 12);
    bytes += chunk.length;
  }
  expect(bytes).toBeGreaterThan(LARGE.length);
  expect(performance.now() - began).toBeGreaterThan(2 * STALL_MS);
});

it.each([false, true])('one that waits for its next answer is none of these, asked for at once: %s', async (atOnce) => {
  const { socket, ask } = await get('/at-once', 'keep-alive');
  socket.resume();
  if (!atOnce) await once(socket, 'data');
  ask('/late', 'close');
  let text = '';
  socket.on('data', (chunk) => (text += chunk));
  await once(socket, 'close');
  expect(text).toMatch(/late$/);
});

it('the client is the last address that is no trusted proxy; others say in vain where theirs is', async () => {
  const seenBy = async (trustedProxies: string[], peer: string, forwarded: string) => {
    const proxied = createHttp({
      maxBodyBytes: 1024,
      ...timeouts,
      trustedProxies,
      clock: systemClock,
      log: silentLogger,
    });
    proxied.get('/ip', (request) => request.ip);
    const headers = { 'x-forwarded-for': forwarded };
    return (await proxied.inject({ url: '/ip', remoteAddress: peer, headers })).body;
  };
  expect(await seenBy([], '10.0.0.1', '1.1.1.1')).toBe('10.0.0.1');
  expect(await seenBy(['10.0.0.0/8'], '11.0.0.1', '1.1.1.1')).toBe('11.0.0.1');
  expect(await seenBy(['10.0.0.0/8'], '::ffff:10.0.0.1', '6.6.6.6, 1.1.1.1, 10.0.0.2')).toBe('1.1.1.1');
  expect(await seenBy(['10.0.0.0/8', '2001:db8::1'], '2001:db8::1', '6.6.6.6, 2001:db8::2')).toBe('2001:db8::2');
});
