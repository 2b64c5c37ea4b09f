/** Payment methods: made from the names of Stripe's test cards, attached to customers, and what a charge of each does. */
import { createHash } from 'node:crypto';
import type Stripe from 'stripe';
import { type Behaviour, CARDS, type Card, cardNamed, declined } from './cards.ts';
import type { Call, Sim } from './core.ts';
import { customerOf, NO_ADDRESS, onCustomerDeleted, updateCustomer } from './customers.ts';
import { noSuch, StripeFault } from './fault.ts';
import { hash, metadata, needed, text } from './params.ts';

type PaymentMethod = Stripe.PaymentMethod;

/** Outcomes the test asked for, in order; they come before what the card would do. */
interface Forced {
  left: number;
  behaviour: Behaviour;
}

/** Makes an unattached payment method. `fingerprint` says which cards are the same; by default those of the same name. */
export function createMethod(sim: Sim, name: string, fingerprint?: string): PaymentMethod {
  const found = cardNamed(name);
  if (found === undefined) throw noSuch('payment_method', name, 'payment_method');
  const print = fingerprint ?? createHash('sha256').update(found.name).digest('hex').slice(0, 16);
  const method: PaymentMethod = {
    id: sim.id('pm'),
    object: 'payment_method',
    allow_redisplay: 'unspecified',
    billing_details: { address: { ...NO_ADDRESS }, email: null, name: null, phone: null, tax_id: null },
    ...means(found.card, print),
    created: sim.now(),
    customer: null,
    customer_account: null,
    livemode: sim.livemode,
    metadata: {},
    type: found.card.type,
  };
  sim.side<string>('card').set(method.id, found.name);
  return sim.put(method);
}

function means(card: Card, fingerprint: string): Partial<PaymentMethod> {
  if (card.type === 'sepa_debit') {
    return {
      sepa_debit: {
        bank_code: '37040044',
        branch_code: '',
        country: 'DE',
        fingerprint,
        generated_from: { charge: null, setup_attempt: null },
        last4: card.last4,
      },
    };
  }
  if (card.type === 'us_bank_account') {
    return {
      us_bank_account: {
        account_holder_type: 'individual',
        account_type: 'checking',
        bank_name: 'STRIPE TEST BANK',
        financial_connections_account: null,
        fingerprint,
        last4: card.last4,
        networks: { preferred: 'ach', supported: ['ach'] },
        routing_number: '110000000',
        status_details: null,
      },
    };
  }
  return {
    card: {
      brand: card.brand,
      checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
      country: 'US',
      display_brand: card.brand,
      exp_month: 8,
      exp_year: 2034,
      fingerprint,
      funding: 'credit',
      generated_from: null,
      last4: card.last4,
      networks: { available: [card.brand], preferred: null },
      regulated_status: 'unregulated',
      three_d_secure_usage: { supported: true },
      wallet: null,
    },
  };
}

/** The method a parameter names: one that exists, or a new one when it is the name of a test card. */
export function methodOf(sim: Sim, id: string, param = 'payment_method'): PaymentMethod {
  const method = sim.find<PaymentMethod>('payment_method', id);
  if (method !== undefined) return method;
  if (CARDS[id] === undefined && cardNamed(id) === undefined) throw noSuch('payment_method', id, param);
  return createMethod(sim, id);
}

/** As `methodOf`, for a charge to come or to attach it anew: what was once detached may not be used again. */
export function usableMethod(sim: Sim, id: string, param = 'payment_method'): PaymentMethod {
  const method = methodOf(sim, id, param);
  if (!sim.side<true>('detached').has(method.id)) return method;
  const message =
    'The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a connected account without Customer attachment, or was detached from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.';
  throw new StripeFault(message, { param });
}

/** Attaches and tells of it. `asDefault` also makes it the one invoices are charged to. */
export function attach(sim: Sim, method: PaymentMethod, customer: string, asDefault = false): PaymentMethod {
  const previous = sim.change(method, { customer });
  if (Object.keys(previous).length > 0) sim.emit('payment_method.attached', method);
  if (asDefault) {
    const owner = customerOf(sim, customer);
    updateCustomer(sim, owner, { invoice_settings: { ...owner.invoice_settings, default_payment_method: method.id } });
  }
  return method;
}

/** Detaches and tells of it; it stops being the customer's default. */
export function detach(sim: Sim, method: PaymentMethod): PaymentMethod {
  const owner = sim.find<Stripe.Customer>('customer', String(method.customer));
  const previous = sim.change(method, { customer: null });
  sim.side<true>('detached').set(method.id, true);
  sim.emit('payment_method.detached', method, previous);
  if (owner !== undefined && !owner.deleted && owner.invoice_settings.default_payment_method === method.id) {
    updateCustomer(sim, owner, { invoice_settings: { ...owner.invoice_settings, default_payment_method: null } });
  }
  return method;
}

/** The next charges end like this, whatever the card. */
export function force(sim: Sim, behaviour: Behaviour, times: number): void {
  const queue = sim.side<Forced>('forced');
  queue.set(sim.id('force'), { left: times, behaviour });
}

/** What the bank says to a charge of this method now. Takes one of the outcomes that were forced. */
export function behaviourOf(sim: Sim, method: PaymentMethod): Behaviour {
  const queue = sim.side<Forced>('forced');
  for (const [id, forced] of queue) {
    forced.left -= 1;
    if (forced.left <= 0) queue.delete(id);
    return forced.behaviour;
  }
  const code = sim.side<string>('declining').get(String(method.customer));
  if (code !== undefined) return declined(code);
  return CARDS[sim.side<string>('card').get(method.id) ?? 'pm_card_visa']?.behaviour ?? { kind: 'succeed' };
}

function create(call: Call): PaymentMethod {
  const { form, sim } = call;
  const type = needed(form, 'type');
  const token = text(hash(form, 'card') ?? {}, 'token');
  const method = createMethod(sim, type === 'card' ? (token ?? 'pm_card_visa') : type);
  sim.change(method, { metadata: metadata(form) });
  return method;
}

export function paymentMethodRoutes(sim: Sim): void {
  sim.link('payment_method', 'customer', 'customer');
  onCustomerDeleted(sim, (customer) => {
    for (const method of sim.all<PaymentMethod>('payment_method')) {
      if (method.customer !== customer.id) continue;
      method.customer = null;
      sim.side<true>('detached').set(method.id, true);
    }
  });
  sim.route('POST', '/v1/payment_methods', create);
  sim.route('GET', '/v1/payment_methods', (call) => {
    const customer = text(call.query, 'customer');
    const type = text(call.query, 'type');
    return sim.list<PaymentMethod>(
      call,
      'payment_method',
      (one) => one.customer !== null && one.customer === customer && (type === undefined || one.type === type),
    );
  });
  sim.route('GET', '/v1/payment_methods/:id', (call) => sim.get('payment_method', call.params.id ?? ''));
  sim.route('POST', '/v1/payment_methods/:id', (call) => {
    const method = sim.get<PaymentMethod>('payment_method', call.params.id ?? '');
    const previous = sim.change(method, { metadata: metadata(call.form, method.metadata ?? {}) });
    if (Object.keys(previous).length > 0) sim.emit('payment_method.updated', method, previous);
    return method;
  });
  sim.route('POST', '/v1/payment_methods/:id/attach', (call) => {
    const customer = customerOf(sim, needed(call.form, 'customer'), 'customer');
    const method = usableMethod(sim, call.params.id ?? '');
    const card = CARDS[sim.side<string>('card').get(method.id) ?? ''];
    if (card?.attachable === false && card.behaviour.kind === 'decline') {
      const { code, decline_code, message } = card.behaviour;
      throw new StripeFault(message, { type: 'card_error', code, ...(decline_code ? { decline_code } : {}) });
    }
    return attach(sim, method, customer.id);
  });
  sim.route('POST', '/v1/payment_methods/:id/detach', (call) => {
    const method = sim.get<PaymentMethod>('payment_method', call.params.id ?? '');
    if (method.customer === null) {
      throw new StripeFault(
        'The payment method you provided is not attached to a customer so detachment is impossible.',
      );
    }
    return detach(sim, method);
  });
}
