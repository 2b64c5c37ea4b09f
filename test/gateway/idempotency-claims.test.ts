/** The claims in the database: who may have a key, in order of precedence, and what becomes of it in the end. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { AnswerDropped, Claims } from '../../src/gateway/idempotency/claims.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/observe/log.ts';
import { eventually } from '../support/gateway.ts';
import { startWireProxy } from '../support/wire-proxy.ts';
import {
  ALIVE,
  account,
  addHold,
  claim,
  claims,
  claimsOf,
  DEAD,
  endHolds,
  kept,
  place,
  useClaims,
  world,
} from './idempotency-claims-rig.ts';

useClaims();

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
      const size = answer === null ? null : answer.length;
      expect(await claim(place())).toEqual({ outcome, request: mine.request, answer, size });
      expect(await claim(place('another body'))).toMatchObject({ outcome: 'reused', answer: null });
      expect((await claim(place('another body'), { after: '23 hours 59 minutes' })).outcome).toBe('reused');
      expect((await claim(place('another body'), { after: '24 hours' })).outcome).toBe('claimed');
      expect((await kept()).bytes ?? 0n).toBe(0n);
    },
  );

  it('of one that is kept: its answer comes in pieces, for as long as it is kept', async () => {
    const [mine, answer] = [place(), randomBytes(700_000)];
    const roomy = new Claims({ pool: world.pool, owner: ALIVE, clock: systemClock, log: silentLogger });
    await claim(mine);
    await roomy.end(mine, 'kept', answer);
    const standing = await roomy.claim(place(), 1_000n, 1_000n);
    if (standing.outcome !== 'kept') throw new Error(standing.outcome);
    expect(standing.answer.length).toBeLessThan(300_000);
    const pieces = [];
    for await (const piece of roomy.pieces(mine, standing)) pieces.push(piece);
    expect(pieces).toHaveLength(3);
    expect(Buffer.concat(pieces).equals(answer)).toBe(true);

    const reading = roomy.pieces(mine, standing);
    await reading.next();
    await world.pool.query('UPDATE idempotency SET state = 4, answer = NULL, size = 0 WHERE request_id = $1', [
      mine.request,
    ]);
    await expect(reading.next()).rejects.toThrow(AnswerDropped);
  });

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
