/** Pictures edited, sent in JSON: by their address or in the body, bounded by the most that they are to any model. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  receiptOf,
  startGateway,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { jsonAnswer } from '../support/scripted-answers.ts';

/** At 1,000 credits per USD: 0.001 credits a token of text, 0.002 of a picture sent, 0.01 of one made. */
const CATALOG = `
models:
  gpt-image-1.5: { routes: [{ provider: scripted, model: gpt-image-1.5 }], price: { input: 1, input_image: 2, output_image: 10 } }
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

const USAGE = {
  ...{ input_tokens: 337, input_tokens_details: { image_tokens: 323, text_tokens: 14 } },
  ...{ output_tokens: 272, output_tokens_details: { image_tokens: 272, text_tokens: 0 }, total_tokens: 609 },
};
const answer = jsonAnswer({
  created: 0,
  data: [{ b64_json: 'AAAA' }],
  size: '1024x1024',
  quality: 'low',
  usage: USAGE,
});

describe('an edit in JSON', () => {
  const edit = async (request: object) => {
    const account = await createTestAccount(world, '5000');
    const response = await fetch(`${gateway.url}/v1/images/edits`, {
      method: 'POST',
      headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'Make it green', ...request }),
    });
    const json = (await response.json()) as { error?: { param: string } };
    return {
      json,
      status: response.status,
      receipt: response.ok ? await receiptOf(gateway, account.key, response.headers.get('x-request-id')) : null,
    };
  };
  const image_url = 'https://example.com/cat.png';

  it('is charged as reported, pictures sent apart from those made', async () => {
    world.upstream.script(answer);
    const { receipt } = await edit({ images: [{ image_url }], quality: 'low', size: '1024x1024' });
    expect(receipt).toMatchObject({ endpoint: '/v1/images/edits', charged: '3.38', usage_source: 'provider' });
    expect(world.upstream.requests.at(-1)!.json.model).toBe('gpt-image-1.5');
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/images/edits');
  });

  it('is held for at the most that its pictures are', async () => {
    world.upstream.script(answer);
    const body = {
      prompt: 'Make it green',
      images: [{ image_url }, { image_url }],
      mask: { image_url },
      quality: 'low',
      size: '1024x1024',
    };
    const { receipt } = await edit(body);
    const input = JSON.stringify(body).length + 3 * 7_337;
    expect(Number(receipt!.held)).toBeCloseTo(input * 0.002 + (463 + 256) * 0.01, 9);
  });

  it.each([
    ['images', { images: undefined }],
    ['images', { images: [] }],
    ['images', { images: 'x' }],
    ['images', { images: Array.from({ length: 17 }, () => ({ image_url })) }],
    ['images[0]', { images: ['x'] }],
    ['images[1].file_id', { images: [{ image_url }, { file_id: 'file-1' }] }],
    ['images[0].file_id', { images: [{ image_url, file_id: 'file-1' }] }],
    ['images[0].image_url', { images: [{}] }],
    ['images[0].image_url', { images: [{ image_url: { url: 'x' } }] }],
    ['mask.file_id', { images: [{ image_url }], mask: { file_id: 'file-1' } }],
    ['mask', { images: [{ image_url }], mask: 'x' }],
    ['image', { images: [{ image_url }], image: 'x' }],
  ])('is refused with a wrong %s: %j', async (param, request) => {
    expect(await edit(request)).toMatchObject({ status: 400, json: { error: { param } } });
  });
});
