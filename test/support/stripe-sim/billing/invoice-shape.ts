/** The shape of an invoice, with what it is made from. */
import type { Sim } from '../core.ts';
import { DAY } from './calendar.ts';
import type { Period } from './lines.ts';
import type { Customer, Invoice, Line, Subscription } from './types.ts';

export interface InvoiceParams {
  customer: Customer;
  currency: string;
  subscription?: Subscription | null;
  billing_reason: string;
  period: Period;
  lines: Line[];
  auto_advance: boolean;
  automatically_finalizes_at?: number | null;
  collection_method?: string | undefined;
  days_until_due?: number | null | undefined;
  due_date?: number | null | undefined;
  default_payment_method?: string | null | undefined;
  description?: string | null | undefined;
  discounts?: string[];
  metadata?: Record<string, string>;
  taxed?: boolean;
}

/** A draft without lines and totals. */
export function blankInvoice(sim: Sim, id: string, params: InvoiceParams): Invoice {
  const charged = (params.collection_method ?? 'charge_automatically') === 'charge_automatically';
  const dueIn = params.days_until_due == null ? null : sim.now() + params.days_until_due * DAY;
  return {
    id,
    object: 'invoice',
    account_country: 'US',
    account_name: 'Simulated',
    account_tax_ids: null,
    amount_due: 0,
    amount_overpaid: 0,
    amount_paid: 0,
    amount_remaining: 0,
    amount_shipping: 0,
    application: null,
    attempt_count: 0,
    attempted: false,
    auto_advance: params.auto_advance,
    automatic_tax: {
      disabled_reason: null,
      enabled: params.taxed ?? false,
      liability: params.taxed === true ? { type: 'self' } : null,
      provider: params.taxed === true ? 'stripe' : null,
      status: params.taxed === true ? 'complete' : null,
    },
    automatically_finalizes_at: params.automatically_finalizes_at ?? null,
    billing_reason: params.billing_reason,
    collection_method: charged ? 'charge_automatically' : 'send_invoice',
    created: sim.now(),
    currency: params.currency,
    custom_fields: null,
    customer: params.customer.id,
    customer_account: null,
    customer_address: null,
    customer_email: null,
    customer_name: null,
    customer_phone: null,
    customer_shipping: null,
    customer_tax_exempt: 'none',
    customer_tax_ids: [],
    default_payment_method: params.default_payment_method ?? null,
    default_source: null,
    default_tax_rates: [],
    description: params.description ?? null,
    discounts: [...(params.discounts ?? [])],
    due_date: charged ? null : (params.due_date ?? dueIn),
    effective_at: null,
    ending_balance: null,
    footer: null,
    from_invoice: null,
    hosted_invoice_url: null,
    invoice_pdf: null,
    issuer: { type: 'self' },
    last_finalization_error: null,
    latest_revision: null,
    lines: { object: 'list', data: [], has_more: false, total_count: 0, url: `/v1/invoices/${id}/lines` },
    livemode: params.customer.livemode,
    metadata: params.metadata ?? {},
    next_payment_attempt: charged ? (params.automatically_finalizes_at ?? null) : null,
    number: null,
    on_behalf_of: null,
    parent: null,
    payment_settings: { default_mandate: null, payment_method_options: null, payment_method_types: null },
    period_end: params.period.end,
    period_start: params.period.start,
    post_payment_credit_notes_amount: 0,
    pre_payment_credit_notes_amount: 0,
    receipt_number: null,
    rendering: null,
    shipping_cost: null,
    shipping_details: null,
    starting_balance: 0,
    statement_descriptor: null,
    status: 'draft',
    status_transitions: { finalized_at: null, marked_uncollectible_at: null, paid_at: null, voided_at: null },
    subtotal: 0,
    subtotal_excluding_tax: 0,
    test_clock: null,
    total: 0,
    total_discount_amounts: [],
    total_excluding_tax: 0,
    total_pretax_credit_amounts: [],
    total_taxes: [],
    webhooks_delivered_at: sim.now(),
  };
}
