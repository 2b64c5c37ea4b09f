/** Clients that leave, or take nothing: what is still read for them is bounded, in time, output and memory, and it is charged. */
import { once } from 'node:events';
import { connect, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { InFlight } from '../../src/gateway/in-flight.ts';
import { parseCredits } from '../../src/lib/money.ts';
import type { Receipt } from '../../src/metering/receipt-view.ts';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
  warmTokens,
} from '../support/gateway.ts';
import { at, hold, type Script, stream, usage } from '../support/scripted-upstream.ts';

/** At 0.001 credits a token of input, and 0.002 of output, in nano-credits. */
const INPUT = 1_000_000n;
const OUTPUT = 2_000_000n;

let world: World;
let gateway: TestGateway;
let account: TestAccount;
beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
  await warmTokens(world, gateway, 'plain');
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await expectSettled(world);
});

/** Lets what waits for so many milliseconds wait for fewer, sockets too. */
function hasten(from: number, to: number): void {
  const { setTimeout } = globalThis;
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, ms: number) =>
    setTimeout(run, ms === from ? to : ms)) as typeof setTimeout);
  const ofSocket = Socket.prototype.setTimeout;
  vi.spyOn(Socket.prototype, 'setTimeout').mockImplementation(function (this: Socket, ms, ...rest) {
    return ofSocket.call(this, ms === from ? to : ms, ...rest);
  });
}

function bodyOf(model: string, more: object = {}): string {
  const messages = [{ role: 'user', content: 'Say hello' }];
  return JSON.stringify({ model, stream: true, messages, ...more });
}
const estimateOf = (body: string): bigint => BigInt(Math.ceil(body.length / 4)) * INPUT;

/** Asks over a socket of its own; resolves once the first frames are there. No more is read after that. */
async function ask(body: string): Promise<Socket> {
  account = await createTestAccount(world, '1000000');
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  socket.on('error', () => {});
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${account.key}\r\n`;
  socket.write(`${head}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  let text = '';
  while (!text.includes('data: ')) text += String((await once(socket, 'data'))[0]);
  socket.pause();
  return socket;
}

/** Its receipt, once it is charged. */
async function receipt(): Promise<Receipt> {
  await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'it is charged');
  const { data } = (await get(gateway, account.key, '/account/v1/requests')) as unknown as { data: Receipt[] };
  expect(data).toHaveLength(1);
  return data[0]!;
}
/** Goes on after its first frame once it is released, until nobody listens. */
function endless(content: string): Script {
  const frame = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`;
  return async ({ response, request, held }) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(frame);
    await held();
    while (!response.destroyed) {
      if (!response.write(frame)) await Promise.race([once(response, 'drain'), request.ended]);
    }
  };
}

const charged = (): Promise<bigint> => chargedTo(world, account.account);

describe('a stream that is read on for a client that left', () => {
  it('is cut after two minutes, and charged for what had come', async () => {
    hasten(120_000, 100);
    world.upstream.script(stream({}, at(2, hold)));
    const body = bodyOf('drain');
    (await ask(body)).destroy();
    expect(await receipt()).toMatchObject({
      ...{ policy: 'on_disconnect: drain', disconnect: 'aborted', usage_source: 'estimated' },
      attempts: [{ outcome: 'abandoned' }],
    });
    expect(await charged()).toBe(estimateOf(body) + 2n * OUTPUT);
    expect(await world.upstream.requests.at(-1)!.ended).toBe('cut');
    world.upstream.release();
  });

  it('is cut two seconds after its text has ended, should its usage not come', async () => {
    hasten(2_000, 100);
    // Frames 0 to 2 are text, 3 says why it ended.
    world.upstream.script(stream({}, at(4, hold)));
    const body = bodyOf('plain');
    const forwarding = vi.spyOn(InFlight.prototype, 'forwarding');
    const socket = await ask(body);
    await eventually(() => forwarding.mock.calls[0]![1].reader!.finished, 'its text has ended');
    socket.destroy();
    expect(await receipt()).toMatchObject({ policy: 'on_disconnect: abort', usage_source: 'estimated' });
    expect(await charged()).toBe(estimateOf(body) + 3n * OUTPUT);
    world.upstream.release();
  });

  it.each([
    ['tokens', 'word '],
    ['bytes', 'x'.repeat(8_000)],
  ])(
    'is cut once there is more than was held for, counted in %s, and charged no more than that',
    async (_name, piece) => {
      world.upstream.script(endless(piece));
      const body = bodyOf('drain', { max_tokens: 50 });
      (await ask(body)).destroy();
      await sleep(50);
      world.upstream.release();
      const { policy, disconnect, held, lines } = await receipt();
      expect({ policy, disconnect }).toEqual({ policy: 'on_disconnect: drain', disconnect: 'aborted' });
      expect(await world.upstream.requests.at(-1)!.ended).toBe('cut');
      expect(await charged()).toBeLessThanOrEqual(parseCredits(held)!);
      expect(Number(lines.find(({ unit }) => unit === 'output')!.quantity)).toBeGreaterThanOrEqual(50);
    },
  );
});

const FRAME_BYTES = 128 * 1024;
/** More than all sockets between the provider and the client take. */
const MANY = 512;

/** Frames that are large, each with a token in it, as fast as they are taken, `sent.frames` of them; ends once it is released. */
function flood(frames: number, sent: { frames: number }): Script {
  const pad = 'x'.repeat(FRAME_BYTES);
  return async ({ response, request, held }) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const send = async (json: object): Promise<void> => {
      if (!response.write(`data: ${JSON.stringify(json)}\n\n`))
        await Promise.race([once(response, 'drain'), request.ended]);
    };
    for (sent.frames = 0; sent.frames < frames && !response.destroyed; sent.frames++) {
      await send({ choices: [{ index: 0, delta: { content: ' a' }, finish_reason: null }], pad });
    }
    await held();
    await send({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
    await send({ choices: [], usage: usage(12, frames) });
    response.end('data: [DONE]\n\n');
  };
}

/** Waits until no more is taken. */
async function stuck(sent: { frames: number }): Promise<void> {
  let last = -1;
  while (sent.frames !== last) {
    last = sent.frames;
    await sleep(250);
  }
  expect(last).toBeLessThan(MANY);
}

describe('a client that takes nothing', () => {
  it('keeps its provider waiting, not the memory full, and is charged for what was read when it gives up', async () => {
    const sent = { frames: 0 };
    world.upstream.script(flood(MANY, sent));
    const forwarding = vi.spyOn(InFlight.prototype, 'forwarding');
    const body = bodyOf('long');
    const socket = await ask(body);
    await stuck(sent);
    // What the gateway has read, and the client's connection has not taken: a frame, its like, and what a socket buffers.
    expect(forwarding.mock.calls[0]![0].response.writableLength).toBeLessThan(4 * FRAME_BYTES);
    socket.destroy();
    const { policy, disconnect, usage_source } = await receipt();
    expect({ policy, disconnect, usage_source }).toEqual({
      ...{ policy: 'on_disconnect: abort', disconnect: 'aborted' },
      usage_source: 'estimated',
    });
    const output = (await charged()) - estimateOf(body);
    expect(output % OUTPUT).toBe(0n);
    expect(output / OUTPUT).toBeGreaterThanOrEqual(1n);
    expect(output / OUTPUT).toBeLessThanOrEqual(BigInt(sent.frames + 1));
  });

  it('has left after a minute, whatever its connection says: its stream is given up', async () => {
    hasten(60_000, 200);
    const sent = { frames: 0 };
    world.upstream.script(flood(MANY, sent));
    const socket = await ask(bodyOf('long'));
    expect(await receipt()).toMatchObject({ policy: 'on_disconnect: abort', disconnect: 'aborted' });
    expect(sent.frames).toBeLessThan(MANY);
    socket.destroy();
  });

  it('has left after a minute: a stream that is to be drained is, to its exact charge', async () => {
    hasten(60_000, 200);
    const sent = { frames: 0 };
    world.upstream.script(flood(MANY, sent));
    const socket = await ask(bodyOf('drain', { max_tokens: 1000 }));
    world.upstream.release();
    expect(await receipt()).toMatchObject({
      policy: 'on_disconnect: drain',
      disconnect: 'drained',
      usage_source: 'provider',
    });
    expect(await charged()).toBe(12n * INPUT + BigInt(MANY) * OUTPUT);
    socket.destroy();
  });

  it('and goes on before that, gets the whole answer', async () => {
    const limits = vi.spyOn(Socket.prototype, 'setTimeout');
    const forwarding = vi.spyOn(InFlight.prototype, 'forwarding');
    const sent = { frames: 0 };
    world.upstream.script(flood(MANY, sent));
    const socket = await ask(bodyOf('long'));
    await stuck(sent);
    let last = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      last = Buffer.concat([last, chunk]).subarray(-64);
    });
    socket.resume();
    await eventually(() => socket.bytesRead > MANY * FRAME_BYTES, 'it catches up');
    // No clock runs against it any more.
    const of = forwarding.mock.calls[0]![0].response.socket;
    const set = limits.mock.calls.filter((_, i) => limits.mock.contexts[i] === of).map(([ms]) => ms);
    expect(set).toContain(60_000);
    expect(set.at(-1)).toBe(0);
    world.upstream.release();
    await eventually(() => last.includes('[DONE]'), 'the end comes');
    expect(await receipt()).toMatchObject({ policy: null, disconnect: null, usage_source: 'provider' });
    socket.destroy();
  });
});
