/** Webhook endpoints and the events they missed. */
import type Stripe from 'stripe';
import type { Call, EventObject, Sim } from './core.ts';
import { type Deliverer, wants } from './delivery.ts';
import { missing, StripeFault } from './fault.ts';
import { flag, metadata, needed, text, texts } from './params.ts';

type WebhookEndpoint = Stripe.WebhookEndpoint;

/** Makes an endpoint; the secret is in this answer only. */
export function createEndpoint(
  sim: Sim,
  fields: {
    url: string;
    enabled_events: string[];
    api_version?: string | null;
    secret?: string;
  } & Partial<WebhookEndpoint>,
): WebhookEndpoint {
  const { secret = `whsec_${sim.id('s').slice(2)}`, ...rest } = fields;
  const endpoint: WebhookEndpoint = {
    id: sim.id('we'),
    object: 'webhook_endpoint',
    api_version: null,
    application: null,
    created: sim.now(),
    description: null,
    livemode: sim.livemode,
    metadata: {},
    status: 'enabled',
    ...rest,
  };
  sim.put(endpoint);
  sim.side<string[]>('webhook secrets').set(endpoint.id, [secret]);
  return { ...endpoint, secret };
}

function create(call: Call): WebhookEndpoint {
  const { form, sim } = call;
  const events = texts(form, 'enabled_events') ?? [];
  if (events.length === 0) throw missing('enabled_events');
  const url = needed(form, 'url');
  if (!URL.canParse(url))
    throw new StripeFault('Invalid URL: An explicit scheme (such as https) must be provided.', {
      code: 'url_invalid',
      param: 'url',
    });
  return createEndpoint(sim, {
    url,
    enabled_events: events,
    api_version: text(form, 'api_version') ?? null,
    description: text(form, 'description') ?? null,
    metadata: metadata(form),
  });
}

function update(call: Call): WebhookEndpoint {
  const { form, sim } = call;
  const endpoint = sim.get<WebhookEndpoint>('webhook_endpoint', call.params.id ?? '');
  if (form.api_version !== undefined) {
    throw new StripeFault('Received unknown parameter: api_version', {
      code: 'parameter_unknown',
      param: 'api_version',
    });
  }
  const disabled = flag(form, 'disabled');
  sim.change(endpoint, {
    url: text(form, 'url') ?? endpoint.url,
    enabled_events: texts(form, 'enabled_events') ?? endpoint.enabled_events,
    description: text(form, 'description') ?? endpoint.description,
    metadata: metadata(form, endpoint.metadata),
    status: disabled === undefined ? endpoint.status : disabled ? 'disabled' : 'enabled',
  });
  return endpoint;
}

export function webhookRoutes(sim: Sim, delivery: Deliverer): void {
  sim.route('POST', '/v1/webhook_endpoints', create);
  sim.route('GET', '/v1/webhook_endpoints', (call) =>
    sim.list<WebhookEndpoint>(call, 'webhook_endpoint', (one) => one.livemode === sim.livemode),
  );
  sim.route('GET', '/v1/webhook_endpoints/:id', (call) => sim.get('webhook_endpoint', call.params.id ?? ''));
  sim.route('POST', '/v1/webhook_endpoints/:id', update);
  sim.route('DELETE', '/v1/webhook_endpoints/:id', (call) => {
    const { id } = sim.get<WebhookEndpoint>('webhook_endpoint', call.params.id ?? '');
    sim.remove({ id, object: 'webhook_endpoint' });
    return { id, object: 'webhook_endpoint', deleted: true };
  });
  sim.route('GET', '/v1/events', (call) => {
    const single = text(call.query, 'type');
    const types = texts(call.query, 'types') ?? (single === undefined ? undefined : [single]);
    const success = flag(call.query, 'delivery_success');
    const oldest = sim.now() - 30 * 86_400;
    return sim.list<EventObject>(
      call,
      'event',
      (one) =>
        one.created >= oldest &&
        one.livemode === sim.livemode &&
        (types === undefined || types.some((type) => wants([type], one.type) || glob(type, one.type))) &&
        (success === undefined || delivery.succeeded(one) === success),
    );
  });
  sim.route('GET', '/v1/events/:id', (call) => sim.get('event', call.params.id ?? ''));
}

function glob(pattern: string, type: string): boolean {
  return pattern.endsWith('.*') && type.startsWith(pattern.slice(0, -1));
}
