/** Whole lives over HTTP: from a checkout, with signed webhooks, refunds and disputes of what invoices charged. */
import type Stripe from 'stripe';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStripe, type TestStripe } from '../../stripe.ts';

let stripe: TestStripe;
let price: Stripe.Price;
const heard: Stripe.Event[] = [];

beforeAll(async () => {
  stripe = await startStripe({ seed: 3 });
  await stripe.sim.listen((body, signature) => {
    heard.push(stripe.client.webhooks.constructEvent(body, signature, stripe.env.STRIPE_WEBHOOK_SECRET));
    return 200;
  });
  const product = await stripe.client.products.create({ name: 'Pro' });
  price = await stripe.client.prices.create({
    currency: 'usd',
    unit_amount: 2000,
    product: product.id,
    recurring: { interval: 'month' },
  });
});
afterAll(() => stripe.close());

async function checkout(method: string, params: Partial<Stripe.Checkout.SessionCreateParams> = {}) {
  const session = await stripe.client.checkout.sessions.create({
    mode: 'subscription',
    line_items: [{ price: price.id, quantity: 2 }],
    success_url: 'https://example.com/ok',
    client_reference_id: 'acc_1',
    subscription_data: { metadata: { account_id: 'acc_1' } },
    ...params,
  });
  heard.length = 0;
  await stripe.sim.completeSession(session.id, { method });
  return stripe.client.checkout.sessions.retrieve(session.id, { expand: ['subscription', 'invoice.payments'] });
}

const types = () => heard.map(({ type }) => type);
const invoiceOf = (session: Stripe.Checkout.Session) => session.invoice as Stripe.Invoice;
const subOf = (session: Stripe.Checkout.Session) => session.subscription as Stripe.Subscription;
const intentOf = (invoice: Stripe.Invoice) => invoice.payments?.data[0]?.payment.payment_intent as string;

describe('a subscription from a checkout', () => {
  test('is active and paid, and its metadata is on the invoice', async () => {
    const done = await checkout('card');
    expect([done.status, done.payment_status, subOf(done).status]).toEqual(['complete', 'paid', 'active']);
    expect(invoiceOf(done)).toMatchObject({ status: 'paid', amount_paid: 4000 });
    expect(invoiceOf(done).parent?.subscription_details?.metadata).toEqual({ account_id: 'acc_1' });
    expect(subOf(done).default_payment_method).toMatch(/^pm_/);
    expect(types()).toEqual(expect.arrayContaining(['invoice.paid', 'checkout.session.completed']));
  });

  test('whose card is declined is not there, and the session stays open', async () => {
    const before = (await stripe.client.subscriptions.list({ status: 'all' })).data.length;
    const open = await checkout('declined');
    expect([open.status, open.subscription]).toEqual(['open', null]);
    expect((await stripe.client.subscriptions.list({ status: 'all' })).data).toHaveLength(before);
  });

  test('by a debit that takes days is active before it is paid', async () => {
    const begun = await checkout('async');
    expect([begun.payment_status, subOf(begun).status, invoiceOf(begun).status]).toEqual(['unpaid', 'active', 'open']);
    await stripe.sim.settleAsync(begun.id, 'succeeded');
    expect((await stripe.client.invoices.retrieve(invoiceOf(begun).id)).status).toBe('paid');
    expect(types()).toContain('invoice.paid');
  });

  test('with a trial costs nothing yet', async () => {
    const done = await checkout('card', { subscription_data: { trial_period_days: 14 } });
    expect([done.payment_status, subOf(done).status]).toEqual(['no_payment_required', 'trialing']);
    await stripe.sim.advance({ days: 14, hours: 1 });
    expect((await stripe.client.subscriptions.retrieve(subOf(done).id)).status).toBe('active');
    const [row] = (await stripe.sim.charges()).filter(({ customer }) => customer === done.customer);
    expect(row).toMatchObject({ charged: 4000, charges: 1 });
  });
});

describe('what an invoice charged', () => {
  test('is refunded and disputed like any charge', async () => {
    const intent = intentOf(invoiceOf(await checkout('card')));
    const refund = await stripe.client.refunds.create({ payment_intent: intent, amount: 1000 });
    expect(refund.status).toBe('succeeded');
    await stripe.sim.dispute(refund.charge as string, 'chargeback');
    expect(types()).toEqual(expect.arrayContaining(['charge.refunded', 'charge.dispute.created']));
  });

  test('is given back by a credit note: refunded, or onto the balance', async () => {
    const done = await checkout('card');
    const invoice = invoiceOf(done).id;
    const note = await stripe.client.creditNotes.create({
      invoice,
      amount: 1500,
      refund_amount: 500,
      credit_amount: 1000,
    });
    expect(note).toMatchObject({
      total: 1500,
      type: 'post_payment',
      status: 'issued',
      refunds: [{ amount_refunded: 500 }],
    });
    const [refund] = (await stripe.client.refunds.list({ payment_intent: intentOf(invoiceOf(done)) })).data;
    expect(refund).toMatchObject({ id: note.refunds[0]?.refund, amount: 500 });
    const customer = (await stripe.client.customers.retrieve(done.customer as string)) as Stripe.Customer;
    expect(customer.balance).toBe(-1000);
    expect((await stripe.client.invoices.retrieve(invoice)).post_payment_credit_notes_amount).toBe(1500);
    expect(types()).toEqual(expect.arrayContaining(['credit_note.created', 'refund.created', 'invoice.updated']));
    for (const [amount, refund_amount] of [
      [9000, 9000],
      [500, 400],
    ] as const) {
      const asked = stripe.client.creditNotes.create({ invoice, amount, refund_amount });
      await expect(asked).rejects.toMatchObject({ statusCode: 400 });
    }
    expect((await stripe.client.creditNotes.list({ invoice })).data.map(({ id }) => id)).toEqual([note.id]);
  });

  test('before it is paid a credit note makes less due, and voided, due again', async () => {
    const customer = (await checkout('card')).customer as string;
    const { id } = await stripe.client.invoices.create({ customer, auto_advance: false });
    await stripe.client.invoiceItems.create({ customer, invoice: id, amount: 900, currency: 'usd' });
    await stripe.client.invoices.finalizeInvoice(id);
    const note = await stripe.client.creditNotes.create({ invoice: id, amount: 400 });
    expect(note.type).toBe('pre_payment');
    expect((await stripe.client.invoices.retrieve(id)).amount_remaining).toBe(500);
    await stripe.client.creditNotes.voidCreditNote(note.id);
    expect((await stripe.client.invoices.retrieve(id)).amount_remaining).toBe(900);
    expect(types()).toContain('credit_note.voided');
    await stripe.client.creditNotes.create({ invoice: id, amount: 900 });
    expect((await stripe.client.invoices.retrieve(id)).status).toBe('paid');
  });
});
