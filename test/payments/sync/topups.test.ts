import type Stripe from 'stripe';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CompleteOptions } from '../../support/stripe-sim/checkout-complete.ts';
import { balanceOf, createPayRig, type PayRig, paymentOf, toldOf } from './rig.ts';

let rig: PayRig;
beforeAll(async () => {
  rig = await createPayRig();
});
afterAll(() => rig.close());

const STARTER = { credits: 1000, bonus: 50, amountMinor: 900, expiresDays: 365 };
const complete = (id: string, options?: CompleteOptions) => rig.stripe.completeSession(id, options);
const intentOf = ({ payment_intent: intent }: Stripe.Checkout.Session): string => String(intent);
const statusOf = async (session: string) =>
  (await rig.pool.query<{ status: string }>('SELECT status FROM checkouts WHERE session_id = $1', [session])).rows[0]
    ?.status;

it('grants a paid checkout its credits and bonus, once, whatever tells of it', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, STARTER);
  const intent = intentOf(await complete(id));
  const charge = String((await rig.client.paymentIntents.retrieve(intent)).latest_charge);
  const hints: Array<[string, string]> = [
    ['payment_intent', intent],
    ['checkout.session', id],
    ['charge', charge],
    ['checkout.session', id],
  ];
  const results = [];
  for (const [kind, about] of hints) results.push(await rig.sync(kind, about));
  await Promise.all(hints.map(([kind, about]) => rig.sync(kind, about)));
  expect(results.map(({ changed }) => changed)).toEqual([true, false, false, false]);
  expect(results.every(({ ours }) => ours)).toBe(true);
  expect(await balanceOf(rig, payer.account)).toBe(1050);
  expect(await paymentOf(rig, intent)).toMatchObject({
    kind: 'topup',
    paid: 900n,
    granted: 1050n * 10n ** 9n,
    clawed: 0n,
  });
  expect(await statusOf(id)).toBe('complete');
});

it('grants once when everybody hears of a payment at the same time', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, STARTER);
  const intent = intentOf(await complete(id));
  const hints = Array.from({ length: 4 }, () => [rig.sync('payment_intent', intent), rig.sync('checkout.session', id)]);
  await Promise.all(hints.flat());
  expect(await balanceOf(rig, payer.account)).toBe(1050);
});

it('counts the days of its credits from when it was paid, however late that is heard of', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, { ...STARTER, expiresDays: 30 });
  const intent = intentOf(await complete(id));
  await rig.sync('payment_intent', intent);
  const { paidAt } = (await paymentOf(rig, intent))!;
  const { rows } = await rig.pool.query<{ expires_at: Date }>('SELECT expires_at FROM lots WHERE account_id = $1', [
    payer.account,
  ]);
  expect(rows.map(({ expires_at }) => expires_at.getTime() - paidAt.getTime())).toEqual([30 * 864e5, 30 * 864e5]);
});

it('grants nothing for a session that is open, was declined, ran out', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, STARTER);
  await rig.sync('checkout.session', id);
  const declined = await complete(id, { method: 'declined' });
  await rig.sync('payment_intent', intentOf(declined));
  await rig.sync('checkout.session', id);
  expect([await balanceOf(rig, payer.account), await statusOf(id)]).toEqual([0, 'open']);
  await rig.stripe.expireSession(id);
  await rig.sync('checkout.session', id);
  expect([await balanceOf(rig, payer.account), await statusOf(id)]).toEqual([0, 'expired']);
  expect(await toldOf(rig, payer.account, 'payment.failed')).toEqual([]);
});

it('grants an order that is paid days later then, and not when it was placed', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, STARTER);
  const placed = await complete(id, { method: 'async' });
  await rig.sync('checkout.session', id);
  await rig.sync('payment_intent', intentOf(placed));
  expect([await balanceOf(rig, payer.account), await statusOf(id)]).toEqual([0, 'complete']);
  await rig.stripe.settleAsync(id, 'succeeded');
  await rig.sync('payment_intent', intentOf(placed));
  expect(await balanceOf(rig, payer.account)).toBe(1050);
});

it('tells once of an order whose bank refuses days later', async () => {
  const payer = await rig.payer();
  const { id } = await rig.checkout(payer, STARTER);
  const intent = intentOf(await complete(id, { method: 'async' }));
  await rig.sync('checkout.session', id);
  await rig.stripe.settleAsync(id, 'failed');
  await rig.sync('checkout.session', id);
  await rig.sync('payment_intent', intent);
  expect(await balanceOf(rig, payer.account)).toBe(0);
  expect(await toldOf(rig, payer.account, 'payment.failed')).toMatchObject([{ payment_intent: intent }]);
});

it('grants an order for which nothing was due, under its session', async () => {
  const payer = await rig.payer();
  const coupon = await rig.client.coupons.create({ percent_off: 100, duration: 'once' });
  await rig.client.promotionCodes.create({ promotion: { type: 'coupon', coupon: coupon.id }, code: 'FREE' });
  const { id } = await rig.checkout(payer, STARTER);
  expect((await complete(id, { promotion_code: 'FREE' })).payment_intent).toBeNull();
  await rig.sync('checkout.session', id);
  await rig.sync('checkout.session', id);
  expect(await balanceOf(rig, payer.account)).toBe(1050);
  expect(await paymentOf(rig, id)).toMatchObject({ paid: 0n, reversed: 0n, kind: 'topup' });
});

it('grants the whole pack whatever discounts and taxes made of its price', async () => {
  const payer = await rig.payer();
  const coupon = await rig.client.coupons.create({ percent_off: 40, duration: 'once' });
  await rig.client.promotionCodes.create({ promotion: { type: 'coupon', coupon: coupon.id }, code: 'LESS' });
  const { id } = await rig.checkout(payer, {
    ...STARTER,
    session: { automatic_tax: { enabled: true }, customer_update: { address: 'auto' } },
  });
  const intent = intentOf(await complete(id, { promotion_code: 'LESS' }));
  await rig.sync('payment_intent', intent);
  expect(await balanceOf(rig, payer.account)).toBe(1050);
  expect((await paymentOf(rig, intent))!.paid).toBe(648n);
});
