/**
 * Credit notes: an invoice cut after it was finalized.
 *
 *     issued ──void──▶ void      on an open invoice: less is due (pre-payment);
 *                                on a paid one: refunded, put onto the customer's balance, or settled out of band (post-payment)
 */
import { type Call, page, type Sim, StripeFault } from '../core.ts';
import { type Form, hashes, metadata, needed, text, whole } from '../params.ts';
import { changing } from './changes.ts';
import { markPaid, paymentsOf } from './collect.ts';
import { moveBalance } from './invoices.ts';
import { linesOf } from './settings.ts';
import type { CreditNote, CreditNoteLine, Customer, Invoice } from './types.ts';

export function creditNoteRoutes(sim: Sim): void {
  const found = (id: string | undefined) => sim.get<CreditNote>('credit_note', id ?? '');
  sim.route('POST', '/v1/credit_notes', createCreditNote);
  sim.route('GET', '/v1/credit_notes', (call) => {
    const [customer, invoice] = [text(call.query, 'customer'), text(call.query, 'invoice')];
    return sim.list<CreditNote>(
      call,
      'credit_note',
      (note) =>
        (customer === undefined || note.customer === customer) && (invoice === undefined || note.invoice === invoice),
    );
  });
  sim.route('GET', '/v1/credit_notes/:id', ({ params }) => found(params.id));
  sim.route('GET', '/v1/credit_notes/:id/lines', (call) => page(call, found(call.params.id).lines.data));
  sim.route('POST', '/v1/credit_notes/:id', ({ params, form }) => {
    const note = found(params.id);
    changing(sim, 'credit_note.updated', note, () => {
      note.metadata = metadata(form, note.metadata ?? {});
      if (form.memo !== undefined) note.memo = text(form, 'memo') || null;
    });
    return note;
  });
  sim.route('POST', '/v1/credit_notes/:id/void', ({ params }) => voidCreditNote(sim, found(params.id)));
}

interface Ways {
  refund: number;
  credit: number;
  outOfBand: number;
  existing: Form[];
}

function createCreditNote({ sim, form }: Call): CreditNote {
  const invoice = sim.get<Invoice>('invoice', needed(form, 'invoice'), 'invoice');
  if (invoice.status !== 'open' && invoice.status !== 'paid') {
    throw new StripeFault(
      `Credit notes can only be created for open or paid invoices; this one is ${invoice.status}.`,
      {
        param: 'invoice',
      },
    );
  }
  const lines = linesFrom(sim, invoice, form);
  const total = lines.reduce((sum, line) => sum + line.amount - line.discount_amount, 0);
  const ways: Ways = {
    refund: whole(form, 'refund_amount') ?? 0,
    credit: whole(form, 'credit_amount') ?? 0,
    outOfBand: whole(form, 'out_of_band_amount') ?? 0,
    existing: hashes(form, 'refunds'),
  };
  const linked = ways.existing.reduce((sum, each) => sum + (whole(each, 'amount_refunded') ?? 0), 0);
  const post = invoice.status === 'paid' ? total : 0;
  const told = ways.refund + ways.credit + ways.outOfBand + linked;
  if (told !== post) {
    throw new StripeFault(
      `The sum of credit amount, refund amount and out of band amount (${told}) must equal the post payment credit note amount (${post}).`,
    );
  }
  const left =
    invoice.status === 'paid' ? invoice.total - invoice.post_payment_credit_notes_amount : invoice.amount_remaining;
  if (total > left) {
    throw new StripeFault(`The credit note amount (${total}) exceeds what is left of the invoice (${left}).`, {
      param: 'amount',
    });
  }
  const note = sim.put(noteOf(sim, invoice, form, lines, total, ways.outOfBand));
  carryOut(sim, invoice, note, ways);
  sim.emit('credit_note.created', note);
  return note;
}

/** Gives the money back in the ways that were asked for, and cuts the invoice. */
function carryOut(sim: Sim, invoice: Invoice, note: CreditNote, ways: Ways): void {
  if (ways.refund > 0) {
    const payment = paymentsOf(sim, invoice.id).find(({ status }) => status === 'paid');
    const intent = payment?.payment.payment_intent;
    if (intent == null) throw new StripeFault('This invoice has no payment to refund.', { param: 'refund_amount' });
    const asked = `payment_intent=${intent}&amount=${ways.refund}`;
    const refund = sim.dispatch('POST', '/v1/refunds', asked, '', null) as { id: string };
    note.refunds.push({ amount_refunded: ways.refund, payment_record_refund: null, refund: refund.id, type: 'refund' });
  }
  for (const each of ways.existing) {
    const refund = sim.get('refund', needed(each, 'refund'), 'refunds').id;
    const amount_refunded = whole(each, 'amount_refunded') ?? 0;
    note.refunds.push({ amount_refunded, payment_record_refund: null, refund, type: 'refund' });
  }
  if (ways.credit > 0) {
    const customer = sim.get<Customer>('customer', invoice.customer as string);
    moveBalance(sim, customer, (customer.balance ?? 0) - ways.credit);
    note.customer_balance_transaction = sim.id('cbtxn');
  }
  changing(sim, 'invoice.updated', invoice, () => {
    invoice.post_payment_credit_notes_amount += note.post_payment_amount;
    lessDue(invoice, note.pre_payment_amount);
  });
  if (invoice.status === 'open' && invoice.amount_remaining === 0) markPaid(sim, invoice, null);
}

function lessDue(invoice: Invoice, amount: number): void {
  invoice.pre_payment_credit_notes_amount += amount;
  invoice.amount_due -= amount;
  invoice.amount_remaining -= amount;
}

function voidCreditNote(sim: Sim, note: CreditNote): CreditNote {
  const invoice = sim.get<Invoice>('invoice', note.invoice as string);
  if (note.status === 'void' || invoice.status !== 'open') {
    throw new StripeFault('You can only void a credit note of an open invoice.', { param: 'id' });
  }
  note.status = 'void';
  note.voided_at = sim.now();
  changing(sim, 'invoice.updated', invoice, () => lessDue(invoice, -note.pre_payment_amount));
  sim.emit('credit_note.voided', note);
  return note;
}

function linesFrom(sim: Sim, invoice: Invoice, form: Form): CreditNoteLine[] {
  const asked = hashes(form, 'lines');
  if (asked.length === 0) {
    const amount = whole(form, 'amount') ?? whole(form, 'refund_amount') ?? whole(form, 'credit_amount');
    if (amount === undefined) {
      throw new StripeFault('You must pass either `amount` or `lines`.', {
        code: 'parameter_missing',
        param: 'amount',
      });
    }
    return [
      noteLine(sim, { amount, description: 'Credit', type: 'custom_line_item', quantity: 1, unit_amount: amount }),
    ];
  }
  return asked.map((line) => {
    const quantity = whole(line, 'quantity') ?? null;
    if (text(line, 'type') === 'custom_line_item') {
      const unit_amount = whole(line, 'unit_amount') ?? 0;
      const description = text(line, 'description') ?? null;
      const amount = unit_amount * (quantity ?? 1);
      return noteLine(sim, { amount, description, type: 'custom_line_item', quantity, unit_amount });
    }
    const id = needed(line, 'invoice_line_item');
    const of = linesOf(sim, invoice.id).find((each) => each.id === id);
    if (of === undefined)
      throw new StripeFault(`No such invoice line item: '${id}'`, { code: 'resource_missing', param: 'lines' });
    const amount =
      whole(line, 'amount') ?? Math.round((of.amount * (quantity ?? of.quantity ?? 1)) / (of.quantity ?? 1));
    const made = {
      amount,
      description: of.description,
      type: 'invoice_line_item',
      quantity,
      unit_amount: null,
    } as const;
    return { ...noteLine(sim, made), invoice_line_item: id };
  });
}

function noteLine(
  sim: Sim,
  fields: Pick<CreditNoteLine, 'amount' | 'description' | 'type' | 'quantity' | 'unit_amount'>,
): CreditNoteLine {
  return {
    id: sim.id('cnli'),
    object: 'credit_note_line_item',
    amount: fields.amount,
    description: fields.description,
    discount_amount: 0,
    discount_amounts: [],
    livemode: sim.livemode,
    metadata: {},
    pretax_credit_amounts: [],
    quantity: fields.quantity,
    tax_rates: [],
    taxes: [],
    type: fields.type,
    unit_amount: fields.unit_amount,
    unit_amount_decimal: fields.unit_amount === null ? null : String(fields.unit_amount),
  };
}

function noteOf(
  sim: Sim,
  invoice: Invoice,
  form: Form,
  lines: CreditNoteLine[],
  total: number,
  outOfBand: number,
): CreditNote {
  const id = sim.id('cn');
  const isPaid = invoice.status === 'paid';
  const count = sim.all<CreditNote>('credit_note').filter((note) => note.invoice === invoice.id).length + 1;
  return {
    id,
    object: 'credit_note',
    amount: total,
    amount_shipping: 0,
    created: sim.now(),
    currency: invoice.currency,
    customer: invoice.customer as string,
    customer_account: null,
    customer_balance_transaction: null,
    discount_amount: 0,
    discount_amounts: [],
    effective_at: sim.now(),
    invoice: invoice.id,
    lines: { object: 'list', data: lines, has_more: false, url: `/v1/credit_notes/${id}/lines` },
    livemode: invoice.livemode,
    memo: text(form, 'memo') ?? null,
    metadata: metadata(form),
    number: `${invoice.number}-CN-${String(count).padStart(2, '0')}`,
    out_of_band_amount: outOfBand === 0 ? null : outOfBand,
    pdf: `https://pay.stripe.com/credit_notes/acct_simulated/${id}/pdf?s=ap`,
    post_payment_amount: isPaid ? total : 0,
    pre_payment_amount: isPaid ? 0 : total,
    pretax_credit_amounts: [],
    reason: (text(form, 'reason') ?? null) as CreditNote['reason'],
    refunds: [],
    shipping_cost: null,
    status: 'issued',
    subtotal: total,
    subtotal_excluding_tax: total,
    total,
    total_excluding_tax: total,
    total_taxes: [],
    type: isPaid ? 'post_payment' : 'pre_payment',
    voided_at: null,
  };
}
