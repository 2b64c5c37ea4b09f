import type Stripe from 'stripe';
import { describe, expect, test, vi } from 'vitest';
import { HOUR } from './calendar.ts';
import { type Bench, bench } from './harness.ts';
import { startSubscription } from './start.ts';

// The clock moves by `advance` only, so that instants can be compared to the second.
vi.useFakeTimers({ toFake: ['Date'] });

async function invoiceOf(at: Bench, sub: Stripe.Subscription): Promise<Stripe.Invoice> {
  return at.stripe.invoices.retrieve(sub.latest_invoice as string, { expand: ['payments', 'confirmation_secret'] });
}

describe('a subscription that is paid at once', () => {
  test('is active, with a period on its items and a paid invoice of reason subscription_create', async () => {
    const at = bench();
    const [customer, price] = [await at.customer(), await at.price(2000)];
    at.events();
    const sub = await at.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id, quantity: 3 }],
      metadata: { tollgate_account: 'acc_1' },
    });
    expect(sub.status).toBe('active');
    expect(sub).not.toHaveProperty('current_period_end');
    expect(sub.items.data[0]).toMatchObject({ quantity: 3, current_period_start: sub.created });
    const invoice = await invoiceOf(at, sub);
    expect(invoice).toMatchObject({
      status: 'paid',
      billing_reason: 'subscription_create',
      amount_due: 6000,
      amount_paid: 6000,
      amount_remaining: 0,
      attempt_count: 1,
      parent: { subscription_details: { subscription: sub.id, metadata: { tollgate_account: 'acc_1' } } },
    });
    expect(invoice.lines.data[0]).toMatchObject({
      amount: 6000,
      quantity: 3,
      period: { start: sub.created, end: sub.items.data[0]?.current_period_end },
      pricing: { price_details: { price: price.id, product: price.product } },
      parent: { subscription_item_details: { subscription: sub.id, proration: false } },
    });
    expect(invoice.payments?.data[0]).toMatchObject({ status: 'paid', amount_paid: 6000, is_default: true });
    const seen = at.types();
    for (const type of [
      'customer.subscription.created',
      'invoice.created',
      'invoice.finalized',
      'payment_intent.created',
      'charge.succeeded',
      'payment_intent.succeeded',
      'invoice_payment.paid',
      'invoice.paid',
      'invoice.payment_succeeded',
      'customer.subscription.updated',
    ])
      expect(seen).toContain(type);
  });

  test('has an intent that says nothing of the invoice, but is found by invoice_payments', async () => {
    const at = bench();
    const [customer, price] = [await at.customer(), await at.price(2000)];
    const sub = await at.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      metadata: { own: 'x' },
    });
    const invoice = await invoiceOf(at, sub);
    const intent = invoice.payments?.data[0]?.payment.payment_intent as string;
    const found = await at.stripe.paymentIntents.retrieve(intent);
    expect(found).toMatchObject({ amount: 2000, status: 'succeeded', metadata: {} });
    expect(found).not.toHaveProperty('invoice');
    const byIntent = await at.stripe.invoicePayments.list({
      payment: { type: 'payment_intent', payment_intent: intent },
    });
    expect(byIntent.data.map((each) => each.invoice)).toEqual([invoice.id]);
    const byInvoice = await at.stripe.invoicePayments.list({
      invoice: invoice.id,
      expand: ['data.payment.payment_intent', 'data.invoice'],
    });
    expect(byInvoice.data[0]).toMatchObject({
      payment: { payment_intent: { id: intent } },
      invoice: { id: invoice.id },
    });
  });
});

describe('a first payment that is not made', () => {
  test('leaves the subscription incomplete; another card by the client makes it active', async () => {
    const at = bench();
    const [customer, price] = [await at.customer('pm_card_chargeCustomerFail'), await at.price(2000)];
    const sub = await at.stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] });
    expect(sub.status).toBe('incomplete');
    expect(at.types()).toContain('invoice.payment_failed');
    const invoice = await invoiceOf(at, sub);
    expect(invoice).toMatchObject({ status: 'open', attempt_count: 1, next_payment_attempt: null });
    const intent = invoice.payments?.data[0]?.payment.payment_intent as string;
    expect(invoice.confirmation_secret?.client_secret).toMatch(`${intent}_secret_`);
    await at.stripe.paymentIntents.confirm(intent, { payment_method: 'pm_card_visa' });
    expect((await at.stripe.subscriptions.retrieve(sub.id)).status).toBe('active');
    expect((await invoiceOf(at, sub)).status).toBe('paid');
  });

  test('after 23 hours it is incomplete_expired and the invoice void', async () => {
    const at = bench();
    const [customer, price] = [await at.customer(), await at.price(2000)];
    const sub = await at.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      payment_behavior: 'default_incomplete',
    });
    expect(sub.status).toBe('incomplete');
    expect((await invoiceOf(at, sub)).attempt_count).toBe(0);
    at.sim.advance(23 * HOUR - 10);
    expect((await at.stripe.subscriptions.retrieve(sub.id)).status).toBe('incomplete');
    at.events();
    at.sim.advance(20);
    expect((await at.stripe.subscriptions.retrieve(sub.id)).status).toBe('incomplete_expired');
    expect((await invoiceOf(at, sub)).status).toBe('void');
    expect(at.types()).toEqual(
      expect.arrayContaining(['invoice.voided', 'payment_intent.canceled', 'customer.subscription.updated']),
    );
  });

  test('with error_if_incomplete the call is a 402 and nothing is left', async () => {
    const at = bench();
    const [customer, price] = [await at.customer('pm_card_chargeCustomerFail'), await at.price(2000)];
    await at.stripe.coupons.create({ id: 'half', percent_off: 50, duration: 'once' });
    const asked = at.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      payment_behavior: 'error_if_incomplete',
      discounts: [{ coupon: 'half' }],
    });
    await expect(asked).rejects.toMatchObject({ statusCode: 402, type: 'StripeCardError' });
    expect((await at.stripe.subscriptions.list({ status: 'all' })).data).toEqual([]);
    expect((await at.stripe.invoices.list()).data).toEqual([]);
    expect((await at.stripe.coupons.retrieve('half')).times_redeemed).toBe(0);
  });

  test('without any means of payment it is refused; when the bank asks the customer it waits for the answer', async () => {
    const at = bench();
    const price = await at.price(2000);
    const poor = await at.customer(null);
    const items = [{ price: price.id }];
    await expect(at.stripe.subscriptions.create({ customer: poor.id, items })).rejects.toMatchObject({
      code: 'resource_missing',
    });
    const asked = await at.customer('pm_card_authenticationRequired');
    at.events();
    const sub = await at.stripe.subscriptions.create({ customer: asked.id, items });
    expect(sub.status).toBe('incomplete');
    expect(at.types()).toEqual(
      expect.arrayContaining(['payment_intent.requires_action', 'invoice.payment_action_required']),
    );
  });
});

describe('what costs nothing', () => {
  test('is paid at once without a PaymentIntent: a 100 % coupon', async () => {
    const at = bench();
    const [customer, price] = [await at.customer(null), await at.price(2000)];
    const coupon = await at.stripe.coupons.create({ percent_off: 100, duration: 'once' });
    const sub = await at.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      discounts: [{ coupon: coupon.id }],
    });
    expect(sub.status).toBe('active');
    expect(sub.discounts).toEqual([]);
    const invoice = await invoiceOf(at, sub);
    expect(invoice).toMatchObject({ status: 'paid', subtotal: 2000, total: 0, amount_due: 0, attempt_count: 0 });
    expect(invoice.total_discount_amounts?.[0]?.amount).toBe(2000);
    expect(invoice.lines.data[0]).toMatchObject({ amount: 2000, discount_amounts: [{ amount: 2000 }] });
    expect(invoice.payments?.data).toEqual([]);
    expect(at.types()).toEqual(expect.arrayContaining(['invoice.paid', 'customer.discount.created']));
    expect((await at.stripe.paymentIntents.list()).data).toEqual([]);
  });

  test('tax comes on top of what discounts leave', async () => {
    const at = bench();
    const [customer, price] = [await at.customer(), await at.price(999)];
    const coupon = await at.stripe.coupons.create({ amount_off: 200, currency: 'usd', duration: 'forever' });
    const sub = await at.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      discounts: [{ coupon: coupon.id }],
      automatic_tax: { enabled: true },
    });
    const invoice = await invoiceOf(at, sub);
    expect(invoice).toMatchObject({
      subtotal: 999,
      total_excluding_tax: 799,
      total: 959,
      total_taxes: [{ amount: 160, taxable_amount: 799 }],
    });
  });
});

test('an async method makes the subscription active while the payment is on its way; when it fails, it is past due', async () => {
  const at = bench();
  const price = await at.price(2000);
  const customer = await at.customer('pm_sepa_debit');
  const { subscription, invoice } = startSubscription(at.sim, {
    customer: customer.id,
    items: [{ price: price.id }],
    payment_behavior: 'error_if_incomplete',
  });
  expect([subscription.status, invoice.status]).toEqual(['active', 'open']);
  const { settleIntent } = await import('../payment-intents.ts');
  const intent = at.sim.all<Stripe.PaymentIntent>('payment_intent')[0] as Stripe.PaymentIntent;
  expect(intent.status).toBe('processing');
  at.events();
  settleIntent(at.sim, intent, 'failed');
  expect([subscription.status, invoice.status]).toEqual(['past_due', 'open']);
  expect(invoice.next_payment_attempt).toBe(at.sim.now() + 24 * HOUR);
  expect(at.types()).toContain('invoice.payment_failed');
});
