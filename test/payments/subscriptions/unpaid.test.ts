/** What is had without paying: seats of nothing, seats on trial, a dearer plan whose invoice fails; and faults that must not keep a plan. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { syncInvoice, syncSubscription } from '../../../src/payments/sync/billing.ts';
import { createSubscriptionRig, DAY, date, type SubscriptionRig } from './rig.ts';

let rig: SubscriptionRig;
let pro: string;
let max: string;
let free: string;
beforeAll(async () => {
  rig = await createSubscriptionRig();
  const included = { included_credits: { credits: '10000', every: 'month', trial: '100' }, grace_days: 3 };
  [pro] = (await rig.plan('pro', included, [2000, 'month'])) as [string];
  [max] = (await rig.plan('max', included, [800_000, 'month'])) as [string];
  [free] = (await rig.plan('free', included, [0, 'month'])) as [string];
});
afterAll(() => rig.drop());

async function subscribed(item: { price: string; quantity?: number }, more: object = {}) {
  const { account, customer } = await rig.subscriber();
  const sub = await rig.stripe.subscriptions.create({ customer, items: [item], ...more });
  await rig.heard();
  return { account, customer, sub, item: sub.items.data[0]! };
}

test('of a price of nothing, whatever quantity is asked for grants once', async () => {
  const { account, item, sub } = await subscribed({ price: free, quantity: 10_000 });
  expect(await rig.held(account)).toBe('10000');
  await rig.stripe.subscriptions.update(sub.id, {
    items: [{ id: item.id, quantity: 20_000 }],
    proration_behavior: 'always_invoice',
  });
  await rig.heard();
  expect(Number(await rig.held(account))).toBeLessThanOrEqual(10_000);
});

test('a trial grants once, whatever quantity is tried', async () => {
  const { account } = await subscribed({ price: pro, quantity: 10_000 }, { trial_period_days: 7 });
  expect(await rig.held(account)).toBe('100');
});

test('a dearer plan whose invoice is not paid is not allowed: what was paid before it is, until it is paid', async () => {
  const { account, customer, sub, item } = await subscribed({ price: pro });
  const { id: bad } = await rig.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer });
  await rig.stripe.subscriptions.update(sub.id, {
    items: [{ id: item.id, price: max }],
    proration_behavior: 'always_invoice',
    default_payment_method: bad,
  });
  await rig.heard();
  const until = date(item.current_period_end + 3 * DAY);
  expect((await rig.stripe.subscriptions.retrieve(sub.id)).status).toBe('past_due');
  expect(await rig.stated(account)).toEqual([`pro until ${until}`]);

  const { latest_invoice: invoice } = await rig.stripe.subscriptions.retrieve(sub.id);
  const { id: good } = await rig.stripe.paymentMethods.attach('pm_card_visa', { customer });
  await rig.stripe.invoices.pay(invoice as string, { payment_method: good });
  await rig.heard();
  expect(await rig.stated(account)).toEqual([`max until ${until}`]);
});

test('a plan that was cancelled ends although its invoice cannot be posted, and the other way round', async () => {
  const { account, sub, item } = await subscribed({ price: pro });
  const refuse = (table: string): Promise<unknown> =>
    rig.pool.query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
      CREATE TRIGGER refuse BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION refuse()`);
  const allow = (): Promise<unknown> => rig.pool.query('DROP FUNCTION refuse CASCADE');
  const grow = (quantity: number) =>
    rig.stripe.subscriptions.update(sub.id, {
      items: [{ id: item.id, quantity }],
      proration_behavior: 'always_invoice',
    });

  await refuse('entitlements');
  await rig.stripe.subscriptions.update(sub.id, { cancel_at: item.current_period_end - DAY });
  const { latest_invoice: invoice } = await grow(3);
  await expect(syncInvoice(rig.deps, invoice as string, null)).rejects.toThrow('refused');
  await allow();
  expect(Number(await rig.held(account))).toBeGreaterThan(20_000);

  await refuse('lots');
  await grow(5);
  await rig.stripe.subscriptions.cancel(sub.id);
  await expect(syncSubscription(rig.deps, sub.id, null)).rejects.toThrow('refused');
  await allow();
  expect(await rig.stated(account)).toEqual([]);
});
