/** The routes of invoice items. */
import { type Call, type Sim, StripeFault } from '../core.ts';
import { metadata, needed, text, whole } from '../params.ts';
import { createItem, type ItemParams } from './invoice-items.ts';
import { itemParams } from './invoice-routes.ts';
import { addItems, reckonInvoice } from './invoices.ts';
import { keepLines, linesOf } from './settings.ts';
import type { Customer, Invoice, InvoiceItem } from './types.ts';

export function invoiceItemRoutes(sim: Sim): void {
  sim.route('POST', '/v1/invoiceitems', createInvoiceItem);
  sim.route('GET', '/v1/invoiceitems', (call) => {
    const [customer, invoice, pending] = ['customer', 'invoice', 'pending'].map((key) => text(call.query, key));
    return sim.list<InvoiceItem>(
      call,
      'invoiceitem',
      (item) =>
        (customer === undefined || item.customer === customer) &&
        (invoice === undefined || item.invoice === invoice) &&
        (pending === undefined || (item.invoice === null) === (pending === 'true')),
    );
  });
  sim.route('GET', '/v1/invoiceitems/:id', ({ params }) => sim.get('invoiceitem', params.id as string));
  sim.route('POST', '/v1/invoiceitems/:id', (call) => updateItem(call, editable(sim, call.params.id)));
  sim.route('DELETE', '/v1/invoiceitems/:id', ({ params }) => {
    const item = editable(sim, params.id);
    sim.remove(item);
    sim.emit('invoiceitem.deleted', item);
    if (item.invoice !== null) {
      const invoice = sim.get<Invoice>('invoice', item.invoice as string);
      keepLines(
        sim,
        invoice.id,
        linesOf(sim, invoice.id).filter((line) => line.parent?.invoice_item_details?.invoice_item !== item.id),
      );
      reckonInvoice(sim, invoice);
    }
    return { id: item.id, object: 'invoiceitem', deleted: true };
  });
}

function createInvoiceItem({ sim, form }: Call): InvoiceItem {
  const customer = sim.get<Customer>('customer', needed(form, 'customer'), 'customer');
  const onto = text(form, 'invoice');
  const invoice = onto === undefined ? null : sim.get<Invoice>('invoice', onto, 'invoice');
  const given = itemParams(form);
  const price =
    given.price === undefined ? null : sim.get<{ id: string; object: string; currency: string }>('price', given.price);
  const currency = text(form, 'currency') ?? invoice?.currency ?? price?.currency ?? customer.currency ?? 'usd';
  const params: ItemParams = { ...given, customer: customer.id, currency };
  const item = createItem(sim, params);
  if (invoice !== null) addItems(sim, invoice, [item]);
  return item;
}

function updateItem({ sim, form }: Call, item: InvoiceItem): InvoiceItem {
  item.metadata = metadata(form, item.metadata ?? {});
  item.description = text(form, 'description') ?? item.description;
  const amount = whole(form, 'amount');
  if (amount === undefined) return item;
  item.amount = amount;
  item.net_amount = amount;
  if (item.invoice !== null) {
    const invoice = sim.get<Invoice>('invoice', item.invoice as string);
    for (const line of linesOf(sim, invoice.id)) {
      if (line.parent?.invoice_item_details?.invoice_item !== item.id) continue;
      line.amount = amount;
      line.subtotal = amount;
    }
    reckonInvoice(sim, invoice);
  }
  return item;
}

function editable(sim: Sim, id: string | undefined): InvoiceItem {
  const item = sim.get<InvoiceItem>('invoiceitem', id ?? '');
  const invoice = item.invoice === null ? undefined : sim.find<Invoice>('invoice', item.invoice as string);
  if (invoice !== undefined && invoice.status !== 'draft') {
    throw new StripeFault('This invoice item is part of a finalized invoice and cannot be changed.', {
      code: 'invoice_not_editable',
    });
  }
  return item;
}
