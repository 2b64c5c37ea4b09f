/** Pictures sent as files of forms, through the official client: what reaches the provider, and what is charged. */
import { toFile } from 'openai';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import {
  chargedTo,
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { answer } from './heard-rig.ts';

const CATALOG = `
models:
  gpt-image-1.5: { routes: [{ provider: scripted, model: image-upstream }], context_window: 32000, max_output_tokens: 20000, price: { input: 1, input_image: 2, output_image: 4 } }
  dall-e-2: { routes: [{ provider: scripted, model: dall-e-2 }], price: { image: { "256x256": 0.016, "1024x1024": 0.02 } } }
plans:
  standard: { default: true, models: ["*"], features: [] }
`;
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld({}, '', CATALOG);
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

const picture = () => toFile(PNG, 'cat.png', { type: 'image/png' });
const made = (count: number, more = {}) =>
  answer({ created: 1, data: Array.from({ length: count }, () => ({ b64_json: 'AAAA' })), ...more });
async function forwarded(): Promise<FormData> {
  const { body, headers } = world.upstream.requests.at(-1)!;
  return new Response(new Uint8Array(body), { headers: { 'content-type': headers['content-type']! } }).formData();
}

it('an edit of several pictures is charged by the tokens that are reported, at the model that OpenAI takes where none is named', async () => {
  const details = { text_tokens: 10, image_tokens: 600 };
  const usage = { input_tokens: 610, input_tokens_details: details, output_tokens: 1_056, total_tokens: 1_666 };
  world.upstream.script(made(1, { usage }));
  const image = [await picture(), await picture()];
  await client(gateway, account).images.edit({ image, mask: await picture(), prompt: 'Hats', quality: 'medium' });
  // 10 at 1, 600 at 2, 1,056 at 4, in thousandths of a credit.
  expect(await chargedTo(world, account.account)).toBe(5_434_000_000n);
  const form = await forwarded();
  expect([form.get('model'), form.get('prompt'), form.getAll('image[]').length]).toEqual(['image-upstream', 'Hats', 2]);
});

it('a stream of an edit is charged by its last event', async () => {
  const usage = { input_tokens: 10, output_tokens: 100, total_tokens: 110 };
  const events = [
    { type: 'image_edit.partial_image', b64_json: 'AAAA', partial_image_index: 0 },
    { type: 'image_edit.completed', b64_json: 'AAAA', usage },
  ];
  const frames = events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('');
  world.upstream.script(answer(frames, 'text/event-stream'));
  const asked = {
    image: await picture(),
    prompt: 'Hats',
    model: 'gpt-image-1.5',
    stream: true,
    partial_images: 1,
  } as const;
  const seen: string[] = [];
  for await (const { type } of await client(gateway, account).images.edit(asked)) seen.push(type);
  expect(seen).toEqual(events.map(({ type }) => type));
  expect(await chargedTo(world, account.account)).toBe(410_000_000n);
});

it('a variation is charged by the pictures that come, at their size, and held for as many as were asked for', async () => {
  world.upstream.script(made(2));
  const asked = { image: await picture(), n: 3, size: '256x256' } as const;
  const { response } = await client(gateway, account).images.createVariation(asked).withResponse();
  expect(response.headers.get('x-tollgate-charged')).toBe('32');
  expect(world.upstream.requests.at(-1)!.path).toBe('/v1/images/variations');
  expect((await forwarded()).get('model')).toBe('dall-e-2');
  const poor = await createTestAccount(world, '40');
  await expect(client(gateway, poor, 0).images.createVariation(asked)).rejects.toMatchObject({ status: 429 });
});

it.each<[string, string, string, Record<string, string | Blob>]>([
  ['edits', 'no picture', 'image', { prompt: 'Hats' }],
  ['edits', 'no prompt', 'prompt', { image: new Blob([PNG]) }],
  ['edits', 'a picture by its id', 'image', { prompt: 'Hats', image: 'file-1' }],
  [
    'edits',
    'pictures by their ids',
    'images',
    { prompt: 'Hats', image: new Blob([PNG]), images: '[{"file_id":"file-1"}]' },
  ],
  [
    'edits',
    'pictures by their ids, as fields',
    'images',
    { prompt: 'Hats', image: new Blob([PNG]), 'images[0][file_id]': 'f' },
  ],
  ['edits', 'whose it is as a list', 'user', { prompt: 'Hats', image: new Blob([PNG]), 'user[]': 'another' }],
  ['edits', 'whose it is in capitals', 'user', { prompt: 'Hats', image: new Blob([PNG]), User: 'another' }],
  ['edits', 'too many', 'n', { prompt: 'Hats', image: new Blob([PNG]), n: '11' }],
  ['variations', 'an odd number', 'n', { image: new Blob([PNG]), n: '1.5' }],
  ['variations', 'two ways of one list', 'image', { image: new Blob([PNG]), 'image[]': new Blob([PNG]) }],
])('%s with %s are refused', async (path, _what, param, fields) => {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === 'string') body.append(name, value);
    else body.append(name, value, 'cat.png');
  }
  const before = world.upstream.requests.length;
  const headers = { authorization: `Bearer ${account.key}` };
  const response = await fetch(`${gateway.url}/v1/images/${path}`, { method: 'POST', headers, body });
  expect([response.status, ((await response.json()) as { error: { param: string } }).error.param]).toEqual([
    400,
    param,
  ]);
  expect(world.upstream.requests.length).toBe(before);
});
