/** The customer portal: sessions and configurations. What customers do in it are calls that tests make themselves. */
import type Stripe from 'stripe';
import type { Call, Sim } from './core.ts';
import { customerOf } from './customers.ts';
import { StripeFault } from './fault.ts';
import { type Form, flag, hash, metadata, needed, text } from './params.ts';

type Configuration = Stripe.BillingPortal.Configuration;
type Session = Stripe.BillingPortal.Session;

function defaults(): Configuration['features'] {
  return {
    customer_update: { allowed_updates: ['email', 'tax_id'], enabled: true },
    invoice_history: { enabled: true },
    payment_method_update: { enabled: true, payment_method_configuration: null },
    subscription_cancel: {
      cancellation_reason: { enabled: false, feedback_options: null, options: [] },
      enabled: true,
      mode: 'at_period_end',
      proration_behavior: 'none',
    },
    subscription_pause: { duration: { interval_options: [], type: 'indefinite' }, enabled: false },
    subscription_update: {
      billing_cycle_anchor: null,
      default_allowed_updates: [],
      enabled: false,
      products: null,
      proration_behavior: 'none',
      schedule_at_period_end: { conditions: [] },
      trial_update_behavior: 'end_trial',
    },
  };
}

function createConfiguration(sim: Sim, form: Form, isDefault: boolean): Configuration {
  const business = hash(form, 'business_profile') ?? {};
  const configuration: Configuration = {
    id: sim.id('bpc'),
    object: 'billing_portal.configuration',
    active: true,
    application: null,
    business_profile: {
      headline: text(business, 'headline') ?? null,
      privacy_policy_url: text(business, 'privacy_policy_url') ?? null,
      terms_of_service_url: text(business, 'terms_of_service_url') ?? null,
    },
    created: sim.now(),
    default_return_url: text(form, 'default_return_url') ?? null,
    features: merged(defaults(), hash(form, 'features') ?? {}),
    is_default: isDefault,
    livemode: sim.livemode,
    login_page: { enabled: false, url: null },
    metadata: metadata(form),
    name: text(form, 'name') ?? null,
    updated: sim.now(),
  };
  sim.put(configuration);
  sim.emit('billing_portal.configuration.created', configuration);
  return configuration;
}

/** Features as parameters change them: `true` and `false` become booleans, lists replace lists. */
function merged<T extends object>(features: T, form: Form): T {
  const after = structuredClone(features) as Record<string, unknown>;
  for (const [key, value] of Object.entries(form)) {
    const before = after[key];
    if (typeof value === 'object' && !Array.isArray(value)) after[key] = merged((before ?? {}) as object, value);
    else after[key] = value === 'true' ? true : value === 'false' ? false : value;
  }
  return after as T;
}

function createSession(call: Call): Session {
  const { form, sim } = call;
  const customer = customerOf(sim, needed(form, 'customer'), 'customer');
  const named = text(form, 'configuration');
  const all = sim
    .all<Configuration>('billing_portal.configuration')
    .filter(({ livemode }) => livemode === sim.livemode);
  const configuration =
    named === undefined
      ? (all.find((one) => one.is_default) ?? createConfiguration(sim, {}, true))
      : sim.get<Configuration>('billing_portal.configuration', named, 'configuration');
  const id = sim.id('bps');
  const session: Session = {
    id,
    object: 'billing_portal.session',
    configuration: configuration.id,
    created: sim.now(),
    customer: customer.id,
    customer_account: null,
    flow: flowOf(form),
    livemode: sim.livemode,
    locale: null,
    on_behalf_of: null,
    return_url: text(form, 'return_url') ?? configuration.default_return_url,
    url: `https://billing.stripe.test/p/session/${id}`,
  };
  sim.put(session);
  sim.emit('billing_portal.session.created', session);
  return session;
}

function flowOf(form: Form): Session['flow'] {
  const data = hash(form, 'flow_data');
  if (data === undefined) return null;
  const type = needed(data, 'type');
  const known = ['payment_method_update', 'subscription_cancel', 'subscription_update', 'subscription_update_confirm'];
  if (!known.includes(type)) throw new StripeFault(`Invalid flow_data[type]: ${type}`, { param: 'flow_data[type]' });
  return {
    after_completion: { hosted_confirmation: null, redirect: null, type: 'portal_homepage' },
    customer_update: null,
    subscription_cancel: null,
    subscription_pause: null,
    subscription_update: null,
    subscription_update_confirm: null,
    ...(hash(data, type) === undefined ? {} : { [type]: hash(data, type) }),
    type,
  } as Session['flow'];
}

export function portalRoutes(sim: Sim): void {
  const named = (call: Call) => sim.get<Configuration>('billing_portal.configuration', call.params.id ?? '');
  sim.link('billing_portal.session', 'configuration', 'billing_portal.configuration');
  sim.link('billing_portal.session', 'customer', 'customer');
  sim.route('POST', '/v1/billing_portal/sessions', createSession);
  sim.route('POST', '/v1/billing_portal/configurations', (call) => createConfiguration(sim, call.form, false));
  sim.route('GET', '/v1/billing_portal/configurations', (call) => {
    const active = flag(call.query, 'active');
    const isDefault = flag(call.query, 'is_default');
    return sim.list<Configuration>(
      call,
      'billing_portal.configuration',
      (one) =>
        (active === undefined || one.active === active) && (isDefault === undefined || one.is_default === isDefault),
    );
  });
  sim.route('GET', '/v1/billing_portal/configurations/:id', named);
  sim.route('POST', '/v1/billing_portal/configurations/:id', (call) => {
    const configuration = named(call);
    const { form } = call;
    const previous = sim.change(configuration, {
      active: flag(form, 'active') ?? configuration.active,
      default_return_url: text(form, 'default_return_url') ?? configuration.default_return_url,
      features: merged(configuration.features, hash(form, 'features') ?? {}),
      metadata: metadata(form, configuration.metadata ?? {}),
      updated: sim.now(),
    });
    sim.emit('billing_portal.configuration.updated', configuration, previous);
    return configuration;
  });
}
