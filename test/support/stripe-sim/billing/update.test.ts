import type Stripe from 'stripe';
import { describe, expect, test, vi } from 'vitest';
import { addIntervals, DAY, HOUR, share } from './calendar.ts';
import { type Bench, bench } from './harness.ts';

// The clock moves by `advance` only, so that instants can be compared to the second.
vi.useFakeTimers({ toFake: ['Date'] });

interface World {
  at: Bench;
  sub: Stripe.Subscription;
  item: Stripe.SubscriptionItem;
  basic: Stripe.Price;
  pro: Stripe.Price;
}

/** A subscription to a price of 10.00, ten days into its month. */
async function tenDaysIn(card = 'pm_card_visa', quantity = 1): Promise<World> {
  const at = bench();
  const [customer, basic, pro] = [
    await at.customer(card),
    await at.price(1000, 'month', 'Basic'),
    await at.price(3000),
  ];
  const sub = await at.stripe.subscriptions.create({ customer: customer.id, items: [{ price: basic.id, quantity }] });
  at.sim.advance(10 * DAY);
  at.events();
  return { at, sub, item: sub.items.data[0] as Stripe.SubscriptionItem, basic, pro };
}

async function lines(at: Bench, invoice: string): Promise<Stripe.InvoiceLineItem[]> {
  return (await at.stripe.invoices.listLineItems(invoice)).data;
}

describe('an upgrade', () => {
  test('billed now gives back the unused seconds of the old price and asks for those of the new one', async () => {
    const { at, sub, item, basic, pro } = await tenDaysIn();
    const now = await at.stripe.subscriptions.update(sub.id, {
      items: [{ id: item.id, price: pro.id }],
      proration_behavior: 'always_invoice',
      expand: ['latest_invoice'],
    });
    const invoice = now.latest_invoice as Stripe.Invoice;
    const [whole, left] = [
      item.current_period_end - item.current_period_start,
      item.current_period_end - invoice.created,
    ];
    const [credit, debit] = await lines(at, invoice.id);
    const parent = { type: 'subscription_item_details' };
    expect(credit).toMatchObject({
      amount: -share(1000, left, whole),
      pricing: { price_details: { price: basic.id } },
      period: { start: invoice.created, end: item.current_period_end },
      parent: {
        ...parent,
        subscription_item_details: {
          proration: true,
          subscription_item: item.id,
          proration_details: { credited_items: { invoice: sub.latest_invoice } },
        },
      },
    });
    expect(debit).toMatchObject({
      amount: share(3000, left, whole),
      pricing: { price_details: { price: pro.id } },
      parent: { ...parent, subscription_item_details: { proration: true, subscription: sub.id } },
    });
    expect(invoice).toMatchObject({
      status: 'paid',
      billing_reason: 'subscription_update',
      total: (debit?.amount ?? 0) + (credit?.amount ?? 0),
    });
    expect(now.items.data[0]).toMatchObject({
      id: item.id,
      price: { id: pro.id },
      current_period_end: item.current_period_end,
    });
    const updated = at.events().find(({ type }) => type === 'customer.subscription.updated');
    expect(updated?.data.previous_attributes).toMatchObject({ items: { data: [{ price: { id: basic.id } }] } });
  });

  test('by default waits for the next invoice', async () => {
    const { at, sub, item, pro } = await tenDaysIn();
    await at.stripe.subscriptions.update(sub.id, { items: [{ id: item.id, price: pro.id }] });
    expect((await at.stripe.invoices.list({ subscription: sub.id })).data).toHaveLength(1);
    const waiting = await at.stripe.invoiceItems.list({ pending: true, customer: sub.customer as string });
    expect(waiting.data.map(({ proration }) => proration)).toEqual([true, true]);
    at.until(item.current_period_end + HOUR);
    const [invoice] = (await at.stripe.invoices.list({ subscription: sub.id })).data;
    expect(invoice).toMatchObject({ status: 'paid', billing_reason: 'subscription_cycle' });
    const [credit, debit, cycle] = await lines(at, invoice?.id ?? '');
    expect([Math.sign(credit?.amount ?? 0), Math.sign(debit?.amount ?? 0), cycle?.amount]).toEqual([-1, 1, 3000]);
    expect(cycle?.parent?.subscription_item_details?.proration).toBe(false);
    expect((await at.stripe.invoiceItems.list({ pending: true })).data).toEqual([]);
  });

  test('after an upgrade that waits gives back what waits, and nets out on the next invoice', async () => {
    const { at, sub, item, pro } = await tenDaysIn();
    const team = await at.price(9000, 'month', 'Team');
    await at.stripe.subscriptions.update(sub.id, { items: [{ id: item.id, price: pro.id }] });
    at.sim.advance(DAY);
    await at.stripe.subscriptions.update(sub.id, { items: [{ id: item.id, price: team.id }] });
    const [, credit, debit, first] = (await at.stripe.invoiceItems.list({ pending: true })).data;
    expect(credit?.proration_details?.credited_items).toEqual({ invoice_item: debit?.id, type: 'invoice_item' });
    expect(first?.proration_details?.credited_items).toMatchObject({
      invoice_line_item_details: { invoice: sub.latest_invoice },
      type: 'invoice_line_items',
    });
    at.until(item.current_period_end + HOUR);
    const [invoice] = (await at.stripe.invoices.list({ subscription: sub.id })).data;
    const billed = await lines(at, invoice?.id ?? '');
    expect(billed).toHaveLength(5);
    expect(billed[2]?.parent?.subscription_item_details?.proration_details?.credited_items).toBeNull();
  });

  test('without proration costs nothing until the next period', async () => {
    const { at, sub, item, pro } = await tenDaysIn();
    await at.stripe.subscriptions.update(sub.id, {
      items: [{ id: item.id, price: pro.id }],
      proration_behavior: 'none',
    });
    expect((await at.stripe.invoiceItems.list()).data).toEqual([]);
    at.until(item.current_period_end + HOUR);
    expect((await at.stripe.invoices.list({ subscription: sub.id })).data[0]?.total).toBe(3000);
  });

  test('whose payment fails makes the subscription past due; with error_if_incomplete nothing has changed', async () => {
    const { at, sub, item, basic, pro } = await tenDaysIn();
    const bad = await at.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', {
      customer: sub.customer as string,
    });
    await at.stripe.subscriptions.update(sub.id, { default_payment_method: bad.id });
    const change = { items: [{ id: item.id, price: pro.id }], proration_behavior: 'always_invoice' as const };
    await expect(
      at.stripe.subscriptions.update(sub.id, { ...change, payment_behavior: 'error_if_incomplete' }),
    ).rejects.toMatchObject({ statusCode: 402 });
    const before = await at.stripe.subscriptions.retrieve(sub.id);
    expect([before.status, before.items.data[0]?.price.id]).toEqual(['active', basic.id]);
    expect((await at.stripe.invoiceItems.list()).data).toEqual([]);
    const after = await at.stripe.subscriptions.update(sub.id, change);
    expect([after.status, after.items.data[0]?.price.id]).toEqual(['past_due', pro.id]);
  });
});

describe('other changes', () => {
  test('a downgrade billed now goes onto the customer balance, which pays the next invoice', async () => {
    const { at, sub, item, pro, basic } = await tenDaysIn();
    await at.stripe.subscriptions.update(sub.id, {
      items: [{ id: item.id, price: pro.id }],
      proration_behavior: 'none',
    });
    const now = await at.stripe.subscriptions.update(sub.id, {
      items: [{ id: item.id, price: basic.id }],
      proration_behavior: 'always_invoice',
      expand: ['latest_invoice'],
    });
    const invoice = now.latest_invoice as Stripe.Invoice;
    expect(invoice).toMatchObject({ status: 'paid', amount_due: 0, amount_paid: 0, ending_balance: invoice.total });
    const customer = (await at.stripe.customers.retrieve(sub.customer as string)) as Stripe.Customer;
    expect(customer.balance).toBe(invoice.total);
    expect(invoice.total).toBeLessThan(-1000);
    at.until(item.current_period_end + HOUR);
    const [next] = (await at.stripe.invoices.list({ subscription: sub.id })).data;
    expect(next).toMatchObject({ status: 'paid', total: 1000, amount_due: 0, starting_balance: invoice.total });
  });

  test('more seats cost their part of the period', async () => {
    const { at, sub, item } = await tenDaysIn('pm_card_visa', 2);
    const now = await at.stripe.subscriptionItems.update(item.id, {
      quantity: 5,
      proration_behavior: 'always_invoice',
    });
    expect(now.quantity).toBe(5);
    const [invoice] = (await at.stripe.invoices.list({ subscription: sub.id })).data;
    const [credit, debit] = await lines(at, invoice?.id ?? '');
    expect([credit?.quantity, debit?.quantity]).toEqual([2, 5]);
    const left = item.current_period_end - (invoice?.created ?? 0);
    const whole = item.current_period_end - item.current_period_start;
    expect(invoice?.total).toBe(share(5000, left, whole) - share(2000, left, whole));
  });

  test('another interval begins a new period now', async () => {
    const { at, sub, item } = await tenDaysIn();
    const yearly = await at.price(20_000, 'year', 'Yearly');
    const now = await at.stripe.subscriptions.update(sub.id, {
      items: [{ id: item.id, price: yearly.id }],
      expand: ['latest_invoice'],
    });
    const invoice = now.latest_invoice as Stripe.Invoice;
    expect(now.billing_cycle_anchor).toBe(invoice.created);
    expect(now.items.data[0]?.current_period_end).toBe(
      addIntervals(invoice.created, { interval: 'year', interval_count: 1 }, 1),
    );
    const [credit, full] = await lines(at, invoice.id);
    expect(credit?.amount).toBeLessThan(0);
    expect(full).toMatchObject({ amount: 20_000, parent: { subscription_item_details: { proration: false } } });
  });

  test('items can be added, read, listed and deleted', async () => {
    const { at, sub, item, pro } = await tenDaysIn();
    const added = await at.stripe.subscriptionItems.create({ subscription: sub.id, price: pro.id, quantity: 2 });
    expect(added.current_period_end).toBe(item.current_period_end);
    const listed = await at.stripe.subscriptionItems.list({ subscription: sub.id });
    expect(listed.data.map(({ id }) => id)).toEqual([item.id, added.id]);
    expect((await at.stripe.subscriptionItems.retrieve(added.id)).quantity).toBe(2);
    await at.stripe.subscriptionItems.del(added.id);
    const waiting = await at.stripe.invoiceItems.list({ pending: true });
    expect(waiting.data.reduce((sum, { amount }) => sum + amount, 0)).toBe(0);
    await expect(at.stripe.subscriptionItems.del(item.id)).rejects.toMatchObject({ statusCode: 400 });
  });

  test('a cancellation can give back the rest and bill it now', async () => {
    const { at, sub, item } = await tenDaysIn();
    const gone = await at.stripe.subscriptions.cancel(sub.id, { prorate: true, invoice_now: true });
    expect(gone.status).toBe('canceled');
    const [last] = (await at.stripe.invoices.list({ subscription: sub.id })).data;
    const left = item.current_period_end - (last?.created ?? 0);
    expect(last?.total).toBe(-share(1000, left, item.current_period_end - item.current_period_start));
    await expect(at.stripe.subscriptions.cancel(sub.id)).rejects.toMatchObject({ statusCode: 404 });
    expect((await at.stripe.subscriptions.list({ customer: sub.customer as string })).data).toEqual([]);
    expect((await at.stripe.subscriptions.list({ status: 'canceled' })).data).toHaveLength(1);
  });

  test('a percent discount is in the proration too', async () => {
    const at = bench();
    const [customer, basic, pro] = [await at.customer(), await at.price(1000), await at.price(3000)];
    await at.stripe.coupons.create({ id: 'half', percent_off: 50, duration: 'forever' });
    const sub = await at.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: basic.id }],
      discounts: [{ coupon: 'half' }],
    });
    const item = sub.items.data[0] as Stripe.SubscriptionItem;
    at.until(item.current_period_start + (item.current_period_end - item.current_period_start) / 2);
    const now = await at.stripe.subscriptions.update(sub.id, {
      items: [{ id: item.id, price: pro.id }],
      proration_behavior: 'always_invoice',
      expand: ['latest_invoice'],
    });
    expect((now.latest_invoice as Stripe.Invoice).total).toBe(500);
  });
});

describe('a change that waits for its payment', () => {
  async function waiting(): Promise<World & { invoice: Stripe.Invoice }> {
    const world = await tenDaysIn();
    const { at, sub, item, pro, basic } = world;
    const bad = await at.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', {
      customer: sub.customer as string,
    });
    await at.stripe.subscriptions.update(sub.id, { default_payment_method: bad.id });
    at.events();
    const now = await at.stripe.subscriptions.update(sub.id, {
      items: [{ id: item.id, price: pro.id }],
      proration_behavior: 'always_invoice',
      payment_behavior: 'pending_if_incomplete',
      expand: ['latest_invoice'],
    });
    expect([now.status, now.items.data[0]?.price.id]).toEqual(['active', basic.id]);
    expect(now.pending_update?.subscription_items?.[0]?.price.id).toBe(pro.id);
    return { ...world, invoice: now.latest_invoice as Stripe.Invoice };
  }

  test('comes with it', async () => {
    const { at, sub, pro, invoice } = await waiting();
    const good = await at.stripe.paymentMethods.attach('pm_card_visa', { customer: sub.customer as string });
    at.events();
    await at.stripe.invoices.pay(invoice.id, { payment_method: good.id });
    const now = await at.stripe.subscriptions.retrieve(sub.id);
    expect([now.status, now.pending_update, now.items.data[0]?.price.id]).toEqual(['active', null, pro.id]);
    expect(at.types()).toContain('customer.subscription.pending_update_applied');
  });

  test('is forgotten after 23 hours', async () => {
    const { at, sub, basic, invoice } = await waiting();
    at.sim.advance(23 * HOUR + 1);
    const now = await at.stripe.subscriptions.retrieve(sub.id);
    expect([now.status, now.pending_update, now.items.data[0]?.price.id]).toEqual(['active', null, basic.id]);
    expect((await at.stripe.invoices.retrieve(invoice.id)).status).toBe('void');
    expect(at.types()).toContain('customer.subscription.pending_update_expired');
  });
});
