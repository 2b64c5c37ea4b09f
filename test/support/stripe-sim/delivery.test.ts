import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Stripe from 'stripe';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startStripe, type TestStripe } from '../stripe.ts';

let stripe: TestStripe;
/** What the endpoint got, oldest first, and what it answers. */
let got: Stripe.Event[];
let answers: number;

beforeEach(async () => {
  stripe = await startStripe({ seed: 11 });
  got = [];
  answers = 200;
});
afterEach(() => stripe.close());

const receive = (body: string, signature: string): number => {
  got.push(stripe.client.webhooks.constructEvent(body, signature, stripe.env.STRIPE_WEBHOOK_SECRET));
  return answers;
};
const types = (): string[] => got.map(({ type }) => type);
async function pay(customer: string): Promise<Stripe.PaymentIntent> {
  const fields = { amount: 2000, currency: 'usd', customer, payment_method: 'pm_card_visa', confirm: true };
  return stripe.client.paymentIntents.create(fields);
}
const PAYMENT = ['payment_intent.created', 'charge.succeeded', 'payment_intent.succeeded'];

test('events are signed, in order, and sent after the answer, over HTTP', async () => {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    response.writeHead(receive(body, String(request.headers['stripe-signature']))).end();
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  await stripe.sim.listen(`http://127.0.0.1:${(server.address() as AddressInfo).port}/webhooks/stripe`);
  const { id } = await stripe.client.customers.create();
  await pay(id);
  await stripe.sim.settled();
  expect(types()).toEqual(['customer.created', ...PAYMENT]);
  expect(got.at(-1)).toMatchObject({
    api_version: '2026-10-28.endive',
    livemode: false,
    data: { object: { status: 'succeeded' } },
  });
  server.closeAllConnections();
  server.close();
});

test('an endpoint made by the API gets its types only, signed with the secret it was told once', async () => {
  const url = 'inprocess://1';
  await stripe.sim.listen(receive, { events: ['none'] });
  const made = await stripe.client.webhookEndpoints.create({
    url,
    enabled_events: ['payment_intent.succeeded'],
    api_version: '2025-03-31.basil',
  });
  expect(made.secret).toMatch(/^whsec_/);
  expect((await stripe.client.webhookEndpoints.retrieve(made.id)).secret).toBeUndefined();
  await stripe.sim.rotateSecret(made.id, stripe.env.STRIPE_WEBHOOK_SECRET);
  await pay((await stripe.client.customers.create()).id);
  await stripe.sim.settled();
  expect(types()).toEqual(['payment_intent.succeeded']);
  expect(got[0]?.api_version).toBe('2025-03-31.basil');
});

test('early: events arrive before the call that caused them has answered', async () => {
  await stripe.sim.listen(receive);
  await stripe.sim.delivery({ when: 'early' });
  const { id } = await stripe.client.customers.create();
  await pay(id);
  expect(types()).toEqual(['customer.created', ...PAYMENT]);
});

test('early: an endpoint may call the API before it answers, and call it so that more events come', async () => {
  await stripe.sim.listen(async (body, signature) => {
    const status = receive(body, signature);
    const { type, data } = JSON.parse(body) as Stripe.Event;
    const { id } = data.object as { id: string };
    if (type === 'customer.created') await stripe.client.customers.update(id, { name: 'A' });
    if (type === 'customer.updated') await stripe.client.customers.retrieve(id);
    return status;
  });
  await stripe.sim.delivery({ when: 'early' });
  await stripe.client.customers.create();
  expect(types().sort()).toEqual(['customer.created', 'customer.updated']);
  await stripe.sim.settled();
  expect(got).toHaveLength(2);
});

test('manual: events go out when told, in the order told, as often as told', async () => {
  await stripe.sim.listen(receive);
  await stripe.sim.delivery({ when: 'manual' });
  await pay((await stripe.client.customers.create()).id);
  expect(got).toEqual([]);
  const ids = (await stripe.sim.events({ type: 'payment_intent.succeeded' })).map(({ id }) => id);
  await stripe.sim.deliver([...ids, ...ids]);
  expect(types()).toEqual(['payment_intent.succeeded', 'payment_intent.succeeded']);
  const missed = await stripe.client.events.list({ delivery_success: false });
  expect(missed.data.map(({ type }) => type)).toEqual([
    'charge.succeeded',
    'payment_intent.created',
    'customer.created',
  ]);
});

test('what is not answered with 2xx comes again as the clock moves, until it counts as failed', async () => {
  await stripe.sim.listen(receive);
  answers = 500;
  await stripe.client.customers.create();
  await stripe.sim.settled();
  expect(got).toHaveLength(1);
  for (let hour = 0; hour < 80; hour += 1) await stripe.sim.advance({ hours: 1 });
  expect(got).toHaveLength(7);
  expect((await stripe.client.events.list({ delivery_success: false })).data).toHaveLength(1);
  answers = 200;
  await stripe.sim.deliver(got[0]?.id ?? '');
  expect((await stripe.client.events.list({ delivery_success: false })).data).toHaveLength(0);
});

test('what was lost behind the endpoint counts as delivered and does not come again', async () => {
  await stripe.sim.listen(receive);
  await stripe.sim.delivery({ when: 'manual' });
  await stripe.client.customers.create();
  await stripe.sim.lose((await stripe.sim.events()).map(({ id }) => id));
  await stripe.sim.delivery({ when: 'auto' });
  await stripe.sim.advance({ days: 4 });
  expect(got).toEqual([]);
  expect((await stripe.client.events.list({ delivery_success: false })).data).toEqual([]);
});

test('chaos of one seed is always the same: doubled, mixed, dropped and delayed, and in the end all arrives', async () => {
  const rates = { duplicate: 0.3, reorder: 0.5, drop: 0.3, delay: 0.3 };
  const runs: string[][] = [];
  for (let run = 0; run < 2; run += 1) {
    const own = await startStripe({ seed: 5 });
    const seen: string[] = [];
    await own.sim.listen((body) => {
      seen.push((JSON.parse(body) as Stripe.Event).id);
      return 200;
    });
    await own.sim.delivery({ when: 'early', ...rates });
    for (let count = 0; count < 20; count += 1) await own.client.customers.create();
    await own.sim.advance({ days: 1 });
    await own.sim.advance({ days: 3 });
    const made = (await own.sim.events()).map(({ id }) => id);
    expect(new Set(seen)).toEqual(new Set(made));
    expect(seen.length).toBeGreaterThan(20);
    expect(seen.filter((id, index) => seen.indexOf(id) === index)).not.toEqual(made);
    runs.push(seen);
    await own.close();
  }
  expect(runs[0]).toEqual(runs[1]);
});

test('a signature of another secret, or one that is old, is refused by the library', async () => {
  await stripe.sim.listen((body, signature) => {
    expect(() => stripe.client.webhooks.constructEvent(body, signature, 'whsec_other')).toThrow(
      Stripe.errors.StripeSignatureVerificationError,
    );
    const old = Math.floor(Date.now() / 1000) - 301;
    const stale = stripe.client.webhooks.generateTestHeaderString({
      payload: body,
      secret: 'whsec_other',
      timestamp: old,
    });
    expect(() => stripe.client.webhooks.constructEvent(body, stale, 'whsec_other')).toThrow(/tolerance/);
    got.push(JSON.parse(body) as Stripe.Event);
    return 200;
  });
  await stripe.client.customers.create();
  await stripe.sim.settled();
  expect(got).toHaveLength(1);
});
