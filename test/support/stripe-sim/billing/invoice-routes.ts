/** The routes of invoices, their lines and their payments. */
import { type Call, page, type Sim, StripeFault } from '../core.ts';
import { type Form, flag, hash, hashes, metadata, needed, text, whole } from '../params.ts';
import { waitingLines } from './bill.ts';
import { changing } from './changes.ts';
import * as collect from './collect.ts';
import { makeDiscounts } from './discounts.ts';
import { createItem, type ItemParams, pendingItems } from './invoice-items.ts';
import { addItems, composeInvoice, deleteDraft, keepInvoice, reckonInvoice } from './invoices.ts';
import { pendingLine } from './lines.ts';
import { linesOf } from './settings.ts';
import { discountParams } from './subscription-routes.ts';
import type { Customer, Invoice, InvoicePayment, PaymentIntent, Subscription } from './types.ts';

export function invoiceRoutes(sim: Sim): void {
  const found = (id: string | undefined) => sim.get<Invoice>('invoice', id ?? '');
  sim.route('POST', '/v1/invoices', createInvoice);
  sim.route('GET', '/v1/invoices', listInvoices);
  sim.route('GET', '/v1/invoices/:id', ({ params }) => found(params.id));
  sim.route('POST', '/v1/invoices/:id', (call) => updateInvoice(call, found(call.params.id)));
  sim.route('DELETE', '/v1/invoices/:id', ({ params }) => {
    deleteDraft(sim, found(params.id));
    return { id: params.id, object: 'invoice', deleted: true };
  });
  sim.route('GET', '/v1/invoices/:id/lines', (call) => page(call, linesOf(sim, found(call.params.id).id)));
  sim.route('POST', '/v1/invoices/:id/add_lines', (call) => addLines(call, found(call.params.id)));
  sim.route('POST', '/v1/invoices/:id/finalize', ({ params, form }) => {
    const invoice = found(params.id);
    const advance = flag(form, 'auto_advance');
    if (advance !== undefined) invoice.auto_advance = advance;
    collect.finalize(sim, invoice);
    return invoice;
  });
  sim.route('POST', '/v1/invoices/:id/pay', (call) => pay(call, found(call.params.id)));
  sim.route('POST', '/v1/invoices/:id/send', ({ params }) => {
    const invoice = found(params.id);
    if (invoice.status === 'draft') collect.finalize(sim, invoice);
    else sim.emit('invoice.sent', invoice);
    return invoice;
  });
  sim.route('POST', '/v1/invoices/:id/void', ({ params }) => {
    const invoice = found(params.id);
    collect.voidAndCancel(sim, invoice);
    return invoice;
  });
  sim.route('POST', '/v1/invoices/:id/mark_uncollectible', ({ params }) => {
    const invoice = found(params.id);
    collect.giveUp(sim, invoice);
    return invoice;
  });
  sim.route('POST', '/v1/invoices/:id/attach_payment', ({ params, form }) => {
    const invoice = found(params.id);
    if (invoice.status !== 'open') throw new StripeFault('The invoice must be open.', { code: 'invoice_not_editable' });
    const intent = sim.get<PaymentIntent>('payment_intent', needed(form, 'payment_intent'), 'payment_intent');
    collect.attach(sim, invoice, intent, false);
    collect.intentChanged(sim, intent);
    return invoice;
  });
}

export function invoicePaymentRoutes(sim: Sim): void {
  sim.route('GET', '/v1/invoice_payments', (call) => {
    const { query } = call;
    const [invoice, status] = [text(query, 'invoice'), text(query, 'status')];
    const payment = hash(query, 'payment');
    const intent = payment === undefined ? undefined : text(payment, 'payment_intent');
    if (payment !== undefined) needed(payment, 'type');
    return sim.list<InvoicePayment>(
      call,
      'invoice_payment',
      (each) =>
        (invoice === undefined || each.invoice === invoice) &&
        (status === undefined || each.status === status) &&
        (intent === undefined || each.payment.payment_intent === intent),
    );
  });
  sim.route('GET', '/v1/invoice_payments/:id', ({ params }) => sim.get('invoice_payment', params.id as string));
}

function listInvoices(call: Call): unknown {
  const { query, sim } = call;
  const asked = {
    customer: text(query, 'customer'),
    status: text(query, 'status'),
    collection_method: text(query, 'collection_method'),
  };
  const subscription = text(query, 'subscription');
  return sim.list<Invoice>(
    call,
    'invoice',
    (invoice) =>
      (subscription === undefined || invoice.parent?.subscription_details?.subscription === subscription) &&
      Object.entries(asked).every(
        ([field, value]) => value === undefined || invoice[field as keyof typeof asked] === value,
      ),
  );
}

function createInvoice({ sim, form }: Call): Invoice {
  const subscription = text(form, 'subscription');
  const sub = subscription === undefined ? null : sim.get<Subscription>('subscription', subscription, 'subscription');
  const customer = sim.get<Customer>('customer', (sub?.customer as string) ?? needed(form, 'customer'), 'customer');
  const currency = text(form, 'currency') ?? sub?.currency ?? customer.currency ?? 'usd';
  const takes = (text(form, 'pending_invoice_items_behavior') ?? (sub === null ? 'exclude' : 'include')) === 'include';
  const own = () => pendingItems(sim, customer.id, currency, null).map((item) => pendingLine(sim, item));
  const invoice = composeInvoice(sim, {
    customer,
    currency,
    subscription: sub,
    billing_reason: 'manual',
    period: { start: sim.now(), end: sim.now() },
    lines: takes ? (sub === null ? own() : waitingLines(sim, sub)) : [],
    auto_advance: flag(form, 'auto_advance') ?? false,
    automatically_finalizes_at: flag(form, 'auto_advance') === true ? sim.now() + 3600 : null,
    collection_method: text(form, 'collection_method'),
    days_until_due: whole(form, 'days_until_due'),
    due_date: whole(form, 'due_date'),
    default_payment_method: text(form, 'default_payment_method'),
    description: text(form, 'description'),
    discounts: makeDiscounts(sim, discountParams(form), { customer: customer.id }),
    metadata: metadata(form),
    taxed: flag(hash(form, 'automatic_tax') ?? {}, 'enabled') ?? false,
  });
  return keepInvoice(sim, invoice);
}

function updateInvoice({ sim, form }: Call, invoice: Invoice): Invoice {
  if (invoice.status !== 'draft' && (form.discounts !== undefined || form.automatic_tax !== undefined)) {
    throw new StripeFault("Finalized invoices can't be updated in this way", { code: 'invoice_not_editable' });
  }
  changing(sim, 'invoice.updated', invoice, () => {
    invoice.metadata = metadata(form, invoice.metadata ?? {});
    invoice.auto_advance = flag(form, 'auto_advance') ?? invoice.auto_advance ?? false;
    if (form.description !== undefined) invoice.description = text(form, 'description') || null;
    if (form.default_payment_method !== undefined) {
      invoice.default_payment_method = text(form, 'default_payment_method') || null;
    }
    if (form.discounts !== undefined) {
      const place = { customer: invoice.customer as string, invoice: invoice.id };
      invoice.discounts = makeDiscounts(sim, discountParams(form), place);
    }
    const tax = hash(form, 'automatic_tax');
    if (tax !== undefined) invoice.automatic_tax.enabled = flag(tax, 'enabled') ?? false;
    if (invoice.status === 'draft') reckonInvoice(sim, invoice);
  });
  return invoice;
}

function pay({ sim, form }: Call, invoice: Invoice): Invoice {
  if (invoice.status === 'draft') collect.finalize(sim, invoice);
  else if (invoice.status === 'paid') {
    throw new StripeFault('Invoice is already paid', { code: 'invoice_already_paid' });
  } else if (invoice.status === 'void') {
    throw new StripeFault('This invoice can no longer be paid.', { code: 'invoice_not_editable' });
  }
  // By the time that a draft is finalized it may be paid: nothing was due.
  if ((invoice.status as string) === 'paid') return invoice;
  if (flag(form, 'paid_out_of_band') === true) {
    collect.payOutOfBand(sim, invoice);
    return invoice;
  }
  const payment_method = text(form, 'payment_method');
  if (payment_method === undefined && collect.methodFor(sim, invoice) === null) {
    throw new StripeFault(
      'There is no `default_payment_method` set on this Customer or Invoice. Please set a `default_payment_method` prior to paying the invoice.',
      { code: 'resource_missing' },
    );
  }
  const off_session = flag(form, 'off_session') ?? false;
  collect.attemptPayment(sim, invoice, { payment_method, off_session, scheduled: false });
  collect.throwDecline(sim, invoice);
  return invoice;
}

function addLines({ sim, form }: Call, invoice: Invoice): Invoice {
  const items = hashes(form, 'lines').map((line) => {
    const waiting = text(line, 'invoice_item');
    return waiting === undefined
      ? createItem(sim, { ...itemParams(line), customer: invoice.customer as string, currency: invoice.currency })
      : sim.get<ReturnType<typeof createItem>>('invoiceitem', waiting, 'lines[0][invoice_item]');
  });
  addItems(sim, invoice, items);
  return invoice;
}

/** What an invoice item is made of, but for its customer and currency. */
export function itemParams(form: Form): Omit<ItemParams, 'customer' | 'currency'> {
  const period = hash(form, 'period');
  const data = hash(form, 'price_data');
  return {
    amount: whole(form, 'amount'),
    price: text(hash(form, 'pricing') ?? {}, 'price'),
    unitAmount: whole(data ?? {}, 'unit_amount') ?? whole(form, 'unit_amount_decimal'),
    quantity: whole(form, 'quantity') ?? whole(form, 'quantity_decimal'),
    description: text(form, 'description'),
    subscription: text(form, 'subscription'),
    period: period === undefined ? undefined : { start: whole(period, 'start') ?? 0, end: whole(period, 'end') ?? 0 },
    discountable: flag(form, 'discountable'),
    discounts: discountParams(form),
    metadata: metadata(form),
  };
}
