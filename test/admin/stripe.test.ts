/** Operators see what Stripe told us and how that went, never what was sent; and make it be looked at again. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { readEvent } from '../../src/payments/events.ts';
import { storeEvents } from '../../src/payments/inbox-rows.ts';
import { event, type Sent } from '../payments/inbox/rig.ts';
import { startStripe, type TestStripe } from '../support/stripe.ts';
import { createRig, type Json, type Rig } from './rig.ts';

let rig: Rig;
let stripe: TestStripe;
beforeAll(async () => {
  stripe = await startStripe();
  rig = await createRig({ stripe: { client: stripe.client, livemode: false } });
});
afterAll(async () => {
  await rig.close();
  await stripe.close();
});
beforeEach(() => rig.database.pool.query('DELETE FROM stripe_events'));

async function store(...sent: Sent[]): Promise<string[]> {
  for (const one of sent) {
    const body = Buffer.from(JSON.stringify({ ...one, email: 'planted@example.com' }));
    await storeEvents(rig.database.pool, [{ event: readEvent(one)!, body }], 'webhook');
  }
  return sent.map(({ id }) => id);
}

const die = (id: string) =>
  rig.database.pool.query(
    "UPDATE stripe_events SET state = 'dead', attempts = 15, error = 'no', ended_at = now() WHERE event_id = $1",
    [id],
  );
const ids = (body: Json): string[] => (body.data as Json[]).map((row) => String(row.id));

test('events are listed newest first, by state, page by page, without what was sent', async () => {
  const [a, b, c] = await store(event(), event('payout.paid'), event());
  await die(c!);
  const { body } = await rig.admin('GET', '/stripe/events');
  expect(ids(body)).toEqual([c, b, a]);
  expect((body.data as Json[])[0]).toMatchObject({
    state: 'dead',
    attempts: 15,
    error: 'no',
    source: 'webhook',
    due_at: null,
  });
  expect(JSON.stringify(body)).not.toContain('planted');
  expect(ids((await rig.admin('GET', '/stripe/events?state=ignored')).body)).toEqual([b]);
  const first = (await rig.admin('GET', '/stripe/events?limit=2')).body;
  expect(ids(first)).toEqual([c, b]);
  const second = (await rig.admin('GET', `/stripe/events?limit=2&cursor=${first.next_cursor}`)).body;
  expect(ids(second)).toEqual([a]);
  expect(second.has_more).toBe(false);
});

test.each(['state=lost', 'cursor=nonsense', `cursor=${Buffer.from('1 \0').toString('base64url')}`, 'limit=0', 'x=1'])(
  '?%s is refused',
  async (query) => {
    expect((await rig.admin('GET', `/stripe/events?${query}`)).status).toBe(400);
  },
);

test('replay makes a dead event wait as if it had just come, and the audit log tells who did', async () => {
  const [id] = await store(event());
  await die(id!);
  const { status, body } = await rig.admin('POST', `/stripe/events/${id}/replay`);
  expect({ status, ...body }).toMatchObject({
    status: 200,
    id,
    state: 'waiting',
    attempts: 0,
    error: null,
    ended_at: null,
  });
  expect(body.due_at).not.toBeNull();
  const { body: log } = await rig.admin('GET', `/audit?target=${id}`);
  expect(log.data).toMatchObject([{ action: 'stripe_event.replay', target: id, before: { state: 'dead' } }]);
  expect(JSON.stringify(log)).not.toContain('planted');
});

test('replay asks Stripe for an event that never came', async () => {
  const { id: customer } = await stripe.client.customers.create({ name: 'a' });
  await stripe.client.customers.update(customer, { name: 'b' });
  const [lost] = await stripe.sim.events({ type: 'customer.updated', about: customer });
  const { status, body } = await rig.admin('POST', `/stripe/events/${lost!.id}/replay`);
  expect({ status, ...body }).toMatchObject({
    status: 200,
    id: lost!.id,
    state: 'waiting',
    source: 'poll',
    object_id: customer,
  });
});

test('replay of what neither of us has is not found, whatever it is called', async () => {
  for (const id of ['evt_nothing', 'nonsense', 'evt_..%2Fcustomers', '%00', 'a'.repeat(250)]) {
    const { status, body } = await rig.admin('POST', `/stripe/events/${id}/replay`);
    expect({ status, ...(body.error as Json) }, id).toMatchObject({ status: 404, code: 'not_found' });
  }
  expect(await stripe.sim.log()).not.toContainEqual(
    expect.objectContaining({ path: expect.stringContaining('customers%') }),
  );
});

test('replay while Stripe is away says so, and leaves nothing', async () => {
  await stripe.sim.fault({ kind: 'status', status: 503, path: '/v1/events' });
  const { status, body } = await rig.admin('POST', '/stripe/events/evt_away/replay');
  expect({ status, ...(body.error as Json) }).toMatchObject({ status: 503, code: 'stripe_unavailable' });
  expect(ids((await rig.admin('GET', '/stripe/events')).body)).toEqual([]);
});

test('without a key of Stripe there is nothing to replay with', async () => {
  const without = await createRig();
  const { status, body } = await without.admin('POST', '/stripe/events/evt_1/replay');
  expect({ status, ...(body.error as Json) }).toMatchObject({ code: 'stripe_disabled' });
  await without.close();
});
