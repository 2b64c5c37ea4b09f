/** Speech, by the official client: sound passes as it comes, its last bytes after the charge; by characters exactly, by tokens as told. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Receipt } from '../../src/metering/receipt-view.ts';
import {
  chargedTo,
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  receiptOf,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { binaryAnswer, events, jsonAnswer } from '../support/scripted-answers.ts';
import { at, hold, reset, type Script } from '../support/scripted-upstream.ts';

/** At 1,000 credits per USD: 0.015 credits a character; 0.001 credits a token of text, 0.01 of sound. */
const CATALOG = `
models:
  tts: { routes: [{ provider: scripted, model: tts-1 }], price: { character: 15 } }
  mini-tts: { routes: [{ provider: scripted, model: gpt-4o-mini-tts }], price: { input: 1, output_audio: 10 } }
  both: { routes: [{ provider: scripted, model: both }], price: { character: 15, request: 0.001 } }
  text-only: { routes: [{ provider: scripted, model: x }], price: { input: 1 } }
plans:
  standard: { default: true, models: ["*"], features: [] }
`;

let world: World;
let gateway: TestGateway;

beforeAll(async () => {
  world = await createWorld({}, '', CATALOG);
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

const mp3 = (bytes: number) => binaryAnswer('audio/mpeg', [Buffer.alloc(bytes / 2, 1), Buffer.alloc(bytes / 2, 2)]);

/** Asks with the real client; resolves with the sound and the receipt. */
async function speak(request: object): Promise<{ sound: Buffer; receipt: Receipt }> {
  const account = await createTestAccount(world, '5000');
  const body = { model: 'tts', voice: 'alloy', input: 'Hello', ...request };
  const response = await client(gateway, account).audio.speech.create(body);
  const sound = Buffer.from(await response.arrayBuffer());
  return { sound, receipt: await receiptOf(gateway, account.key, response.headers.get('x-request-id')) };
}

describe('by characters', () => {
  it('is charged for those of the text, and for none of how it is read', async () => {
    world.upstream.script(mp3(1_000));
    const { sound, receipt } = await speak({ input: 'Grüße, 世界 🌍!', instructions: 'Speak slowly.' });
    expect(sound.equals(Buffer.concat([Buffer.alloc(500, 1), Buffer.alloc(500, 2)]))).toBe(true);
    expect(receipt).toMatchObject({
      endpoint: '/v1/audio/speech',
      held: '0.18',
      charged: '0.18',
      usage_source: 'provider',
    });
    expect(receipt.lines).toMatchObject([{ unit: 'character', quantity: 12 }]);
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/audio/speech');
  });

  it('is charged so where tokens are reported, too', async () => {
    const usage = { input_tokens: 14, output_tokens: 101, total_tokens: 115 };
    world.upstream.script(
      events([
        { type: 'speech.audio.delta', audio: 'AAAA' },
        { type: 'speech.audio.done', usage },
      ]),
    );
    expect((await speak({ model: 'both', stream_format: 'sse' })).receipt.charged).toBe('1.075');
  });
});

describe('sound in bytes', () => {
  /** More than one read of a socket brings. */
  const piece = Buffer.alloc(300_000, 1);
  const speech = (account: TestAccount) =>
    client(gateway, account, 0).audio.speech.create({ model: 'tts', voice: 'alloy', input: 'Hello' });

  it('passes as it comes; the last of it waits for the charge', async () => {
    const account = await createTestAccount(world, '10');
    world.upstream.script(binaryAnswer('audio/mpeg', [piece, Buffer.from('end')], at(1, hold)));
    const reader = (await speech(account)).body!.getReader();
    let bytes = (await reader.read()).value!.length;
    expect(bytes).toBeGreaterThan(0);
    expect(await chargedTo(world, account.account)).toBe(0n);
    world.upstream.release();
    for (let part = await reader.read(); !part.done; part = await reader.read()) bytes += part.value.length;
    expect(bytes).toBe(300_003);
    expect(await chargedTo(world, account.account)).toBe(75_000_000n);
  });

  it.each([1, 3_000_000])('passes whole: %i bytes at once', async (bytes) => {
    world.upstream.script(binaryAnswer('audio/wav', [Buffer.alloc(bytes, 7)]));
    const { sound, receipt } = await speak({ response_format: 'wav' });
    expect(sound.equals(Buffer.alloc(bytes, 7))).toBe(true);
    expect(receipt.charged).toBe('0.075');
  });

  it('is charged in full where the client leaves: it is read to its end', async () => {
    const account = await createTestAccount(world, '10');
    world.upstream.script(binaryAnswer('audio/mpeg', [piece, Buffer.from('end')], at(1, hold)));
    await (await speech(account)).body!.cancel();
    world.upstream.release();
    await eventually(async () => (await chargedTo(world, account.account)) === 75_000_000n, 'it is charged');
  });

  it('never looks whole where the provider breaks off', async () => {
    const account = await createTestAccount(world, '10');
    const heldThenReset: Script = async (exchange) => {
      await exchange.held();
      await reset(exchange);
    };
    world.upstream.script(binaryAnswer('audio/mpeg', [piece, Buffer.from('end')], at(1, heldThenReset)));
    const response = await speech(account);
    world.upstream.release();
    await expect(response.arrayBuffer()).rejects.toThrow();
    await eventually(async () => (await chargedTo(world, account.account)) === 75_000_000n, 'it is charged');
  });
});

describe('by tokens', () => {
  it('is charged as the last event of a stream says, which waits for the charge', async () => {
    const usage = { input_tokens: 14, output_tokens: 101, total_tokens: 115 };
    world.upstream.script(
      events([
        { type: 'speech.audio.delta', audio: 'AAAA' },
        { type: 'speech.audio.done', usage },
      ]),
    );
    const { sound, receipt } = await speak({ model: 'mini-tts', stream_format: 'sse' });
    expect(sound.toString().trim().split('\n').at(-1)).toBe(
      `data: ${JSON.stringify({ type: 'speech.audio.done', usage })}`,
    );
    expect(receipt).toMatchObject({ charged: '1.024', usage_source: 'provider' });
    expect(receipt.lines).toMatchObject([
      { unit: 'input', quantity: 14 },
      { unit: 'output_audio', quantity: 101 },
    ]);
  });

  it('is estimated by the length of the sound where nothing is reported', async () => {
    const input = 'Ruby is a programming language designed for developer happiness.';
    // As recorded: 5.352 s at 21 tokens; 64 bytes of text at 4.
    world.upstream.script(mp3(85_632));
    const { receipt } = await speak({ model: 'mini-tts', input });
    expect(receipt).toMatchObject({ charged: '1.146', usage_source: 'estimated' });
    expect(receipt.lines).toMatchObject([
      { unit: 'input', quantity: 16 },
      { unit: 'output_audio', quantity: 113 },
    ]);
    // A form whose bytes tell nothing, and less sound than the text has: by the text.
    world.upstream.script(mp3(1_000));
    expect((await speak({ model: 'mini-tts', input, response_format: 'opus' })).receipt.charged).toBe('0.916');
    expect((await speak({ model: 'mini-tts', input })).receipt.charged).toBe('0.916');
  });

  it('is never estimated above what is held', async () => {
    world.upstream.script(mp3(16_000_000));
    const { receipt } = await speak({ model: 'mini-tts' });
    // 35 s at 21 tokens, and the bytes of the body.
    expect(Number(receipt.held)).toBeCloseTo(7.35 + 0.052, 9);
    expect(receipt.charged).toBe(receipt.held);
    expect(receipt.lines.map(({ unit }) => unit)).toEqual(['input', 'output_audio']);
  });

  it.each([
    ['slowly', { speed: 0.5 }, 14.7],
    ['fast', { speed: 4 }, 7.35],
    ['as instructed', { instructions: 'With long pauses.' }, 14.7],
  ])('is held for at what it may come to when it is read %s', async (_, request, sound) => {
    world.upstream.script(mp3(1_000));
    const body = { model: 'mini-tts', voice: 'alloy', input: 'Hello', ...request };
    expect(Number((await speak(request && body)).receipt.held)).toBeCloseTo(
      sound + JSON.stringify(body).length / 1000,
      9,
    );
  });
});

describe('is refused, with its field', () => {
  it.each([
    ['input', { input: undefined }],
    ['input', { input: ['a'] }],
    ['instructions', { instructions: 5 }],
    ['voice.id', { voice: { id: 'voice_123' } }],
    ['voice', { voice: 4 }],
    ['speed', { speed: 0.2 }],
    ['speed', { speed: 4.1 }],
    ['speed', { speed: '1' }],
    ['stream_format', { stream_format: 'xml' }],
    ['response_format', { response_format: 1 }],
    ['model', { model: undefined }],
  ])('%s: %j', async (param, request) => {
    const before = world.upstream.requests.length;
    await expect(speak(request)).rejects.toMatchObject({ status: 400, param });
    expect(world.upstream.requests.length).toBe(before);
  });

  it('a model that has a price for text alone', async () => {
    await expect(speak({ model: 'text-only' })).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });
});

it("passes the provider's own refusal on, free of charge", async () => {
  const error = {
    message: 'string too long',
    type: 'invalid_request_error',
    param: 'input',
    code: 'string_above_max_length',
  };
  world.upstream.script(jsonAnswer({ error }, 400));
  await expect(speak({ input: 'x'.repeat(5_000) })).rejects.toMatchObject({
    status: 400,
    code: 'string_above_max_length',
  });
});
