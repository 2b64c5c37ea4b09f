/** The room that forms take: bounded, given back, and shared so that no account keeps the others out. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Spool } from '../../src/gateway/spool.ts';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  expectSettled,
  startGateway,
  type TestAccount,
  type TestGateway,
  type World,
} from '../support/gateway.ts';
import { wav } from '../support/sounds.ts';
import { answer, DURATION, HEARD } from './heard-rig.ts';

const MOST = 1_000;

describe('the room of all bodies', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-test-'));
  const empty = (): Spool => new Spool({ dataDir: folder, mostBytes: MOST });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('is half an account’s where it is alone, and a third’s beside another that takes as much', () => {
    const alone = empty();
    alone.take(1n, MOST / 2);
    expect(() => alone.take(1n, 1)).toThrow(expect.objectContaining({ code: 'overloaded' }));
    const both = empty();
    for (const account of [1n, 2n]) both.take(account, Math.floor(MOST / 3));
    for (const account of [1n, 2n]) expect(() => both.take(account, 1)).toThrow();
  });

  it('is never more than it is, nor all taken by those who were first; and it is all there again once it is given back', () => {
    const asked = fc.record({ account: fc.bigInt({ min: 1n, max: 5n }), bytes: fc.integer({ min: 1, max: 400 }) });
    const property = fc.property(fc.array(asked, { maxLength: 40 }), (takers) => {
      const spool = empty();
      const held = takers.filter(({ account, bytes }) => {
        try {
          spool.take(account, bytes);
          return true;
        } catch {
          return false;
        }
      });
      expect(spool.used).toBe(held.reduce((sum, { bytes }) => sum + bytes, 0));
      expect(spool.used).toBeLessThan(MOST);
      // Whoever comes now finds half of what is left.
      spool.take(9n, Math.floor((MOST - spool.used) / 2));
      spool.give(9n, Math.floor((MOST - held.reduce((sum, { bytes }) => sum + bytes, 0)) / 2));
      for (const { account, bytes } of held) spool.give(account, bytes);
      expect(spool.used).toBe(0);
      spool.take(1n, MOST / 2);
    });
    const seed = Date.now() % 2 ** 31;
    console.log(`spool: seed ${seed}`);
    fc.assert(property, { seed, numRuns: 500 });
  });
});

describe('through a gateway', () => {
  const MIB = 1024 * 1024;
  let world: World;
  let gateway: TestGateway;
  let greedy: TestAccount;
  let other: TestAccount;
  beforeAll(async () => {
    world = await createWorld({}, `server: { spool_bytes: ${4 * MIB} }\n`, HEARD);
    gateway = await startGateway(world);
    [greedy, other] = [await createTestAccount(world, '1000'), await createTestAccount(world, '1000')];
  });
  afterAll(async () => {
    await gateway.close();
    await expectSettled(world);
    await closeWorld(world);
  });

  const send = async ({ key }: TestAccount, seconds: number): Promise<number> => {
    const body = new FormData();
    body.append('file', new Blob([wav(seconds)]), 'a.wav');
    body.append('model', 'whisper-1');
    const headers = { authorization: `Bearer ${key}` };
    return (await fetch(`${gateway.url}/v1/audio/transcriptions`, { method: 'POST', headers, body })).status;
  };

  it('who holds half of it is refused more, while others are served; and is served again once that has ended', async () => {
    const provider = Promise.withResolvers<void>();
    world.upstream.script(async (exchange) => {
      if (world.upstream.requests.length === 1) await provider.promise;
      await answer(DURATION)(exchange);
    });
    const large = send(greedy, 62.5);
    await world.upstream.arrived(1);
    expect(await send(greedy, 5)).toBe(503);
    expect(await send(other, 5)).toBe(200);
    provider.resolve();
    expect(await large).toBe(200);
    await eventually(async () => (await send(greedy, 5)) === 200, 'it is served again');
  });
});
