/** Where a prompt's bytes do not fit into a balance, its tokens are counted: what truly fits is served, and nothing else is. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { changeKey } from '../../src/accounts/keys.ts';
import { parseCredits } from '../../src/lib/money.ts';
import { TokenCounter } from '../../src/metering/tokens/counter.ts';
import {
  chargedTo,
  client,
  closeWorld,
  createTestAccount,
  createWorld,
  expectSettled,
  get,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { chat } from '../support/scripted-upstream.ts';

/** 40,050 bytes, so 40 credits by these at 0.001 a token; 8,901 tokens. */
const LONG = 'The quick brown fox jumps over the lazy dog. '.repeat(890);
const SHORT = LONG.slice(0, 4_000);

let world: World;
let gateway: TestGateway;
const counting = vi.spyOn(TokenCounter.prototype, 'countPrompt');
beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(async () => {
  counting.mockReset();
  await expectSettled(world);
});

async function ask(account: TestAccount, content: string, more: { model?: string; max_tokens?: number } = {}) {
  const { data, response } = await client(gateway, account)
    .chat.completions.create({ model: 'counted', messages: [{ role: 'user', content }], max_tokens: 100, ...more })
    .withResponse();
  const receipt = await get(gateway, account.key, `/account/v1/requests/${response.headers.get('x-request-id')}`);
  return { data, receipt, clamped: response.headers.get('x-tollgate-clamped') };
}

describe('a prompt whose bytes do not fit', () => {
  it('is served where its tokens fit, and charged by its usage', async () => {
    const account = await createTestAccount(world, '12');
    world.upstream.script(chat({ usage: { prompt_tokens: 8_908, completion_tokens: 4, total_tokens: 8_912 } }));
    const { receipt, clamped } = await ask(account, LONG);
    expect([receipt.charged, clamped, receipt.policy]).toEqual(['8.916', null, null]);
    expect(Number(receipt.held)).toBeGreaterThan(8.908 + 0.2);
    expect(Number(receipt.held)).toBeLessThan(9.5);
  });

  it('is not clamped where its tokens leave room for all of the output', async () => {
    const account = await createTestAccount(world, '5');
    world.upstream.script(chat());
    const { clamped, receipt } = await ask(account, SHORT, { max_tokens: 1_000 });
    expect([clamped, receipt.policy]).toEqual([null, null]);
    expect(counting).toHaveBeenCalledTimes(1);
  });

  it('is clamped as far as its tokens ask for it', async () => {
    const account = await createTestAccount(world, '10');
    world.upstream.script(chat());
    const { clamped, receipt } = await ask(account, LONG, { max_tokens: 1_000 });
    expect(Number(clamped)).toBeGreaterThan(300);
    expect(Number(clamped)).toBeLessThan(550);
    expect(receipt.policy).toBe('when_short: clamp');
  });

  it('counts against a budget in the same way', async () => {
    const account = await createTestAccount(world, '1000');
    const credits = parseCredits('12')!;
    await changeKey(world.pool, account.account, account.keyId, { budget: { credits, period: 'total' } });
    world.upstream.script(chat());
    expect((await ask(account, LONG)).receipt.status).toBe('settled');
  });
});

describe('by its bytes is judged', () => {
  const refused = { status: 429, code: 'insufficient_quota' };

  it('a prompt whose tokens do not fit either', async () => {
    const account = await createTestAccount(world, '8.9');
    await expect(ask(account, LONG)).rejects.toMatchObject(refused);
    expect(counting).toHaveBeenCalledTimes(1);
  });

  it('a prompt for a model whose encoding nobody publishes', async () => {
    const account = await createTestAccount(world, '12');
    await expect(ask(account, LONG, { model: 'plain' })).rejects.toMatchObject(refused);
    expect(counting).not.toHaveBeenCalled();
  });

  it('a prompt that could not be counted in time', async () => {
    const account = await createTestAccount(world, '12');
    counting.mockResolvedValueOnce(null);
    await expect(ask(account, LONG)).rejects.toMatchObject(refused);
  });

  it('a text that stands behind another of the same name, which a provider may read', async () => {
    const account = await createTestAccount(world, '12');
    const body = `{"model":"counted","max_tokens":100,"messages":[{"role":"user","content":${JSON.stringify(LONG)},"content":"hi"}]}`;
    expect((await post(gateway, account.key, body)).status).toBe(429);
    expect(counting).toHaveBeenCalledTimes(1);
  });
});

describe('nothing is counted', () => {
  it('of an account with money', async () => {
    const account = await createTestAccount(world, '1000');
    world.upstream.script(chat());
    await ask(account, LONG);
    expect(counting).not.toHaveBeenCalled();
  });

  it('of an account that no count could help: it costs us nothing to refuse it', async () => {
    const account = await createTestAccount(world, '1');
    await expect(ask(account, LONG)).rejects.toMatchObject({ status: 429 });
    expect(counting).not.toHaveBeenCalled();
  });
});

it('twenty at once that fit by their tokens alone: no more are served than fit', async () => {
  const account = await createTestAccount(world, '46');
  world.upstream.script(chat({ usage: { prompt_tokens: 8_908, completion_tokens: 4, total_tokens: 8_912 } }));
  const answers = await Promise.allSettled(
    Array.from({ length: 20 }, () =>
      client(gateway, account, 0).chat.completions.create({
        model: 'counted',
        messages: [{ role: 'user', content: LONG }],
        max_tokens: 100,
      }),
    ),
  );
  const served = answers.filter(({ status }) => status === 'fulfilled').length;
  expect(served).toBeGreaterThanOrEqual(4);
  expect(await chargedTo(world, account.account)).toBe(BigInt(served) * 8_916_000_000n);
  expect(await get(gateway, account.key, '/account/v1/balance')).toMatchObject({ held: '0', debt: '0' });
});
