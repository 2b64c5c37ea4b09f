import { afterAll, beforeAll, expect, it } from 'vitest';
import { balanceOf, createPayRig, type Payer, type PayRig, paidCheckout, paymentOf, toldOf } from './rig.ts';

let rig: PayRig;
beforeAll(async () => {
  rig = await createPayRig();
});
afterAll(() => rig.close());

/** 1,050 credits for 9.00 USD. */
const STARTER = { credits: 1000, bonus: 50, amountMinor: 900 };
const buy = async (method?: string) => {
  const payer = await rig.payer();
  return { payer, ...(await paidCheckout(rig, payer, STARTER, method)) };
};
const balance = ({ account }: Payer) => balanceOf(rig, account);
it('claws back in proportion, bonus included, rounded down, and all of it when all went back', async () => {
  const { payer, intent } = await buy();
  const refund = await rig.stripe.refund({ payment_intent: intent, amount: 100 });
  expect((await rig.sync('refund', refund.id)).changed).toBe(true);
  expect((await paymentOf(rig, intent))!.clawed).toBe((1050n * 10n ** 9n * 100n) / 900n);
  await rig.stripe.refund({ payment_intent: intent });
  await rig.sync('payment_intent', intent);
  expect([await balance(payer), (await paymentOf(rig, intent))!.clawed]).toEqual([0, 1050n * 10n ** 9n]);
});

it('gives credits back when a refund fails', async () => {
  const { payer, charge, intent } = await buy();
  const { id } = await rig.stripe.refund({ payment_intent: intent, amount: 300 });
  await rig.sync('charge', charge);
  expect(await balance(payer)).toBe(700);
  await rig.stripe.failRefund(id);
  await rig.sync('refund', id);
  expect(await balance(payer)).toBe(1050);
});

it('claws back while a refund is under way', async () => {
  const { payer, intent } = await buy();
  const { id } = await rig.stripe.refund({ payment_intent: intent, amount: 300, status: 'pending' });
  await rig.sync('refund', id);
  expect(await balance(payer)).toBe(700);
  await rig.stripe.settleRefund(id, 'canceled');
  await rig.sync('refund', id);
  expect(await balance(payer)).toBe(1050);
});

it('moves nothing for an inquiry, takes what a dispute withdrew, gives back what was reinstated, keeps what was lost', async () => {
  const { payer, charge } = await buy();
  const inquiry = await rig.stripe.dispute(charge, 'inquiry');
  await rig.sync('dispute', inquiry.id);
  await rig.stripe.closeDispute(inquiry.id, 'warning_closed');
  await rig.sync('dispute', inquiry.id);
  expect(await balance(payer)).toBe(1050);
  const won = await rig.stripe.dispute(charge, 'chargeback', { amount: 300 });
  await rig.sync('dispute', won.id);
  expect(await balance(payer)).toBe(700);
  await rig.stripe.closeDispute(won.id, 'won');
  await rig.sync('dispute', won.id);
  expect(await balance(payer)).toBe(1050);
  const lost = await rig.stripe.dispute(charge, 'chargeback');
  await rig.stripe.closeDispute(lost.id, 'lost');
  await rig.sync('dispute', lost.id);
  expect(await balance(payer)).toBe(0);
});

it('takes the same money once when it is refunded and disputed', async () => {
  const { payer, charge, intent } = await buy();
  await rig.stripe.refund({ payment_intent: intent, amount: 600 });
  const { id } = await rig.stripe.dispute(charge, 'chargeback');
  await rig.sync('dispute', id);
  expect(await balance(payer)).toBe(0);
  await rig.stripe.closeDispute(id, 'won');
  await rig.sync('dispute', id);
  expect(await balance(payer)).toBe(350);
});

it('makes debt of what was spent already, and the next top-up repays it first', async () => {
  const { payer, intent } = await buy();
  await rig.pool.query(
    `SELECT ledger_clawback($1, uuid_at(clock_timestamp()), -900000000000, 'used', (SELECT array_agg(lot_id) FROM lots
       WHERE account_id = $1), 'used', 'used')`,
    [payer.account],
  );
  await rig.stripe.refund({ payment_intent: intent });
  await rig.sync('payment_intent', intent);
  expect(await balance(payer)).toBe(-900);
  await paidCheckout(rig, payer, STARTER);
  expect(await balance(payer)).toBe(150);
  expect(await toldOf(rig, payer.account, 'payment.failed')).toEqual([]);
});

it('grants and takes back at once what went back before it was heard of', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, STARTER);
  const intent = String((await rig.stripe.completeSession(id)).payment_intent);
  await rig.stripe.refund({ payment_intent: intent, amount: 450 });
  await rig.sync('payment_intent', intent);
  expect(await balance(payer)).toBe(525);
});
