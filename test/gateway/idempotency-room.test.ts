/** What is kept for an account is bounded, and counted right. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Place } from '../../src/gateway/idempotency/claims.ts';
import { ALIVE, account, claim, claims, kept, name, place, ROOM, useClaims, world } from './idempotency-claims-rig.ts';

useClaims();

describe('the room of an account', () => {
  it('holds the newest answers; older ones are dropped, and their requests not forwarded again', async () => {
    const places: Place[] = [];
    for (let i = 0; i < 5; i++) {
      const mine = place('a body', `${name} ${i}`);
      places.push(mine);
      await claim(mine);
      await claims.end(mine, 'kept', randomBytes(300));
      expect(await kept()).toEqual({ bytes: BigInt(Math.min(i + 1, 3) * 300), sum: BigInt(Math.min(i + 1, 3) * 300) });
    }
    const outcomes = [];
    for (const [i, { request }] of places.entries()) {
      const again = await claim(place('a body', `${name} ${i}`));
      expect(again.request).toBe(request);
      outcomes.push(again.outcome);
    }
    expect(outcomes).toEqual(['dropped', 'dropped', 'kept', 'kept', 'kept']);
  });

  it('an answer that took long does not make room for itself', async () => {
    const slow = place('a body', `${name} slow`);
    await claim(slow);
    const quick = place('a body', `${name} quick`);
    await claim(quick);
    await claims.end(quick, 'kept', randomBytes(600));
    await claims.end(slow, 'kept', randomBytes(600));
    expect((await claim(place('a body', `${name} slow`))).outcome).toBe('kept');
    expect((await claim(place('a body', `${name} quick`))).outcome).toBe('dropped');
  });

  it('is made for the largest answer by dropping 20,000 small ones, well within the time a statement has', async () => {
    const [size, count] = [400, 21_000];
    await world.pool.query(
      `INSERT INTO idempotency (account_id, key_id, name, fingerprint, request_id, owner, claimed_at, expires_at, size, state, answer)
       SELECT $1, $2, sha256(i::text::bytea), sha256(''), gen_random_uuid(), $3, now() - interval '1 hour' + i * interval '1 ms',
           now() + interval '1 hour', $4::integer, 1, decode(repeat('00', $4), 'hex') FROM generate_series(1, $5::integer) i`,
      [account.account, account.keyId, ALIVE, size, count],
    );
    const room = size * count;
    await world.pool.query('INSERT INTO idempotency_room VALUES ($1, $2)', [account.account, room]);
    const mine = place();
    await claim(mine);
    await world.pool.query('SELECT idempotency_end($1, $2, $3, $4, 1::smallint, $5, $6)', [
      ...[account.account, account.keyId, mine.name, mine.request, Buffer.alloc(20_000 * size), room],
    ]);
    expect(await kept()).toEqual({ bytes: BigInt(room), sum: BigInt(room) });
    expect((await claim(place())).outcome).toBe('kept');
  });

  it('is counted right by any number of them at once, beside the job that deletes', async () => {
    const work = Array.from({ length: 60 }, async (_, i) => {
      const mine = place('a body', `${name} ${i}`);
      await claim(mine, { after: i % 2 === 0 ? '0' : '-24 hours' });
      await claims.end(mine, 'kept', randomBytes(1 + ((i * 37) % 400)));
      if (i % 5 === 0) await world.pool.query('SELECT idempotency_expire(10)');
      if (i % 3 === 0) await claim(place('a body', `${name} ${i}`));
    });
    await Promise.all(work);
    const { bytes, sum } = await kept();
    expect(bytes).toBe(sum);
    expect(bytes).toBeLessThanOrEqual(BigInt(ROOM));
  });

  it('is free again once the 24 hours are over, in batches as small as asked for', async () => {
    // What the test before left is over too.
    await world.pool.query('SELECT idempotency_expire(1000)');
    for (let i = 0; i < 3; i++) {
      const mine = place('a body', `${name} ${i}`);
      await claim(mine, { after: '-24 hours' });
      await claims.end(mine, 'kept', randomBytes(100));
    }
    const mine = place();
    await claim(mine);
    await claims.end(mine, 'kept', randomBytes(50));
    const expire = async (): Promise<number> =>
      (await world.pool.query<{ n: number }>('SELECT idempotency_expire(2) AS n')).rows[0]!.n;
    expect(await expire()).toBe(2);
    expect(await expire()).toBe(1);
    expect(await expire()).toBe(0);
    expect(await kept()).toEqual({ bytes: 50n, sum: 50n });
    expect((await claim(place())).outcome).toBe('kept');
  });
});
