/** Customers. Deleted ones stay as `{id, object, deleted: true}`, as Stripe answers them, and can no longer be used. */
import type Stripe from 'stripe';
import type { Call, Sim } from './core.ts';
import { noSuch } from './fault.ts';
import { hash, metadata, text } from './params.ts';

type Customer = Stripe.Customer;

export const NO_ADDRESS = { city: null, country: null, line1: null, line2: null, postal_code: null, state: null };

/** The living customer of this id; a fault that names `param` (the path when not given) otherwise. */
export function customerOf(sim: Sim, id: string, param?: string): Customer {
  const customer = sim.find<Customer>('customer', id);
  if (customer === undefined || customer.deleted) throw noSuch('customer', id, param);
  return customer;
}

/** Makes a customer and its event. */
export function createCustomer(sim: Sim, fields: Partial<Customer>): Customer {
  const id = sim.id('cus').slice(0, 18);
  const customer: Customer = {
    id,
    object: 'customer',
    address: null,
    balance: 0,
    created: sim.now(),
    currency: null,
    customer_account: null,
    default_source: null,
    delinquent: false,
    description: null,
    discount: null,
    email: null,
    invoice_prefix: id.slice(-8).toUpperCase(),
    invoice_settings: { custom_fields: null, default_payment_method: null, footer: null, rendering_options: null },
    livemode: sim.livemode,
    metadata: {},
    name: null,
    next_invoice_sequence: 1,
    phone: null,
    preferred_locales: [],
    shipping: null,
    tax_exempt: 'none',
    test_clock: null,
    ...fields,
  };
  sim.put(customer);
  sim.emit('customer.created', customer);
  return customer;
}

function fieldsOf(call: Call, before?: Customer): Partial<Customer> {
  const { form, sim } = call;
  const fields: Partial<Customer> = { metadata: metadata(form, before?.metadata) };
  for (const key of ['description', 'email', 'name', 'phone'] as const) {
    const value = text(form, key);
    if (value !== undefined) fields[key] = value === '' ? null : value;
  }
  const address = hash(form, 'address');
  if (address !== undefined) fields.address = { ...NO_ADDRESS, ...address } as unknown as Stripe.Address;
  const settings = hash(form, 'invoice_settings');
  const chosen = settings && text(settings, 'default_payment_method');
  if (chosen !== undefined) {
    const param = 'invoice_settings[default_payment_method]';
    const method = chosen === '' ? null : sim.get<Stripe.PaymentMethod>('payment_method', chosen, param);
    if (method !== null && (before === undefined || method.customer !== before.id))
      throw noSuch('payment_method', chosen, param);
    const kept = before?.invoice_settings ?? { custom_fields: null, footer: null, rendering_options: null };
    fields.invoice_settings = { ...kept, default_payment_method: method?.id ?? null };
  }
  return fields;
}

/** Changes a customer and tells of it, if anything differs. */
export function updateCustomer(sim: Sim, customer: Customer, fields: Partial<Customer>): Customer {
  const previous = sim.change(customer, fields);
  if (Object.keys(previous).length > 0) sim.emit('customer.updated', customer, previous);
  return customer;
}

/** What must end with a customer (subscriptions, payment methods): modules add theirs. */
const endings = new WeakMap<Sim, Array<(customer: Customer) => void>>();

/** `act` runs just before a customer is deleted. */
export function onCustomerDeleted(sim: Sim, act: (customer: Customer) => void): void {
  endings.set(sim, [...(endings.get(sim) ?? []), act]);
}

export function deleteCustomer(sim: Sim, id: string): Stripe.DeletedCustomer {
  const customer = customerOf(sim, id);
  for (const act of endings.get(sim) ?? []) act(customer);
  const deleted: Stripe.DeletedCustomer = { id, object: 'customer', deleted: true };
  sim.put(deleted);
  sim.emit('customer.deleted', customer);
  return deleted;
}

export function customerRoutes(sim: Sim): void {
  sim.link('customer', 'invoice_settings.default_payment_method', 'payment_method');
  sim.route('POST', '/v1/customers', (call) => {
    const customer = createCustomer(sim, fieldsOf(call));
    const method = text(call.form, 'payment_method');
    if (method !== undefined)
      sim.get<Stripe.PaymentMethod>('payment_method', method, 'payment_method').customer = customer.id;
    return customer;
  });
  sim.route('GET', '/v1/customers', (call) => {
    const email = text(call.query, 'email');
    return sim.list<Customer>(call, 'customer', (one) => !one.deleted && (email === undefined || one.email === email));
  });
  sim.route('GET', '/v1/customers/:id', (call) => sim.get('customer', call.params.id ?? ''));
  sim.route('POST', '/v1/customers/:id', (call) => {
    const customer = customerOf(sim, call.params.id ?? '');
    return updateCustomer(sim, customer, fieldsOf(call, customer));
  });
  sim.route('DELETE', '/v1/customers/:id', (call) => deleteCustomer(sim, call.params.id ?? ''));
  sim.route('GET', '/v1/customers/:id/payment_methods', (call) => {
    const { id } = customerOf(sim, call.params.id ?? '');
    const type = text(call.query, 'type');
    return sim.list<Stripe.PaymentMethod>(
      call,
      'payment_method',
      (one) => one.customer === id && (type === undefined || one.type === type),
    );
  });
  sim.route('GET', '/v1/account', () => ({
    id: 'acct_simulated0000000',
    object: 'account',
    charges_enabled: true,
    country: 'US',
    default_currency: 'usd',
    details_submitted: true,
    metadata: {},
    type: 'standard',
  }));
}
