/** Buying: the way to Stripe's checkout, and to its portal. What was paid for comes back by its webhooks. */
import { z } from 'zod';
import { readIdempotencyKey } from '../consumption/forms.ts';
import { catalogFor } from '../entitlements/catalog-for.ts';
import { TollgateError } from '../errors.ts';
import { invalidField, readInput } from '../errors-input.ts';
import type { About } from '../openapi/about.ts';
import { createCheckout } from '../payments/checkout.ts';
import type { SellingDeps } from '../payments/deps.ts';
import { checkoutForm, link, orderOf, readCheckout } from '../payments/order.ts';
import { createPortal } from '../payments/portal.ts';
import type { Asked, Call } from './calls.ts';
import type { CatalogDeps } from './catalog.ts';

export interface BillingDeps extends CatalogDeps {
  /** `null`: nothing is sold, for want of a key of Stripe. */
  selling: SellingDeps | null;
}

const portalForm = z.strictObject({ return_url: link.optional() });
const way = z.strictObject({ url: z.string().meta({ format: 'uri', description: 'Where to send the browser.' }) });

const ABOUT = {
  checkout: {
    summary: 'Begins the purchase of a pack, or of a plan, and answers where to pay it.',
    headers: { 'idempotency-key': 'The same key again answers the same checkout.' },
    body: checkoutForm,
    answer: way,
    errors: [
      'not_found',
      'conflict',
      'account_suspended',
      'idempotency_key_reused',
      'idempotency_key_in_use',
      'stripe_disabled',
      'stripe_unavailable',
      'stripe_refused',
    ],
  },
  portal: {
    summary: 'Answers where the account changes its cards and subscriptions, and finds its invoices.',
    body: portalForm,
    answer: way,
    errors: ['conflict', 'account_suspended', 'stripe_disabled', 'stripe_unavailable', 'stripe_refused'],
  },
} satisfies Record<string, About>;

export function billingCalls({ catalogs, selling }: BillingDeps): Call[] {
  const checkout = async ({ principal, request }: Asked) => {
    const form = readCheckout(request.body);
    const once = readIdempotencyKey(request.headers['idempotency-key']);
    const deps = sold(selling, principal.suspended);
    const order = orderOf(form, await catalogFor(catalogs, principal));
    const reachedAt = URL.parse(`${request.protocol}://${request.host}`)?.origin ?? null;
    if (reachedAt === null) throw invalidField('Host', 'must be where this gateway was reached');
    return { url: await createCheckout(deps, { account: principal.account, form, order, once, reachedAt }) };
  };
  const portal = async ({ principal, request }: Asked) => {
    const { return_url: returnUrl } = readInput(portalForm, request.body);
    const deps = sold(selling, principal.suspended);
    return { url: await createPortal(deps, principal.account, returnUrl ?? null) };
  };
  return [billing('/checkout', ABOUT.checkout, checkout), billing('/portal', ABOUT.portal, portal)];
}

/** Of these no hold verifies the cache, so whoever asks is read afresh. */
function billing(path: string, about: About, answer: Call['answer']): Call {
  return { method: 'POST', path, scopes: ['billing'], reads: true, about, answer };
}

function sold(selling: SellingDeps | null, suspended: boolean): SellingDeps {
  if (suspended) throw new TollgateError('account_suspended');
  if (selling === null) throw new TollgateError('stripe_disabled');
  return selling;
}
