/** Pictures made and edited, by the official client: by the picture or by tokens, whole or streamed, small or of many megabytes. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
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
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { events, jsonAnswer } from '../support/scripted-answers.ts';
import { at, hold, reset, type Script } from '../support/scripted-upstream.ts';

/** At 1,000 credits per USD: 0.001 credits a token of text, 0.002 of a picture sent, 0.01 of one made. */
const CATALOG = `
models:
  gpt-image-1.5: { routes: [{ provider: scripted, model: gpt-image-1.5 }], price: { input: 1, input_image: 2, output_image: 10 } }
  drained: { routes: [{ provider: scripted, model: gpt-image-2 }], on_disconnect: drain, price: { input: 1, output_image: 10 } }
  dall-e-2: { routes: [{ provider: scripted, model: dall-e-2 }], price: { image: { 256x256: "0.016", 1024x1024: "0.02" } } }
  dall-e-3: { routes: [{ provider: scripted, model: dall-e-3 }], price: { image: { 1024x1024: { standard: "0.04", hd: "0.08" }, 1792x1024: { standard: "0.08", hd: "0.12" } } } }
  text-only: { routes: [{ provider: scripted, model: x }], price: { input: 1 } }
plans:
  standard: { default: true, models: ["*"], features: [] }
  one: { models: ["gpt-image-1.5"], features: [] }
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

/** Asks for a picture with the real client; resolves with the answer, the receipt, and the body as the provider got it. */
async function draw(request: object) {
  const account = await createTestAccount(world, '5000');
  const { data, response } = await client(gateway, account, 0)
    .images.generate({ prompt: 'A red circle', ...request, stream: false })
    .withResponse();
  return {
    data,
    receipt: await receiptOf(gateway, account.key, response.headers.get('x-request-id')),
    sent: world.upstream.requests.at(-1)!.body.toString(),
  };
}

const USAGE = {
  ...{ input_tokens: 14, input_tokens_details: { image_tokens: 0, text_tokens: 14 } },
  ...{ output_tokens: 272, output_tokens_details: { image_tokens: 272, text_tokens: 0 }, total_tokens: 286 },
};
const heldThenReset: Script = async (exchange) => {
  await exchange.held();
  await reset(exchange);
};
const picture = (bytes = 8) => ({ b64_json: 'A'.repeat(bytes) });
const made = (usage: object | null, data: object[] = [picture()]) =>
  jsonAnswer({ created: 0, data, ...(usage === null ? {} : { size: '1024x1024', quality: 'low', usage }) });
const urls = (count: number) =>
  jsonAnswer({ created: 0, data: Array.from({ length: count }, () => ({ url: 'https://x' })) });

describe('by tokens', () => {
  it('is charged as reported, text apart from pictures', async () => {
    world.upstream.script(made(USAGE));
    const { receipt, sent } = await draw({ model: 'gpt-image-1.5', quality: 'low', size: '1024x1024' });
    expect(receipt).toMatchObject({ endpoint: '/v1/images/generations', charged: '2.734', usage_source: 'provider' });
    expect(receipt.lines.filter(({ unit }) => unit !== 'image')).toMatchObject([
      { unit: 'input', quantity: 14 },
      { unit: 'output_image', quantity: 272 },
    ]);
    expect(sent).toContain('"model":"gpt-image-1.5"');
  });

  it.each([
    ['by its quality', { quality: 'low', size: '1024x1024' }, 463 + 256],
    ['by its size', { quality: 'medium', size: '1536x1024' }, 2_693 + 256],
    ['each', { quality: 'low', size: '1024x1024', n: 4 }, 4 * (463 + 256)],
    ['with each partial one', { quality: 'low', size: '1024x1024', partial_images: 3 }, 463 + 256 + 300],
    ['as the dearest, where the model chooses', {}, 10_608 + 256],
    ['by its pixels, where it is large', { quality: 'high', size: '3840x2160' }, 55_941 + 256],
    ['as the largest, where its size is not understood', { quality: 'high', size: '4K' }, 55_941 + 256],
  ])('is held for %s', async (_, request, tokens) => {
    world.upstream.script(made(USAGE));
    const body = { model: 'gpt-image-1.5', ...request };
    const bytes = JSON.stringify({ prompt: 'A red circle', ...body, stream: false }).length;
    expect(Number((await draw(body)).receipt.held)).toBeCloseTo(tokens * 0.01 + bytes * 0.002, 9);
  });

  it('is estimated by what is shown where nothing is reported', async () => {
    world.upstream.script(made(null, [picture(), picture()]));
    const { receipt } = await draw({ model: 'gpt-image-1.5', quality: 'low', size: '1024x1024', n: 3 });
    expect(receipt.usage_source).toBe('estimated');
    expect(receipt.lines).toMatchObject([
      { unit: 'input' },
      { unit: 'output_image', quantity: 544 },
      { unit: 'image', quantity: 2 },
    ]);
  });
});

describe('by the picture', () => {
  it.each([
    ['its size', { model: 'dall-e-2', size: '256x256' }, 1, '16'],
    ['the size that is usual, where none is asked for', { model: 'dall-e-2' }, 1, '20'],
    ['each', { model: 'dall-e-2', n: 3, size: '256x256' }, 3, '48'],
    ['as many as came', { model: 'dall-e-2', n: 3, size: '256x256' }, 2, '32'],
    ['none, where none came', { model: 'dall-e-2', n: 3 }, 0, '0'],
    ['its quality', { model: 'dall-e-3', size: '1792x1024', quality: 'hd' }, 1, '120'],
    ['the usual size and quality', { model: 'dall-e-3' }, 1, '40'],
    [
      'the dearest, where the model chooses and does not say',
      { model: 'dall-e-3', size: 'auto', quality: 'auto' },
      1,
      '120',
    ],
  ])('is charged by %s', async (_, request, count, charged) => {
    world.upstream.script(urls(count));
    expect((await draw(request)).receipt).toMatchObject({ charged, usage_source: 'provider' });
  });

  it("is charged by the answer's own size", async () => {
    world.upstream.script(jsonAnswer({ data: [{ url: 'x' }], size: '256x256' }));
    expect((await draw({ model: 'dall-e-2' })).receipt.charged).toBe('16');
  });

  it('is charged for all that were asked for where the answer cannot be read', async () => {
    world.upstream.script(jsonAnswer({ images: ['?'] }));
    expect((await draw({ model: 'dall-e-2', n: 2 })).receipt).toMatchObject({
      charged: '40',
      usage_source: 'estimated',
    });
  });

  it('is held for at the dearest size', async () => {
    world.upstream.script(urls(1));
    expect((await draw({ model: 'dall-e-2', n: 2, size: '256x256' })).receipt.held).toBe('40');
  });
});

describe('a model that is not named', () => {
  it('is the one that OpenAI takes, and is named to the provider', async () => {
    world.upstream.script(urls(1));
    expect((await draw({})).sent).toContain('"model":"dall-e-2"');
    world.upstream.script(made(USAGE));
    expect((await draw({ background: 'opaque' })).sent).toContain('"model":"gpt-image-1.5"');
  });

  it('is refused where the catalog does not have it', async () => {
    const account = await createTestAccount(world, '10');
    const asked = client(gateway, account).moderations.create({ input: 'x' });
    await expect(asked).rejects.toMatchObject({ status: 400, param: 'model' });
  });

  it('is refused where the account may not use it', async () => {
    const account = await createTestAccount(world, '10', 'one');
    const asked = client(gateway, account).images.generate({ prompt: 'x' });
    await expect(asked).rejects.toMatchObject({ status: 403, code: 'model_not_entitled' });
  });
});

describe('a stream', () => {
  const partial = {
    type: 'image_generation.partial_image',
    partial_image_index: 0,
    size: '1024x1024',
    quality: 'low',
    ...picture(200_000),
  };
  const completed = {
    type: 'image_generation.completed',
    size: '1024x1024',
    quality: 'low',
    ...picture(300_000),
    usage: USAGE,
  };
  const asked = {
    model: 'gpt-image-1.5',
    prompt: 'A red circle',
    quality: 'low',
    size: '1024x1024',
    partial_images: 1,
  } as const;

  it('brings partial pictures at once, and the finished one after its charge', async () => {
    const account = await createTestAccount(world, '100');
    world.upstream.script(events([partial, completed], at(1, hold)));
    const { data, response } = await client(gateway, account)
      .images.generate({ ...asked, stream: true })
      .withResponse();
    const frames = data[Symbol.asyncIterator]();
    expect(((await frames.next()).value as { type: string }).type).toBe('image_generation.partial_image');
    expect(await chargedTo(world, account.account)).toBe(0n);
    world.upstream.release();
    expect((await frames.next()).value).toEqual(completed);
    expect(await receiptOf(gateway, account.key, response.headers.get('x-request-id'))).toMatchObject({
      charged: '2.734',
      usage_source: 'provider',
    });
    expect((await frames.next()).done).toBe(true);
  });

  it('is charged for the whole picture where the client leaves before it is finished', async () => {
    const account = await createTestAccount(world, '100');
    world.upstream.script(events([partial, completed], at(1, hold)));
    const stream = await client(gateway, account).images.generate({ ...asked, stream: true });
    for await (const _ of stream) break;
    await eventually(async () => (await chargedTo(world, account.account)) > 2_720_000_000n, 'it is charged');
    world.upstream.release();
  });

  it('is read to its end where the model says so, and charged exactly', async () => {
    const account = await createTestAccount(world, '1000');
    world.upstream.script(events([partial, completed], at(1, hold)));
    const stream = await client(gateway, account).images.generate({ ...asked, model: 'drained', stream: true });
    for await (const _ of stream) break;
    world.upstream.release();
    await eventually(async () => (await chargedTo(world, account.account)) === 2_734_000_000n, 'it is charged');
  });

  it('that the provider breaks is told to the client, and the unfinished picture is not charged', async () => {
    const account = await createTestAccount(world, '100');
    world.upstream.script(events([partial, completed], at(1, heldThenReset)));
    const stream = await client(gateway, account).images.generate({ ...asked, stream: true });
    await expect(async () => {
      for await (const _ of stream) world.upstream.release();
    }).rejects.toThrow();
    const charged = async () => await chargedTo(world, account.account);
    await eventually(async () => (await charged()) > 0n, 'its text is charged');
    expect(await charged()).toBeLessThan(100_000_000n);
  });
});

describe('an answer of many megabytes', () => {
  it('passes byte for byte, and is charged by what it says at its end', async () => {
    const data = [{ b64_json: Buffer.alloc(6_000_000, 5).toString('base64') }, picture()];
    const account = await createTestAccount(world, '1000');
    world.upstream.script(made(USAGE, data));
    const { data: answer, response } = await client(gateway, account)
      .images.generate({ model: 'gpt-image-1.5', prompt: 'x', n: 2 })
      .withResponse();
    expect(answer.data![0]!.b64_json === data[0]!.b64_json).toBe(true);
    expect(await receiptOf(gateway, account.key, response.headers.get('x-request-id'))).toMatchObject({
      charged: '2.734',
      usage_source: 'provider',
    });
  });

  it('is charged by its pictures where each has a price', async () => {
    world.upstream.script(made(null, [picture(3_000_000), picture(3_000_000)]));
    expect((await draw({ model: 'dall-e-2', n: 2, response_format: 'b64_json' })).receipt.charged).toBe('40');
  });
});

describe('is refused, with its field', () => {
  it.each([
    ['prompt', { prompt: undefined }],
    ['prompt', { prompt: ['x'] }],
    ['n', { n: 0 }],
    ['n', { n: 11 }],
    ['n', { n: 1.5 }],
    ['partial_images', { partial_images: 4 }],
    ['size', { size: 5 }],
    ['image', { image: 'data:' }],
    ['model', { model: [] }],
  ])('%s: %j', async (param, request) => {
    await expect(draw({ model: 'dall-e-2', ...request })).rejects.toMatchObject({ status: 400, param });
  });

  it('a model that has a price for text alone', async () => {
    await expect(draw({ model: 'text-only' })).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });

  it('by the filter of the provider, free of charge', async () => {
    const error = {
      message: 'Your request was rejected by the safety system.',
      type: 'image_generation_user_error',
      param: null,
      code: 'moderation_blocked',
    };
    world.upstream.script(jsonAnswer({ error }, 400));
    await expect(draw({ model: 'dall-e-2' })).rejects.toMatchObject({ status: 400, code: 'moderation_blocked' });
  });
});
