/** A checkout session as it is made: every field, nothing of it worked out. */
import type Stripe from 'stripe';
import type { Sim } from './core.ts';
import { type Form, flag, hash, metadata, text, texts } from './params.ts';

export type Session = Stripe.Checkout.Session;

/** How long a session stays open unless told. */
export const LIFE_SECONDS = 24 * 3600;

/** A session as parameters tell it, with nothing of it worked out. */
export function newSession(
  sim: Sim,
  given: { mode: string; currency: string; customer: string | null; form: Form; life?: number; payment_link?: string },
): Session {
  const { mode, currency, customer, form } = given;
  const id = `${sim.id(sim.livemode ? 'cs_live' : 'cs_test')}${sim.id('s').slice(2)}`;
  const taxed = flag(hash(form, 'automatic_tax') ?? {}, 'enabled') ?? false;
  return {
    id,
    object: 'checkout.session',
    adaptive_pricing: { enabled: false },
    after_expiration: null,
    allow_promotion_codes: flag(form, 'allow_promotion_codes') ?? null,
    allowed_payment_method_types: null,
    amount_subtotal: null,
    amount_total: null,
    automatic_tax: {
      enabled: taxed,
      liability: taxed ? { type: 'self' } : null,
      provider: taxed ? 'stripe' : null,
      status: taxed ? 'complete' : null,
    },
    billing_address_collection: null,
    branding_settings: {
      background_color: '#ffffff',
      border_style: 'rounded',
      button_color: '#0074d4',
      display_name: '',
      font_family: 'default',
      icon: null,
      logo: null,
    },
    cancel_url: text(form, 'cancel_url') ?? null,
    client_reference_id: text(form, 'client_reference_id') ?? null,
    client_secret: null,
    collected_information: null,
    consent: null,
    consent_collection: null,
    created: sim.now(),
    currency: mode === 'setup' ? (text(form, 'currency') ?? null) : currency,
    currency_conversion: null,
    custom_fields: [],
    custom_text: { after_submit: null, shipping_address: null, submit: null, terms_of_service_acceptance: null },
    customer,
    customer_account: null,
    customer_creation:
      mode === 'payment' && customer === null ? (text(form, 'customer_creation') ?? 'if_required') : null,
    customer_details: null,
    customer_email: text(form, 'customer_email') ?? null,
    discounts: null,
    expires_at: sim.now() + (given.life ?? LIFE_SECONDS),
    integration_identifier: null,
    invoice: null,
    invoice_creation: null,
    livemode: sim.livemode,
    locale: null,
    managed_payments: { enabled: false },
    metadata: metadata(form),
    mode,
    origin_context: null,
    payment_intent: null,
    payment_link: given.payment_link ?? null,
    payment_method_collection:
      mode === 'subscription' ? (text(form, 'payment_method_collection') ?? 'always') : 'if_required',
    payment_method_configuration_details: null,
    payment_method_options: {},
    payment_method_types: texts(form, 'payment_method_types') ?? ['card'],
    payment_status: mode === 'setup' ? 'no_payment_required' : 'unpaid',
    permissions: null,
    phone_number_collection: { enabled: false },
    recovered_from: null,
    saved_payment_method_options: null,
    setup_intent: null,
    shipping_address_collection: null,
    shipping_cost: null,
    shipping_options: [],
    status: 'open',
    submit_type: null,
    subscription: null,
    success_url: text(form, 'success_url') ?? null,
    total_details: null,
    ui_mode: 'hosted_page',
    url: `https://checkout.stripe.test/c/pay/${id}`,
    wallet_options: null,
  };
}
