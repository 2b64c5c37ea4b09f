/** The lives of subscriptions at the simulator, by the real library: what is granted for each, and what is allowed until when. */
import type Stripe from 'stripe';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { syncInvoice, syncSubscription } from '../../../src/payments/sync/billing.ts';
import { createSubscriptionRig, DAY, date, type SubscriptionRig } from './rig.ts';

let rig: SubscriptionRig;
let pro: string;
let proYear: string;
let max: string;
beforeAll(async () => {
  rig = await createSubscriptionRig();
  const included = { included_credits: { credits: '10000', every: 'month', trial: '100' }, grace_days: 3 };
  [pro, proYear] = (await rig.plan('pro', included, [2000, 'month'], [20_000, 'year'])) as [string, string];
  [max] = (await rig.plan('max', { included_credits: { credits: '50000', every: 'month' } }, [8000, 'month'])) as [
    string,
  ];
});
afterAll(() => rig.drop());

/** The day on which what was granted for a period expires: six hours behind its end, by when a renewal is paid. */
const creditsEnd = (end: number): string => date(end + 6 * 3600);
const itemOf = ({ items }: Stripe.Subscription) => items.data[0]!;
/** A subscription, heard of. */
async function subscribed(price: string, more: object = {}, card: string | null = 'pm_card_visa') {
  const { account, customer } = await rig.subscriber(card);
  const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price }], ...more });
  await rig.heard();
  return { account, customer, sub, end: itemOf(sub).current_period_end };
}

test('a subscription grants its month and allows its plan, once, whatever is heard again', async () => {
  const { account, sub, end } = await subscribed(pro);
  expect(await rig.lots(account)).toEqual([`10000 until ${creditsEnd(end)}`]);
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
  expect(await syncSubscription(rig.deps, sub.id, null)).toEqual({ changed: false, ours: true });
  expect(await syncInvoice(rig.deps, sub.latest_invoice as string, null)).toEqual({ changed: false, ours: true });
  expect(await rig.held(account)).toBe('10000');
  expect(await rig.told(account, 'subscription.changed')).toHaveLength(1);
});

test('each renewal grants a month, and moves the end on', async () => {
  const { account, sub, end } = await subscribed(pro);
  rig.until(end + 2 * 3600);
  await rig.heard((all) => all.toReversed());
  const renewed = itemOf(await rig.stripe.subscriptions.retrieve(sub.id)).current_period_end;
  expect(await rig.lots(account)).toEqual([`10000 until ${creditsEnd(end)}`, `10000 until ${creditsEnd(renewed)}`]);
  expect(await rig.stated(account)).toEqual([`pro until ${date(renewed + 3 * DAY)}`]);
});

test('an upgrade that is billed now takes back the unused part of the old month, and grants that of the new one', async () => {
  const { account, sub, end } = await subscribed(pro);
  const change = (price: string) =>
    rig.stripe.subscriptions.update(sub.id, {
      items: [{ id: itemOf(sub).id, price }],
      proration_behavior: 'always_invoice',
    });
  rig.until(Math.round((itemOf(sub).current_period_start + end) / 2));
  await change(max);
  await rig.heard();
  const [first, second] = await rig.lots(account);
  expect(first).toBe(`10000 until ${creditsEnd(end)}`);
  // Half of a month, to a cent.
  expect(Number(second!.split(' ')[0])).toBeCloseTo(25_000, -2);
  expect(Number(await rig.held(account))).toBeCloseTo(10_000 - 5000 + 25_000, -2);
  expect(await rig.stated(account)).toEqual([`max until ${date(end + 2 * DAY)}`]);

  // Down, and what was left of it goes back with its money; up again, and it is there once more, not twice.
  await change(pro);
  await rig.heard();
  expect(Number(await rig.held(account))).toBeCloseTo(10_000, -2);
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
  await change(max);
  await rig.heard((all) => all.toReversed());
  expect(Number(await rig.held(account))).toBeCloseTo(30_000, -2);
});

test('a downgrade that gives nothing back takes nothing', async () => {
  const { account, sub, end } = await subscribed(max);
  await rig.stripe.subscriptions.update(sub.id, {
    items: [{ id: itemOf(sub).id, price: pro }],
    proration_behavior: 'none',
  });
  await rig.heard();
  expect(await rig.held(account)).toBe('50000');
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
});

test('cancelled with its unused time given back, that share of the credits goes', async () => {
  const { account, sub, end } = await subscribed(pro);
  rig.until(Math.round((itemOf(sub).current_period_start + end) / 2));
  await rig.stripe.subscriptions.cancel(sub.id, { prorate: true, invoice_now: true });
  await rig.heard();
  expect(Number(await rig.held(account))).toBeCloseTo(5000, -2);
  expect(await rig.stated(account)).toEqual([]);
});

test('more seats grant their share; prorations that wait are granted with the next period, for as long as that', async () => {
  const { account, sub, end } = await subscribed(pro);
  rig.until(end - 15 * DAY);
  await rig.stripe.subscriptions.update(sub.id, { items: [{ id: itemOf(sub).id, quantity: 3 }] });
  await rig.heard();
  expect(await rig.held(account)).toBe('10000');
  rig.until(end + 2 * 3600);
  await rig.heard();
  const renewed = itemOf(await rig.stripe.subscriptions.retrieve(sub.id)).current_period_end;
  const lots = await rig.lots(account);
  expect(lots).toHaveLength(3);
  expect(lots[0]).toBe(`10000 until ${creditsEnd(end)}`);
  expect(lots.slice(1).every((one) => one.endsWith(`until ${creditsEnd(renewed)}`))).toBe(true);
  const sum = lots.slice(1).reduce((all, one) => all + Number(one.split(' ')[0]), 0);
  expect(sum).toBeCloseTo(30_000 + (20_000 * 15 * DAY) / (end - itemOf(sub).current_period_start), -2);
});

test('a month that becomes a year grants its months, less what was left of the first', async () => {
  const { account, sub } = await subscribed(pro);
  await rig.stripe.subscriptions.update(sub.id, {
    items: [{ id: itemOf(sub).id, price: proYear }],
    proration_behavior: 'always_invoice',
  });
  await rig.heard();
  const lots = await rig.lots(account);
  // The first of the year is what was left of the month, all but a second or so.
  expect(lots.length === 13 || lots.length === 12).toBe(true);
  expect(Number(await rig.held(account))).toBeCloseTo(120_000, -2);
});

test('a year grants a month at a time', async () => {
  const { account, end } = await subscribed(proYear);
  const lots = await rig.lots(account);
  expect(lots).toHaveLength(12);
  expect(lots.slice(1).every((one) => one.startsWith('10000 from '))).toBe(true);
  expect(lots.at(-1)).toContain(`until ${creditsEnd(end)}`);
});

test('a trial grants what the plan includes in trials; what is paid after it grants the month', async () => {
  const { account, sub, end } = await subscribed(pro, { trial_period_days: 14 });
  expect(await rig.lots(account)).toEqual([`100 until ${creditsEnd(end)}`]);
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
  rig.until(end + 2 * 3600);
  await rig.heard();
  const renewed = itemOf(await rig.stripe.subscriptions.retrieve(sub.id)).current_period_end;
  expect(await rig.lots(account)).toEqual([`100 until ${creditsEnd(end)}`, `10000 until ${creditsEnd(renewed)}`]);
});

test('another trial of the same plan grants nothing more', async () => {
  const { account, customer } = await subscribed(pro, { trial_period_days: 14 });
  await rig.stripe.subscriptions.create({ customer, items: [{ price: pro }], trial_period_days: 14 });
  await rig.heard();
  expect(await rig.held(account)).toBe('100');
});

test('a trial that ends without a card allows nothing more', async () => {
  const trial_settings = { end_behavior: { missing_payment_method: 'pause' as const } };
  const { account, sub, end } = await subscribed(pro, { trial_period_days: 14, trial_settings }, null);
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
  rig.until(end + 2 * 3600);
  await rig.heard();
  expect(await rig.stated(account)).toEqual([]);
  expect(await rig.held(account)).toBe('100');
  // It may be resumed: who has it does not subscribe to it a second time.
  const { rows } = await rig.pool.query('SELECT plan, status FROM subscriptions WHERE subscription_id = $1', [sub.id]);
  expect(rows).toEqual([{ plan: 'pro', status: 'paused' }]);
});

test('a renewal that fails is told of, and keeps the plan for the days of grace; paid, all is back at once', async () => {
  const { account, customer, sub, end } = await subscribed(pro);
  const broken = await rig.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer });
  await rig.stripe.customers.update(customer, { invoice_settings: { default_payment_method: broken.id } });
  rig.until(end + 2 * 3600);
  await rig.heard();
  await rig.heard();
  expect((await rig.stripe.subscriptions.retrieve(sub.id)).status).toBe('past_due');
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
  expect(await rig.lots(account)).toEqual([`10000 until ${creditsEnd(end)}`]);
  expect(await rig.told(account, 'payment.failed')).toMatchObject([
    { subscription: sub.id, attempt: 1, amount_minor: '2000' },
  ]);
  const card = await rig.stripe.paymentMethods.attach('pm_card_visa', { customer });
  await rig.stripe.customers.update(customer, { invoice_settings: { default_payment_method: card.id } });
  const { latest_invoice: invoice } = await rig.stripe.subscriptions.retrieve(sub.id);
  await rig.stripe.invoices.pay(invoice as string);
  await rig.heard();
  const renewed = itemOf(await rig.stripe.subscriptions.retrieve(sub.id)).current_period_end;
  expect(await rig.stated(account)).toEqual([`pro until ${date(renewed + 3 * DAY)}`]);
  expect(await rig.lots(account)).toHaveLength(2);
});

test('a renewal that goes on failing ends the plan, and takes no credits', async () => {
  const { account, customer, end } = await subscribed(pro);
  const broken = await rig.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer });
  await rig.stripe.customers.update(customer, { invoice_settings: { default_payment_method: broken.id } });
  rig.until(end + 20 * DAY);
  await rig.heard();
  expect(await rig.stated(account)).toEqual([]);
  expect(await rig.held(account)).toBe('10000');
  expect((await rig.told(account, 'subscription.changed')).at(-1)).toMatchObject({ status: 'canceled', plans: [] });
});

test('cancelled at the end of its period it is allowed until then, exactly; cancelled now, not any more', async () => {
  const { account, sub, end } = await subscribed(pro);
  await rig.stripe.subscriptions.update(sub.id, { cancel_at_period_end: true });
  await rig.heard();
  expect(await rig.stated(account)).toEqual([`pro until ${date(end)}`]);
  await rig.stripe.subscriptions.update(sub.id, { cancel_at_period_end: false });
  await rig.heard();
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
  await rig.stripe.subscriptions.cancel(sub.id);
  await rig.heard();
  expect(await rig.stated(account)).toEqual([]);
  expect(await rig.lots(account)).toEqual([`10000 until ${creditsEnd(end)}`]);
});

test('with its collection paused, it is allowed for the days of grace after what was paid', async () => {
  const { account, sub, end } = await subscribed(pro);
  await rig.stripe.subscriptions.update(sub.id, { pause_collection: { behavior: 'void' } });
  rig.until(end + 2 * 3600);
  await rig.heard();
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
  expect(await rig.held(account)).toBe('10000');
});

test('what was paid is found among more lines than Stripe sends with an invoice', async () => {
  const { account, sub, end } = await subscribed(pro);
  const { id } = itemOf(sub);
  for (let quantity = 2; quantity <= 7; quantity++)
    await rig.stripe.subscriptions.update(sub.id, { items: [{ id, quantity }] });
  rig.until(end + 2 * 3600);
  const { items } = await rig.stripe.subscriptions.update(sub.id, { pause_collection: { behavior: 'void' } });
  await rig.heard();
  expect(await rig.stated(account)).toEqual([`pro until ${date(items.data[0]!.current_period_end + 3 * DAY)}`]);
});

test('two items allow two plans and grant for each; one that is taken off allows nothing more', async () => {
  const { account, customer } = await rig.subscriber();
  const sub = await rig.stripe.subscriptions.create({ customer, items: [{ price: pro, quantity: 2 }, { price: max }] });
  await rig.heard();
  const end = itemOf(sub).current_period_end;
  expect(await rig.held(account)).toBe('70000');
  expect(await rig.stated(account)).toEqual([`max until ${date(end + 2 * DAY)}`, `pro until ${date(end + 3 * DAY)}`]);
  const item = sub.items.data.find(({ price }) => price.id === max)!;
  await rig.stripe.subscriptions.update(sub.id, {
    items: [{ id: item.id, deleted: true }],
    proration_behavior: 'none',
  });
  await rig.heard();
  expect(await rig.stated(account)).toEqual([`pro until ${date(end + 3 * DAY)}`]);
});
