/** What Stripe is asked for a checkout: its session, told in such a way that all that comes of it names its account. Pure. */
import type Stripe from 'stripe';
import { publicId } from '../lib/ids.ts';
import { withParameter } from '../lib/links.ts';
import type { Order } from './order.ts';

/** Where the browser comes back to, of this gateway. */
export const RETURN_PATH = '/billing/return';
/** Stripe puts the session's id in its place. */
const SESSION = '{CHECKOUT_SESSION_ID}';

/** Where the browser goes from Stripe. */
export interface Ways {
  /** As the app said them; `null`: it did not. */
  successUrl: string | null;
  cancelUrl: string | null;
  /** Where browsers reach this gateway, if its settings say so. */
  publicUrl: string | null;
  /** Where this call reached it: all that is known where neither the app nor the settings say more. */
  reachedAt: string;
}

export interface Options {
  /** Whether Stripe reckons taxes, on top of the price. */
  automaticTax: boolean;
  /** Whether the card that pays a pack is kept, to be charged by auto-recharge later. */
  savesCard: boolean;
}

/** The app's URL with the session's id: in the place it has for that, else as `session_id`. */
export function withSession(url: string, session: string): string {
  return url.includes(SESSION) ? url.replaceAll(SESSION, session) : withParameter(url, 'session_id', session);
}

function returnPage(base: string, checkout: string, cancelled: boolean): string {
  return `${base}${RETURN_PATH}?checkout=${checkout}${cancelled ? '&cancelled=1' : ''}`;
}

/** The parameters of the session, as JSON keeps them. */
export function sessionRequest(
  { id, account, customer }: { id: bigint; account: bigint; customer: string },
  order: Order,
  { successUrl, cancelUrl, publicUrl, reachedAt }: Ways,
  { automaticTax, savesCard }: Options,
): Stripe.Checkout.SessionCreateParams {
  const checkout = publicId('chk', id);
  const metadata = { tollgate_account: publicId('acct', account), tollgate_checkout: checkout };
  const own = publicUrl ?? reachedAt;
  // Through our own page where that is reachable: there the credits are booked before the app is shown.
  const success =
    publicUrl === null && successUrl !== null ? withSession(successUrl, SESSION) : returnPage(own, checkout, false);
  return {
    mode: order.kind === 'pack' ? 'payment' : 'subscription',
    customer,
    client_reference_id: metadata.tollgate_account,
    line_items: [lineOf(order)],
    success_url: success,
    cancel_url: cancelUrl ?? returnPage(own, checkout, true),
    metadata,
    ...(order.kind === 'plan'
      ? { subscription_data: { metadata } }
      : { payment_intent_data: { metadata, ...(savesCard && { setup_future_usage: 'off_session' as const }) } }),
    allow_promotion_codes: true,
    // Where it lives decides the tax: the customer tells that at the checkout.
    ...(automaticTax && { automatic_tax: { enabled: true }, customer_update: { address: 'auto' as const } }),
  };
}

function lineOf({
  name,
  currency,
  amountMinor,
  stripePrice,
  quantity,
}: Order): Stripe.Checkout.SessionCreateParams.LineItem {
  if (currency === null || amountMinor === null) return { price: stripePrice!, quantity };
  // As a number for the library alone: it has at most twelve digits.
  return { price_data: { currency, unit_amount: Number(amountMinor), product_data: { name } }, quantity };
}
