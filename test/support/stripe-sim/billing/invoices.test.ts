import type Stripe from 'stripe';
import { describe, expect, test, vi } from 'vitest';
import { DAY, HOUR } from './calendar.ts';
import { type Bench, bench } from './harness.ts';

// The clock moves by `advance` only, so that instants can be compared to the second.
vi.useFakeTimers({ toFake: ['Date'] });

async function draft(at: Bench, amount = 5000, card: string | null = 'pm_card_visa'): Promise<Stripe.Invoice> {
  const customer = await at.customer(card);
  const invoice = await at.stripe.invoices.create({ customer: customer.id, metadata: { intent: 'int_1' } });
  await at.stripe.invoiceItems.create({ customer: customer.id, invoice: invoice.id, amount, description: 'Credits' });
  return at.stripe.invoices.retrieve(invoice.id);
}

describe('an invoice by hand', () => {
  test('is created, filled, finalized and paid', async () => {
    const at = bench();
    const invoice = await draft(at);
    expect(invoice).toMatchObject({ status: 'draft', billing_reason: 'manual', total: 5000, parent: null });
    expect(invoice.lines.data[0]?.parent).toMatchObject({ type: 'invoice_item_details' });
    const open = await at.stripe.invoices.finalizeInvoice(invoice.id, { expand: ['confirmation_secret'] });
    expect(open).toMatchObject({ status: 'open', number: /-0001$/, amount_due: 5000 });
    expect(open.hosted_invoice_url).toMatch(/^https:/);
    expect(open.confirmation_secret?.type).toBe('payment_intent');
    const paid = await at.stripe.invoices.pay(invoice.id);
    expect(paid).toMatchObject({
      status: 'paid',
      amount_paid: 5000,
      amount_remaining: 0,
      metadata: { intent: 'int_1' },
    });
    await expect(at.stripe.invoices.pay(invoice.id)).rejects.toMatchObject({ code: 'invoice_already_paid' });
    await expect(at.stripe.invoices.finalizeInvoice(invoice.id)).rejects.toMatchObject({ statusCode: 400 });
  });

  test('with more than ten lines shows ten and lists all', async () => {
    const at = bench();
    const { id } = await draft(at);
    const more = new Array(14).fill(0).map((_, index) => ({ amount: 100 + index, description: `${index}` }));
    const filled = await at.stripe.invoices.addLines(id, { lines: more });
    expect(filled.lines).toMatchObject({ has_more: true });
    expect(filled.lines.data).toHaveLength(10);
    const all = await at.stripe.invoices.listLineItems(id, { limit: 4 }).autoPagingToArray({ limit: 100 });
    expect(all).toHaveLength(15);
    expect(new Set(all.map((line) => line.id)).size).toBe(15);
    expect(filled.total).toBe(all.reduce((sum, { amount }) => sum + amount, 0));
  });

  test('is paid in parts by intents that are attached', async () => {
    const at = bench();
    const { id, customer } = await draft(at, 5000);
    await at.stripe.invoices.finalizeInvoice(id);
    const part = await at.stripe.paymentIntents.create({
      amount: 2000,
      currency: 'usd',
      customer: customer as string,
      payment_method: 'pm_card_visa',
      confirm: true,
      return_url: 'https://example.com',
    });
    const after = await at.stripe.invoices.attachPayment(id, { payment_intent: part.id });
    expect(after).toMatchObject({ status: 'open', amount_paid: 2000, amount_remaining: 3000 });
    const paid = await at.stripe.invoices.pay(id, { expand: ['payments'] });
    expect(paid).toMatchObject({ status: 'paid', amount_paid: 5000 });
    expect(paid.payments?.data.map(({ amount_paid, is_default }) => [amount_paid, is_default])).toEqual([
      [2000, false],
      [3000, true],
    ]);
  });

  test('is paid out of band, voided or given up, and its intent is called off', async () => {
    const at = bench();
    const ids: string[] = [];
    for (let count = 0; count < 3; count += 1) {
      const { id } = await draft(at);
      await at.stripe.invoices.finalizeInvoice(id);
      ids.push(id);
    }
    at.events();
    const [outside, gone, lost] = ids as [string, string, string];
    expect((await at.stripe.invoices.pay(outside, { paid_out_of_band: true })).status).toBe('paid');
    expect((await at.stripe.invoices.voidInvoice(gone)).status).toBe('void');
    expect((await at.stripe.invoices.markUncollectible(lost)).status).toBe('uncollectible');
    expect((await at.stripe.charges.list()).data).toEqual([]);
    expect(at.types()).toEqual(
      expect.arrayContaining([
        'invoice.paid',
        'payment_intent.canceled',
        'invoice.voided',
        'invoice.marked_uncollectible',
      ]),
    );
    const [first] = (await at.stripe.invoicePayments.list({ invoice: gone })).data;
    expect(first?.status).toBe('canceled');
  });

  test('that advances by itself is finalized after an hour, charged and tried again', async () => {
    const at = bench();
    const customer = await at.customer('pm_card_chargeCustomerFail');
    await at.stripe.invoiceItems.create({ customer: customer.id, amount: 700, currency: 'usd' });
    const { id } = await at.stripe.invoices.create({
      customer: customer.id,
      auto_advance: true,
      pending_invoice_items_behavior: 'include',
    });
    at.sim.advance(HOUR + 1);
    const failed = await at.stripe.invoices.retrieve(id);
    expect(failed).toMatchObject({ status: 'open', attempt_count: 1, amount_due: 700 });
    const good = await at.stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id });
    await at.stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: good.id } });
    at.sim.advance(DAY);
    expect(await at.stripe.invoices.retrieve(id)).toMatchObject({ status: 'paid', attempt_count: 2 });
  });

  test('a draft can be deleted, and what waited waits again', async () => {
    const at = bench();
    const { id, customer } = await draft(at);
    await at.stripe.invoices.del(id);
    await expect(at.stripe.invoices.retrieve(id)).rejects.toMatchObject({ statusCode: 404 });
    const waiting = await at.stripe.invoiceItems.list({ customer: customer as string, pending: true });
    expect(waiting.data).toHaveLength(1);
  });

  test('pages by status, customer and day', async () => {
    const at = bench();
    const { id, customer } = await draft(at);
    await draft(at);
    await at.stripe.invoices.finalizeInvoice(id);
    const ids = async (params: Stripe.InvoiceListParams) =>
      (await at.stripe.invoices.list(params)).data.map((each) => each.id);
    expect(await ids({ status: 'open' })).toEqual([id]);
    expect(await ids({ customer: customer as string })).toEqual([id]);
    expect(await ids({ created: { gt: at.sim.now() + 5 } })).toEqual([]);
    expect(await ids({ limit: 1 })).toHaveLength(1);
  });
});
