/** A stream of which a slice is held, and a client that is slow, or an end that comes while the hold is being extended. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { formatCredits, parseCredits } from '../../src/lib/money.ts';
import { lockWallet, writerWaits } from '../ledger/rig.ts';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  post,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { at, hold, type Script, stream } from '../support/scripted-upstream.ts';

const BODY = JSON.stringify({ model: 'long', stream: true, messages: [{ role: 'user', content: 'Say hello' }] });
/** What is held at first: the body's bytes at 0.001 credits, and a slice of 1,024 tokens at 0.002. */
const FIRST_HOLD = parseCredits((Buffer.byteLength(BODY) * 0.001 + 2.048).toFixed(9))!;
/** What the slice is extended by. */
const SECOND_SLICE = parseCredits('2.048')!;
/** More than all buffers between the gateway and a client that does not read. */
const PADDING = 'x'.repeat(24 * 1024 * 1024);

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

function chunk(content: string, more: object = {}): string {
  const choices = [{ index: 0, delta: { content }, finish_reason: null }];
  return `data: ${JSON.stringify({ id: 'chatcmpl-slow', object: 'chat.completion.chunk', created: 1, model: 'm', choices, ...more })}\n\n`;
}

/**
 * First a chunk that no buffer takes, which uses more than half of the slice, and in the same write one that uses up the rest.
 * The end comes once it is released.
 */
const ample: Script = async ({ response, held }) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(chunk('a'.repeat(600), { padding: PADDING }) + chunk('b'.repeat(600)));
  await held();
  const choices = [{ index: 0, delta: {}, finish_reason: 'stop' }];
  response.end(`data: ${JSON.stringify({ id: 'chatcmpl-slow', choices })}\n\ndata: [DONE]\n\n`);
};

/** The text, and how it ended, of a stream that must be well formed. */
function readWhole(body: string): { text: string; finish: unknown } {
  const frames = body.split('\n\n');
  expect(frames.slice(-2)).toEqual(['data: [DONE]', '']);
  const chunks = frames.slice(0, -2).map((frame) => JSON.parse(frame.slice('data: '.length)));
  const choices = chunks.flatMap((json) => json.choices);
  return { text: choices.map(({ delta }) => delta.content ?? '').join(''), finish: choices.at(-1).finish_reason };
}

const holds = async (): Promise<number> => (await world.pool.query('SELECT FROM holds')).rowCount!;
const heldNow = async (): Promise<bigint[]> =>
  (await world.pool.query<{ amount: string }>('SELECT amount FROM holds')).rows.map(({ amount }) => BigInt(amount));

/** Asks for a stream and does not read it. */
async function ask(credits: bigint): Promise<{ account: TestAccount; response: Response }> {
  const account = await createTestAccount(world, formatCredits(credits));
  return { account, response: await post(gateway, account.key, BODY) };
}

const receiptOf = (account: TestAccount, response: Response): Promise<Record<string, unknown>> =>
  get(gateway, account.key, `/account/v1/requests/${response.headers.get('x-request-id')}`);

describe('a client that does not read', () => {
  it('and whose credits run out meanwhile: the stream is settled, and has a well-formed end when it is read', async () => {
    world.upstream.script(ample);
    const credits = FIRST_HOLD + parseCredits('0.01')!;
    const { account, response } = await ask(credits);
    await eventually(async () => (await holds()) === 0, 'it is settled unread');
    expect(readWhole(await response.text())).toEqual({ text: 'a'.repeat(600), finish: 'length' });
    expect(await world.upstream.requests.at(-1)!.ended).toBe('cut');
    expect(await chargedTo(world, account.account)).toBeLessThanOrEqual(FIRST_HOLD);
    expect(await get(gateway, account.key, '/account/v1/balance')).toMatchObject({ held: '0', debt: '0' });
    expect(await receiptOf(account, response)).toMatchObject({
      policy: 'when_short: clamp',
      held: formatCredits(FIRST_HOLD),
    });
  });

  it('and whose hold is extended meanwhile: it gets the whole, once it reads', async () => {
    world.upstream.script(ample);
    const { account, response } = await ask(parseCredits('20')!);
    await eventually(async () => (await heldNow())[0] === FIRST_HOLD + SECOND_SLICE, 'it is extended unread');
    world.upstream.release();
    expect(readWhole(await response.text())).toEqual({ text: 'a'.repeat(600) + 'b'.repeat(600), finish: 'stop' });
    expect(await receiptOf(account, response)).toMatchObject({ policy: null, disconnect: null });
  });

  it('and leaves, with an extension refused: it is charged what it was sent, within what was held', async () => {
    world.upstream.script(ample);
    const { account, response } = await ask(FIRST_HOLD + parseCredits('0.01')!);
    await response.body!.cancel();
    await eventually(async () => (await holds()) === 0, 'it is settled');
    const charged = await chargedTo(world, account.account);
    expect(charged > 0n && charged <= FIRST_HOLD).toBe(true);
    expect(await get(gateway, account.key, '/account/v1/balance')).toMatchObject({ held: '0', debt: '0' });
  });
});

describe('a stream that ends while its hold is being extended', () => {
  it('has a receipt that tells what was held in the end', async () => {
    world.upstream.script(stream({ pieces: Array.from({ length: 150 }, () => ' word') }, at(1, hold)));
    const { account, response } = await ask(parseCredits('10')!);
    await eventually(async () => (await holds()) === 1, 'it is held');
    expect(await heldNow()).toEqual([FIRST_HOLD]);
    const { unlock } = await lockWallet(world.database.url, account.account);
    world.upstream.release();
    await eventually(() => writerWaits(world.pool), 'it is being extended');
    expect(await world.upstream.requests.at(-1)!.ended).toBe('whole');
    // Until the gateway has read that end, too.
    await sleep(100);
    await unlock();
    expect(readWhole(await response.text()).finish).toBe('stop');
    const held = formatCredits(FIRST_HOLD + SECOND_SLICE);
    expect(await receiptOf(account, response)).toMatchObject({ status: 'settled', held, charged: '0.018' });
  });
});
