/**
 * The provider breaks a stream before every single frame in turn, while the client listens or after it has left: what is
 * charged is what the policy says, computed here by itself. None is free that reached somebody, none costs more than is held.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  chargedTo,
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  get,
  startGateway,
  type TestGateway,
  type World,
  warmTokens,
} from '../support/gateway.ts';
import {
  type Exchange,
  endEarly,
  errorFrame,
  reset,
  type Script,
  stream,
  usage,
} from '../support/scripted-upstream.ts';

/** Each is one token. */
const PIECES = ['Hello', ' wide', ' world'];
const FINISH = 3;
/** At 0.001 credits a token of input, and 0.002 of output, in nano-credits. */
const INPUT = 1_000_000n;
const OUTPUT = 2_000_000n;
const EXACT = 12n * INPUT + 3n * OUTPUT;

const CUTS = { reset, endEarly, errorFrame } satisfies Record<string, Script>;

interface Case {
  model: 'plain' | 'drain';
  usage: 'at the end' | 'missing' | 'zero';
  cut: keyof typeof CUTS;
  /** Frames that the client reads before it leaves; `null`: it stays. */
  leavesAfter: number | null;
  /** The frame before which the provider breaks. */
  at: number;
}

/** Frames 0 to 2 are text, 3 says why it ended, 4 is the usage where there is one, the last is [DONE]. */
const frames = (one: Pick<Case, 'usage'>): number => (one.usage === 'missing' ? 5 : 6);

function cases(): Case[] {
  const all: Case[] = [];
  for (const model of ['plain', 'drain'] as const) {
    for (const usage of ['at the end', 'missing', 'zero'] as const) {
      for (const cut of ['reset', 'endEarly', 'errorFrame'] as const) {
        for (let at = 0; at <= frames({ usage }); at++) {
          all.push({ model, usage, cut, leavesAfter: null, at });
          for (let leavesAfter = 1; leavesAfter <= Math.min(at, 5); leavesAfter++) {
            // A frame later, so that the cut is no part of what makes it leave.
            if (leavesAfter < frames({ usage })) all.push({ model, usage, cut, leavesAfter, at });
          }
        }
      }
    }
  }
  return all;
}

/** What the policy says: by itself, from what has left the provider and who listened. */
function expected(one: Case, bodyBytes: number): bigint {
  const left = one.leavesAfter !== null;
  const aborted = left && one.model === 'plain' && one.leavesAfter! <= FINISH;
  const sent = aborted ? one.leavesAfter! : one.at;
  if (sent === 0) return 0n;
  if (one.usage !== 'missing' && sent > FINISH + 1) return one.usage === 'zero' ? 0n : EXACT;
  return BigInt(Math.ceil(bodyBytes / 4)) * INPUT + BigInt(Math.min(sent, PIECES.length)) * OUTPUT;
}

interface Gate {
  one: Case;
  goOn: PromiseWithResolvers<void>;
  exchange: PromiseWithResolvers<Exchange>;
}
const gates = new Map<string, Gate>();

let world: World;
let gateway: TestGateway;
beforeAll(async () => {
  world = await createWorld();
  gateway = await startGateway(world);
  await warmTokens(world, gateway, 'plain');
  world.upstream.script(async (exchange) => {
    const { one, goOn, exchange: seen } = gates.get(String(exchange.request.json.user))!;
    seen.resolve(exchange);
    const stated = { 'at the end': usage(12, 3), missing: null, zero: usage(0, 0) }[one.usage];
    const script = stream({ pieces: PIECES, usage: stated }, async (index) => {
      if (index === (one.leavesAfter ?? one.at)) await goOn.promise;
      if (index === one.at) await CUTS[one.cut](exchange);
    });
    await script(exchange);
  });
});
afterAll(async () => {
  await gateway.close();
  await expectSettled(world);
  await closeWorld(world);
});

/** Reads that many frames. */
async function readFrames(reader: ReadableStreamDefaultReader<Uint8Array>, count: number): Promise<void> {
  let text = '';
  while (text.split('\n\n').length - 1 < count) {
    const { value, done } = await reader.read();
    if (done) return;
    text += Buffer.from(value).toString();
  }
}

async function run(one: Case, name: string): Promise<void> {
  const account = await createTestAccount(world, '1000');
  const gate: Gate = { one, goOn: Promise.withResolvers(), exchange: Promise.withResolvers() };
  gates.set(name, gate);
  const body = JSON.stringify({
    model: one.model,
    stream: true,
    stream_options: { include_usage: true },
    user: name,
    messages: [{ role: 'user', content: 'Say hello' }],
  });
  const leave = new AbortController();
  if (one.at === 0) gate.goOn.resolve();
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${account.key}` },
    body,
    signal: leave.signal,
  });
  if (one.at > 0) {
    const reader = response.body!.getReader();
    // [DONE] is withheld until the charge is committed.
    await readFrames(reader, Math.min(one.leavesAfter ?? one.at, frames(one) - 1));
    if (one.leavesAfter !== null) {
      leave.abort();
      if (one.model === 'plain' && one.leavesAfter <= FINISH) await (await gate.exchange.promise).request.ended;
    }
    gate.goOn.resolve();
    await readFrames(reader, Number.POSITIVE_INFINITY).catch(() => {});
  } else await response.text();
  const open = 'SELECT FROM holds WHERE account_id = $1';
  await eventually(async () => (await world.pool.query(open, [account.account])).rowCount === 0, `${name} ends`);
  const charged = await chargedTo(world, account.account);
  const id = response.headers.get('x-request-id')!;
  const receipt = await get(gateway, account.key, `/account/v1/requests/${id}`);
  expect({ name, charged }).toEqual({ name, charged: expected(one, Buffer.byteLength(body)) });
  expect(Number(receipt.charged)).toBeLessThanOrEqual(Number(receipt.held));
  if (one.leavesAfter !== null && one.model === 'plain' && one.leavesAfter <= FINISH) {
    expect(receipt).toMatchObject({ policy: 'on_disconnect: abort', disconnect: 'aborted', usage_source: 'estimated' });
  }
}

it('each is charged as the policy says', async () => {
  const all = cases().map((one) => [one, Object.values(one).join(' | ')] as const);
  expect(new Set(all.map(([, name]) => name)).size).toBe(all.length);
  const running = [];
  for (let i = 0; i < 24; i++) {
    running.push(
      (async () => {
        for (let next = all.pop(); next !== undefined; next = all.pop()) await run(...next);
      })(),
    );
  }
  await Promise.all(running);
}, 180_000);
