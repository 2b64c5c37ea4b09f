/** Invoices of subscriptions whose money goes back, comes late, or is nobody's. */
import type Stripe from 'stripe';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sync } from '../../../src/payments/sync/sync.ts';
import { completeSession, openPaymentLink } from '../../support/stripe-sim/checkout-complete.ts';
import { createDispute, reinstate, withdraw } from '../../support/stripe-sim/disputes.ts';
import { settleIntent } from '../../support/stripe-sim/payment-intents.ts';
import { settleRefund } from '../../support/stripe-sim/refunds.ts';
import { createSubscriptionRig, DAY, date, type SubscriptionRig } from './rig.ts';

let rig: SubscriptionRig;
let pro: string;
let proYear: string;
beforeAll(async () => {
  rig = await createSubscriptionRig();
  const included = { included_credits: { credits: '10000', every: 'month' }, grace_days: 3 };
  [pro, proYear] = (await rig.plan('pro', included, [2000, 'month'], [24_000, 'year'])) as [string, string];
});
afterAll(() => rig.drop());

async function subscribed(price: string, more: object = {}) {
  const { account, customer } = await rig.subscriber();
  const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price }], ...more });
  await rig.heard();
  return { account, customer, sub, invoice: sub.latest_invoice as string };
}
const orphans = async (id: string) => {
  const { rows } = await rig.pool.query(
    'SELECT reason, resolved_at IS NULL AS open FROM orphan_payments WHERE object_id = $1',
    [id],
  );
  return rows;
};

test('a year of which half is refunded keeps its first months, and loses those that are last', async () => {
  const { account, invoice } = await subscribed(proYear);
  await rig.stripe.refunds.create({ payment_intent: await rig.intentOf(invoice), amount: 12_000 });
  expect(await rig.synced(invoice)).toBe(true);
  expect(await rig.held(account)).toBe('60000');
  const { rows } = await rig.pool.query<{ remaining: bigint }>(
    'SELECT remaining FROM lots WHERE account_id = $1 ORDER BY starts_at',
    [account],
  );
  expect(rows.slice(1).map(({ remaining }) => remaining > 0n)).toEqual([
    ...Array(5).fill(true),
    ...Array(6).fill(false),
  ]);
  expect(await rig.synced(invoice)).toBe(false);
});

test('a refund in full takes all; one that fails gives it back', async () => {
  const { account, invoice } = await subscribed(pro);
  const refund = await rig.stripe.refunds.create({ payment_intent: await rig.intentOf(invoice) });
  await rig.synced(invoice);
  expect(await rig.held(account)).toBe('0');
  rig.act((sim) => settleRefund(sim, sim.get<Stripe.Refund>('refund', refund.id), 'failed'));
  await rig.synced(invoice);
  expect(await rig.held(account)).toBe('10000');
});

test('a dispute takes what it withdraws, and gives it back with the money; a refund is told of by itself', async () => {
  const { account, invoice } = await subscribed(pro);
  const { latest_charge: charge } = await rig.stripe.paymentIntents.retrieve(await rig.intentOf(invoice));
  const dispute = rig.act((sim) =>
    createDispute(sim, sim.get<Stripe.Charge>('charge', charge as string), 'inquiry', { amount: 500 }),
  );
  const hear = () => sync(rig.deps, { kind: 'dispute', id: dispute.id }, null);
  await hear();
  expect(await rig.held(account)).toBe('10000');
  rig.act((sim) => withdraw(sim, sim.get<Stripe.Dispute>('dispute', dispute.id)));
  await hear();
  expect(await rig.held(account)).toBe('7500');
  rig.act((sim) => reinstate(sim, sim.get<Stripe.Dispute>('dispute', dispute.id)));
  await hear();
  expect(await rig.held(account)).toBe('10000');
});

test('a credit note takes its share, whether it refunds, goes to the balance, or is settled by hand', async () => {
  const { account, invoice } = await subscribed(pro);
  const note = async (how: object) => {
    const made = await rig.stripe.creditNotes.create({ invoice, amount: 500, ...how });
    await sync(rig.deps, { kind: 'credit_note', id: made.id }, null);
  };
  await note({ refund_amount: 500 });
  expect(await rig.held(account)).toBe('7500');
  await note({ credit_amount: 500 });
  expect(await rig.held(account)).toBe('5000');
  await note({ out_of_band_amount: 500 });
  expect(await rig.held(account)).toBe('2500');
});

test('an invoice that is sent grants when it is paid, out of band too, and is told of when it is overdue', async () => {
  const { account, sub } = await subscribed(pro, { collection_method: 'send_invoice', days_until_due: 10 });
  const { id: invoice } = await rig.stripe.invoices.finalizeInvoice(sub.latest_invoice as string);
  await rig.heard();
  expect(await rig.held(account)).toBe('0');
  expect(await rig.told(account, 'payment.failed')).toEqual([]);
  await rig.stripe.invoices.pay(invoice!, { paid_out_of_band: true });
  await rig.heard();
  expect(await rig.held(account)).toBe('10000');
});

test('promotion codes and taxes change nothing of what is included', async () => {
  const coupon = await rig.stripe.coupons.create({ percent_off: 75, duration: 'once' });
  const { account, invoice } = await subscribed(pro, {
    discounts: [{ coupon: coupon.id }],
    automatic_tax: { enabled: true },
  });
  expect(await rig.held(account)).toBe('10000');
  const { rows } = await rig.pool.query('SELECT paid_minor FROM payments WHERE payment_key = $1', [invoice]);
  expect(rows).toEqual([{ paid_minor: 600n }]);
  const free = await rig.stripe.coupons.create({ percent_off: 100, duration: 'forever' });
  const { account: other } = await subscribed(pro, { discounts: [{ coupon: free.id }] });
  expect(await rig.held(other)).toBe('10000');
});

test('an asynchronous method grants when its money has come', async () => {
  const { account, customer } = await rig.subscriber(null);
  const method = await rig.stripe.paymentMethods.attach('pm_sepa_debit', { customer });
  const items = [{ price: pro }];
  const sub = await rig.stripe.subscriptions.create({ customer, items, default_payment_method: method.id });
  await rig.heard();
  expect(await rig.held(account)).toBe('0');
  const intent = await rig.intentOf(sub.latest_invoice as string);
  rig.act((sim) => settleIntent(sim, sim.get<Stripe.PaymentIntent>('payment_intent', intent), 'succeeded'));
  await rig.heard();
  expect(await rig.held(account)).toBe('10000');
});

test("what nobody is known for is listed, and granted once the customer is somebody's", async () => {
  const { id: customer } = await rig.stripe.customers.create({});
  const card = await rig.stripe.paymentMethods.attach('pm_card_visa', { customer });
  const sub = await rig.stripe.subscriptions.create({
    customer,
    items: [{ price: pro }],
    default_payment_method: card.id,
  });
  const invoice = sub.latest_invoice as string;
  expect((await sync(rig.deps, { kind: 'subscription', id: sub.id }, null)).ours).toBe(false);
  expect(await orphans(invoice)).toEqual([{ reason: 'no_account', open: true }]);
  const { account } = await rig.subscriber();
  await rig.pool.query('UPDATE accounts SET stripe_customer_id = $2 WHERE account_id = $1', [account, customer]);
  await sync(rig.deps, { kind: 'subscription', id: sub.id }, null);
  expect(await orphans(invoice)).toEqual([{ reason: 'no_account', open: false }]);
  expect(await rig.held(account)).toBe('10000');
  expect(await rig.stated(account)).toHaveLength(1);
});

test('a price that no plan has is listed where the customer is ours, and allows nothing', async () => {
  const product = await rig.stripe.products.create({ name: 'Hosting' });
  const { id: price } = await rig.stripe.prices.create({
    currency: 'usd',
    unit_amount: 900,
    product: product.id,
    recurring: { interval: 'month' },
  });
  const { account, invoice } = await subscribed(price);
  expect(await orphans(invoice)).toEqual([{ reason: 'no_price', open: true }]);
  expect(await rig.held(account)).toBe('0');
  expect(await rig.stated(account)).toEqual([]);
  await rig.stripe.refunds.create({ payment_intent: await rig.intentOf(invoice) });
  await rig.synced(invoice);
  expect(await orphans(invoice)).toEqual([{ reason: 'no_price', open: false }]);
});

test('a payment link finds its account by the reference that it carries', async () => {
  const { account } = await rig.subscriber();
  await rig.pool.query(`UPDATE accounts SET stripe_customer_id = NULL, external_id = 'user 7' WHERE account_id = $1`, [
    account,
  ]);
  const session = rig.act((sim) =>
    completeSession(sim, openPaymentLink(sim, [{ price: pro }], { client_reference_id: 'user 7' })),
  );
  await sync(rig.deps, { kind: 'checkout.session', id: session.id }, null);
  expect(await rig.held(account)).toBe('10000');
  expect(await rig.stated(account)).toHaveLength(1);
  const other = await rig.subscriber();
  expect(await rig.held(other.account)).toBe('0');
});

test('what was granted stays, though the catalog says something else since, and goes back all the same', async () => {
  const included = { included_credits: { credits: '700', every: 'month' } };
  const [price] = (await rig.plan('brief', included, [700, 'month'])) as [string];
  const { account, invoice } = await subscribed(price);
  await rig.plan('brief', { included_credits: { credits: '900', every: 'period' } }, [800, 'month']);
  await rig.stripe.refunds.create({ payment_intent: await rig.intentOf(invoice), amount: 100 });
  await rig.synced(invoice);
  expect(await rig.held(account)).toBe('600');
  expect(await rig.stated(account)).toEqual([]);
});

test('heard of when all is over, nothing is allowed any more, and credits whose time has passed are not granted', async () => {
  const saved = rig.sim.snapshot();
  rig.sim.restore({ ...saved, clock: saved.clock - 400 * DAY });
  const { account, customer } = await rig.subscriber();
  const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price: pro }] });
  await rig.stripe.subscriptions.update(sub.id, { cancel_at_period_end: true });
  await rig.heard();
  expect(await rig.held(account)).toBe('0');
  expect(await rig.stated(account)).toEqual([]);
  const { rows } = await rig.pool.query('SELECT granted, paid_minor FROM payments WHERE subscription_id = $1', [
    sub.id,
  ]);
  expect(rows).toEqual([{ granted: 0n, paid_minor: 2000n }]);
  rig.sim.restore({ ...rig.sim.snapshot(), clock: saved.clock });
});

test('a subscription that moves to another account with its customer is allowed there, and not twice', async () => {
  const { account, customer, sub } = await subscribed(pro);
  const other = await rig.subscriber();
  await rig.pool.query('UPDATE accounts SET stripe_customer_id = NULL WHERE account_id = $1', [account]);
  await rig.pool.query('UPDATE accounts SET stripe_customer_id = $2 WHERE account_id = $1', [other.account, customer]);
  await sync(rig.deps, { kind: 'subscription', id: sub.id }, null);
  expect(await rig.stated(account)).toEqual([]);
  expect(await rig.stated(other.account)).toEqual([
    `pro until ${date(sub.items.data[0]!.current_period_end + 3 * DAY)}`,
  ]);
  expect(await rig.held(account)).toBe('10000');
});

test('an invoice of no subscription for which nothing is due grants nothing: its session does, where there is one', async () => {
  const product = await rig.stripe.products.create({ name: 'Pack' });
  const price = await rig.stripe.prices.create({ currency: 'usd', unit_amount: 900, product: product.id });
  await rig.pack('box', { credits: '300', stripe_price: price.id });
  const { account, customer } = await rig.subscriber();
  const billed = async (more: object) => {
    const draft = await rig.stripe.invoices.create({ customer, ...more });
    await rig.stripe.invoiceItems.create({ customer, invoice: draft.id!, pricing: { price: price.id }, quantity: 2 });
    await rig.stripe.invoices.finalizeInvoice(draft.id!);
    const paid = await rig.stripe.invoices.retrieve(draft.id!);
    if (paid.status !== 'paid') await rig.stripe.invoices.pay(draft.id!);
    await rig.synced(draft.id!);
  };
  await billed({});
  expect(await rig.held(account)).toBe('600');
  const coupon = await rig.stripe.coupons.create({ percent_off: 100, duration: 'once' });
  await billed({ discounts: [{ coupon: coupon.id }] });
  expect(await rig.held(account)).toBe('600');
});
