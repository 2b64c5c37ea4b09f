import type Stripe from 'stripe';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { publicId } from '../../../src/lib/ids.ts';
import { parseCredits } from '../../../src/lib/money.ts';
import { beginRecharge } from '../../../src/payments/recharge/begin.ts';
import { stopAfter } from '../../../src/payments/recharge/declines.ts';
import { keepRecharge } from '../../../src/payments/recharge/settings.ts';
import { type Buyer, createRechargeRig, overlapping, type RechargeRig } from './rig.ts';

let rig: RechargeRig;
let buyer: Buyer;
beforeAll(async () => {
  rig = await createRechargeRig();
});
afterAll(() => rig.drop());
beforeEach(async () => {
  buyer = await rig.buyer({ credits: '100', cap: 30_000n });
});
afterEach(async () => {
  await rig.stripe.sim.clearFaults();
  expect(await overlapping(rig)).toEqual([]);
});

async function declined(code: string): Promise<void> {
  await rig.stripe.sim.fault({ kind: 'decline', code });
  await rig.spend(buyer, '90');
  await rig.work();
}

const enabled = { enabled: true, threshold: parseCredits('20')!, pack: 'starter', monthlyCapMinor: 30_000n };

test.each([
  ['stolen_card', 'declined'],
  ['expired_card', 'card_expired'],
  ['authentication_required', 'authentication_required'],
])('after %s it stops at once, and tells of it once', async (code, reason) => {
  await declined(code);
  for (let round = 0; round < 3; round++) {
    await rig.pass(13);
    await rig.sweep();
    expect(await beginRecharge(rig.deps, buyer.account)).toBe('stopped');
  }
  const [recharge] = await rig.rows(buyer);
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'failed', error: code }]);
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: reason, failures: 1 });
  const id = publicId('rch', recharge!.recharge_id);
  expect(await rig.told(buyer, 'recharge.stopped')).toEqual([{ reason, recharge: id, code }]);
  expect(await rig.told(buyer, 'payment.failed')).toMatchObject([{ recharge: id, code, amount_minor: '1000' }]);
  expect(await rig.money(buyer)).toMatchObject({ charges: 0, granted: '0' });
});

test('other declines are tried again an hour later, then six; the third in a row stops it', async () => {
  await declined('insufficient_funds');
  await rig.sweep();
  expect(await rig.rows(buyer)).toHaveLength(1);
  await rig.stripe.sim.fault({ kind: 'decline', code: 'processing_error', times: 2 });
  await rig.pass(1.1);
  await rig.sweep();
  expect(await rig.rows(buyer)).toHaveLength(2);
  await rig.pass(1.1);
  await rig.sweep();
  expect(await rig.rows(buyer)).toHaveLength(2);
  await rig.pass(5);
  await rig.sweep();
  expect(await rig.rows(buyer)).toHaveLength(3);
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'declined_repeatedly', failures: 3 });
  expect(await rig.told(buyer, 'recharge.stopped')).toMatchObject([{ reason: 'declined_repeatedly' }]);
});

test('a charge that succeeds forgives those that failed before it', async () => {
  await declined('insufficient_funds');
  await rig.pass(1.1);
  await rig.sweep();
  expect(await rig.standing(buyer)).toMatchObject({ failures: 0, retry_at: null });
  expect(await rig.balance(buyer)).toBe('120');
});

test('another card closes the breaker, the same card added anew does not', async () => {
  await declined('lost_card');
  const same = await rig.attach(buyer, 'pm_card_visa');
  await rig.hear('payment_method', same.id);
  await rig.work();
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'declined' });
  expect(await rig.rows(buyer)).toHaveLength(1);
  const other = await rig.attach(buyer, 'pm_card_mastercard');
  await rig.stripe.client.customers.update(buyer.customer, { invoice_settings: { default_payment_method: other.id } });
  await rig.hear('customer', buyer.customer);
  await rig.work();
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: null, failures: 0, payment_method: other.id });
  expect(await rig.balance(buyer)).toBe('120');
});

test('a person who enables it closes the breaker', async () => {
  await declined('lost_card');
  await keepRecharge(rig.pool, buyer.account, enabled);
  await rig.work();
  expect(await rig.balance(buyer)).toBe('120');
});

test('a card that is removed stops it; any card that is added lets it go on', async () => {
  const { payment_method: id } = await rig.standing(buyer);
  await rig.stripe.client.paymentMethods.detach(id!);
  await rig.hear('payment_method', id!);
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'payment_method_gone', payment_method: null });
  expect(await rig.told(buyer, 'recharge.stopped')).toEqual([{ reason: 'payment_method_gone' }]);
  await rig.spend(buyer, '90');
  await rig.sweep();
  expect(await rig.rows(buyer)).toEqual([]);
  const again = await rig.attach(buyer, 'pm_card_visa');
  await rig.hear('payment_method', again.id);
  await rig.work();
  expect(await rig.balance(buyer)).toBe('120');
});

test('a card whose removal nobody heard of is refused by Stripe, and that stops it', async () => {
  const { payment_method: id } = await rig.standing(buyer);
  await rig.stripe.client.paymentMethods.detach(id!);
  await rig.spend(buyer, '90');
  await rig.work();
  await rig.sweep();
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'payment_method_gone', payment_method: null });
  expect(await rig.told(buyer, 'recharge.stopped')).toMatchObject([{ reason: 'payment_method_gone' }]);
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'failed' }]);
  const again = await rig.attach(buyer, 'pm_card_visa');
  await rig.hear('payment_method', again.id);
  await rig.work();
  expect(await rig.balance(buyer)).toBe('120');
});

test('a deleted customer stops it', async () => {
  await rig.stripe.client.customers.del(buyer.customer);
  await rig.hear('customer', buyer.customer);
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'customer_deleted', payment_method: null });
  expect(await rig.told(buyer, 'recharge.stopped')).toEqual([{ reason: 'customer_deleted' }]);
});

test('a customer whose deletion nobody heard of: Stripe says so, and that stops it', async () => {
  await rig.stripe.client.customers.del(buyer.customer);
  await rig.spend(buyer, '90');
  await rig.work();
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'customer_deleted' });
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'failed' }]);
});

test('a charge that waits for the customer is told, blocks others, and is given up after 23 hours', async () => {
  await rig.spend(buyer, '90');
  expect(await beginRecharge(rig.deps, buyer.account)).toBe('begun');
  const id = (await rig.rows(buyer))[0]!.recharge_id;
  await rig.pool.query("SELECT recharge_claim(4, '2 minutes')");
  // As if Stripe had asked the customer although it was not there.
  const intent = await waiting(id);
  await rig.hear('payment_intent', intent.id);
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'requires_action', payment_intent: intent.id }]);
  expect(await rig.told(buyer, 'payment.failed')).toMatchObject([{ payment_intent: intent.id }]);
  await rig.pass(2);
  await rig.sweep();
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'requires_action' }]);
  await rig.pass(22);
  await rig.sweep();
  expect(await rig.rows(buyer)).toMatchObject([{ status: 'canceled' }]);
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'authentication_required' });
  expect(await rig.money(buyer)).toMatchObject({ charges: 0, granted: '0' });
});

async function waiting(id: bigint): Promise<Stripe.PaymentIntent> {
  const { client } = rig.stripe;
  const card = await client.paymentMethods.attach('pm_card_authenticationRequired', { customer: buyer.customer });
  const metadata = { tollgate_recharge: publicId('rch', id) };
  const { customer } = buyer;
  return client.paymentIntents.create({
    amount: 1000,
    currency: 'usd',
    customer,
    payment_method: card.id,
    confirm: true,
    metadata,
  });
}

test('what Stripe says of a decline says whether to try again', () => {
  expect(stopAfter('card_declined', 'do_not_honor')).toBe('declined');
  expect(stopAfter('card_declined', 'insufficient_funds')).toBe(null);
  expect(stopAfter('expired_card', null)).toBe('card_expired');
  expect(stopAfter('authentication_required', 'authentication_required')).toBe('authentication_required');
  expect(stopAfter('processing_error', null)).toBe(null);
  expect(stopAfter(null, null)).toBe(null);
});
