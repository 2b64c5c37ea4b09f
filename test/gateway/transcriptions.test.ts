/** Sounds through the official client: what reaches the provider, what is charged, and what is refused. */
import { toFile } from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  chargedTo,
  client,
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
} from '../support/gateway.ts';
import { error, sequence } from '../support/scripted-upstream.ts';
import { wav } from '../support/sounds.ts';
import { answer, DURATION, HEARD } from './heard-rig.ts';

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld({}, '', HEARD);
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await expectSettled(world);
  await closeWorld(world);
});
beforeEach(async () => {
  account = await createTestAccount(world, '1000');
});

const sound = (seconds = 3.25) => toFile(wav(seconds), 'hello.wav', { type: 'audio/wav' });
const last = () => world.upstream.requests.at(-1)!;

/** The parts of what reached the provider, by name. */
async function forwarded(): Promise<FormData> {
  const { body, headers } = last();
  return new Response(new Uint8Array(body), { headers: { 'content-type': headers['content-type']! } }).formData();
}

describe('a transcription', () => {
  it('is charged the seconds that the provider reports; all but the model arrives as it came', async () => {
    world.upstream.script(answer(DURATION));
    const { audio } = client(gateway, account);
    const { data, response } = await audio.transcriptions
      .create({ model: 'whisper-1', file: await sound(), timestamp_granularities: ['word'], prompt: 'Names: Åsa' })
      .withResponse();
    expect(data.text).toBe('Hello.');
    // 4 s at 0.0001 USD, 1,000 credits to the USD.
    expect(response.headers.get('x-tollgate-charged')).toBe('0.4');
    expect(await chargedTo(world, account.account)).toBe(400_000_000n);
    const form = await forwarded();
    expect(form.get('model')).toBe('whisper-upstream');
    expect(form.get('prompt')).toBe('Names: Åsa');
    expect(form.getAll('timestamp_granularities[]')).toEqual(['word']);
    expect(Buffer.from(await (form.get('file') as File).arrayBuffer())).toEqual(wav(3.25));
    expect(last().headers['content-length']).toBe(String(last().body.length));
  });

  it.each([
    ['text', 'text/plain; charset=utf-8'],
    ['srt', 'text/plain'],
    ['vtt', 'text/plain'],
  ] as const)(
    'as %s reports nothing: the seconds of its sound are the bill, to the part of one',
    async (format, type) => {
      world.upstream.script(answer('Hello there.', type));
      const text = await client(gateway, account).audio.transcriptions.create({
        model: 'whisper-same',
        file: await sound(),
        response_format: format,
      });
      expect(text).toBe('Hello there.');
      expect(await chargedTo(world, account.account)).toBe(325_000_000n);
      const { data } = (await get(gateway, account.key, '/account/v1/requests')) as { data: Record<string, unknown>[] };
      expect(data[0]).toMatchObject({
        endpoint: '/v1/audio/transcriptions',
        usage_source: 'provider',
        held: '0.5',
        charged: '0.325',
        lines: [{ unit: 'second_input', quantity: 3.25 }],
      });
    },
  );

  it('is charged by tokens where these have a price, as a stream too', async () => {
    const usage = {
      type: 'tokens',
      input_tokens: 40,
      input_token_details: { text_tokens: 8, audio_tokens: 32 },
      output_tokens: 5,
      total_tokens: 45,
    };
    const done = { type: 'transcript.text.done', text: 'Hi', usage };
    const events = [{ type: 'transcript.text.delta', delta: 'Hi' }, done];
    world.upstream.script(
      answer(
        `${events.map((event) => `data: ${JSON.stringify(event)}\r\n\r\n`).join('')}data: [DONE]\r\n\r\n`,
        'text/event-stream',
      ),
    );
    const stream = await client(gateway, account).audio.transcriptions.create({
      model: 'gpt-4o-transcribe',
      file: await sound(),
      stream: true,
    });
    const seen: unknown[] = [];
    for await (const event of stream) seen.push(event);
    expect(seen).toEqual(events);
    // 8 at 1, 32 at 4, 5 at 2, in thousandths of a credit.
    await eventually(async () => (await chargedTo(world, account.account)) === 146_000_000n, 'it is charged');
  });

  it('that reports neither is charged an estimate by tokens', async () => {
    world.upstream.script(answer('x'.repeat(40), 'text/plain'));
    const file = await sound();
    await client(gateway, account).audio.transcriptions.create({
      model: 'gpt-4o-transcribe',
      file,
      response_format: 'text',
    });
    // 40 tokens of sound at 4, 10 of text at 2.
    expect(await chargedTo(world, account.account)).toBe(180_000_000n);
  });

  it('that reports neither, of a sound that cannot be measured, is charged by its size', async () => {
    world.upstream.script(answer('x'.repeat(40), 'text/plain'));
    await client(gateway, account).audio.transcriptions.create({
      model: 'gpt-4o-transcribe',
      file: await toFile(Buffer.alloc(6_000, 'no sound that is known'), 'hello.mp4'),
      response_format: 'text',
    });
    // 20 tokens of sound at 4, 10 of text at 2.
    expect(await chargedTo(world, account.account)).toBe(100_000_000n);
  });

  it('in tokens, at a price by the second, is charged the seconds of its sound', async () => {
    world.upstream.script(answer({ text: 'Hi', usage: { input_tokens: 0, output_tokens: 12, total_tokens: 12 } }));
    await client(gateway, account).audio.transcriptions.create({ model: 'whisper-1', file: await sound() });
    expect(await chargedTo(world, account.account)).toBe(325_000_000n);
  });

  it('refused by the provider costs nothing, and its words pass', async () => {
    world.upstream.script('badRequest');
    const failed = client(gateway, account).audio.transcriptions.create({ model: 'whisper-1', file: await sound() });
    await expect(failed).rejects.toMatchObject({ status: 400, code: 'invalid_value' });
    expect(await chargedTo(world, account.account)).toBe(0n);
  });

  it('is sent whole to a second route', async () => {
    world.upstream.script(sequence(error(500, 'server_error', null), answer(DURATION)));
    // Larger than what stays in memory: 2 MB.
    const bytes = wav(62.5);
    const file = await toFile(bytes, 'long.wav');
    await client(gateway, account, 0).audio.transcriptions.create({ model: 'whisper-twice', file });
    const [first, second] = world.upstream.requests.slice(-2);
    expect(first!.body.toString('latin1')).toContain('\r\nfirst\r\n');
    expect(second!.body.toString('latin1')).toContain('\r\nsecond\r\n');
    expect(Buffer.from(await ((await forwarded()).get('file') as File).arrayBuffer()).equals(bytes)).toBe(true);
  });
});

it('a translation reports nothing: the seconds of its sound are the bill', async () => {
  world.upstream.script(answer({ text: 'Hello.' }));
  const { text } = await client(gateway, account).audio.translations.create({
    model: 'whisper-1',
    file: await sound(61),
  });
  expect(text).toBe('Hello.');
  expect(last().path).toBe('/v1/audio/translations');
  expect(await chargedTo(world, account.account)).toBe(6_100_000_000n);
});
