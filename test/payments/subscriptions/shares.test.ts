/** Credits of just what was given back go, and what rests on money that was refunded goes with it, however invoices hang together. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fetchStanding } from '../../../src/payments/sync/invoice-family.ts';
import { createSubscriptionRig, type SubscriptionRig } from './rig.ts';

let rig: SubscriptionRig;
let pro: string;
let proYear: string;
let max: string;
let support: string;
let addon: string;
beforeAll(async () => {
  rig = await createSubscriptionRig();
  const included = (credits: string) => ({ included_credits: { credits, every: 'month' } });
  [pro, proYear] = (await rig.plan('pro', included('10000'), [2000, 'month'], [20_000, 'year'])) as [string, string];
  [max] = (await rig.plan('max', included('40000'), [8000, 'month'])) as [string];
  [support] = (await rig.plan('support', included('100'), [10_000, 'month'])) as [string];
  [addon] = (await rig.plan('addon', {}, [10_000, 'month'])) as [string];
});
afterAll(() => rig.drop());

async function subscribed(prices: string[], more: object = {}) {
  const { account, customer } = await rig.subscriber();
  const items = prices.map((price) => ({ price }));
  const sub = await rig.stripe.subscriptions.create({ customer, items, ...more });
  await rig.heard();
  const itemOf = (price: string) => sub.items.data.find((item) => item.price.id === price)!.id;
  const change = async (...items: object[]) => {
    await rig.stripe.subscriptions.update(sub.id, { items, proration_behavior: 'always_invoice' });
    await rig.heard();
    return Number(await rig.held(account));
  };
  const refund = async (amount?: number) => {
    const first = sub.latest_invoice as string;
    await rig.stripe.refunds.create({ payment_intent: await rig.intentOf(first), ...(amount ? { amount } : {}) });
    await rig.synced(first);
    return Number(await rig.held(account));
  };
  return { sub, itemOf, change, refund };
}

test('an item whose credits cost less than those beside it takes its own with it, and no more', async () => {
  const { itemOf, change } = await subscribed([pro, support]);
  expect(await change({ id: itemOf(pro), deleted: true })).toBeCloseTo(100, -2);
});

test('an item with few credits for its money takes its own with it, and leaves the others', async () => {
  const { itemOf, change } = await subscribed([pro, support]);
  expect(await change({ id: itemOf(support), deleted: true })).toBeCloseTo(10_000, -2);
});

test('what was bought with the money of an add-on goes when that is refunded', async () => {
  const { itemOf, change, refund } = await subscribed([pro, addon]);
  expect(await change({ id: itemOf(addon), deleted: true }, { price: max })).toBeCloseTo(50_000, -2);
  expect(await refund()).toBeLessThan(100);
});

test('of two changes that rest on one invoice, a refund of it takes from one of them what is missing', async () => {
  const { itemOf, change, refund } = await subscribed([pro, max]);
  await change({ id: itemOf(pro), quantity: 2 });
  expect(await change({ id: itemOf(max), quantity: 2 })).toBeCloseTo(100_000, -2);
  expect(await refund(2000)).toBeCloseTo(90_000, -2);
});

test('with a promotion code for all of it, up and down and up again comes to no more', async () => {
  const coupon = await rig.stripe.coupons.create({ percent_off: 100, duration: 'forever' });
  const { itemOf, change } = await subscribed([pro], { discounts: [{ coupon: coupon.id }] });
  const id = itemOf(pro);
  for (const price of [max, pro, max, proYear, pro]) expect(await change({ id, price })).toBe(10_000);
});

test('a plan that costs nothing grants once in a period, however often it is cancelled and subscribed to; each renewal grants', async () => {
  const included = { included_credits: { credits: '500', every: 'month', rollover: 'all' } };
  const [free] = (await rig.plan('free', included, [0, 'month'])) as [string];
  const { account, customer } = await rig.subscriber();
  const subscribe = async () => {
    const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price: free }] });
    await rig.heard();
    return sub;
  };
  await rig.stripe.subscriptions.cancel((await subscribe()).id);
  const { items } = await subscribe();
  expect(await rig.held(account)).toBe('500');
  rig.until(items.data[0]!.current_period_end + 2 * 3600);
  await rig.heard();
  expect(await rig.held(account)).toBe('1000');
});

test('a seat more each of a hundred times and more loses nothing on the way', async () => {
  const { sub, itemOf } = await subscribed([pro]);
  const id = itemOf(pro);
  let last = '';
  for (let quantity = 2; quantity <= 105; quantity++) {
    const items = [{ id, quantity }];
    const changed = await rig.stripe.subscriptions.update(sub.id, { items, proration_behavior: 'always_invoice' });
    last = changed.latest_invoice as string;
  }
  const standing = await fetchStanding(rig.deps, await rig.stripe.invoices.retrieve(last, { expand: ['payments'] }));
  expect(Number(standing.paid)).toBeCloseTo(210_000, -4);
  expect(standing.lost).toBe(0n);
});
