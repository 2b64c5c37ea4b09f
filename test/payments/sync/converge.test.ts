import type { PoolClient } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { converge, InMotion } from '../../../src/payments/sync/converge.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  await database.pool.query('CREATE TABLE mirror (id text PRIMARY KEY, value integer NOT NULL)');
});
afterAll(() => database.drop());

let object: string;
let count = 0;
/** What Stripe says at this instant. */
let atStripe: number;
beforeEach(() => {
  object = `pi_${++count}`;
  atStripe = 1;
});

const post = async (db: PoolClient, value: number) => {
  await db.query('INSERT INTO mirror VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET value = excluded.value', [
    object,
    value,
  ]);
  return { changed: true };
};
const stands = async () =>
  (await database.pool.query<{ value: number }>('SELECT value FROM mirror WHERE id = $1', [object])).rows[0]?.value;
const sync = (event: string | null, read: () => Promise<number>) => converge(database, object, event, read, post);

async function receive(event: string, state = 'waiting'): Promise<void> {
  await database.pool.query(
    `INSERT INTO stripe_events (event_id, type, object_kind, object_id, livemode, source, created_at, state, ended_at)
     VALUES ($1, 'payment_intent.succeeded', 'payment_intent', $2, false, 'webhook', now(), $3,
       CASE WHEN $3 <> 'waiting' THEN now() END)`,
    [event, object, state],
  );
}
const stateOf = async (event: string) =>
  (await database.pool.query<{ state: string }>('SELECT state FROM stripe_events WHERE event_id = $1', [event]))
    .rows[0]!.state;

function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

it('never posts what a slow reader read over what was read after it', async () => {
  const reading = gate();
  const goOn = gate();
  let reads = 0;
  const slow = sync(null, async () => {
    const read = atStripe;
    if (++reads === 1) {
      reading.open();
      await goOn.opened;
    }
    return read;
  });
  await reading.opened;
  atStripe = 2;
  await sync(null, async () => atStripe);
  goOn.open();
  await slow;
  expect({ stands: await stands(), reads }).toEqual({ stands: 2, reads: 2 });
});

it('posts one after the other however many come at once, and ends at what Stripe says last', async () => {
  const posted: number[] = [];
  const at = async () => ++atStripe;
  await Promise.all(
    Array.from({ length: 6 }, () =>
      converge(database, object, null, at, async (db, value) => {
        posted.push(value);
        return post(db, value);
      }),
    ),
  );
  expect(posted).toEqual(posted.toSorted((a, b) => a - b));
  expect(await stands()).toBe(posted.at(-1));
});

it('gives up on an object that is in motion, and leaves its event waiting', async () => {
  await receive('evt_motion');
  const unruly = sync('evt_motion', async () => {
    await sync(null, async () => 7);
    return 1;
  });
  await expect(unruly).rejects.toThrow(InMotion);
  expect([await stands(), await stateOf('evt_motion')]).toEqual([7, 'waiting']);
});

it('marks the event in the transaction that posts: neither without the other', async () => {
  await receive('evt_both');
  const fails = converge(
    database,
    object,
    'evt_both',
    async () => 1,
    async (db, value) => {
      await post(db, value);
      throw new Error('too late');
    },
  );
  await expect(fails).rejects.toThrow('too late');
  expect([await stands(), await stateOf('evt_both')]).toEqual([undefined, 'waiting']);
  await sync('evt_both', async () => 1);
  expect([await stands(), await stateOf('evt_both')]).toEqual([1, 'processed']);
});

it.each([
  ['waiting', 'ignored'],
  ['dead', 'ignored'],
  ['processed', 'processed'],
])('of what is not ours a %s event is %s', async (before, after) => {
  const event = `evt_${before}`;
  await receive(event, before);
  await converge(
    database,
    object,
    event,
    async () => 1,
    async () => ({ changed: false, ours: false }),
  );
  expect(await stateOf(event)).toBe(after);
});
