/** P5 at the data plane: the same request under the same Idempotency-Key is forwarded once, charged once, and answered alike. */
import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { changeAccount } from '../../src/accounts/accounts.ts';
import { createKey, PLAIN_KEY, revokeKey } from '../../src/accounts/keys.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { chargedTo, client, createTestAccount, get } from '../support/gateway.ts';
import { at, chat, error, hold, stream } from '../support/scripted-upstream.ts';
import {
  account,
  ask,
  bodyOf,
  EXACT,
  errorOf,
  expectReplayed,
  forwards,
  gateway,
  name,
  PROMPT,
  restartGateway,
  script,
  useIdempotency,
  wholeOf,
  world,
} from './idempotency-rig.ts';

useIdempotency();

describe('a whole answer is given again, byte for byte, and charged once', () => {
  it.each([
    ['JSON', false, chat({ pieces: ['Grüße'] })],
    ['a stream', true, chat({ pieces: ['Grüße', ' 世界'], writeBytes: 7 })],
    ['a body beyond what is held whole', false, chat({ pieces: ['x'.repeat(3 * 1024 * 1024)] })],
    ['a stream of thousands of frames', true, chat({ pieces: Array.from({ length: 3_000 }, (_, i) => `${i} `) })],
  ])('%s', async (_name, streams, script_) => {
    script(script_);
    const first = await wholeOf(await ask(bodyOf(streams)));
    expect(first.status).toBe(200);
    const second = await wholeOf(await ask(bodyOf(streams)));
    expectReplayed(second, first);
    expect(forwards()).toBe(1);
    expect(await chargedTo(world, account.account)).toBe(EXACT);
  });

  it('as often as it is asked for: what was taken by its clients leaves room for the next', async () => {
    script(chat({ pieces: ['x'.repeat(7 * 1024 * 1024)] }));
    const first = await wholeOf(await ask(bodyOf(false)));
    // At once an account is given 32 MB, of which these are 42.
    for (let i = 0; i < 6; i++) expectReplayed(await wholeOf(await ask(bodyOf(false))), first);
    expect(forwards()).toBe(1);
  });

  it('what the provider says of a request that is wrong', async () => {
    script(error(422, 'invalid_request_error', 'invalid_value'));
    const first = await wholeOf(await ask(bodyOf(false)));
    script(chat());
    const second = await wholeOf(await ask(bodyOf(false)));
    expect(first.status).toBe(422);
    expectReplayed(second, first);
    expect(forwards()).toBe(0);
    expect(await chargedTo(world, account.account)).toBe(0n);
  });

  it('by a gateway that started since', async () => {
    const first = await wholeOf(await ask(bodyOf(true)));
    await restartGateway();
    expectReplayed(await wholeOf(await ask(bodyOf(true))), first);
    expect(forwards()).toBe(1);
  });

  it('to the real client, whose own retries bear the same key', async () => {
    class Careful extends OpenAI {
      protected override idempotencyHeader = 'Idempotency-Key';
    }
    const openai = new Careful({ apiKey: account.key, baseURL: `${gateway.url}/v1`, maxRetries: 2 });
    const messages = [{ role: 'user' as const, content: PROMPT }];
    const once = () => openai.chat.completions.create({ model: 'plain', messages }, { idempotencyKey: name });
    const parts = async () => {
      const chunks = await client(gateway, account).chat.completions.create(
        { model: 'plain', messages, stream: true },
        { headers: { 'Idempotency-Key': `${name}-stream` } },
      );
      return Array.fromAsync(chunks);
    };
    expect(await once()).toEqual(await once());
    expect(await parts()).toEqual(await parts());
    expect(forwards()).toBe(2);
  });

  it('the key never goes upstream', async () => {
    await (await ask(bodyOf(false))).text();
    expect(JSON.stringify(world.upstream.requests.at(-1)!.headers)).not.toContain(name);
  });
});

describe('while the first request runs', () => {
  it('a repeat is told to try again, and gets the answer afterwards', async () => {
    script(stream({}, at(1, hold)));
    const first = await ask(bodyOf(true));
    const refused = await ask(bodyOf(true));
    expect(refused.status).toBe(409);
    expect(refused.headers.get('x-should-retry')).toBe('true');
    expect(Number(refused.headers.get('retry-after-ms'))).toBeGreaterThan(0);
    expect(await errorOf(refused)).toMatchObject({ type: 'idempotency_error', code: 'idempotency_key_in_use' });
    world.upstream.release();
    const whole = await wholeOf(first);
    expectReplayed(await wholeOf(await ask(bodyOf(true))), whole);
  });

  it('the real client waits for it by itself', async () => {
    script(stream({}, at(1, hold)));
    const first = await ask(bodyOf(true));
    const again = client(gateway, account).chat.completions.create(JSON.parse(bodyOf(true)), {
      headers: { 'Idempotency-Key': name },
    });
    setTimeout(() => world.upstream.release(), 200);
    const chunks = await Array.fromAsync((await again) as unknown as AsyncIterable<unknown>);
    expect(chunks).toHaveLength(4);
    await first.text();
    expect(forwards()).toBe(1);
  });
});

describe('the key is refused', () => {
  it.each([
    ['another body', bodyOf(false, { n: 2 }), {}],
    ['another content type', bodyOf(false), { 'content-type': 'application/json; charset=utf-8' }],
  ])('with %s: 422, and nothing moves', async (_name, body, headers) => {
    const first = await wholeOf(await ask(bodyOf(false)));
    const second = await ask(body, headers);
    expect(second.status).toBe(422);
    expect(await errorOf(second)).toMatchObject({ type: 'idempotency_error', code: 'idempotency_key_reused' });
    expect(forwards()).toBe(1);
    expectReplayed(await wholeOf(await ask(bodyOf(false))), first);
  });

  it.each([
    ['of 256 characters', 'k'.repeat(256)],
    ['that is empty', ''],
  ])('%s: 400 that names it', async (_name, long) => {
    const refused = await ask(bodyOf(false), { 'idempotency-key': long });
    expect(refused.status).toBe(400);
    expect(await errorOf(refused)).toMatchObject({ code: 'invalid_request', param: 'idempotency-key' });
    expect(forwards()).toBe(0);
    expect((await ask(bodyOf(false), { 'idempotency-key': 'k'.repeat(255) })).status).toBe(200);
  });

  it('never by what another API key claimed, of the same account or of another', async () => {
    await (await ask(bodyOf(false))).text();
    const second = await createKey(world.pool, systemClock, account.account, PLAIN_KEY);
    const other = await createTestAccount(world, '1000');
    for (const key of [second.text, other.key]) {
      const response = await ask(bodyOf(false, { n: 3 }), {}, key);
      expect(response.status).toBe(200);
      expect(response.headers.get('idempotent-replayed')).toBeNull();
    }
    expect(forwards()).toBe(3);
  });
});

describe('who may have it', () => {
  it.each([
    ['the key was revoked', 401, () => revokeKey(world.pool, account.account, account.keyId)],
    [
      'the account was suspended',
      403,
      () => changeAccount(world.pool, systemClock, account.account, { status: 'suspended' }, 'test'),
    ],
  ])('not when %s since, whatever this gateway remembers', async (_name, status, change) => {
    await (await ask(bodyOf(false))).text();
    await change();
    expect((await ask(bodyOf(false))).status).toBe(status);
  });

  it('nobody who has only the database', async () => {
    const secret = 'an-answer-that-nobody-else-may-read';
    script(chat({ pieces: [secret] }));
    const first = await wholeOf(await ask(bodyOf(false)));
    const id = first.headers.get('x-request-id')!;
    const { rows } = await world.pool.query<{ dump: string; answer: Buffer }>(
      'SELECT i::text AS dump, answer FROM idempotency i WHERE account_id = $1',
      [account.account],
    );
    expect(rows).toHaveLength(1);
    const { dump, answer } = rows[0]!;
    expect(answer.length).toBeGreaterThan(first.bytes.length);
    for (const text of [secret, PROMPT, name, 'chat.completion', 'application/json', id, account.key]) {
      for (const form of [text, Buffer.from(text).toString('hex')]) expect(dump).not.toContain(form);
      expect(answer.includes(text)).toBe(false);
    }
  });
});

describe('an answer that cannot be given again is not asked for again', () => {
  it('larger than 8 MB: the error names the request of the receipt', async () => {
    script(chat({ pieces: ['x'.repeat(9 * 1024 * 1024)] }));
    const first = await ask(bodyOf(false));
    await first.arrayBuffer();
    const refused = await ask(bodyOf(false));
    expect(refused.status).toBe(409);
    expect(refused.headers.get('x-should-retry')).toBe('false');
    const { code, message } = await errorOf(refused);
    expect(code).toBe('idempotency_result_too_large');
    const id = first.headers.get('x-request-id')!;
    expect(message).toContain(id);
    expect(await get(gateway, account.key, `/account/v1/requests/${id}`)).toMatchObject({ charged: '0.018' });
    expect(forwards()).toBe(1);
  });
});
