/** P2 and P1 at their edges: ways to be served and not charged, or to be served more than was held for, are closed. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { revokeKey } from '../../src/accounts/keys.ts';
import { boundCharge } from '../../src/catalog/rating.ts';
import { editedBody } from '../../src/gateway/edits.ts';
import { meterBody, meterStream } from '../../src/gateway/meter.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { formatCredits, parseCredits } from '../../src/lib/money.ts';
import { encodeReceipt } from '../../src/metering/receipt.ts';
import {
  chargedTo,
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  post,
  receiptOf,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { at, chat, errorFrame, hold, sequence, stream } from '../support/scripted-upstream.ts';

// Files that ran before in this process have read these modules: here all are read anew, and those that come read them as they are.
vi.hoisted(() => vi.resetModules());
afterAll(() => vi.resetModules());
// As they are, but for the tests that let one of them fail.
vi.mock('../../src/catalog/rating.ts', { spy: true });
vi.mock('../../src/gateway/edits.ts', { spy: true });
vi.mock('../../src/gateway/meter.ts', { spy: true });
vi.mock('../../src/metering/receipt.ts', { spy: true });

const messages = [{ role: 'user' as const, content: 'Say hello' }];
const body = (model: string, more: object = {}): string => JSON.stringify({ model, messages, ...more });

let world: World;
let gateway: TestGateway;
let account: TestAccount;

beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

async function fresh(credits = '1000'): Promise<void> {
  account = await createTestAccount(world, credits);
}

describe('no more is generated than is held for', () => {
  it.each([
    ['a limit above the model’s is lowered to it', 'strict', { max_tokens: 5000 }, { max_tokens: 1000 }],
    ['a limit within it is left alone', 'strict', { max_tokens: 50 }, { max_tokens: 50 }],
    ['a model that states its own is sent none', 'strict', {}, {}],
    ['a model that states none is sent the one held for', 'unstated', {}, { max_tokens: 16384 }],
  ])('%s', async (_name, model, asked, sent) => {
    await fresh();
    world.upstream.script('plain');
    const response = await post(gateway, account.key, body(model, asked));
    expect(response.status).toBe(200);
    const { max_tokens, max_completion_tokens } = world.upstream.requests.at(-1)!.json;
    expect(JSON.parse(JSON.stringify({ max_tokens, max_completion_tokens }))).toEqual(sent);
  });
});

describe('what was served is charged', () => {
  it('a client that has the whole text and leaves before the usage is charged by the usage', async () => {
    await fresh();
    // Frames 0 to 2 are text, 3 says why it ended, 4 is the usage.
    world.upstream.script(stream({}, at(4, hold)));
    const streamed = await client(gateway, account).chat.completions.create({ model: 'plain', messages, stream: true });
    for await (const chunk of streamed) if (chunk.choices[0]?.finish_reason) break;
    world.upstream.release();
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'it is charged');
    expect(await chargedTo(world, account.account)).toBe(18_000_000n);
  });

  it('an answer in which nothing can be read is counted by its bytes', async () => {
    await fresh();
    world.upstream.script(({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(`"${'x'.repeat(400)}"`);
    });
    await (await post(gateway, account.key, body('plain'))).text();
    expect(await chargedTo(world, account.account)).toBeGreaterThan(200_000_000n);
  });

  it('an estimate above the hold is cut to it, and the lines of its receipt add up to the charge', async () => {
    await fresh();
    world.upstream.script(chat({ pieces: ['word '.repeat(2_000)], usage: null }));
    const response = await post(gateway, account.key, body('strict', { max_tokens: 100 }));
    await response.text();
    const id = response.headers.get('x-request-id');
    const receipt = await receiptOf(gateway, account.key, id);
    expect(receipt).toMatchObject({
      usage_source: 'estimated',
      charged: formatCredits(await chargedTo(world, account.account)),
    });
    const lines = receipt.lines.reduce((sum, { credits }) => sum + parseCredits(credits)!, 0n);
    expect(lines).toBe(parseCredits(receipt.charged));
    // The hold has a token or two left at most, and it has no room for the 2,000 that were counted.
    const left = parseCredits(receipt.held)! - lines;
    expect(left).toBeGreaterThanOrEqual(0n);
    expect(left).toBeLessThan(2_000_000n);
  });

  it('a body that breaks off after a megabyte is charged for what came, and never looks whole', async () => {
    await fresh();
    world.upstream.script(async ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write(`{"choices":["${'x'.repeat(3 * 1024 * 1024)}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
      response.destroy();
    });
    const response = await post(gateway, account.key, body('plain'));
    await expect(response.text()).rejects.toThrow();
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'it is charged');
  });
});

describe('what was not served is free', () => {
  it('a stream that is nothing but an error gives way to the next route, and is free where there is none', async () => {
    await fresh();
    world.upstream.script(stream({}, at(0, errorFrame)));
    const response = await post(gateway, account.key, body('plain', { stream: true }));
    expect(response.status).toBe(502);
    expect(await chargedTo(world, account.account)).toBe(0n);
    world.upstream.script(sequence(stream({}, at(0, errorFrame)), chat()));
    expect((await post(gateway, account.key, body('plain', { stream: true }))).status).toBe(502);
  });
});

describe('a fault of ours after the hold: it is ended, and charged', () => {
  const fault = (): never => {
    throw new Error('a fault of ours');
  };
  /** What a request costs whose gateway died: a token for four bytes, at 0.001 credits. */
  const inputEstimate = (sent: string): bigint => BigInt(Math.ceil(sent.length / 4)) * 1_000_000n;

  async function expectFault(sent: string, forwarded: number): Promise<void> {
    const before = world.upstream.requests.length;
    const response = await post(gateway, account.key, sent);
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ error: { code: 'internal_error' } });
    expect(world.upstream.requests.length - before).toBe(forwarded);
    await expectCharged(inputEstimate(sent));
  }

  async function expectCharged(amount: bigint): Promise<void> {
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'it is charged');
    expect(await chargedTo(world, account.account)).toBe(amount);
  }

  it('before it is forwarded: the input estimate', async () => {
    await fresh();
    vi.mocked(editedBody).mockImplementationOnce(fault);
    await expectFault(body('plain'), 0);
  });

  it('as soon as it is granted, in lowering the output limit to it: the input estimate', async () => {
    await fresh('1');
    const hold = LedgerWriter.prototype.hold;
    vi.spyOn(LedgerWriter.prototype, 'hold').mockImplementationOnce(async function (this: LedgerWriter, operation) {
      const granted = await hold.call(this, operation);
      vi.mocked(boundCharge).mockImplementationOnce(fault);
      return granted;
    });
    await expectFault(body('plain'), 0);
  });

  it('in metering what was served: the input estimate', async () => {
    await fresh();
    world.upstream.script('plain');
    vi.mocked(meterBody).mockImplementationOnce(fault);
    await expectFault(body('plain'), 1);
  });

  it('in metering a stream that was sent: the input estimate, and it does not look whole', async () => {
    await fresh();
    world.upstream.script('plain');
    vi.mocked(meterStream).mockImplementationOnce(fault);
    const sent = body('plain', { stream: true });
    await expect(post(gateway, account.key, sent).then((response) => response.text())).rejects.toThrow();
    await expectCharged(inputEstimate(sent));
  });

  it('in writing the receipt: the exact charge, with what the hold froze as its receipt', async () => {
    await fresh();
    world.upstream.script('plain');
    vi.mocked(encodeReceipt).mockImplementation(fault);
    const response = await post(gateway, account.key, body('plain'));
    vi.mocked(encodeReceipt).mockReset();
    expect(response.status).toBe(200);
    expect(response.headers.get('x-tollgate-charged')).toBe('0.018');
    await expectCharged(18_000_000n);
    const id = response.headers.get('x-request-id');
    expect(await get(gateway, account.key, `/account/v1/requests/${id}`)).toMatchObject({
      status: 'settled',
      model: 'plain',
      charged: '0.018',
      usage: {},
    });
  });
});

describe('the order of errors', () => {
  it('a revoked key that is still cached hears of the key, not of its broken body', async () => {
    await fresh();
    world.upstream.script('plain');
    expect((await post(gateway, account.key, body('plain'))).status).toBe(200);
    await revokeKey(world.pool, account.account, account.keyId);
    const response = await post(gateway, account.key, '{"broken');
    expect(response.status).toBe(401);
    expect((await get(gateway, account.key, '/v1/models')).error).toMatchObject({ code: 'invalid_api_key' });
  });
});

describe('models', () => {
  it('lists what the plan allows, one by one too, names with a slash and odd characters included', async () => {
    await fresh();
    const list = await client(gateway, account).models.list();
    const names = list.data.map(({ id }) => id);
    expect(names).toContain('plain');
    expect(names).not.toContain('forbidden');
    expect(await client(gateway, account).models.retrieve('plain')).toMatchObject({ id: 'plain', object: 'model' });
    for (const path of ['forbidden', 'a%2Fb', '100%25']) {
      const response = await fetch(`${gateway.url}/v1/models/${path}`, {
        headers: { authorization: `Bearer ${account.key}` },
      });
      expect(response.status).toBe(404);
      expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    }
  });
});
