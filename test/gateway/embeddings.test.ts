/** Embeddings and moderations, by the official client: their input is charged, or nothing is, and nothing else is held for. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Receipt } from '../../src/metering/receipt-view.ts';
import {
  client,
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
import type { Script } from '../support/scripted-upstream.ts';

/** At 1,000 credits per USD an input token of the embeddings costs 0.001 credits. */
const CATALOG = `
models:
  embed: { routes: [{ provider: scripted, model: text-embedding-3-small }], context_window: 8191, price: { input: 1 } }
  per-request: { routes: [{ provider: scripted, model: x }], price: { request: 0.002 } }
  output-only: { routes: [{ provider: scripted, model: x }], price: { output: 1 } }
  omni-moderation-latest: { routes: [{ provider: scripted, model: omni-moderation-2024-09-26 }], price: { input: 0 } }
  costly: { routes: [{ provider: scripted, model: x }], price: { input: 1, output: 2 } }
plans:
  standard: { default: true, models: ["*"], features: [] }
  limited: { models: ["*"], features: [], limits: { rpm: 2 } }
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

/** Asks with the real client; resolves with its answer, the receipt, and the body as the provider got it. */
async function ask<T>(
  call: (openai: ReturnType<typeof client>) => { withResponse(): Promise<{ data: T; response: Response }> },
  plan: string | null = null,
): Promise<{ data: T; receipt: Receipt; sent: string }> {
  const account = await createTestAccount(world, '1000', plan);
  const { data, response } = await call(client(gateway, account)).withResponse();
  const receipt = await receiptOf(gateway, account.key, response.headers.get('x-request-id'));
  return { data, receipt, sent: world.upstream.requests.at(-1)!.body.toString() };
}

describe('embeddings', () => {
  const vector = Buffer.from(new Float32Array([0.25, -0.5]).buffer).toString('base64');
  const answer = (usage: object | null, embedding: unknown = vector): Script =>
    jsonAnswer({
      ...{ object: 'list', data: [{ object: 'embedding', index: 0, embedding }], model: 'text-embedding-3-small' },
      ...(usage === null ? {} : { usage }),
    });
  const embed = (request: object) =>
    ask((openai) => openai.embeddings.create({ model: 'embed', input: 'Hello', ...request }));

  it('are charged by their input, and keep the form that the client decodes', async () => {
    world.upstream.script(answer({ prompt_tokens: 8, total_tokens: 8 }));
    const { data, receipt, sent } = await embed({});
    expect(data.data[0]!.embedding).toEqual([0.25, -0.5]);
    expect(receipt).toMatchObject({ endpoint: '/v1/embeddings', charged: '0.008', usage_source: 'provider' });
    expect(receipt.lines.map(({ unit }) => unit)).toEqual(['input']);
    expect(sent).toBe('{"model":"text-embedding-3-small","input":"Hello","encoding_format":"base64"}');
    expect(world.upstream.requests.at(-1)!.path).toBe('/v1/embeddings');
  });

  it('are charged by their input where they are numbers, too', async () => {
    world.upstream.script(answer({ prompt_tokens: 8, total_tokens: 8 }, [0.25, -0.5]));
    const { data, receipt } = await embed({ encoding_format: 'float' });
    expect(data.data[0]!.embedding).toEqual([0.25, -0.5]);
    expect(receipt.charged).toBe('0.008');
  });

  it('are held for at a token a byte, or at the tokens that are given', async () => {
    world.upstream.script(answer({ prompt_tokens: 1, total_tokens: 1 }));
    const body = { model: 'embed', input: 'x'.repeat(500), encoding_format: 'base64' };
    expect((await embed(body)).receipt.held).toBe(String(JSON.stringify(body).length / 1000));
    const around = JSON.stringify({ ...body, input: 0 }).length - 1;
    const [tokens, lists] = [
      [98765, 43210],
      [[98765], [43210, 1]],
    ];
    expect((await embed({ ...body, input: tokens })).receipt.held).toBe(String((around + 2) / 1000));
    expect((await embed({ ...body, input: lists })).receipt.held).toBe(String((around + 3) / 1000));
  });

  it('are estimated by what went in where nothing is reported, never by what came out', async () => {
    world.upstream.script(
      answer(
        null,
        Array.from({ length: 500 }, () => 0.123456),
      ),
    );
    const { receipt } = await embed({ input: [[1, 2, 3], [4]] });
    const around = JSON.stringify({ model: 'embed', input: 0, encoding_format: 'base64' }).length - 1;
    expect(receipt).toMatchObject({ usage_source: 'estimated', charged: String((Math.ceil(around / 4) + 4) / 1000) });
    expect(receipt.lines.map(({ unit }) => unit)).toEqual(['input']);
  });

  it('may be charged by the request', async () => {
    world.upstream.script(answer({ prompt_tokens: 8, total_tokens: 8 }));
    expect((await embed({ model: 'per-request' })).receipt.charged).toBe('2');
  });

  it.each([
    ['input', { input: [] }],
    ['input', { input: null }],
    ['input', { input: undefined }],
    ['input', { input: 5 }],
    ['input', { input: ['a', [1]] }],
    ['input', { input: [[1], ['a']] }],
    ['input', { input: [1e300] }],
    ['input', { input: Array.from({ length: 2_049 }, () => 'x') }],
    ['model', { model: undefined }],
  ])('are refused with a wrong %s: %j', async (param, request) => {
    await expect(embed(request)).rejects.toMatchObject({ status: 400, param });
  });

  it('are refused where their input is given twice', async () => {
    const account = await createTestAccount(world, '10');
    const response = await fetch(`${gateway.url}/v1/embeddings`, {
      ...{ method: 'POST', headers: { authorization: `Bearer ${account.key}`, 'content-type': 'application/json' } },
      body: '{"model":"embed","input":"a","input":"b"}',
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param: 'input' } });
  });

  it('are refused of a model that has no price for its input', async () => {
    await expect(embed({ model: 'output-only' })).rejects.toMatchObject({ status: 404 });
  });
});

describe('moderations', () => {
  const result = { flagged: false, categories: { violence: false }, category_scores: { violence: 0.001 } };
  const answer = jsonAnswer({ id: 'modr-1', model: 'omni-moderation-2024-09-26', results: [result] });
  const moderate = (request: object, plan: string | null = null) =>
    ask((openai) => openai.moderations.create({ input: 'I want to kill them.', ...request }), plan);

  it("are free, of OpenAI's model where none is named", async () => {
    world.upstream.script(answer);
    const { data, receipt, sent } = await moderate({});
    expect(data.results[0]!.flagged).toBe(false);
    expect(receipt).toMatchObject({ endpoint: '/v1/moderations', held: '0', charged: '0', usage_source: 'provider' });
    expect(sent).toBe('{"input":"I want to kill them.","model":"omni-moderation-2024-09-26"}');
    await moderate({ model: null });
    expect(world.upstream.requests.at(-1)!.json.model).toBe('omni-moderation-2024-09-26');
  });

  it('take texts and pictures', async () => {
    world.upstream.script(answer);
    await moderate({ input: ['a', 'b'] });
    const image_url = { url: 'data:image/png;base64,iVBORw0KGgo=' };
    expect(
      (
        await moderate({
          input: [
            { type: 'text', text: 'a' },
            { type: 'image_url', image_url },
          ],
        })
      ).receipt.charged,
    ).toBe('0');
  });

  it('are charged by the request where the model has a price for that', async () => {
    world.upstream.script(answer);
    expect((await moderate({ model: 'per-request' })).receipt).toMatchObject({ held: '2', charged: '2' });
  });

  it('are not served by a model whose tokens cost something: nobody says how many there were', async () => {
    await expect(moderate({ model: 'costly' })).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });

  it('count against the limits of rate', async () => {
    world.upstream.script(answer);
    const account = await createTestAccount(world, '10', 'limited');
    const openai = client(gateway, account, 0);
    await openai.moderations.create({ input: 'a' });
    await openai.moderations.create({ input: 'a' });
    await expect(openai.moderations.create({ input: 'a' })).rejects.toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
    });
  });

  it.each([
    ['input', { input: undefined }],
    ['input', { input: null }],
    ['input', { input: 3 }],
    ['input', { input: { text: 'a' } }],
    ['model', { model: '' }],
  ])('are refused with a wrong %s: %j', async (param, request) => {
    await expect(moderate(request)).rejects.toMatchObject({ status: 400, param });
  });
});
