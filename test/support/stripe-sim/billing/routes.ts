/** Billing, registered with the simulator: subscriptions, invoices, credit notes, and what time does to them. */
import type Stripe from 'stripe';
import type { Sim } from '../core.ts';
import { onCustomerDeleted } from '../customers.ts';
import { onIntent } from '../payment-intents.ts';
import { billingClock } from './clock.ts';
import { defaultIntent, intentChanged, paymentsOf } from './collect.ts';
import { creditNoteRoutes } from './credit-notes.ts';
import { invoiceItemRoutes } from './invoice-item-routes.ts';
import { invoicePaymentRoutes, invoiceRoutes } from './invoice-routes.ts';
import { endSubscription, isEnded } from './lifecycle.ts';
import { subscriptionItemRoutes, subscriptionRoutes } from './subscription-routes.ts';
import type { Subscription } from './types.ts';

/** Adds billing to a simulator that has payments already. */
export function billingRoutes(sim: Sim): void {
  subscriptionRoutes(sim);
  subscriptionItemRoutes(sim);
  invoiceRoutes(sim);
  invoicePaymentRoutes(sim);
  invoiceItemRoutes(sim);
  creditNoteRoutes(sim);
  links(sim);
  parts(sim);
  billingClock(sim);
  onIntent(sim, (intent) => intentChanged(sim, intent));
  onCustomerDeleted(sim, (customer) => {
    for (const sub of sim.all<Subscription>('subscription')) {
      if (sub.customer === customer.id && !isEnded(sub)) endSubscription(sim, sub, 'cancellation_requested');
    }
  });
}

const LINKS: Record<string, Record<string, string>> = {
  subscription: {
    customer: 'customer',
    default_payment_method: 'payment_method',
    discounts: 'discount',
    latest_invoice: 'invoice',
    pending_setup_intent: 'setup_intent',
  },
  subscription_item: { discounts: 'discount' },
  invoice: {
    customer: 'customer',
    default_payment_method: 'payment_method',
    discounts: 'discount',
    'parent.subscription_details.subscription': 'subscription',
    'total_discount_amounts.discount': 'discount',
  },
  line_item: {
    discounts: 'discount',
    'discount_amounts.discount': 'discount',
    'pricing.price_details.price': 'price',
    'parent.subscription_item_details.subscription': 'subscription',
  },
  invoice_payment: { invoice: 'invoice', 'payment.payment_intent': 'payment_intent' },
  invoiceitem: {
    customer: 'customer',
    discounts: 'discount',
    invoice: 'invoice',
    'pricing.price_details.price': 'price',
  },
  discount: { customer: 'customer', promotion_code: 'promotion_code', 'source.coupon': 'coupon' },
  credit_note: { customer: 'customer', invoice: 'invoice', 'refunds.refund': 'refund' },
};

function links(sim: Sim): void {
  for (const [kind, fields] of Object.entries(LINKS)) {
    for (const [field, ofKind] of Object.entries(fields)) sim.link(kind, field, ofKind);
  }
}

function parts(sim: Sim): void {
  sim.part('invoice', 'payments', ({ id }) => ({
    object: 'list',
    data: paymentsOf(sim, String(id)),
    has_more: false,
    url: `/v1/invoice_payments?invoice=${id}`,
  }));
  sim.part('invoice', 'confirmation_secret', ({ id, status }): Stripe.Invoice.ConfirmationSecret | null => {
    const secret = status === 'open' ? defaultIntent(sim, String(id))?.client_secret : null;
    return secret == null ? null : { client_secret: secret, type: 'payment_intent' };
  });
}
