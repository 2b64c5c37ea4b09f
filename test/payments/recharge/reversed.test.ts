/** Money that goes back makes an account low: it must not be charged again for that. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keepRecharge } from '../../../src/payments/recharge/settings.ts';
import { type Buyer, createRechargeRig, type RechargeRig } from './rig.ts';

let rig: RechargeRig;
beforeAll(async () => {
  rig = await createRechargeRig();
});
afterAll(() => rig.drop());

/** An account that has recharged once, and is above its threshold by that alone. */
async function recharged(): Promise<{ buyer: Buyer; intent: string }> {
  const buyer = await rig.buyer({ credits: '100', threshold: '20' });
  await rig.spend(buyer, '90');
  await rig.work();
  const [row] = await rig.rows(buyer);
  return { buyer, intent: row!.payment_intent! };
}

test('a recharge that is refunded is not charged again before a person says so', async () => {
  const { buyer, intent } = await recharged();
  await rig.stripe.client.refunds.create({ payment_intent: intent });
  for (let times = 0; times < 2; times++) await rig.hear('payment_intent', intent);
  await rig.work();
  await rig.sweep();
  expect(await rig.balance(buyer)).toBe('10');
  expect(await rig.money(buyer)).toMatchObject({ charges: 1 });
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'payment_reversed' });
  expect(await rig.told(buyer, 'recharge.stopped')).toEqual([{ reason: 'payment_reversed', payment: intent }]);

  const settings = { enabled: true, threshold: 20_000_000_000n, pack: 'starter', monthlyCapMinor: 10_000n };
  await keepRecharge(rig.pool, buyer.account, settings);
  await rig.work();
  expect(await rig.money(buyer)).toMatchObject({ charges: 2 });
});

test('a card whose payment is disputed is not charged for what that takes back', async () => {
  const { buyer, intent } = await recharged();
  const { latest_charge: charge } = await rig.stripe.client.paymentIntents.retrieve(intent);
  const { id } = await rig.stripe.sim.dispute(charge as string, 'chargeback', { withdraw: true });
  await rig.hear('dispute', id);
  await rig.work();
  await rig.sweep();
  expect(await rig.money(buyer)).toMatchObject({ charges: 1 });
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'payment_reversed' });
});

test('a stop that would pass by itself does not hide that money went back', async () => {
  const { buyer, intent } = await recharged();
  await rig.pool.query("SELECT recharge_stop($1, 'monthly_cap', 'test', '{}')", [buyer.account]);
  await rig.stripe.client.refunds.create({ payment_intent: intent, amount: 1 });
  await rig.hear('payment_intent', intent);
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: 'payment_reversed' });
});

test('whoever paid for an account as another customer stops nothing of it by taking that back', async () => {
  const { buyer, intent } = await recharged();
  await rig.pool.query("UPDATE payments SET customer_id = 'cus_somebody' WHERE payment_key = $1", [intent]);
  await rig.stripe.client.refunds.create({ payment_intent: intent, amount: 1 });
  await rig.hear('payment_intent', intent);
  expect(await rig.standing(buyer)).toMatchObject({ stopped_reason: null });
});
