import type Stripe from 'stripe';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStripe, type TestStripe } from '../stripe.ts';

let stripe: TestStripe;
const seen: string[] = [];
beforeAll(async () => {
  stripe = await startStripe({ seed: 22 });
  await stripe.sim.delivery({ when: 'early' });
  await stripe.sim.listen((body) => {
    seen.push((JSON.parse(body) as Stripe.Event).type);
    return 200;
  });
});
afterAll(() => stripe.close());

async function paid(method = 'pm_card_visa'): Promise<{ customer: string; intent: string; charge: string }> {
  const { id: customer } = await stripe.client.customers.create();
  const made = { amount: 2000, currency: 'usd', customer, payment_method: method, confirm: true } as const;
  const intent = await stripe.client.paymentIntents.create(made);
  seen.length = 0;
  return { customer, intent: intent.id, charge: String(intent.latest_charge) };
}
const row = async (customer: string) => (await stripe.sim.charges()).find((one) => one.customer === customer);

test('refunds add up to the charge and not beyond it', async () => {
  const { intent, charge, customer } = await paid();
  await stripe.client.refunds.create({ payment_intent: intent, amount: 500, metadata: { why: 'x' } });
  expect(seen).toEqual(['refund.created', 'charge.refunded']);
  await expect(stripe.client.refunds.create({ charge, amount: 1501 })).rejects.toThrow(/greater than unrefunded/);
  const rest = await stripe.client.refunds.create({ charge });
  expect(rest).toMatchObject({ amount: 1500, status: 'succeeded', payment_intent: intent });
  await expect(stripe.client.refunds.create({ charge })).rejects.toMatchObject({ code: 'charge_already_refunded' });
  const whole = await stripe.client.charges.retrieve(charge, { expand: ['refunds'] });
  expect(whole).toMatchObject({ refunded: true, amount_refunded: 2000 });
  expect(whole.refunds?.data).toHaveLength(2);
  expect((await stripe.client.charges.retrieve(charge)).refunds).toBeUndefined();
  expect((await stripe.client.refunds.list({ payment_intent: intent })).data).toHaveLength(2);
  expect(await row(customer)).toMatchObject({ charged: 2000, refunded: 2000 });
});

test('a refund that fails gives the money back to the charge, whether it was pending or done', async () => {
  for (const status of ['pending', 'succeeded'] as const) {
    const { charge, customer } = await paid();
    const refund = await stripe.sim.refund({ charge, amount: 800, status });
    expect(await row(customer)).toMatchObject({ refunded: 800 });
    seen.length = 0;
    const failed = await stripe.sim.failRefund(refund.id, 'lost_or_stolen_card');
    expect(failed).toMatchObject({ status: 'failed', failure_reason: 'lost_or_stolen_card' });
    expect(seen).toEqual(['refund.updated', 'charge.refund.updated', 'refund.failed']);
    expect(await stripe.client.charges.retrieve(charge)).toMatchObject({ amount_refunded: 0, refunded: false });
    expect(await row(customer)).toMatchObject({ refunded: 0 });
  }
});

test('a refund of a bank debit is pending until it is settled or canceled', async () => {
  const { intent, customer } = await paid('pm_sepa_debit');
  await stripe.sim.settleIntent(intent, 'succeeded');
  const refund = await stripe.client.refunds.create({ payment_intent: intent });
  expect(refund.status).toBe('pending');
  expect((await stripe.client.refunds.cancel(refund.id)).status).toBe('canceled');
  const next = await stripe.client.refunds.create({ payment_intent: intent, amount: 100 });
  expect((await stripe.sim.settleRefund(next.id, 'succeeded')).status).toBe('succeeded');
  expect(await row(customer)).toMatchObject({ charged: 2000, refunded: 100 });
});

test('a chargeback takes the money, won gives it back, lost does not', async () => {
  const { charge, intent, customer } = await paid();
  const dispute = await stripe.sim.dispute(charge);
  expect(seen).toEqual(['charge.dispute.created', 'charge.dispute.funds_withdrawn']);
  expect(dispute).toMatchObject({
    status: 'needs_response',
    balance_transactions: [{ amount: -2000, fee: 1500, net: -3500 }],
  });
  expect(await row(customer)).toMatchObject({ withdrawn: 2000 });
  seen.length = 0;
  const won = await stripe.sim.closeDispute(dispute.id, 'won');
  expect(seen).toEqual(['charge.dispute.funds_reinstated', 'charge.dispute.closed']);
  expect(won.balance_transactions.map(({ amount }) => amount)).toEqual([-2000, 2000]);
  expect(await row(customer)).toMatchObject({ withdrawn: 0 });
  const second = await stripe.sim.dispute(charge, 'chargeback', { amount: 700, withdraw: false });
  expect(second.balance_transactions).toEqual([]);
  await stripe.sim.withdrawDispute(second.id);
  expect(await stripe.sim.closeDispute(second.id, 'lost')).toMatchObject({ status: 'lost' });
  expect(await row(customer)).toMatchObject({ withdrawn: 700 });
  expect((await stripe.client.disputes.list({ payment_intent: intent })).data).toHaveLength(2);
});

test('balances in another currency move at the rate of the day, so a dispute that was won does not sum to nothing', async () => {
  const { charge, customer } = await paid();
  await stripe.sim.settlement({ currency: 'eur', rate: 0.921 });
  const { id } = await stripe.sim.dispute(charge);
  expect(await row(customer)).toMatchObject({ withdrawn: 2000 });
  await stripe.sim.settlement({ currency: 'eur', rate: 0.918 });
  const won = await stripe.sim.closeDispute(id, 'won');
  const moves = won.balance_transactions.map(({ amount, currency, exchange_rate }) => [
    amount,
    currency,
    exchange_rate,
  ]);
  expect(moves).toEqual([
    [-1842, 'eur', 0.921],
    [1836, 'eur', 0.918],
  ]);
  expect(await row(customer)).toMatchObject({ withdrawn: 0 });
  await stripe.sim.settlement(null);
});

test('an inquiry moves no money until it becomes a chargeback', async () => {
  const { charge, customer } = await paid();
  const inquiry = await stripe.sim.dispute(charge, 'inquiry');
  expect(inquiry).toMatchObject({ status: 'warning_needs_response', balance_transactions: [] });
  expect(await row(customer)).toMatchObject({ withdrawn: 0 });
  expect(await stripe.sim.withdrawDispute(inquiry.id)).toMatchObject({ status: 'needs_response' });
  const other = await stripe.sim.dispute((await paid()).charge, 'inquiry');
  expect(await stripe.sim.closeDispute(other.id, 'warning_closed')).toMatchObject({ balance_transactions: [] });
});

test('off session, a card that asks for authentication is refused; on session the customer is asked', async () => {
  const { id: customer } = await stripe.client.customers.create();
  const ask = {
    amount: 900,
    currency: 'usd',
    customer,
    payment_method: 'pm_card_authenticationRequired',
    confirm: true,
  } as const;
  await expect(stripe.client.paymentIntents.create({ ...ask, off_session: true })).rejects.toMatchObject({
    code: 'authentication_required',
    payment_intent: { status: 'requires_payment_method' },
  });
  const intent = await stripe.client.paymentIntents.create(ask);
  expect(intent.status).toBe('requires_action');
  expect(await stripe.sim.authenticate(intent.id)).toMatchObject({ status: 'succeeded' });
  await stripe.sim.fault({ kind: 'requires_action' });
  const forced = await stripe.client.paymentIntents.create({ ...ask, payment_method: 'pm_card_visa' });
  expect(await stripe.sim.authenticate(forced.id, false)).toMatchObject({ status: 'requires_payment_method' });
  expect(await row(customer)).toMatchObject({ charges: 1, charged: 900 });
});

test('a customer whose card is declined is charged again once another card is attached', async () => {
  const { id: customer } = await stripe.client.customers.create();
  const first = await stripe.sim.attachCard(customer);
  const owner = (await stripe.client.customers.retrieve(customer)) as Stripe.Customer;
  expect(owner.invoice_settings.default_payment_method).toBe(first.id);
  await stripe.sim.declineCard(customer, 'insufficient_funds');
  const ask = { amount: 900, currency: 'usd', customer, confirm: true, off_session: true } as const;
  await expect(stripe.client.paymentIntents.create({ ...ask, payment_method: first.id })).rejects.toMatchObject({
    decline_code: 'insufficient_funds',
  });
  const next = await stripe.sim.attachCard(customer, 'pm_card_mastercard');
  expect(next.card?.fingerprint).not.toBe(first.card?.fingerprint);
  expect((await stripe.client.paymentIntents.create({ ...ask, payment_method: next.id })).status).toBe('succeeded');
  await stripe.client.paymentMethods.detach(next.id);
  const gone = { param: 'payment_method', message: expect.stringContaining('It may not be used again') };
  await expect(stripe.client.paymentIntents.create({ ...ask, payment_method: next.id })).rejects.toMatchObject(gone);
  await expect(stripe.client.paymentMethods.attach(next.id, { customer })).rejects.toMatchObject(gone);
  await expect(stripe.client.paymentIntents.create({ ...ask, payment_method: 'pm_none' })).rejects.toThrow(
    /No such PaymentMethod/,
  );
  await stripe.sim.fault({ kind: 'decline', code: 'expired_card' });
  await expect(stripe.client.paymentIntents.create({ ...ask, payment_method: first.id })).rejects.toMatchObject({
    code: 'expired_card',
  });
});
