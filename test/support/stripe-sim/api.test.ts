import Stripe from 'stripe';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { startStripe, stripeClient, type TestStripe } from '../stripe.ts';

const stripe: TestStripe = await startStripe({ seed: 7 });
afterAll(() => stripe.close());
const { client, sim } = stripe;

beforeEach(async () => {
  await sim.clearFaults();
  await sim.clearLog();
});

const payment = (customer: string) => ({
  amount: 2000,
  currency: 'usd',
  customer,
  payment_method: 'pm_card_visa',
  confirm: true,
  off_session: true,
});
const customer = async (): Promise<string> => (await client.customers.create({ email: 'a@example.test' })).id;
const chargesOf = async (id: string): Promise<number> =>
  (await sim.charges()).find((row) => row.customer === id)?.charges ?? 0;

test('a wrong key is a 401, and the mode of objects is that of the key', async () => {
  await expect(stripeClient(stripe.url, 'nonsense').customers.list()).rejects.toThrow(
    Stripe.errors.StripeAuthenticationError,
  );
  const live = await stripeClient(stripe.url, 'sk_live_simulated').customers.create();
  expect(live.livemode).toBe(true);
  expect((await client.customers.create()).livemode).toBe(false);
});

test('a repeated key answers the same and charges once; other parameters are refused', async () => {
  const id = await customer();
  const first = await client.paymentIntents.create(payment(id), { idempotencyKey: 'k1' });
  const second = await client.paymentIntents.create(payment(id), { idempotencyKey: 'k1' });
  expect(second.id).toBe(first.id);
  expect(second.lastResponse.headers['idempotent-replayed']).toBe('true');
  expect(await chargesOf(id)).toBe(1);
  const other = client.paymentIntents.create({ ...payment(id), amount: 3000 }, { idempotencyKey: 'k1' });
  await expect(other).rejects.toThrow(Stripe.errors.StripeIdempotencyError);
});

test('a key is forgotten after 24 hours', async () => {
  const id = await customer();
  await client.paymentIntents.create(payment(id), { idempotencyKey: 'k2' });
  await sim.advance({ hours: 23 });
  await client.paymentIntents.create(payment(id), { idempotencyKey: 'k2' });
  expect(await chargesOf(id)).toBe(1);
  await sim.advance({ hours: 2 });
  await client.paymentIntents.create(payment(id), { idempotencyKey: 'k2' });
  expect(await chargesOf(id)).toBe(2);
});

test('a refused parameter does not use up its key, a decline does', async () => {
  const id = await customer();
  await expect(
    client.paymentIntents.create({ ...payment(id), payment_method: 'pm_none' }, { idempotencyKey: 'k3' }),
  ).rejects.toThrow(Stripe.errors.StripeInvalidRequestError);
  await client.paymentIntents.create(payment(id), { idempotencyKey: 'k3' });
  const declined = { ...payment(id), payment_method: 'pm_card_chargeCustomerFail' };
  for (let time = 0; time < 2; time += 1) {
    await expect(client.paymentIntents.create(declined, { idempotencyKey: 'k4' })).rejects.toMatchObject({
      type: 'StripeCardError',
      code: 'card_declined',
      payment_intent: { status: 'requires_payment_method' },
    });
  }
  const intents = await client.paymentIntents.list({ customer: id });
  expect(intents.data.map(({ status }) => status)).toEqual(['requires_payment_method', 'succeeded']);
});

test('a timeout after acting has charged, and its key finds what it did', async () => {
  const id = await customer();
  await sim.fault({ kind: 'timeout_after', path: '/v1/payment_intents', ms: 5 });
  const call = client.paymentIntents.create(payment(id), { idempotencyKey: 'k5' });
  await expect(call).rejects.toThrow(Stripe.errors.StripeConnectionError);
  expect(await chargesOf(id)).toBe(1);
  const again = await client.paymentIntents.create(payment(id), { idempotencyKey: 'k5' });
  expect(again.status).toBe('succeeded');
  expect(await chargesOf(id)).toBe(1);
});

test('a timeout before acting did nothing', async () => {
  const id = await customer();
  await sim.fault({ kind: 'timeout_before', path: '/v1/payment_intents', ms: 5 });
  await expect(client.paymentIntents.create(payment(id))).rejects.toThrow(Stripe.errors.StripeConnectionError);
  expect(await chargesOf(id)).toBe(0);
});

test('a connection that is reset is tried again by the library itself, under the same key', async () => {
  const id = await customer();
  await sim.fault({ kind: 'timeout_after', path: '/v1/payment_intents', ms: 5, how: 'reset' });
  expect((await client.paymentIntents.create(payment(id))).status).toBe('succeeded');
  expect(await chargesOf(id)).toBe(1);
  expect((await sim.log()).map(({ replayed }) => replayed)).toEqual([false, false, true]);
});

test('a 500 after acting is kept under the key, a 429 before acting is not', async () => {
  const id = await customer();
  await sim.fault({ kind: 'status', status: 500, when: 'after', path: '/v1/payment_intents' });
  for (let time = 0; time < 2; time += 1) {
    const call = client.paymentIntents.create(payment(id), { idempotencyKey: 'k6' });
    await expect(call).rejects.toThrow(Stripe.errors.StripeAPIError);
  }
  expect(await chargesOf(id)).toBe(1);
  await sim.fault({ kind: 'status', status: 429, path: '/v1/payment_intents' });
  await expect(client.paymentIntents.create(payment(id), { idempotencyKey: 'k7' })).rejects.toThrow(
    Stripe.errors.StripeRateLimitError,
  );
  await client.paymentIntents.create(payment(id), { idempotencyKey: 'k7' });
  expect(await chargesOf(id)).toBe(2);
});

test('a call whose key is in flight is a 409', async () => {
  const id = await customer();
  await sim.fault({ kind: 'slow', ms: 150, path: '/v1/payment_intents' });
  const slow = client.paymentIntents.create(payment(id), { idempotencyKey: 'k8' });
  await expect.poll(async () => (await sim.log()).length, { interval: 5 }).toBe(2);
  await expect(client.paymentIntents.create(payment(id), { idempotencyKey: 'k8' })).rejects.toMatchObject({
    statusCode: 409,
  });
  expect((await slow).status).toBe('succeeded');
  expect(await chargesOf(id)).toBe(1);
});

test('the log tells every call with its key and what was answered', async () => {
  const id = await customer();
  await client.paymentIntents.create(payment(id), { idempotencyKey: 'k9' });
  await client.customers.retrieve('cus_none').catch(() => {});
  expect((await sim.log()).map(({ method, path, status }) => `${method} ${path} ${status}`)).toEqual([
    'POST /v1/customers 200',
    'POST /v1/payment_intents 200',
    'GET /v1/customers/cus_none 404',
  ]);
});

test('without a socket it is the same: same answers, same faults', async () => {
  const { direct } = stripe;
  const { id } = await direct.customers.create();
  await sim.fault({ kind: 'timeout_after', ms: 1 });
  const call = direct.paymentIntents.create(payment(id), { idempotencyKey: 'd1' });
  await expect(call).rejects.toThrow(Stripe.errors.StripeConnectionError);
  expect((await direct.paymentIntents.create(payment(id), { idempotencyKey: 'd1' })).status).toBe('succeeded');
  await expect(direct.customers.retrieve('cus_none')).rejects.toMatchObject({ statusCode: 404 });
  expect(await chargesOf(id)).toBe(1);
});

test('it runs as its own program, with the same verbs', async () => {
  const apart = await startStripe({ inProcess: false, seed: 3 });
  try {
    const made = await apart.client.customers.create({ name: 'A' });
    await apart.sim.advance({ days: 30 });
    expect((await apart.sim.now()) - made.created).toBeGreaterThanOrEqual(30 * 86_400);
    const saved = await apart.sim.snapshot();
    await apart.client.customers.del(made.id);
    await apart.sim.restore(saved);
    expect(await apart.client.customers.retrieve(made.id)).toMatchObject({ name: 'A' });
    await expect(apart.sim.restore(99)).rejects.toThrow('no snapshot 99');
  } finally {
    await apart.close();
  }
});
