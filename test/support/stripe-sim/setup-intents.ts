/** Setup intents: a card kept for later, without a charge. */
import type Stripe from 'stripe';
import type { Call, Sim } from './core.ts';
import { customerOf } from './customers.ts';
import { StripeFault } from './fault.ts';
import { flag, metadata, text } from './params.ts';
import { attach, behaviourOf, usableMethod } from './payment-methods.ts';

type SetupIntent = Stripe.SetupIntent;

/** Makes one and its event. */
export function createSetup(
  sim: Sim,
  fields: {
    customer: string | null;
    payment_method?: string | null;
    metadata?: Record<string, string>;
    usage?: string;
  },
): SetupIntent {
  const id = sim.id('seti');
  const method = fields.payment_method ?? null;
  const setup: SetupIntent = {
    id,
    object: 'setup_intent',
    allowed_payment_method_types: null,
    application: null,
    automatic_payment_methods: { allow_redirects: 'always', enabled: true },
    cancellation_reason: null,
    client_secret: `${id}_secret_${sim.id('s').slice(2)}`,
    created: sim.now(),
    customer: fields.customer,
    customer_account: null,
    description: null,
    excluded_payment_method_types: null,
    flow_directions: null,
    last_setup_error: null,
    latest_attempt: null,
    livemode: sim.livemode,
    managed_payments: null,
    mandate: null,
    metadata: fields.metadata ?? {},
    next_action: null,
    on_behalf_of: null,
    payment_method: method,
    payment_method_configuration_details: null,
    payment_method_options: { card: { mandate_options: null, network: null, request_three_d_secure: 'automatic' } },
    payment_method_types: ['card'],
    single_use_mandate: null,
    status: method === null ? 'requires_payment_method' : 'requires_confirmation',
    usage: fields.usage ?? 'off_session',
  };
  sim.put(setup);
  sim.emit('setup_intent.created', setup);
  return setup;
}

/** The bank accepts the card and it is attached, or refuses: card_error. */
export function confirmSetup(sim: Sim, setup: SetupIntent, chosen?: string): SetupIntent {
  const named = chosen ?? setup.payment_method;
  if (named === null)
    throw new StripeFault('You cannot confirm this SetupIntent because it is missing a payment method.');
  const method = usableMethod(sim, String(named));
  const behaviour = behaviourOf(sim, method);
  if (behaviour.kind === 'decline') {
    const { code, decline_code, message } = behaviour;
    const error = { type: 'card_error', code, message, ...(decline_code ? { decline_code } : {}) };
    sim.change(setup, {
      status: 'requires_payment_method',
      last_setup_error: error as SetupIntent['last_setup_error'],
    });
    sim.emit('setup_intent.setup_failed', setup);
    throw new StripeFault(message, {
      type: 'card_error',
      code,
      ...(decline_code ? { decline_code } : {}),
      with: { setup_intent: structuredClone(setup) },
    });
  }
  sim.change(setup, { status: 'succeeded', payment_method: method.id, last_setup_error: null });
  if (setup.customer !== null) attach(sim, method, String(setup.customer));
  sim.emit('setup_intent.succeeded', setup);
  return setup;
}

function create(call: Call): SetupIntent {
  const { form, sim } = call;
  const customer = text(form, 'customer');
  const method = text(form, 'payment_method');
  const setup = createSetup(sim, {
    customer: customer === undefined ? null : customerOf(sim, customer, 'customer').id,
    payment_method: method === undefined ? null : usableMethod(sim, method).id,
    metadata: metadata(form),
    usage: text(form, 'usage') ?? 'off_session',
  });
  return flag(form, 'confirm') === true ? confirmSetup(sim, setup) : setup;
}

export function setupIntentRoutes(sim: Sim): void {
  sim.link('setup_intent', 'customer', 'customer');
  sim.link('setup_intent', 'payment_method', 'payment_method');
  const named = (call: Call) => sim.get<SetupIntent>('setup_intent', call.params.id ?? '');
  sim.route('POST', '/v1/setup_intents', create);
  sim.route('GET', '/v1/setup_intents', (call) => {
    const customer = text(call.query, 'customer');
    return sim.list<SetupIntent>(call, 'setup_intent', (one) => customer === undefined || one.customer === customer);
  });
  sim.route('GET', '/v1/setup_intents/:id', named);
  sim.route('POST', '/v1/setup_intents/:id/confirm', (call) =>
    confirmSetup(sim, named(call), text(call.form, 'payment_method')),
  );
  sim.route('POST', '/v1/setup_intents/:id/cancel', (call) => {
    const setup = named(call);
    sim.change(setup, { status: 'canceled' });
    sim.emit('setup_intent.canceled', setup);
    return setup;
  });
}
