/** The real `stripe` library onto a simulator with billing, in one process and without a socket. For the tests of this folder. */
import Stripe from 'stripe';
import { Api } from '../api.ts';
import { type EventObject, type Method, Sim } from '../core.ts';
import { Deliverer } from '../delivery.ts';
import { paymentRoutes } from '../payment-routes.ts';
import { billingRoutes } from './routes.ts';

export interface Bench {
  sim: Sim;
  stripe: Stripe;
  /** What was emitted since the last call, oldest first. */
  events(): EventObject[];
  /** Their types. */
  types(): string[];
  /** A customer whose default card is this one. */
  customer(card?: string | null): Promise<Stripe.Customer>;
  /** A recurring price in minor units of `usd`. */
  price(unit_amount: number, interval?: 'month' | 'year', name?: string): Promise<Stripe.Price>;
  /** Sets the clock forward to this instant. */
  until(at: number): void;
}

export function bench(): Bench {
  const sim = new Sim(7);
  paymentRoutes(sim);
  billingRoutes(sim);
  const api = new Api(sim, new Deliverer(sim));
  const emitted: EventObject[] = [];
  sim.onEvent((event) => emitted.push(event));
  const httpClient = Stripe.createFetchHttpClient(answering(api) as typeof fetch);
  const stripe = new Stripe('sk_test_bench', { httpClient, maxNetworkRetries: 0, telemetry: false });
  const events = () => emitted.splice(0);
  return {
    sim,
    stripe,
    events,
    types: () => events().map(({ type }) => type),
    async customer(card = 'pm_card_visa') {
      const { id } = await stripe.customers.create({ email: 'bench@example.com' });
      if (card === null) return stripe.customers.retrieve(id) as Promise<Stripe.Customer>;
      const method = await stripe.paymentMethods.attach(card, { customer: id });
      return stripe.customers.update(id, { invoice_settings: { default_payment_method: method.id } });
    },
    async price(unit_amount, interval = 'month', name = 'Pro') {
      const product = await stripe.products.create({ name });
      return stripe.prices.create({ currency: 'usd', unit_amount, product: product.id, recurring: { interval } });
    },
    until: (at) => sim.advance(at - sim.now()),
  };
}

function answering(api: Api): (url: string, init: RequestInit) => Promise<Response> {
  return async (url, init) => {
    const { pathname, search } = new URL(url);
    const headers = Object.fromEntries(new Headers(init.headers));
    const answer = await api.answer({
      method: (init.method ?? 'GET') as Method,
      path: pathname,
      query: search.slice(1),
      body: typeof init.body === 'string' ? init.body : '',
      headers,
    });
    return new Response(answer.body, {
      status: typeof answer.status === 'number' ? answer.status : 500,
      headers: answer.headers,
    });
  };
}

/** A subscription to a price of 20.00 a month. */
export async function subscribed(
  at: Bench,
  params: Partial<Stripe.SubscriptionCreateParams> = {},
  card: string | null = 'pm_card_visa',
): Promise<Stripe.Subscription> {
  const [customer, price] = [await at.customer(card), await at.price(2000)];
  return at.stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }], ...params });
}

/** When its present period ends. */
export const endOf = (sub: Stripe.Subscription): number => sub.items.data[0]?.current_period_end as number;

/** The subscription as it is now, and its latest invoice. */
export async function latest(
  at: Bench,
  sub: Stripe.Subscription,
): Promise<{ sub: Stripe.Subscription; invoice: Stripe.Invoice }> {
  const now = await at.stripe.subscriptions.retrieve(sub.id, { expand: ['latest_invoice'] });
  return { sub: now, invoice: now.latest_invoice as Stripe.Invoice };
}
