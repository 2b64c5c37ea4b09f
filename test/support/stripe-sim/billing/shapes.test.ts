import { existsSync, readFileSync } from 'node:fs';
import type Stripe from 'stripe';
import { beforeAll, describe, expect, test } from 'vitest';
import { DAY } from './calendar.ts';
import { type Bench, bench } from './harness.ts';
import type * as wire from './types.ts';

/** Objects as Stripe's own specification shows them; laid beside the repository, never in it. */
const FIXTURES = '/work/shared/stripe/fixtures3.json';
const present = existsSync(FIXTURES);
if (!present)
  console.warn(`shapes.test.ts: ${FIXTURES} is absent: the field names of billing's objects are NOT compared`);

type Shape = Record<string, unknown>;

/** What the fixtures show and this version has no longer, or only some objects have. */
const GONE: Record<string, string[]> = {
  invoice: ['subscription'],
  'credit_note.lines.data': ['invoice_line_item'],
};
/** What this version has, or the wire shows, and the fixtures do not. */
const NEW: Record<string, string[]> = {
  subscription_item: ['current_trial'],
  'subscription.items': ['total_count'],
  'subscription.items.data': ['current_trial'],
  'subscription.billing_mode.flexible': ['proration_discounts'],
  'subscription.cancellation_details': ['feedback_option'],
  'subscription.trial_settings.end_behavior': ['billing_cycle_anchor'],
  invoice: ['amount_paid_off_stripe'],
  'invoice.lines': ['total_count'],
  'invoice.lines.data.pricing': ['price_details'],
  invoiceitem: ['proration_details'],
  'invoiceitem.pricing': ['price_details'],
};

/** Hashes with keys of their owner's choosing, and unions of which a fixture shows another member. */
const OPEN =
  /metadata|payment_method_options|price_details|previous|\.parent|\.payment$|price|plan|unit_amount|liability/;

function compare(place: string, ours: Shape, theirs: Shape, told: string[]): void {
  const [gone, added] = [GONE[place] ?? [], NEW[place] ?? []];
  for (const key of Object.keys(theirs))
    if (!(key in ours) && !gone.includes(key)) told.push(`${place}.${key} is missing`);
  for (const key of Object.keys(ours))
    if (!(key in theirs) && !added.includes(key)) told.push(`${place}.${key} is not Stripe's`);
  for (const [key, value] of Object.entries(ours)) {
    const [mine, its] = [first(value), first(theirs[key])];
    const at = `${place}.${key}`;
    if (mine !== null && its !== null && !OPEN.test(at)) compare(at, mine, its, told);
  }
}

/** The hash itself, or the first of a list of hashes. */
function first(value: unknown): Shape | null {
  const one: unknown = Array.isArray(value) ? value[0] : value;
  return typeof one === 'object' && one !== null ? (one as Shape) : null;
}

describe.skipIf(!present)('the fields of billing are those of Stripe:', () => {
  let at: Bench;
  let fixtures: Record<string, Shape>;
  beforeAll(async () => {
    fixtures = (JSON.parse(readFileSync(FIXTURES, 'utf8')) as { resources: Record<string, Shape> }).resources;
    at = bench();
    const [customer, basic, pro] = [await at.customer(), await at.price(1000), await at.price(3000)];
    const sub = await at.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: basic.id }],
      automatic_tax: { enabled: true },
    });
    at.sim.advance(10 * DAY);
    await at.stripe.subscriptions.update(sub.id, {
      items: [{ id: sub.items.data[0]?.id ?? '', price: pro.id }],
      proration_behavior: 'always_invoice',
    });
    const open = await at.stripe.invoices.create({ customer: customer.id });
    await at.stripe.invoices.addLines(open.id, { lines: [{ amount: 500 }] });
    await at.stripe.invoices.finalizeInvoice(open.id);
    await at.stripe.creditNotes.create({ invoice: open.id, amount: 200 });
  });

  test.each(['subscription', 'subscription_item', 'invoice', 'invoice_payment', 'invoiceitem', 'credit_note'])(
    '%s',
    (kind) => {
      const told: string[] = [];
      const objects =
        kind === 'subscription_item'
          ? at.sim.all<wire.Subscription>('subscription').flatMap(({ items }) => items.data)
          : at.sim.all(kind);
      expect(objects.length).toBeGreaterThan(0);
      for (const object of objects) compare(kind, object as unknown as Shape, fixtures[kind] ?? {}, told);
      expect([...new Set(told)]).toEqual([]);
    },
  );
});

test('the objects of billing are those of the library, but for what only the wire has', () => {
  // Types alone: what the library reads from the wire is what it declares. A field that is missing does not compile.
  type Same<Ours, Theirs> = keyof Required<Theirs> extends keyof Ours ? true : Exclude<keyof Theirs, keyof Ours>;
  const same: [
    Same<wire.Subscription, Omit<Stripe.Subscription, 'presentment_details' | 'status_details'>>,
    Same<wire.Invoice, Omit<Stripe.Invoice, 'payments' | 'deleted'>>,
    Same<wire.InvoicePayment, Stripe.InvoicePayment>,
    Same<wire.CreditNote, Stripe.CreditNote>,
  ] = [true, true, true, true];
  expect(same).toEqual([true, true, true, true]);
});
