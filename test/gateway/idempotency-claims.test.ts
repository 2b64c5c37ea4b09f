/** The claims in the database: who may have a key, in order of precedence, and what becomes of it in the end. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { Claims, type Place } from '../../src/gateway/idempotency/claims.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { uuidv7 } from '../../src/lib/ids.ts';
import { silentLogger } from '../../src/observe/log.ts';
import {
  closeWorld,
  createTestAccount,
  createWorld,
  eventually,
  type TestAccount,
  type World,
} from '../support/gateway.ts';
import { startWireProxy } from '../support/wire-proxy.ts';

const ROOM = 1_000;
const ALIVE = 77n;
const DEAD = 66n;
const hash = (text: string): Buffer => createHash('sha256').update(text).digest();

let world: World;
let account: TestAccount;
let name: string;
let claims: Claims;

beforeAll(async () => {
  world = await createWorld();
  await world.pool.query(
    `INSERT INTO owners VALUES ($1, clock_timestamp() + interval '1 hour', clock_timestamp()),
       ($2, clock_timestamp() - interval '1 second', clock_timestamp())`,
    [ALIVE, DEAD],
  );
});
afterAll(() => closeWorld(world));
beforeEach(async () => {
  account = await createTestAccount(world, '1000');
  name = randomUUID();
  claims = claimsOf(ALIVE);
});

const claimsOf = (owner: bigint, pool = world.pool): Claims =>
  new Claims({ pool, owner, clock: systemClock, log: silentLogger, roomBytes: ROOM });

const place = (fingerprint = 'a body', under = name): Place => ({
  account: account.account,
  key: account.keyId,
  name: hash(under),
  fingerprint: hash(fingerprint),
  request: uuidv7(systemClock),
});

/** The claim of a place by a gateway, at an instant from now; by default with the newest policy. */
async function claim(
  asked: Place,
  options: { after?: string; owner?: bigint; policy?: bigint; catalog?: bigint } = {},
) {
  const { after = '0', owner = ALIVE, policy = 1_000n, catalog = 1_000n } = options;
  const { rows } = await world.pool.query<{ outcome: string; request: string; answer: Buffer | null }>(
    'SELECT * FROM idempotency_claim($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + $9::interval)',
    [asked.account, asked.key, asked.name, asked.fingerprint, asked.request, owner, policy, catalog, after],
  );
  return rows[0]!;
}

async function addHold({ account: of, key, request }: Place, owner: bigint): Promise<void> {
  await world.pool.query(
    `INSERT INTO holds (account_id, key_id, amount, floor, owner, opened_at, id, on_orphan, frozen)
     VALUES ($1, $2, 0, 0, $3, clock_timestamp(), $4, 0, '')`,
    [of, key, owner, request],
  );
}
const endHolds = (owner: bigint) => world.pool.query('SELECT ledger_end_owner($1, 100)', [owner]);

const kept = async (): Promise<{ bytes: bigint; sum: bigint }> =>
  (
    await world.pool.query(
      `SELECT (SELECT bytes FROM idempotency_room WHERE account_id = $1) AS bytes,
         (SELECT sum(size)::bigint FROM idempotency WHERE account_id = $1) AS sum`,
      [account.account],
    )
  ).rows[0];

describe('a claim', () => {
  it('by twenty at once: one has it, all others hear that it is in use, and by whom', async () => {
    const places = Array.from({ length: 20 }, () => place());
    const all = await Promise.all(places.map((one) => claim(one)));
    const [first, ...more] = all.filter(({ outcome }) => outcome === 'claimed');
    expect(more).toHaveLength(0);
    expect(all.filter(({ outcome }) => outcome === 'in_use')).toHaveLength(19);
    expect(new Set(all.map(({ request }) => request))).toEqual(new Set([first!.request]));
  });

  it.each([
    ['an older policy', { policy: 0n }],
    ['an older catalog', { catalog: 0n }],
  ])('with %s: stale_policy before all else, and nothing is claimed', async (_name, old) => {
    expect((await claim(place(), old)).outcome).toBe('stale_policy');
    expect((await claim(place())).outcome).toBe('claimed');
  });

  it.each([
    ['a suspended account', 'UPDATE wallets SET status = 1 WHERE account_id = $1'],
    ['a revoked key', 'UPDATE spenders SET state = 1 WHERE account_id = $1'],
    ['an expired key', 'UPDATE spenders SET expires_at = clock_timestamp() WHERE account_id = $1'],
  ])('of %s: stale_policy, also where an answer is kept', async (_name, change) => {
    const mine = place();
    await claim(mine);
    await claims.end(mine, 'kept', Buffer.from('sealed'));
    await world.pool.query(change, [account.account]);
    expect((await claim(place())).outcome).toBe('stale_policy');
  });

  it.each([
    ['kept', 'kept', Buffer.from('sealed')],
    ['lost', 'lost', null],
    ['too_large', 'too_large', null],
  ] as const)(
    'of one that is %s: so, by the name of its request; with another body: reused',
    async (outcome, end, answer) => {
      const mine = place();
      await claim(mine);
      await claims.end(mine, end, answer);
      expect(await claim(place())).toEqual({ outcome, request: mine.request, answer });
      expect(await claim(place('another body'))).toMatchObject({ outcome: 'reused', answer: null });
      expect((await claim(place('another body'), { after: '23 hours 59 minutes' })).outcome).toBe('reused');
      expect((await claim(place('another body'), { after: '24 hours' })).outcome).toBe('claimed');
      expect((await kept()).bytes ?? 0n).toBe(0n);
    },
  );

  it('of one that was forgotten: claimed', async () => {
    const mine = place();
    await claim(mine);
    await claims.end(mine, 'forgotten');
    expect((await claim(place('another body'))).outcome).toBe('claimed');
  });
});

describe('when its gateway died', () => {
  it('before the hold: taken over after ten seconds, by another body too; the dead one can end it no more', async () => {
    const mine = place();
    await claim(mine, { owner: DEAD });
    expect((await claim(place(), { after: '9 seconds' })).outcome).toBe('in_use');
    const next = place('another body');
    expect((await claim(next, { after: '10 seconds' })).outcome).toBe('claimed');
    await claims.end(mine, 'kept', Buffer.from('of a zombie'));
    await claims.end(mine, 'forgotten');
    expect(await claim(place('another body'))).toMatchObject({ outcome: 'in_use', request: next.request });
    expect((await kept()).bytes).toBe(0n);
  });

  it('after the hold: in use until that is ended, then lost, and not taken over', async () => {
    const mine = place();
    await claim(mine, { owner: DEAD });
    await addHold(mine, DEAD);
    expect((await claim(place(), { after: '1 hour' })).outcome).toBe('in_use');
    await world.pool.query(
      'INSERT INTO owners VALUES ($1, clock_timestamp(), clock_timestamp()) ON CONFLICT DO NOTHING',
      [DEAD],
    );
    await endHolds(DEAD);
    expect(await claim(place())).toMatchObject({ outcome: 'lost', request: mine.request });
    expect((await claim(place(), { after: '1 hour' })).outcome).toBe('lost');
  });

  it('while it lives, it is in use between the settle and the answer being kept', async () => {
    const mine = place();
    await claim(mine);
    await addHold(mine, DEAD);
    await endHolds(DEAD);
    expect((await claim(place(), { after: '59 minutes' })).outcome).toBe('in_use');
  });
});

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

describe('while the database is away', () => {
  it.each([
    ['an answer cannot be kept: it is lost, and not asked for again', 'kept', Buffer.from('sealed'), 'lost'],
    ['a claim cannot be forgotten: it is, later', 'forgotten', null, 'claimed'],
  ] as const)('%s', async (_name, end, answer, outcome) => {
    const proxy = await startWireProxy(world.database.url);
    const pool = createPool({ url: proxy.url, max: 2, applicationName: 'tollgate-test', log: silentLogger });
    const far = claimsOf(ALIVE, pool);
    const mine = place();
    expect((await far.claim(mine, 1_000n, 1_000n)).outcome).toBe('claimed');
    proxy.open = false;
    proxy.strikeAll('cut');
    await far.end(mine, end, answer);
    proxy.open = true;
    expect((await claim(place())).outcome).toBe('in_use');
    await far.stop();
    expect((await claim(place())).outcome).toBe(outcome);
    await pool.end();
    await proxy.close();
  });

  it('a claim whose answer is lost on the wire is forgotten again', async () => {
    const proxy = await startWireProxy(world.database.url);
    const pool = createPool({ url: proxy.url, max: 2, applicationName: 'tollgate-test', log: silentLogger });
    const far = claimsOf(ALIVE, pool);
    const struck = proxy.strike({ statement: /idempotency_claim/, point: 'answered', fate: 'cut' });
    await expect(far.claim(place(), 1_000n, 1_000n)).rejects.toMatchObject({ code: 'ledger_unavailable' });
    await struck;
    await eventually(async () => (await claim(place())).outcome === 'claimed', 'the claim is forgotten');
    await pool.end();
    await proxy.close();
  });
});
