/** Which answers are kept under an Idempotency-Key, and which leave it free for a new request. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { Claim } from '../../src/gateway/idempotency/claim.ts';
import { Claims } from '../../src/gateway/idempotency/claims.ts';
import { chargedTo, eventually, grantCredits } from '../support/gateway.ts';
import { at, chat, endEarly, error, hold, type Script, stream, usage } from '../support/scripted-upstream.ts';
import {
  account,
  ask,
  bodyOf,
  EXACT,
  errorOf,
  expectReplayed,
  forwards,
  keptAnswers,
  leave,
  name,
  openClaims,
  script,
  useAccount,
  useIdempotency,
  wholeOf,
  world,
} from './idempotency-rig.ts';

useIdempotency();

describe('what is not a whole answer leaves the key free', () => {
  it.each([
    ['the provider is over its limit', error(429, 'tokens', 'rate_limit_exceeded'), false, 503],
    ['the provider fails', error(500, 'server_error', null), false, 502],
    ['the stream breaks', stream({}, at(2, endEarly)), true, 200],
    ['the provider says 200 and means an error', errorAs200, false, 200],
  ])('%s', async (_name, broken, streams, status) => {
    script(broken);
    const first = await ask(bodyOf(streams));
    expect(first.status).toBe(status);
    await first.text().catch(() => {});
    script(chat());
    // The claim ends before the last bytes leave, or with the connection: then a moment later.
    await eventually(async () => (await openClaims()) === 0, 'the claim is dropped');
    const second = await ask(bodyOf(streams));
    expect(second.headers.get('idempotent-replayed')).toBeNull();
    expect(second.status).toBe(200);
    await second.text();
    expect(forwards()).toBe(1);
  });

  it('no credits: topped up, the same key goes through', async () => {
    await useAccount('0');
    const end = vi.spyOn(Claims.prototype, 'end').mockImplementationOnce(async function (this: Claims, ...ended) {
      await sleep(100);
      return this.end(...ended);
    });
    const refused = await ask(bodyOf(true));
    // Free before the refusal leaves, however long that takes: not even the quickest retry hears that it is in use.
    expect(await openClaims()).toBe(0);
    end.mockRestore();
    expect(await errorOf(refused)).toMatchObject({ code: 'insufficient_quota' });
    await grantCredits(world, account.account, '10');
    const served = await ask(bodyOf(true));
    expect(served.status).toBe(200);
    expect(await served.text()).toMatch(/\[DONE\]\n\n$/);
    expect(await chargedTo(world, account.account)).toBe(EXACT);
  });

  it('the hold came so late that another gateway may have taken the claim over: nothing is forwarded', async () => {
    const fresh = vi.spyOn(Claim.prototype, 'isFresh', 'get').mockReturnValueOnce(false);
    const late = await ask(bodyOf(false));
    fresh.mockRestore();
    expect(await errorOf(late)).toMatchObject({ code: 'overloaded' });
    expect(forwards()).toBe(0);
    expect(await chargedTo(world, account.account)).toBe(0n);
    expect((await ask(bodyOf(false))).status).toBe(200);
  });

  it('the client leaves a stream that is aborted then', async () => {
    script(stream({}, at(1, hold)));
    await leave(bodyOf(true));
    await eventually(async () => (await openClaims()) === 0, 'the claim is dropped');
    script(chat());
    const again = await ask(bodyOf(true));
    expect(again.headers.get('idempotent-replayed')).toBeNull();
    await again.text();
    expect(forwards()).toBe(1);
  });
});

describe('an answer that we ended ourselves', () => {
  it('because the credits ran out, is whole to its client: kept, and not charged again', async () => {
    await useAccount('10');
    const long = { model: 'unstated', stream_options: { include_usage: true } };
    script(chat({ pieces: Array.from({ length: 4_000 }, () => 'word ') }));
    const first = await wholeOf(await ask(bodyOf(true, long)));
    expect(first.bytes.includes('"finish_reason":"length"')).toBe(true);
    const charged = await chargedTo(world, account.account);
    await grantCredits(world, account.account, '100');
    expectReplayed(await wholeOf(await ask(bodyOf(true, long))), first);
    expect(await chargedTo(world, account.account)).toBe(charged);
    expect(forwards()).toBe(1);
  });
});

describe('an answer that was finished after its client left is kept', () => {
  it.each([
    ['a stream that is drained', bodyOf(true, { model: 'drain' }), stream({}, at(1, hold))],
    ['JSON', bodyOf(false), 'held' as const],
  ])('%s', async (_name, body, held) => {
    script(held);
    await leave(body);
    world.upstream.release();
    await eventually(async () => (await keptAnswers()) === 1, 'the answer is kept');
    const again = await wholeOf(await ask(body));
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.headers.get('x-request-id')).toMatch(/^req_/);
    const stayed = await wholeOf(await ask(body, { 'idempotency-key': `${name} of one who stays` }));
    expect(again.bytes.equals(stayed.bytes)).toBe(true);
    expect(forwards()).toBe(2);
    expect(await chargedTo(world, account.account)).toBe(2n * EXACT);
  });
});

describe('an answer that is larger than can be read', () => {
  it('and was finished after its client left, is neither forwarded nor charged again', async () => {
    await useAccount('1000000');
    script(async ({ response, held }) => {
      await held();
      response.writeHead(200, { 'content-type': 'application/json' });
      const part = Buffer.alloc(1024 * 1024, 'x');
      for (let sent = 0; sent <= 64; sent++) if (!response.write(part)) await once(response, 'drain');
      response.end();
    });
    const body = bodyOf(false, { model: 'long' });
    await leave(body);
    world.upstream.release();
    await eventually(async () => (await chargedTo(world, account.account)) > 0n, 'it is charged');
    await eventually(async () => (await openClaims()) === 0, 'the claim has ended');
    const charged = await chargedTo(world, account.account);
    expect(await errorOf(await ask(body))).toMatchObject({ code: 'idempotency_result_too_large' });
    expect(forwards()).toBe(1);
    expect(await chargedTo(world, account.account)).toBe(charged);
  });
});

describe('a stream with several frames that end it', () => {
  it.each([
    ['its client stays', false],
    ['its client leaves, and it is drained', true],
  ])('is kept with all of them: %s', async (_name, leaves) => {
    const frames = [{ choices: [{ index: 0, delta: { content: 'Hello' }, finish_reason: 'stop' }] }, usage(12, 3)];
    const body = bodyOf(true, { model: 'drain' });
    script(async ({ response, held }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`data: ${JSON.stringify(frames[0])}\n\n`);
      if (leaves) await held();
      response.write(`data: ${JSON.stringify({ choices: [], usage: frames[1] })}\n\n`);
      response.end('data: [DONE]\n\n: twice\ndata: [DONE]\n\n');
    });
    const whole = `data: ${JSON.stringify(frames[0])}\n\ndata: [DONE]\n\n: twice\ndata: [DONE]\n\n`;
    if (leaves) {
      await leave(body);
      world.upstream.release();
      await eventually(async () => (await keptAnswers()) === 1, 'the answer is kept');
    } else expect(await (await ask(body)).text()).toBe(whole);
    expect(await (await ask(body)).text()).toBe(whole);
    expect(forwards()).toBe(1);
    expect(await chargedTo(world, account.account)).toBe(EXACT);
  });

  it('leaves the key free where it was cut while it was drained', async () => {
    const body = bodyOf(true, { model: 'drain', max_tokens: 50 });
    script(stream({ pieces: ['x'.repeat(8_000), 'x'.repeat(8_000)] }, at(1, hold)));
    await leave(body);
    world.upstream.release();
    await eventually(async () => (await openClaims()) === 0, 'the claim is dropped');
    script(chat());
    const again = await ask(body);
    expect(again.headers.get('idempotent-replayed')).toBeNull();
    await again.text();
    expect(forwards()).toBe(1);
  });
});

function errorAs200({ response }: Parameters<Script>[0]): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ error: { message: 'Overloaded.', type: 'server_error', param: null, code: null } }));
}
