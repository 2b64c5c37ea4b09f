import type Stripe from 'stripe';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStripe, type TestStripe } from '../stripe.ts';

let stripe: TestStripe;
let price: string;
const seen: string[] = [];
beforeAll(async () => {
  stripe = await startStripe({ seed: 21 });
  await stripe.sim.delivery({ when: 'early' });
  await stripe.sim.listen((body) => {
    seen.push((JSON.parse(body) as Stripe.Event).type);
    return 200;
  });
  price = (
    await stripe.client.prices.create({
      currency: 'usd',
      unit_amount: 1000,
      product_data: { name: 'Credits' },
      currency_options: { eur: { unit_amount: 900 } },
    })
  ).id;
});
afterAll(() => stripe.close());

type Params = Stripe.Checkout.SessionCreateParams;
function open(more: Partial<Params> = {}): Promise<Stripe.Checkout.Session> {
  const base: Params = { mode: 'payment', success_url: 'https://a.test/', line_items: [{ price, quantity: 2 }] };
  return stripe.client.checkout.sessions.create({ ...base, ...more });
}
const again = (id: string, expand: string[] = []) => stripe.client.checkout.sessions.retrieve(id, { expand });

test('paid by card: complete and paid, with our metadata on the payment intent, and found by it', async () => {
  const { id: customer } = await stripe.client.customers.create();
  const opened = await open({
    customer,
    client_reference_id: 'acct_1',
    metadata: { a: '1' },
    payment_intent_data: { metadata: { b: '2' }, setup_future_usage: 'off_session' },
  });
  expect(opened).toMatchObject({ status: 'open', payment_status: 'unpaid', payment_intent: null, amount_total: 2000 });
  seen.length = 0;
  await stripe.sim.completeSession(opened.id);
  expect(seen).toEqual([
    'payment_intent.created',
    'charge.succeeded',
    'payment_intent.succeeded',
    'payment_method.attached',
    'checkout.session.completed',
  ]);
  const session = await again(opened.id, ['payment_intent.latest_charge.balance_transaction', 'line_items']);
  expect(session).toMatchObject({ status: 'complete', payment_status: 'paid', metadata: { a: '1' }, url: null });
  expect(session.payment_intent).toMatchObject({
    status: 'succeeded',
    metadata: { b: '2' },
    amount_received: 2000,
    latest_charge: { balance_transaction: { amount: 2000, fee: 88 } },
  });
  expect(session.line_items?.data).toMatchObject([{ amount_total: 2000, quantity: 2, price: { id: price } }]);
  const intent = session.payment_intent as Stripe.PaymentIntent;
  const found = await stripe.client.checkout.sessions.list({ payment_intent: intent.id });
  expect(found.data.map(({ id }) => id)).toEqual([opened.id]);
  const lines = await stripe.client.checkout.sessions.listLineItems(opened.id);
  expect(lines.data).toHaveLength(1);
  expect((await stripe.client.customers.listPaymentMethods(customer)).data).toHaveLength(1);
});

test('a means of payment that takes days: complete and unpaid, then paid, or failed', async () => {
  for (const outcome of ['succeeded', 'failed'] as const) {
    const { id } = await open();
    seen.length = 0;
    const done = await stripe.sim.completeSession(id, { method: 'async' });
    expect(done).toMatchObject({ status: 'complete', payment_status: 'unpaid' });
    expect(seen).toContain('payment_intent.processing');
    const settled = await stripe.sim.settleAsync(id, outcome);
    expect(settled.payment_status).toBe(outcome === 'succeeded' ? 'paid' : 'unpaid');
    expect(seen.at(-1)).toBe(`checkout.session.async_payment_${outcome}`);
    expect(seen).toContain(outcome === 'succeeded' ? 'payment_intent.succeeded' : 'payment_intent.payment_failed');
  }
});

test('a declined card leaves the session open, and the next one pays the same intent', async () => {
  const { id } = await open();
  const declined = await stripe.sim.completeSession(id, { method: 'declined' });
  expect(declined.status).toBe('open');
  const paid = await stripe.sim.completeSession(id, { method: 'authentication' });
  expect(paid).toMatchObject({ status: 'complete', payment_status: 'paid', payment_intent: declined.payment_intent });
});

test('promotion codes and taxes change what is paid, not what is sold', async () => {
  const coupon = await stripe.client.coupons.create({ percent_off: 25, duration: 'once' });
  const code = await stripe.client.promotionCodes.create({
    promotion: { type: 'coupon', coupon: coupon.id },
    code: 'FALL',
  });
  const { id } = await open({ allow_promotion_codes: true, automatic_tax: { enabled: true } });
  const done = await stripe.sim.completeSession(id, { promotion_code: 'FALL' });
  expect(done).toMatchObject({
    amount_subtotal: 2000,
    amount_total: 1800,
    total_details: { amount_discount: 500, amount_tax: 300 },
    discounts: [{ coupon: null, promotion_code: code.id }],
  });
  expect((await stripe.client.promotionCodes.retrieve(code.id)).times_redeemed).toBe(1);
});

test('nothing is due: no payment intent, no_payment_required', async () => {
  const coupon = await stripe.client.coupons.create({ percent_off: 100, duration: 'once' });
  const { id } = await open({ discounts: [{ coupon: coupon.id }] });
  const done = await stripe.sim.completeSession(id);
  expect(done).toMatchObject({
    status: 'complete',
    payment_status: 'no_payment_required',
    payment_intent: null,
    amount_total: 0,
  });
});

test('another currency is paid at its own amount; one the price has not is refused', async () => {
  expect(await open({ currency: 'eur' })).toMatchObject({ currency: 'eur', amount_total: 1800 });
  await expect(open({ currency: 'gbp' })).rejects.toThrow(/only supports/);
});

test('price_data makes a price that is not for sale', async () => {
  const session = await open({
    line_items: [{ price_data: { currency: 'usd', unit_amount: 777, product_data: { name: 'Pack' } }, quantity: 1 }],
  });
  const full = await again(session.id, ['line_items.data.price.product']);
  expect(full.line_items?.data[0]).toMatchObject({
    description: 'Pack',
    price: { active: false, product: { name: 'Pack' } },
  });
});

test('a payment link pays without anything of ours', async () => {
  const session = await stripe.sim.paymentLink([{ price }]);
  const done = await stripe.sim.completeSession(session.id, { email: 'b@example.test' });
  expect(done).toMatchObject({ payment_status: 'paid', customer: null, metadata: {}, client_reference_id: null });
  expect(done.payment_link).toMatch(/^plink_/);
  expect(done.customer_details?.email).toBe('b@example.test');
});

test('a session expires by itself after a day, or when told', async () => {
  const [one, other] = [await open(), await open()];
  await stripe.client.checkout.sessions.expire(one.id);
  await expect(stripe.client.checkout.sessions.expire(one.id)).rejects.toThrow(/can be expired/);
  await stripe.sim.advance({ hours: 25 });
  expect(await again(other.id)).toMatchObject({ status: 'expired', url: null });
  await expect(stripe.sim.completeSession(other.id)).rejects.toThrow('expired');
});

const monthly = (unit_amount: number) =>
  stripe.client.prices.create({
    currency: 'usd',
    unit_amount,
    recurring: { interval: 'month' },
    product_data: { name: 'Plan' },
  });

test('a subscription begins paid, with our metadata on it and on its invoice, and renews', async () => {
  const plan = await monthly(3000);
  const opened = await open({
    mode: 'subscription',
    line_items: [{ price: plan.id, quantity: 1 }],
    subscription_data: { metadata: { b: '2' } },
  });
  expect(opened).toMatchObject({ amount_total: 3000, payment_status: 'unpaid' });
  const declined = await stripe.sim.completeSession(opened.id, { method: 'declined' });
  expect(declined).toMatchObject({ status: 'open', subscription: null });
  const done = await stripe.sim.completeSession(opened.id);
  expect(done).toMatchObject({ status: 'complete', payment_status: 'paid' });
  const full = await again(opened.id, ['subscription', 'invoice']);
  expect(full.subscription).toMatchObject({ status: 'active', metadata: { b: '2' } });
  expect(full.invoice).toMatchObject({
    status: 'paid',
    billing_reason: 'subscription_create',
    parent: { subscription_details: { metadata: { b: '2' } } },
  });
  await stripe.sim.advance({ days: 32 });
  const invoices = await stripe.client.invoices.list({ customer: String(done.customer) });
  expect(invoices.data.map(({ billing_reason, status }) => `${billing_reason} ${status}`)).toEqual([
    'subscription_cycle paid',
    'subscription_create paid',
  ]);
});

test('a subscription that begins with a trial, or free, needs no payment; a bank debit settles later', async () => {
  const line_items = [{ price: (await monthly(3000)).id, quantity: 1 }];
  const trial = await open({ mode: 'subscription', line_items, subscription_data: { trial_period_days: 7 } });
  const tried = await stripe.sim.completeSession(trial.id);
  expect(tried).toMatchObject({ payment_status: 'no_payment_required', amount_total: 0 });
  expect(await stripe.client.subscriptions.retrieve(String(tried.subscription))).toMatchObject({ status: 'trialing' });
  const slow = await open({ mode: 'subscription', line_items });
  expect(await stripe.sim.completeSession(slow.id, { method: 'async' })).toMatchObject({ payment_status: 'unpaid' });
  const settled = await stripe.sim.settleAsync(slow.id, 'succeeded');
  expect(settled.payment_status).toBe('paid');
  expect(await stripe.client.invoices.retrieve(String(settled.invoice))).toMatchObject({ status: 'paid' });
  const asks = await open({ mode: 'subscription', line_items });
  const authenticated = await stripe.sim.completeSession(asks.id, { method: 'authentication' });
  expect(authenticated).toMatchObject({ status: 'complete', payment_status: 'paid' });
});

test('setup keeps a card and charges nothing', async () => {
  const { id: customer } = await stripe.client.customers.create();
  const opened = await open({ mode: 'setup', customer, currency: 'usd', line_items: [] });
  const done = await stripe.sim.completeSession(opened.id);
  expect(done).toMatchObject({ status: 'complete', payment_status: 'no_payment_required', amount_total: null });
  const setup = await stripe.client.setupIntents.retrieve(String(done.setup_intent));
  expect(setup).toMatchObject({ status: 'succeeded', customer });
});

test('what does not fit together is refused as Stripe refuses it', async () => {
  const refused: Array<[Partial<Params>, RegExp]> = [
    [{ success_url: '' }, /success_url/],
    [{ line_items: [] }, /line_items/],
    [{ subscription_data: { metadata: { a: '1' } } }, /subscription_data/],
    [{ mode: 'subscription' }, /recurring/],
    [{ customer: 'cus_none' }, /No such customer/],
    [{ allow_promotion_codes: true, discounts: [{ coupon: 'x' }] }, /only specify one/],
  ];
  for (const [params, message] of refused) {
    const given = { ...params };
    if (given.success_url === '') given.success_url = undefined as never;
    await expect(open(given)).rejects.toThrow(message);
  }
});

test('the portal opens for a customer, with the default configuration', async () => {
  const { id: customer } = await stripe.client.customers.create();
  const session = await stripe.client.billingPortal.sessions.create({ customer, return_url: 'https://a.test/' });
  expect(session.url).toMatch(/^https:/);
  const all = await stripe.client.billingPortal.configurations.list({ is_default: true });
  expect(all.data.map(({ id }) => id)).toEqual([session.configuration]);
  await stripe.client.customers.del(customer);
  await expect(stripe.client.billingPortal.sessions.create({ customer })).rejects.toThrow(/No such customer/);
});
