/** A stream whose credits run out halfway ends as one that reached its output limit, and never costs more than there was. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { changeKey } from '../../src/accounts/keys.ts';
import { parseCredits } from '../../src/lib/money.ts';
import { lockWallet } from '../ledger/rig.ts';
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
import { at, chat, hold, stream, usage } from '../support/scripted-upstream.ts';

const messages = [{ role: 'user' as const, content: 'Say hello' }];
/** 20,000 bytes, so 40 credits by their measure at 0.002 credits a token; far less when counted. */
const LONG = Array.from({ length: 4_000 }, () => ' word');

let world: World;
let gateway: TestGateway;
beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
});
afterAll(async () => {
  await gateway.close();
  await closeWorld(world);
});
afterEach(() => expectSettled(world));

/** Reads a stream to its end with the official client. */
async function read(account: TestAccount, more: { model?: string; stream_options?: { include_usage: boolean } } = {}) {
  const { data, response } = await client(gateway, account)
    .chat.completions.create({ model: 'long', messages, stream: true, ...more })
    .withResponse();
  const chunks = [];
  for await (const chunk of data) chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
  return { chunks, text, id: response.headers.get('x-request-id')! };
}

const finishOf = (chunks: { choices: { finish_reason: string | null }[] }[]): unknown =>
  chunks.flatMap(({ choices }) => choices).at(-1)?.finish_reason;

describe('a stream whose credits run out', () => {
  it('ends with finish_reason "length", the usage that is charged, and nothing owed', async () => {
    const account = await createTestAccount(world, '10');
    world.upstream.script(chat({ pieces: LONG }));
    const { chunks, text, id } = await read(account, { stream_options: { include_usage: true } });
    expect(finishOf(chunks)).toBe('length');
    expect(new Set(chunks.map((chunk) => `${chunk.id} ${chunk.model} ${chunk.created}`)).size).toBe(1);
    expect(text.length).toBeGreaterThan(4_000);
    expect(LONG.join('').startsWith(text)).toBe(true);
    const { usage } = chunks.at(-1)!;
    expect(usage!.completion_tokens).toBe(text.length / 5);
    expect(usage!.total_tokens).toBe(usage!.prompt_tokens + usage!.completion_tokens);
    const receipt = await get(gateway, account.key, `/account/v1/requests/${id}`);
    expect(receipt).toMatchObject({ status: 'settled', usage_source: 'estimated', policy: 'when_short: clamp' });
    expect(receipt.attempts).toMatchObject([{ outcome: 'exhausted' }]);
    expect(await chargedTo(world, account.account)).toBe(
      BigInt(usage!.prompt_tokens) * 1_000_000n + BigInt(usage!.completion_tokens) * 2_000_000n,
    );
    expect(await get(gateway, account.key, '/account/v1/balance')).toMatchObject({ held: '0', debt: '0' });
  });

  it('sends no usage chunk to a client that did not ask for it', async () => {
    const account = await createTestAccount(world, '10');
    world.upstream.script(chat({ pieces: LONG }));
    const { chunks } = await read(account);
    expect(finishOf(chunks)).toBe('length');
    expect(chunks.every(({ choices, usage }) => choices.length === 1 && !usage)).toBe(true);
  });

  it('among twenty at once on one account: each ends well, and together they cost no more than there was', async () => {
    const account = await createTestAccount(world, '60');
    // Each has its first slice before any asks for a second one.
    world.upstream.script(stream({ pieces: LONG }, at(0, hold)));
    const arrived = world.upstream.arrived(world.upstream.requests.length + 20);
    const reads = Promise.all(Array.from({ length: 20 }, () => read(account)));
    await Promise.race([arrived, reads]);
    world.upstream.release();
    const answers = await reads;
    // What one that is cut gives back may carry another to its end: that one is whole. There is not enough for all.
    for (const { chunks, text } of answers) {
      expect(text.length).toBeGreaterThan(500);
      if (finishOf(chunks) === 'stop') expect(text).toBe(LONG.join(''));
      else expect(finishOf(chunks)).toBe('length');
    }
    expect(answers.some(({ chunks }) => finishOf(chunks) === 'length')).toBe(true);
    expect(await chargedTo(world, account.account)).toBeLessThanOrEqual(parseCredits('60')!);
    const balance = await get(gateway, account.key, '/account/v1/balance');
    expect(balance).toMatchObject({ held: '0', debt: '0' });
    expect(Number(balance.available)).toBeGreaterThanOrEqual(0);
  });

  it('because the key has a budget: the budget is not exceeded', async () => {
    const account = await createTestAccount(world, '100');
    const credits = parseCredits('10')!;
    await changeKey(world.pool, account.account, account.keyId, { budget: { credits, period: 'total' } });
    world.upstream.script(chat({ pieces: LONG }));
    const answers = await Promise.all([read(account), read(account), read(account)]);
    for (const { chunks } of answers) expect(finishOf(chunks)).toBe('length');
    expect(await chargedTo(world, account.account)).toBeLessThanOrEqual(credits);
  });
});

describe('a stream of a model whose encoding is known', () => {
  const model = 'counted-long';

  it('uses what there is by its tokens, and never more', async () => {
    const account = await createTestAccount(world, '6');
    world.upstream.script(chat({ pieces: LONG }));
    const { chunks } = await read(account, { model });
    expect(finishOf(chunks)).toBe('length');
    const charged = await chargedTo(world, account.account);
    expect(charged).toBeLessThanOrEqual(parseCredits('6')!);
    expect(charged).toBeGreaterThan(parseCredits('5.4')!);
    expect(await get(gateway, account.key, '/account/v1/balance')).toMatchObject({ held: '0', debt: '0' });
  });

  it('arrives whole where its tokens fit and its bytes do not', async () => {
    const account = await createTestAccount(world, '9');
    const reported = { prompt_tokens: 9, completion_tokens: 4_000, total_tokens: 4_009 };
    world.upstream.script(chat({ pieces: LONG, usage: reported }));
    const { chunks, text } = await read(account, { model });
    expect([finishOf(chunks), text]).toEqual(['stop', LONG.join('')]);
    expect(await chargedTo(world, account.account)).toBe(8_009_000_000n);
  });

  it('among twenty at once: together they cost no more than there was', async () => {
    const account = await createTestAccount(world, '60');
    const reported = { prompt_tokens: 9, completion_tokens: 4_000, total_tokens: 4_009 };
    world.upstream.script(chat({ pieces: LONG, usage: reported }));
    const answers = await Promise.all(Array.from({ length: 20 }, () => read(account, { model })));
    for (const { chunks, text } of answers) {
      if (finishOf(chunks) === 'stop') expect(text).toBe(LONG.join(''));
      else expect(finishOf(chunks)).toBe('length');
    }
    expect(await chargedTo(world, account.account)).toBeLessThanOrEqual(parseCredits('60')!);
    expect(await get(gateway, account.key, '/account/v1/balance')).toMatchObject({ held: '0', debt: '0' });
  });
});

describe('a stream that is clamped', () => {
  /** Its limit, by the body that the provider gets. */
  const limitSent = (): number => world.upstream.requests.at(-1)!.json.max_tokens as number;

  it('by a provider that does not keep to that: it is ended, and costs no more than was held', async () => {
    const account = await createTestAccount(world, '1');
    world.upstream.script(chat({ pieces: LONG, usage: usage(12, 4_000) }));
    const { chunks, text, id } = await read(account, { stream_options: { include_usage: true } });
    expect(finishOf(chunks)).toBe('length');
    expect(text.length / 5).toBeGreaterThan(limitSent());
    expect(text.length / 5).toBeLessThan(limitSent() * 1.25 + 64);
    const receipt = await get(gateway, account.key, `/account/v1/requests/${id}`);
    expect(receipt).toMatchObject({ clamped_to: limitSent(), policy: 'when_short: clamp', usage_source: 'estimated' });
    expect(Number(receipt.charged)).toBeLessThanOrEqual(Number(receipt.held));
    expect(chunks.at(-1)!.usage!.completion_tokens).toBeLessThan(text.length / 5);
    expect(await get(gateway, account.key, '/account/v1/balance')).toMatchObject({ held: '0', debt: '0' });
  });

  it.each([
    ['a token a piece', 1],
    ['many tokens a piece', 30],
  ])('by a provider that keeps to that arrives whole, and is charged by its usage: %s', async (_, tokens) => {
    const account = await createTestAccount(world, '1');
    world.upstream.script((exchange) => {
      const limit = exchange.request.json.max_tokens as number;
      const pieces = Array.from({ length: Math.floor(limit / tokens) }, () => ' word'.repeat(tokens));
      return chat({ pieces, usage: usage(12, limit) })(exchange);
    });
    const { chunks, text } = await read(account);
    expect([finishOf(chunks), text.length]).toEqual(['stop', Math.floor(limitSent() / tokens) * tokens * 5]);
    expect(await chargedTo(world, account.account)).toBe(12_000_000n + BigInt(limitSent()) * 2_000_000n);
  });
});

describe('a stream whose credits suffice', () => {
  it('is extended as it flows, arrives whole, and is charged by its usage', async () => {
    const account = await createTestAccount(world, '60');
    world.upstream.script(chat({ pieces: LONG }));
    const { chunks, text } = await read(account);
    expect([finishOf(chunks), text]).toEqual(['stop', LONG.join('')]);
    expect(await chargedTo(world, account.account)).toBe(18_000_000n);
  });
});

describe('the ledger is away while a stream asks for more', () => {
  it('a stream that ends before the answer comes is whole, and its hold ends', async () => {
    const account = await createTestAccount(world, '10');
    world.upstream.script(stream({ pieces: LONG.slice(0, 150) }, at(1, hold)));
    const reading = read(account);
    await eventually(async () => (await world.pool.query('SELECT FROM holds')).rowCount === 1, 'it is held');
    const { unlock } = await lockWallet(world.database.url, account.account);
    world.upstream.release();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await unlock();
    const { chunks } = await reading;
    expect(finishOf(chunks)).toBe('stop');
    await eventually(async () => (await world.pool.query('SELECT FROM holds')).rowCount === 0, 'the hold ends');
    expect(await chargedTo(world, account.account)).toBe(18_000_000n);
  });

  it('a stream that has used up what is held waits as long as a hold would, and ends', async () => {
    const account = await createTestAccount(world, '100');
    world.upstream.script(stream({ pieces: LONG }, at(1, hold)));
    const reading = read(account);
    await eventually(async () => (await world.pool.query('SELECT FROM holds')).rowCount === 1, 'it is held');
    const { unlock } = await lockWallet(world.database.url, account.account);
    world.upstream.release();
    const { chunks } = await reading;
    await unlock();
    expect(finishOf(chunks)).toBe('length');
    await eventually(async () => (await world.pool.query('SELECT FROM holds')).rowCount === 0, 'the hold ends');
    expect(await chargedTo(world, account.account)).toBeLessThan(2_100_000_000n);
  });
});
