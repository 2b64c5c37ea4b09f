import { describe, expect, test, vi } from 'vitest';
import { addIntervals, DAY, HOUR } from './calendar.ts';
import { bench, endOf, latest, subscribed } from './harness.ts';

// The clock moves by `advance` only, so that instants can be compared to the second.
vi.useFakeTimers({ toFake: ['Date'] });

const MONTH = { interval: 'month', interval_count: 1 };

describe('a trial', () => {
  test('begins with a zero invoice that is paid without an intent, tells 3 days before, and ends with a charge', async () => {
    const at = bench();
    const sub = await subscribed(at, { trial_period_days: 14 });
    expect(sub).toMatchObject({ status: 'trialing', trial_end: sub.created + 14 * DAY });
    const first = (await latest(at, sub)).invoice;
    expect(first).toMatchObject({ status: 'paid', amount_due: 0, billing_reason: 'subscription_create' });
    at.until(sub.created + 11 * DAY - 10);
    expect(at.types()).not.toContain('customer.subscription.trial_will_end');
    at.sim.advance(20);
    expect(at.types()).toEqual(['customer.subscription.trial_will_end']);
    at.until(sub.trial_end as number);
    expect((await latest(at, sub)).sub.status).toBe('active');
    at.sim.advance(HOUR);
    const paid = (await latest(at, sub)).invoice;
    expect(paid).toMatchObject({ status: 'paid', amount_paid: 2000, billing_reason: 'subscription_cycle' });
    expect(paid.lines.data[0]?.period.start).toBe(sub.trial_end);
  });

  test('without a method to charge ends as trial_settings say', async () => {
    for (const [missing_payment_method, status] of [
      ['create_invoice', 'past_due'],
      ['cancel', 'canceled'],
      ['pause', 'paused'],
    ] as const) {
      const at = bench();
      const sub = await subscribed(
        at,
        { trial_period_days: 7, trial_settings: { end_behavior: { missing_payment_method } } },
        null,
      );
      at.until((sub.trial_end as number) + 2 * HOUR);
      expect((await latest(at, sub)).sub.status).toBe(status);
      const seen = at.types();
      expect(seen.includes('customer.subscription.paused')).toBe(status === 'paused');
      expect(seen.includes('customer.subscription.deleted')).toBe(status === 'canceled');
    }
  });

  test('that ended in a pause is resumed with a new period, once that is paid', async () => {
    const at = bench();
    const pause = { end_behavior: { missing_payment_method: 'pause' as const } };
    const sub = await subscribed(at, { trial_period_days: 7, trial_settings: pause }, null);
    at.until((sub.trial_end as number) + 40 * DAY);
    const method = await at.stripe.paymentMethods.attach('pm_card_visa', { customer: sub.customer as string });
    await at.stripe.subscriptions.update(sub.id, { default_payment_method: method.id });
    at.events();
    const resumed = await at.stripe.subscriptions.resume(sub.id);
    expect(resumed.status).toBe('active');
    expect(resumed.items.data[0]?.current_period_start).toBe(resumed.billing_cycle_anchor);
    expect(at.types()).toEqual(expect.arrayContaining(['customer.subscription.resumed', 'invoice.paid']));
  });

  test('cut short begins a paid period now', async () => {
    const at = bench();
    const sub = await subscribed(at, { trial_period_days: 14 });
    at.sim.advance(2 * DAY);
    const now = await at.stripe.subscriptions.update(sub.id, { trial_end: 'now', expand: ['latest_invoice'] });
    expect(now.status).toBe('active');
    expect(now.latest_invoice).toMatchObject({
      status: 'paid',
      amount_paid: 2000,
      billing_reason: 'subscription_update',
    });
    expect(endOf(now)).toBe(addIntervals(now.billing_cycle_anchor, MONTH, 1));
  });
});
