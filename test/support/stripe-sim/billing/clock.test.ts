import type Stripe from 'stripe';
import { describe, expect, test, vi } from 'vitest';
import { settleIntent } from '../payment-intents.ts';
import { detach } from '../payment-methods.ts';
import { addIntervals, DAY, HOUR } from './calendar.ts';
import { type Bench, bench, endOf, latest, subscribed } from './harness.ts';
import { breakFinalization, setSettings } from './settings.ts';

// The clock moves by `advance` only, so that instants can be compared to the second.
vi.useFakeTimers({ toFake: ['Date'] });

const MONTH = { interval: 'month', interval_count: 1 };

/** The customer's card declines from now on, as when it was exchanged for a bad one. */
async function spoilCard(at: Bench, sub: Stripe.Subscription): Promise<void> {
  const method = await at.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', {
    customer: sub.customer as string,
  });
  await at.stripe.customers.update(sub.customer as string, {
    invoice_settings: { default_payment_method: method.id },
  });
}

describe('a renewal', () => {
  test('moves the period, is a draft for an hour, then is charged', async () => {
    const at = bench();
    const sub = await subscribed(at);
    expect(endOf(sub)).toBe(addIntervals(sub.created, MONTH, 1));
    at.events();
    at.until(endOf(sub));
    const renewed = await latest(at, sub);
    expect(renewed.sub.items.data[0]).toMatchObject({
      current_period_start: endOf(sub),
      current_period_end: addIntervals(sub.created, MONTH, 2),
    });
    expect(renewed.invoice).toMatchObject({
      status: 'draft',
      billing_reason: 'subscription_cycle',
      automatically_finalizes_at: endOf(sub) + HOUR,
      period_start: sub.created,
      period_end: endOf(sub),
    });
    const updated = at.events().find(({ type }) => type === 'customer.subscription.updated');
    expect(updated?.data.previous_attributes).toMatchObject({ items: { data: [{ current_period_end: endOf(sub) }] } });
    at.sim.advance(HOUR);
    expect((await latest(at, sub)).invoice).toMatchObject({ status: 'paid', amount_paid: 2000, number: /-0002$/ });
    expect(at.types()).toEqual(expect.arrayContaining(['invoice.finalized', 'charge.succeeded', 'invoice.paid']));
  });

  test('of a year in one advance makes each month its own invoice', async () => {
    const at = bench();
    const sub = await subscribed(at);
    at.until(addIntervals(sub.created, MONTH, 12) + 2 * HOUR);
    const invoices = await at.stripe.invoices.list({ subscription: sub.id, limit: 100 });
    expect(invoices.data.map(({ status }) => status)).toEqual(new Array(13).fill('paid'));
    const periods = invoices.data.map(({ lines }) => lines.data[0]?.period.start);
    expect(new Set(periods).size).toBe(13);
  });

  test('that fails makes it past due, is tried again after 1, 3, 5 and 7 days, and ends as the settings say', async () => {
    for (const [afterRetries, status] of [
      ['cancel', 'canceled'],
      ['unpaid', 'unpaid'],
      ['past_due', 'past_due'],
    ] as const) {
      const at = bench();
      setSettings(at.sim, { afterRetries });
      const sub = await subscribed(at);
      await spoilCard(at, sub);
      at.until(endOf(sub) + HOUR);
      let now = await latest(at, sub);
      expect([now.sub.status, now.invoice.status, now.invoice.attempt_count]).toEqual(['past_due', 'open', 1]);
      const gaps: number[] = [];
      for (let next = now.invoice.next_payment_attempt; next !== null; next = now.invoice.next_payment_attempt) {
        gaps.push((next - at.sim.now()) / DAY);
        at.until(next);
        now = await latest(at, sub);
      }
      expect(gaps).toEqual([1, 3, 5, 7]);
      expect([now.sub.status, now.invoice.attempt_count]).toEqual([status, 5]);
      if (status === 'canceled') expect(now.sub.cancellation_details?.reason).toBe('payment_failed');
    }
  });

  test('that fails and is paid later by another card makes it active again', async () => {
    const at = bench();
    const sub = await subscribed(at);
    await spoilCard(at, sub);
    at.until(endOf(sub) + HOUR);
    const { invoice } = await latest(at, sub);
    await expect(at.stripe.invoices.pay(invoice.id)).rejects.toMatchObject({ statusCode: 402, code: 'card_declined' });
    expect((await at.stripe.invoices.retrieve(invoice.id)).attempt_count).toBe(1);
    const method = await at.stripe.paymentMethods.attach('pm_card_mastercard', { customer: sub.customer as string });
    at.events();
    expect((await at.stripe.invoices.pay(invoice.id, { payment_method: method.id })).status).toBe('paid');
    expect((await at.stripe.subscriptions.retrieve(sub.id)).status).toBe('active');
    const updated = at.events().find(({ type }) => type === 'customer.subscription.updated');
    expect(updated?.data.previous_attributes).toEqual({ status: 'past_due' });
  });

  test('by a debit that takes days is on its way, fails days later, and is tried again by the schedule', async () => {
    const at = bench();
    const sub = await subscribed(at);
    const debit = await at.stripe.paymentMethods.attach('pm_sepa_debit', { customer: sub.customer as string });
    await at.stripe.subscriptions.update(sub.id, { default_payment_method: debit.id });
    at.until(endOf(sub) + HOUR);
    for (const [attempt, days] of [
      [1, 1],
      [2, 3],
    ] as const) {
      const [intent] = at.sim.all<Stripe.PaymentIntent>('payment_intent');
      const begun = await latest(at, sub);
      expect([intent?.status, begun.invoice.attempt_count]).toEqual(['processing', attempt]);
      expect(begun.sub.status).toBe(attempt === 1 ? 'active' : 'past_due');
      at.sim.advance(2 * DAY);
      settleIntent(at.sim, intent as Stripe.PaymentIntent, 'failed');
      const { sub: now, invoice } = await latest(at, sub);
      expect([now.status, invoice.attempt_count]).toEqual(['past_due', attempt]);
      expect(invoice.next_payment_attempt).toBe(at.sim.now() + days * DAY);
      at.sim.advance(days * DAY);
    }
    settleIntent(at.sim, at.sim.all<Stripe.PaymentIntent>('payment_intent')[0] as Stripe.PaymentIntent, 'succeeded');
    expect((await latest(at, sub)).invoice).toMatchObject({ status: 'paid', attempt_count: 3 });
  });

  test('of an unpaid subscription stays a draft', async () => {
    const at = bench();
    setSettings(at.sim, { afterRetries: 'unpaid' });
    const sub = await subscribed(at);
    await spoilCard(at, sub);
    at.until(addIntervals(sub.created, MONTH, 2) + 2 * HOUR);
    const now = await latest(at, sub);
    expect([now.sub.status, now.invoice.status, now.invoice.auto_advance]).toEqual(['unpaid', 'draft', false]);
  });
});

describe('an end', () => {
  test('at the end of the period comes then, and no invoice after it', async () => {
    const at = bench();
    const sub = await subscribed(at);
    at.events();
    const told = await at.stripe.subscriptions.update(sub.id, { cancel_at_period_end: true });
    expect(told).toMatchObject({ status: 'active', cancel_at: endOf(sub), cancel_at_period_end: true });
    expect(at.events()[0]?.data.previous_attributes).toMatchObject({ cancel_at: null, cancel_at_period_end: false });
    at.until(endOf(sub) + 2 * HOUR);
    const now = await latest(at, sub);
    expect(now.sub).toMatchObject({ status: 'canceled', ended_at: endOf(sub) });
    expect((await at.stripe.invoices.list({ subscription: sub.id })).data).toHaveLength(1);
    expect(at.types()).toEqual(['customer.subscription.deleted']);
  });

  test('at a set instant can be taken back', async () => {
    const at = bench();
    const sub = await subscribed(at, { cancel_at: at.sim.now() + 5 * DAY });
    await at.stripe.subscriptions.update(sub.id, { cancel_at: '' });
    at.sim.advance(6 * DAY);
    expect((await latest(at, sub)).sub).toMatchObject({ status: 'active', cancel_at: null, canceled_at: null });
  });

  test('of its customer is its own', async () => {
    const at = bench();
    const sub = await subscribed(at);
    await at.stripe.customers.del(sub.customer as string);
    expect((await latest(at, sub)).sub.status).toBe('canceled');
  });
});

describe('collection that is paused', () => {
  test.each([
    ['keep_as_draft', 'draft'],
    ['void', 'void'],
    ['mark_uncollectible', 'uncollectible'],
  ] as const)('with %s leaves the renewal %s, and the subscription active', async (behavior, status) => {
    const at = bench();
    const sub = await subscribed(at);
    await at.stripe.subscriptions.update(sub.id, { pause_collection: { behavior } });
    at.until(endOf(sub) + 2 * HOUR);
    const now = await latest(at, sub);
    expect([now.sub.status, now.invoice.status]).toEqual(['active', status]);
    expect((await at.stripe.charges.list()).data).toHaveLength(1);
    await at.stripe.subscriptions.update(sub.id, { pause_collection: '' });
    at.until(endOf(now.sub) + 2 * HOUR);
    expect((await latest(at, sub)).invoice.status).toBe('paid');
  });
});

test('an invoice that is sent is overdue at its due date', async () => {
  const at = bench();
  const sub = await subscribed(at, { collection_method: 'send_invoice', days_until_due: 5 }, null);
  expect(sub.status).toBe('active');
  at.sim.advance(HOUR);
  expect((await latest(at, sub)).invoice.status).toBe('open');
  expect(at.types()).toContain('invoice.sent');
  at.sim.advance(5 * DAY);
  expect(at.types()).toEqual(expect.arrayContaining(['invoice.overdue', 'customer.subscription.updated']));
  expect((await latest(at, sub)).sub.status).toBe('past_due');
});

test('a snapshot brings billing back to where it was, so that the same month can be lived twice', async () => {
  const at = bench();
  const sub = await subscribed(at);
  const saved = at.sim.snapshot();
  at.until(endOf(sub) + HOUR);
  const once = (await latest(at, sub)).invoice;
  at.sim.restore(saved);
  expect((await latest(at, sub)).invoice.id).toBe(sub.latest_invoice);
  at.until(endOf(sub) + HOUR);
  expect((await latest(at, sub)).invoice.amount_paid).toBe(once.amount_paid);
});

test('a subscription whose card was detached fails its renewal without a charge', async () => {
  const at = bench();
  const sub = await subscribed(at);
  const [method] = (await at.stripe.paymentMethods.list({ customer: sub.customer as string })).data;
  detach(at.sim, at.sim.get('payment_method', method?.id ?? ''));
  at.events();
  at.until(endOf(sub) + HOUR);
  expect((await latest(at, sub)).sub.status).toBe('past_due');
  const seen = at.types();
  expect(seen).toContain('invoice.payment_failed');
  expect(seen).not.toContain('charge.failed');
});

test('a renewal can be told of before: an event whose invoice has no id', async () => {
  const at = bench();
  setSettings(at.sim, { upcomingDays: 7 });
  const sub = await subscribed(at);
  at.events();
  at.until(endOf(sub) - 7 * DAY);
  const [event, ...others] = at.events();
  expect([event?.type, others.length]).toEqual(['invoice.upcoming', 0]);
  expect(event?.data.object).not.toHaveProperty('id');
  expect(event?.data.object).toMatchObject({ object: 'invoice', total: 2000, status: 'draft' });
  expect((await at.stripe.invoices.list()).data).toHaveLength(1);
});

test('an invoice that cannot be finalized stays a draft, until somebody mends the customer and finalizes it', async () => {
  const at = bench();
  const sub = await subscribed(at);
  breakFinalization(at.sim, sub.customer as string, true);
  at.until(endOf(sub) + 2 * HOUR);
  expect(at.types()).toContain('invoice.finalization_failed');
  const { invoice } = await latest(at, sub);
  expect(invoice).toMatchObject({
    status: 'draft',
    last_finalization_error: { code: 'customer_tax_location_invalid' },
  });
  breakFinalization(at.sim, sub.customer as string, false);
  await at.stripe.invoices.finalizeInvoice(invoice.id);
  expect((await at.stripe.invoices.pay(invoice.id)).status).toBe('paid');
});
