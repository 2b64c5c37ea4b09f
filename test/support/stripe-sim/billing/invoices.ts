/**
 * Invoices: made, reckoned, finalized, closed. What pays them is collection's (collect.ts).
 *
 *     draft ──finalize──▶ open ──paid in full──▶ paid            (an amount due of zero: paid at once)
 *       │                  │ ├──void──▶ void
 *       ▼ deleted          │ └──mark──▶ uncollectible ──paid──▶ paid, ──void──▶ void
 */
import { type Sim, StripeFault } from '../core.ts';
import { DAY } from './calendar.ts';
import { changing } from './changes.ts';
import { afterUse } from './discounts.ts';
import { blankInvoice, type InvoiceParams } from './invoice-shape.ts';
import { pendingLine, reckon } from './lines.ts';
import { invoiceNumber, keepLines, linesOf } from './settings.ts';
import type { Customer, Invoice, InvoiceItem, Line, Subscription } from './types.ts';

/** How many lines an invoice itself shows. */
const SHOWN_LINES = 10;

/** An invoice that nobody has seen: reckoned, but neither kept nor told of. `keepInvoice` does that. */
export function composeInvoice(sim: Sim, params: InvoiceParams): Invoice {
  const id = sim.id('in');
  const { customer, subscription } = params;
  for (const line of params.lines) Object.assign(line, { invoice: id, livemode: customer.livemode });
  keepLines(sim, id, params.lines);
  const invoice: Invoice = {
    ...blankInvoice(sim, id, params),
    parent:
      subscription == null
        ? null
        : {
            quote_details: null,
            subscription_details: { metadata: { ...subscription.metadata }, subscription: subscription.id },
            type: 'subscription_details',
          },
    customer: customer.id,
    customer_address: customer.address ?? null,
    customer_email: customer.email,
    customer_name: customer.name ?? null,
    customer_phone: customer.phone ?? null,
    customer_tax_exempt: customer.tax_exempt ?? 'none',
  };
  reckonInvoice(sim, invoice);
  return invoice;
}

/** Keeps a composed invoice, takes in the invoice items that its lines came from, uses up `once` discounts. */
export function keepInvoice(sim: Sim, invoice: Invoice): Invoice {
  sim.put(invoice);
  for (const line of linesOf(sim, invoice.id)) takeItem(sim, line, invoice.id);
  sim.emit('invoice.created', invoice);
  return invoice;
}

/** Takes from a subscription the discounts that an invoice which cost something has used up, and those that have ended. */
export function useDiscounts(sim: Sim, sub: Subscription, invoice: Invoice): void {
  if (invoice.subtotal <= 0) return;
  const before = [sub.discounts, ...sub.items.data.map((item) => item.discounts)].flat() as string[];
  changing(sim, 'customer.subscription.updated', sub, () => {
    sub.discounts = afterUse(sim, sub.discounts as string[]);
    for (const item of sub.items.data) item.discounts = afterUse(sim, item.discounts as string[]);
  });
  const after = [sub.discounts, ...sub.items.data.map((item) => item.discounts)].flat() as string[];
  for (const id of before) if (!after.includes(id)) sim.emit('customer.discount.deleted', sim.get('discount', id));
}

function takeItem(sim: Sim, line: Line, invoice: string): void {
  const id = line.parent?.invoice_item_details?.invoice_item ?? line.parent?.subscription_item_details?.invoice_item;
  const item = id == null ? undefined : sim.find<InvoiceItem>('invoiceitem', id);
  if (item !== undefined) item.invoice = invoice;
}

/** Totals from the lines. To be called after every change of a draft. */
export function reckonInvoice(sim: Sim, invoice: Invoice): void {
  const lines = linesOf(sim, invoice.id);
  const discounts = invoice.discounts as string[];
  reckon(sim, lines, discounts, invoice.automatic_tax.enabled);
  const offs = new Map<string, number>();
  for (const { amount, discount } of lines.flatMap((line) => line.discount_amounts ?? [])) {
    offs.set(discount as string, (offs.get(discount as string) ?? 0) + amount);
  }
  const taxes = lines.flatMap((line) => line.taxes ?? []);
  const tax = taxes.reduce((sum, { amount }) => sum + amount, 0);
  const subtotal = lines.reduce((sum, line) => sum + line.subtotal, 0);
  const off = [...offs.values()].reduce((sum, amount) => sum + amount, 0);
  invoice.lines = {
    object: 'list',
    data: lines.slice(0, SHOWN_LINES),
    has_more: lines.length > SHOWN_LINES,
    total_count: lines.length,
    url: `/v1/invoices/${invoice.id}/lines`,
  };
  invoice.subtotal = subtotal;
  invoice.subtotal_excluding_tax = subtotal;
  invoice.total_discount_amounts = [...offs].map(([discount, amount]) => ({ amount, discount }));
  invoice.total_excluding_tax = subtotal - off;
  invoice.total = subtotal - off + tax;
  const [first] = taxes;
  invoice.total_taxes =
    first === undefined
      ? []
      : [{ ...first, amount: tax, taxable_amount: taxes.reduce((sum, each) => sum + (each.taxable_amount ?? 0), 0) }];
  invoice.amount_due = Math.max(0, invoice.total + applied(sim, invoice));
  invoice.amount_remaining = invoice.amount_due - invoice.amount_paid;
}

/** The customer's balance that comes onto the invoice: credit is negative. Fixed once the invoice is finalized. */
function applied(sim: Sim, invoice: Invoice): number {
  if (invoice.status !== 'draft') return invoice.starting_balance;
  invoice.starting_balance = sim.get<Customer>('customer', invoice.customer as string).balance ?? 0;
  return invoice.starting_balance;
}

/** draft → open, with its number, dates and the customer's balance on it. An invoice without a due amount is the caller's to pay. */
export function openInvoice(sim: Sim, invoice: Invoice): void {
  if (invoice.status !== 'draft') {
    throw new StripeFault("This invoice is already finalized, you can't re-finalize a non-draft invoice.", {
      code: 'invoice_not_editable',
    });
  }
  const customer = sim.get<Customer>('customer', invoice.customer as string);
  reckonInvoice(sim, invoice);
  invoice.status = 'open';
  invoice.number ??= invoiceNumber(sim, customer);
  invoice.effective_at ??= sim.now();
  invoice.status_transitions.finalized_at = sim.now();
  invoice.automatically_finalizes_at = null;
  invoice.hosted_invoice_url = `https://invoice.stripe.com/i/acct_simulated/test_${invoice.id.slice(3)}?s=ap`;
  invoice.invoice_pdf = `https://pay.stripe.com/invoice/acct_simulated/test_${invoice.id.slice(3)}/pdf?s=ap`;
  invoice.ending_balance = Math.min(0, invoice.starting_balance + invoice.total);
  if (invoice.collection_method === 'send_invoice') invoice.due_date ??= sim.now() + 30 * DAY;
  moveBalance(sim, customer, invoice.ending_balance);
  sim.emit('invoice.finalized', invoice);
}

/** Sets the customer's balance and tells of it. */
export function moveBalance(sim: Sim, customer: Customer, balance: number): void {
  changing(sim, 'customer.updated', customer, () => {
    customer.balance = balance;
  });
}

/** open or uncollectible → void; what came from the customer's balance goes back. */
export function voidInvoice(sim: Sim, invoice: Invoice): void {
  if (invoice.status !== 'open' && invoice.status !== 'uncollectible') {
    throw new StripeFault(`You can only pass in open invoices. This invoice isn't open.`, {
      code: 'invoice_not_editable',
    });
  }
  const customer = sim.get<Customer>('customer', invoice.customer as string);
  const used = (invoice.ending_balance ?? 0) - invoice.starting_balance;
  invoice.status = 'void';
  invoice.status_transitions.voided_at = sim.now();
  invoice.next_payment_attempt = null;
  invoice.auto_advance = false;
  moveBalance(sim, customer, (customer.balance ?? 0) - used);
  sim.emit('invoice.voided', invoice);
}

/** open → uncollectible. */
export function markUncollectible(sim: Sim, invoice: Invoice): void {
  if (invoice.status !== 'open') {
    throw new StripeFault('You can only mark open invoices as uncollectible.', { code: 'invoice_not_editable' });
  }
  invoice.status = 'uncollectible';
  invoice.status_transitions.marked_uncollectible_at = sim.now();
  invoice.next_payment_attempt = null;
  invoice.auto_advance = false;
  sim.emit('invoice.marked_uncollectible', invoice);
}

/** Takes a draft away for good; what waited for an invoice waits again. */
export function deleteDraft(sim: Sim, invoice: Invoice): void {
  if (invoice.status !== 'draft' || invoice.parent !== null) {
    throw new StripeFault('You can only delete draft invoices that are not of a subscription.', {
      code: 'invoice_not_editable',
    });
  }
  for (const item of sim.all<InvoiceItem>('invoiceitem')) if (item.invoice === invoice.id) item.invoice = null;
  sim.remove(invoice);
  sim.emit('invoice.deleted', invoice);
}

/** Puts invoice items onto a draft. */
export function addItems(sim: Sim, invoice: Invoice, items: InvoiceItem[]): void {
  if (invoice.status !== 'draft') {
    throw new StripeFault('The invoice is not a draft, so nothing can be added to it.', {
      code: 'invoice_not_editable',
    });
  }
  const added = items.map((item) => pendingLine(sim, item));
  for (const line of added) line.invoice = invoice.id;
  for (const item of items) item.invoice = invoice.id;
  changing(sim, 'invoice.updated', invoice, () => {
    keepLines(sim, invoice.id, [...linesOf(sim, invoice.id), ...added]);
    reckonInvoice(sim, invoice);
  });
}
