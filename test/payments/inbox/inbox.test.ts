/** What was stored is brought in line, once or more often, sooner or later; and what cannot be is not forgotten. */
import Stripe from 'stripe';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { transaction } from '../../../src/db/pool.ts';
import type { StripeEvent } from '../../../src/payments/events.ts';
import { readEvent } from '../../../src/payments/events.ts';
import { Inbox, retryMs, type Sync } from '../../../src/payments/inbox.ts';
import { claimDue, MOST_ATTEMPTS, prune, storeEvents } from '../../../src/payments/inbox-rows.ts';
import { endEvent } from '../../../src/payments/sync/converge.ts';
import { eventually } from '../../support/gateway.ts';
import { createRig, event, type Rig, rows } from './rig.ts';

let rig: Rig;
const open: Inbox[] = [];
const alarms: unknown[] = [];

beforeAll(async () => {
  rig = await createRig();
  const log = Object.create(rig.deps.log) as typeof rig.deps.log;
  log.error = (fields: unknown) => void alarms.push(fields);
  rig.deps = { ...rig.deps, log };
});
afterAll(() => rig.database.drop());
beforeEach(async () => {
  alarms.length = 0;
  await rig.database.pool.query('DELETE FROM stripe_events');
});
afterEach(async () => {
  for (const inbox of open.splice(0)) await inbox.end();
});

/** An inbox whose worker asks this instead of Stripe. */
function inboxOf(sync: Sync): Inbox {
  const inbox = new Inbox({ deps: rig.deps, sync });
  open.push(inbox);
  return inbox;
}

/** Ends the event as `converge` does. */
const done: Sync = async ({ pool }, _ref, id) => {
  await transaction(pool, (db) => endEvent(db, id!, 'processed'));
  return { changed: true, ours: true };
};
const failing =
  (error: unknown): Sync =>
  () =>
    Promise.reject(error);

async function store(...sent: object[]): Promise<StripeEvent[]> {
  const events = sent.map((one) => readEvent(one)!);
  await storeEvents(
    rig.database.pool,
    events.map((one) => ({ event: one, body: null })),
    'webhook',
  );
  return events;
}

/** Runs the worker until nothing is due and nothing runs. */
async function quiet(inbox: Inbox): Promise<void> {
  while (await inbox.run()) {}
  await inbox.end();
  if (await inbox.run()) await quiet(inbox);
  await inbox.end();
}

const makeDue = () => rig.database.pool.query("UPDATE stripe_events SET due_at = now() WHERE state = 'waiting'");
const states = async (): Promise<string[]> => (await rows(rig)).map(({ state }) => state);

describe('an event', () => {
  it('that is due has its object synced, and is processed', async () => {
    const asked: unknown[] = [];
    const [first] = await store(event('invoice.paid', { object: 'invoice', id: 'in_1' }));
    await quiet(
      inboxOf(async (deps, ref, id) => {
        asked.push({ ref, id });
        return done(deps, ref, id);
      }),
    );
    expect(asked).toEqual([{ ref: { kind: 'invoice', id: 'in_1' }, id: first!.id }]);
    expect(await rows(rig)).toMatchObject([
      { state: 'processed', attempts: 1, error: null, ended_at: expect.any(Date) },
    ]);
  });

  it('of nothing of ours is ignored', async () => {
    await store(event());
    await quiet(inboxOf(async () => ({ changed: false, ours: false })));
    expect(await states()).toEqual(['ignored']);
  });

  it('is not taken up by another worker while one is at it', async () => {
    const gate = Promise.withResolvers<void>();
    let syncs = 0;
    const slow: Sync = async (...args) => {
      syncs++;
      await gate.promise;
      return done(...args);
    };
    await store(event());
    const [one, two] = [inboxOf(slow), inboxOf(slow)];
    await one.run();
    await two.run();
    await one.run();
    expect(syncs).toBe(1);
    gate.resolve();
    await one.end();
    expect(await states()).toEqual(['processed']);
  });

  it('whose taker was killed is taken up again when its lease is over', async () => {
    await store(event());
    expect((await claimDue(rig.database.pool, 8, [])).claims).toHaveLength(1);
    await quiet(inboxOf(done));
    expect(await states()).toEqual(['waiting']);
    await makeDue();
    await quiet(inboxOf(done));
    expect(await rows(rig)).toMatchObject([{ state: 'processed', attempts: 2 }]);
  });

  it('whose every taker died is dead, for one of them may have died of it', async () => {
    await store(event());
    await rig.database.pool.query('UPDATE stripe_events SET attempts = $1', [MOST_ATTEMPTS]);
    let syncs = 0;
    await quiet(
      inboxOf(async (...args) => {
        syncs++;
        return done(...args);
      }),
    );
    expect(syncs).toBe(0);
    expect(await states()).toEqual(['dead']);
    expect(alarms).toHaveLength(1);
  });

  it('that is given back when the process stops is due at once, and was not tried', async () => {
    await store(event());
    const gate = Promise.withResolvers<void>();
    const inbox = inboxOf(async (...args) => {
      await gate.promise;
      return done(...args);
    });
    await inbox.run();
    await inbox.end(1);
    expect(await rows(rig)).toMatchObject([{ state: 'waiting', attempts: 0 }]);
    expect((await claimDue(rig.database.pool, 8, [])).claims).toHaveLength(1);
    gate.resolve();
  });
});

describe('events of one object', () => {
  const object = { object: 'subscription', id: 'sub_1' };

  it('are one sync', async () => {
    await store(...Array.from({ length: 30 }, () => event('customer.subscription.updated', object)));
    let syncs = 0;
    await quiet(
      inboxOf(async (...args) => {
        syncs++;
        return done(...args);
      }),
    );
    expect(syncs).toBe(1);
    expect(new Set(await states())).toEqual(new Set(['processed']));
  });

  it('are not all ended by a sync that began before one of them came', async () => {
    await store(event('customer.subscription.updated', object));
    let late: StripeEvent | undefined;
    const inbox = inboxOf(async (...args) => {
      if (late === undefined) [late] = await store(event('customer.subscription.deleted', object));
      return done(...args);
    });
    await inbox.run();
    await inbox.end();
    expect((await rows(rig)).find(({ event_id }) => event_id === late!.id)).toMatchObject({ state: 'waiting' });
    await quiet(inbox);
    expect(await states()).toEqual(['processed', 'processed']);
  });

  it('that are dead are mended by the next that succeeds', async () => {
    await store(event('customer.subscription.updated', object));
    await rig.database.pool.query("UPDATE stripe_events SET state = 'dead', ended_at = now(), error = 'no'");
    await store(event('customer.subscription.updated', object));
    await quiet(inboxOf(done));
    expect(await rows(rig)).toMatchObject([
      { state: 'processed', error: null },
      { state: 'processed', error: null },
    ]);
  });
});

describe('an event that fails', () => {
  it('keeps its error, rests longer each time, and is dead in the end, with an alarm', async () => {
    await store(event());
    const inbox = inboxOf(failing(new Error('Stripe is away')));
    for (let attempt = 1; attempt < MOST_ATTEMPTS; attempt++) {
      await makeDue();
      await quiet(inbox);
      const [row] = await rows(rig);
      expect(row).toMatchObject({ state: 'waiting', attempts: attempt, error: 'Error: Stripe is away' });
      const { rows: rest } = await rig.database.pool.query<{ ms: number }>(
        'SELECT extract(epoch FROM due_at - now())::float8 * 1000 AS ms FROM stripe_events',
      );
      expect(rest[0]!.ms).toBeLessThanOrEqual(retryMs(attempt) * 1.25);
      expect(rest[0]!.ms).toBeGreaterThan(retryMs(attempt) * 0.5);
    }
    expect(alarms).toEqual([]);
    await makeDue();
    await quiet(inbox);
    expect(await rows(rig)).toMatchObject([{ state: 'dead', attempts: MOST_ATTEMPTS, ended_at: expect.any(Date) }]);
    expect(alarms).toHaveLength(1);
  });

  it('holds no other up', async () => {
    await store(...Array.from({ length: 20 }, (_, i) => event('invoice.paid', { object: 'invoice', id: `in_${i}` })));
    const inbox = inboxOf((deps, ref, id) =>
      Number(ref.id.slice(3)) % 2 === 0 ? done(deps, ref, id) : failing(new Error('no'))(deps, ref, id),
    );
    await quiet(inbox);
    expect((await states()).filter((state) => state === 'processed')).toHaveLength(10);
  });

  it('because Stripe asks us to slow down is tried later, and that does not count', async () => {
    await store(event());
    await quiet(
      inboxOf(failing(new Stripe.errors.StripeRateLimitError({ message: 'slow down', type: 'rate_limit_error' }))),
    );
    expect(await rows(rig)).toMatchObject([{ state: 'waiting', attempts: 0 }]);
    expect((await claimDue(rig.database.pool, 8, [])).claims).toEqual([]);
  });

  it.each([
    ['cannot be reached', new Stripe.errors.StripeConnectionError({ message: 'away', type: 'api_error' })],
    ['breaks', new Stripe.errors.StripeAPIError({ message: 'away', type: 'api_error', statusCode: 503 })],
    [
      'does not take our key',
      new Stripe.errors.StripeAuthenticationError({ message: 'who?', type: 'invalid_request_error' }),
    ],
    [
      'does not let our key see it',
      new Stripe.errors.StripePermissionError({ message: 'no', type: 'invalid_request_error' }),
    ],
  ])('because Stripe %s waits for as long as that lasts', async (_what, error) => {
    await store(event());
    await rig.database.pool.query('UPDATE stripe_events SET attempts = $1', [MOST_ATTEMPTS - 1]);
    await quiet(inboxOf(failing(error)));
    expect(await rows(rig)).toMatchObject([
      { state: 'waiting', attempts: MOST_ATTEMPTS - 1, error: expect.stringContaining('Stripe') },
    ]);
    expect(alarms).toEqual([]);
  });

  it('because it hangs leaves room for the others', async () => {
    const gate = Promise.withResolvers<void>();
    await store(event('invoice.paid', { object: 'invoice', id: 'in_slow' }));
    const inbox = inboxOf(async (deps, ref, id) => {
      if (ref.id === 'in_slow') await gate.promise;
      return done(deps, ref, id);
    });
    await inbox.run();
    await store(...Array.from({ length: 20 }, () => event()));
    await eventually(async () => {
      await inbox.run();
      return (await states()).filter((state) => state === 'processed').length === 20;
    }, 'all but the slow one are processed');
    gate.resolve();
  });
});

it('bodies go after 90 days, rows after 400 once they have come to their end', async () => {
  const events = await store(event(), event(), event(), event());
  const ages = [89, 91, 401, 401];
  for (const [i, { id }] of events.entries()) {
    await rig.database.pool.query(
      `UPDATE stripe_events SET body = 'body', received_at = now() - $2 * interval '1 day',
         state = $3, ended_at = CASE WHEN $3 <> 'waiting' THEN now() END WHERE event_id = $1`,
      [id, ages[i], i === 3 ? 'dead' : 'processed'],
    );
  }
  while (await prune(rig.database.pool)) {}
  const left = new Map((await rows(rig)).map((row) => [row.event_id, row.body !== null]));
  expect([...left]).toHaveLength(3);
  expect(events.map(({ id }) => left.get(id))).toEqual([true, false, undefined, false]);
});
